"""Other packages' training steps; each is imported when it is asked for."""

from __future__ import annotations

import sys
from types import ModuleType

import torch
from sae_task import Engine, Task
from torch import nn


class Sparsify(Engine):
    """EleutherAI sparsify: the body of its trainer's hook, with its ``adam`` option."""

    def __init__(self, task: Task, rows: torch.Tensor) -> None:
        from sparsify import SparseCoder, SparseCoderConfig

        if task.architecture != "topk":
            raise NotImplementedError("sparsify has no BatchTopK")
        config = SparseCoderConfig(num_latents=task.features, k=task.k)
        self.coder = SparseCoder(rows.shape[1], config)
        self.coder.b_dec.data = rows[: task.batch_size].mean(0)
        self.adam = torch.optim.Adam(self.coder.parameters(), lr=task.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adam, task.rate_at)
        self.silent = torch.zeros(task.features, dtype=torch.int64)

    def step(self, rows: torch.Tensor) -> None:
        """Unit rows, forward, backward, parallel gradient removed, Adam, counts."""
        fired = torch.zeros_like(self.silent, dtype=torch.bool)
        self.coder.set_decoder_norm_to_unit_norm()
        variance = (rows - rows.mean(0)).pow(2).sum()
        out = self.coder(rows, rows, total_variance=variance)
        fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.adam.step()
        self.adam.zero_grad()
        self.schedule.step()
        self.silent += len(rows)
        self.silent[fired] = 0

    @torch.no_grad()
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Engine`."""
        out = self.coder(rows)
        active = out.latent_indices[out.latent_acts > 0]
        return torch.bincount(active, minlength=self.coder.num_latents), out.sae_out

    def dictionary(self) -> torch.Tensor:
        """See :class:`Engine`."""
        assert self.coder.W_dec is not None
        return self.coder.W_dec.detach()


class DictionaryLearning(Engine):
    """dictionary_learning: ``TopKTrainer`` or ``BatchTopKTrainer``, ``update``."""

    def __init__(self, task: Task, rows: torch.Tensor) -> None:
        from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
        from dictionary_learning.trainers.top_k import TopKTrainer

        make = TopKTrainer if task.architecture == "topk" else BatchTopKTrainer
        self.trainer = make(
            steps=task.n_steps,
            activation_dim=rows.shape[1],
            dict_size=task.features,
            k=task.k,
            layer=0,
            lm_name="none",
            lr=task.learning_rate,
            warmup_steps=task.warm_up_steps,
            decay_start=max(task.n_steps - task.decay_steps, task.warm_up_steps + 1),
            seed=task.seed,
            device="cpu",
        )
        self.done = 0

    def step(self, rows: torch.Tensor) -> None:
        """The trainer's own step."""
        self.trainer.update(self.done, rows)
        self.done += 1

    @torch.no_grad()
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Engine`."""
        code = self.trainer.ae.encode(rows, use_threshold=False)
        return (code > 0).sum(0), self.trainer.ae.decode(code)

    def dictionary(self) -> torch.Tensor:
        """See :class:`Engine`."""
        return self.trainer.ae.decoder.weight.detach().t()


class SAELens(Engine):
    """SAELens: ``SAETrainer.step``; optionally with its own bfloat16 autocast."""

    autocast = False

    def __init__(self, task: Task, rows: torch.Tensor) -> None:
        from sae_lens.config import SAETrainerConfig
        from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.training.sae_trainer import SAETrainer

        sizes = {"d_in": rows.shape[1], "d_sae": task.features, "k": task.k, "device": "cpu"}
        if task.architecture == "topk":
            self.sae = TopKTrainingSAE(TopKTrainingSAEConfig(**sizes))
        else:
            self.sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes))
        config = SAETrainerConfig(
            total_training_samples=task.n_steps * task.batch_size,
            train_batch_size_samples=task.batch_size,
            lr=task.learning_rate,
            lr_end=task.learning_rate / 10,
            lr_warm_up_steps=task.warm_up_steps,
            lr_decay_steps=task.decay_steps,
            autocast=self.autocast,
        )
        self.trainer = SAETrainer(config, self.sae, data_provider=iter(()))

    def step(self, rows: torch.Tensor) -> None:
        """The trainer's own step."""
        self.trainer.step(rows)
        self.trainer.n_training_steps += 1

    @torch.no_grad()
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Engine`."""
        code = self.sae.encode(rows)
        return (code > 0).sum(0), self.sae.decode(code)

    def dictionary(self) -> torch.Tensor:
        """See :class:`Engine`."""
        return self.sae.W_dec.detach()


class SAELensAutocast(SAELens):
    """SAELens with ``autocast=True``."""

    autocast = True


class Unused(ModuleType):
    """A module whose every name is there and is used by nobody."""

    def __getattr__(self, name: str) -> type:
        """Return some class."""
        if name.startswith("__"):
            raise AttributeError(name)
        return nn.Module


class Overcomplete(Engine):
    """overcomplete: the body of ``train_sae`` with mean squared error."""

    def __init__(self, task: Task, rows: torch.Tensor) -> None:
        # Networks for images and plots need torchvision and OpenCV; training needs neither.
        for name in ("models", "visualization"):
            unused = Unused(f"overcomplete.{name}")
            sys.modules.setdefault(unused.__name__, unused)
        from overcomplete.sae import BatchTopKSAE, TopKSAE
        from overcomplete.sae.trackers import DeadCodeTracker

        if task.architecture == "topk":
            self.sae = TopKSAE(rows.shape[1], task.features, top_k=task.k)
        else:
            self.sae = BatchTopKSAE(rows.shape[1], task.features, top_k=task.k * task.batch_size)
        self.sae.train()
        self.tracker = DeadCodeTracker(task.features, "cpu")
        self.adam = torch.optim.Adam(self.sae.parameters(), lr=task.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adam, task.rate_at)

    def step(self, rows: torch.Tensor) -> None:
        """Forward, dead codes, backward, clipped gradient, Adam."""
        self.adam.zero_grad()
        _, code, rebuilt = self.sae(rows)
        loss = (rows - rebuilt).square().mean()
        self.tracker.update(code)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.adam.step()
        self.schedule.step()

    @torch.no_grad()
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Engine`."""
        _, code, rebuilt = self.sae(rows)
        return (code > 0).sum(0), rebuilt

    def dictionary(self) -> torch.Tensor:
        """See :class:`Engine`."""
        return self.sae.get_dictionary().detach()
