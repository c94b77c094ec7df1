"""One engine in a process of its own: lines of JSON in, lines of JSON out.

Started by ``sae_training.py`` with an interpreter that has the engine; it imports nothing of
sci_interp unless that is the engine. Each engine runs a step as its own training loop does, at its
own defaults, but for what all share: activations, seed, Adam, learning rate, warm-up and decay.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_peers import DictionaryLearning, Overcomplete, SAELens, SAELensAutocast, Sparsify
from sae_task import Engine, Task
from torch import nn


class Plain(Engine):
    """Dense PyTorch, as one writes it from the paper: autograd, scatter, ``torch.optim.Adam``."""

    def __init__(self, task: Task, rows: torch.Tensor) -> None:
        self.task = task
        self.done = 0
        decoder = nn.functional.normalize(torch.randn(task.features, rows.shape[1]), dim=1)
        self.decoder = nn.Parameter(decoder)
        self.encoder = nn.Parameter(decoder.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(task.features))
        self.decoder_bias = nn.Parameter(rows.mean(0))
        held = [self.encoder, self.encoder_bias, self.decoder, self.decoder_bias]
        self.adam = torch.optim.Adam(held, lr=task.learning_rate)

    def code(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the dense code of a batch."""
        k = self.task.k
        pre = (rows - self.decoder_bias) @ self.encoder.t() + self.encoder_bias
        flat = torch.relu(pre)
        if self.task.architecture == "batch_topk":
            flat, k = flat.reshape(1, -1), k * len(rows)
        top = flat.topk(k, dim=1, sorted=False)
        return torch.zeros_like(flat).scatter(1, top.indices, top.values).reshape(pre.shape)

    def step(self, rows: torch.Tensor) -> None:
        """One step with the decoder held at unit length."""
        rebuilt = self.code(rows) @ self.decoder + self.decoder_bias
        (rebuilt - rows).square().sum(1).mean().backward()
        with torch.no_grad():
            slope = self.decoder.grad
            assert slope is not None
            slope -= (slope * self.decoder).sum(1, keepdim=True) * self.decoder
            share = self.task.rate_at(self.done)
            self.adam.param_groups[0]["lr"] = self.task.learning_rate * share
            self.adam.step()
            self.adam.zero_grad()
            self.decoder /= self.decoder.norm(dim=1, keepdim=True)
        self.done += 1

    @torch.no_grad()
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Engine`."""
        code = self.code(rows)
        return (code > 0).sum(0), code @ self.decoder + self.decoder_bias

    def dictionary(self) -> torch.Tensor:
        """See :class:`Engine`."""
        return self.decoder.detach()


class Ours(Engine):
    """``sci_interp.train`` after it has read and normalised a batch."""

    def __init__(self, task: Task, rows: torch.Tensor, precision: str = "auto") -> None:
        from sci_interp.sae.initialisation import initial_weights
        from sci_interp.sae.settings import resolve_settings
        from sci_interp.sae.trainer import Trainer

        settings = resolve_settings(
            features=task.features,
            k=task.k,
            seed=task.seed,
            architecture=task.architecture,
            n_tokens=task.n_steps * task.batch_size,
            batch_size=task.batch_size,
            learning_rate=task.learning_rate,
            splits=("train",),
            normalisation="scale",
            warm_up=task.warm_up,
            decay=task.decay,
            auxiliary=1 / 32,
            dead_after=None,
            blend=0.8,
            precision=precision,
        )
        sample = rows[: max(32_768, task.features)]
        self.trainer = Trainer(initial_weights(sample, settings), settings)
        self.trainer.begin(sample)

    def step(self, rows: torch.Tensor) -> None:
        """The trainer's own step."""
        self.trainer.update(rows)

    @torch.no_grad()
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Engine`."""
        from sci_interp.sae.gradients import reconstruction_pass
        from sci_interp.sae.preactivation import PreActivation

        trainer = self.trainer
        pre = PreActivation(trainer.weights, trainer.settings.precision)(rows)
        done = reconstruction_pass(rows, trainer.weights, trainer.sparsity.select(pre))
        return done.counts, rows + done.error

    def dictionary(self) -> torch.Tensor:
        """See :class:`Engine`."""
        return self.trainer.weights.decoder


#: Engine and the distribution whose version is reported, by name.
ENGINES: dict[str, tuple[Callable[[Task, torch.Tensor], Engine], str]] = {
    "sci_interp": (Ours, "sci-interp"),
    "plain": (Plain, "torch"),
    "sparsify": (Sparsify, "eai-sparsify"),
    "dictionary_learning": (DictionaryLearning, "dictionary-learning"),
    "sae_lens": (SAELens, "sae-lens"),
    "sae_lens_autocast": (SAELensAutocast, "sae-lens"),
    "overcomplete": (Overcomplete, "overcomplete"),
}


def quality(engine: Engine, held_out: torch.Tensor, task: Task) -> dict[str, float]:
    """Return FVU and share of dead features on tokens that no step has seen."""
    error, active = 0.0, torch.zeros(task.features, dtype=torch.int64)
    for rows in held_out.split(task.batch_size):
        found, rebuilt = engine.look(rows)
        active += found
        error += float((rebuilt - rows).double().square().sum())
    spread = float((held_out - held_out.mean(0)).double().square().sum())
    return {
        "fvu": error / spread,
        "l0": float(active.sum()) / len(held_out),
        "dead": float((active == 0).float().mean()),
    }


def recovery(dictionary: torch.Tensor, directions: torch.Tensor) -> dict[str, float]:
    """Return mean highest cosine of planted directions, and the share found at 0.9."""
    unit = nn.functional.normalize(dictionary.float(), dim=1)
    highest = torch.cat([(part @ unit.t()).amax(1) for part in directions.split(512)])
    return {"mmcs": float(highest.mean()), "recall": float((highest >= 0.9).float().mean())}


def replies(task: Task, orders: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Answer orders: ``steps`` runs that many, ``finish`` tells the rest."""
    torch.set_num_threads(task.threads)
    folder = Path(task.data)
    train, held_out = (
        torch.from_numpy(np.load(folder / f"{name}.npy", allow_pickle=False))
        for name in ("train", "held_out")
    )
    make, distribution = ENGINES[task.engine]
    torch.manual_seed(task.seed)
    make(task, train).step(train[: task.batch_size])  # compiles, allocates, imports
    torch.manual_seed(task.seed)
    begun = time.perf_counter()
    engine = make(task, train)
    yield {
        "start": time.perf_counter() - begun,
        "version": f"{distribution} {metadata.version(distribution)}",
        **quality(engine, held_out, task),
    }
    n_batches = len(train) // task.batch_size
    done = 0
    for order in orders:
        if "steps" not in order:
            break
        wall, processor = [], []
        for _ in range(order["steps"]):
            first = done % n_batches * task.batch_size
            rows = train[first : first + task.batch_size]
            before = time.perf_counter(), time.process_time()
            engine.step(rows)
            wall.append(time.perf_counter() - before[0])
            processor.append(time.process_time() - before[1])
            done += 1
        yield {"wall": wall, "processor": processor, **quality(engine, held_out, task)}
    found: dict[str, Any] = {}
    if (folder / "directions.npy").is_file():
        planted = torch.from_numpy(np.load(folder / "directions.npy", allow_pickle=False))
        found = recovery(engine.dictionary(), planted)
    yield found


def main() -> None:
    """Answer on standard output; whatever an engine prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    orders = (json.loads(line) for line in sys.stdin)
    task = Task(**next(orders))
    try:
        for reply in replies(task, orders):
            print(json.dumps(reply), file=answers, flush=True)
    except (ImportError, NotImplementedError) as error:
        print(json.dumps({"skipped": str(error)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
