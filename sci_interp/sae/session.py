"""One training run between its settings and its files: begun, continued, checkpointed, finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors

from sci_interp.axis import describe_blocks
from sci_interp.batches import ShuffledBatches
from sci_interp.disk import UNREADABLE
from sci_interp.errors import InputError, NotFiniteError, StoreError
from sci_interp.manifest import begin_artefact, finish_artefact, write_atomically
from sci_interp.source import ActivationSource, StackedSource

from .engine import HOST, Engine
from .files import KIND, read_tensors, write_sae
from .initialisation import initial_weights
from .model import SparseAutoencoder
from .parallel import ALONE, Team
from .preparation import Preparation
from .settings import TrainingSettings
from .trainer import Trainer
from .weights import Weights

__all__ = ["CALIBRATION_BATCHES", "CHECKPOINT_FILE", "STATISTICS_TOKENS", "Session", "sample_of"]

#: Named like a temporary file: no part of the artefact.
CHECKPOINT_FILE = "checkpoint.tmp"
#: Tokens that normalisation and initial directions are taken from, at least.
SAMPLE_TOKENS = 32_768
#: Batches that thresholds are taken from, at most.
CALIBRATION_BATCHES = 16
#: Tokens that scale and firing rate are taken from, at most.
STATISTICS_TOKENS = 500_000


def sample_of(
    batches: ShuffledBatches, settings: TrainingSettings
) -> Callable[[], NDArray[np.float32]]:
    """Return what reads the first batches under the seed of some settings."""

    def read() -> NDArray[np.float32]:
        n_wanted = max(SAMPLE_TOKENS, settings.features)
        n_batches = min(batches.steps_per_epoch, -(-n_wanted // settings.batch_size))
        seeds = [settings.seed]
        return np.concatenate([batches.batches(step, seeds)[0] for step in range(n_batches)])

    return read


class Session:
    """A training run and the folder of its artefact.

    Parameters
    ----------
    settings
        Of the run.
    folder
        Of the artefact.
    team
        Processes that run it together; the first writes.
    engine
        What to compute with; has no part in the artefact's settings.

    Attributes
    ----------
    trainer : Trainer
        The state; there from :meth:`open` on.
    prepared : Preparation
        What is done to activations first.
    """

    trainer: Trainer
    prepared: Preparation

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        team: Team = ALONE,
        engine: Engine = HOST,
    ) -> None:
        if team.size > 1 and settings.revival == "resampling":
            raise InputError(
                "resampling looks at whole batches, and each process has its share",
                todo='Choose revival="auxiliary", or one process',
            )
        self.team = team
        self.engine = engine
        self.settings = settings
        self.folder = folder
        self._checkpoint = folder / CHECKPOINT_FILE

    def claim(self, source: ActivationSource) -> bool:
        """Claim the folder, and return whether the artefact is finished.

        Raises
        ------
        StoreError
            If the folder holds other work.
        """
        model = {"model": source.model["name"], "layer": source.layer}
        settings = {**self.settings.as_json(), **model, **source.axis.quarantine_settings()}
        inputs = {"activations": source.digest}
        finished = self.team.first(
            lambda: begin_artefact(self.folder, KIND, inputs=inputs, settings=settings)
        )
        if finished and self.team.rank == 0:
            self._checkpoint.unlink(missing_ok=True)
        return finished

    def open(self, sample: Callable[[], NDArray[np.float32]]) -> None:
        """Take back the last checkpoint, or start from a sample of training tokens.

        Raises
        ------
        NotFiniteError
            If the sample holds NaN or infinity.
        StoreError
            If the checkpoint cannot be used.
        """
        if self.team.first(self._checkpoint.is_file):
            self._resume(read_tensors(self._checkpoint))
        else:
            self._start(torch.from_numpy(sample()))
        self._placed = self.engine.place_preparation(self.prepared)

    def update(self, values: NDArray[np.float32]) -> None:
        """Do one step on the activations of a batch."""
        self.trainer.update(self._prepare(self.team.share(torch.from_numpy(values))))

    def save(self) -> None:
        """Write a checkpoint."""
        if self.team.rank > 0:
            return
        state = {**self.trainer.state(), **self.prepared.state()}
        on_host = {name: held.cpu() for name, held in state.items()}
        write_atomically(self._checkpoint, save_tensors(on_host))

    def calibrate(self, batches: Iterable[NDArray[np.float32]]) -> None:
        """Learn thresholds from training batches, with the final weights."""
        self.trainer.calibrate(self._prepare(torch.from_numpy(values)) for values in batches)

    def assemble(self, source: ActivationSource) -> SparseAutoencoder:
        """Return the autoencoder, whose scale and firing rate are still to be measured."""
        trainer, settings = self.trainer, self.settings
        columns = ("step", "fvu", "l0", "dead_fraction")
        curve = [dict(zip(columns, point, strict=True)) for point in trainer.curve]
        trained = Weights.from_named({name: held.cpu() for name, held in trainer.weights.named()})
        weights = trainer.sparsity.finish(self.prepared.finish(trained))
        read, written = self.prepared.units.split(settings.n_read)
        return SparseAutoencoder(
            weights=weights,
            sparsity=trainer.sparsity,
            normalisation=read,
            output=written,
            scale=np.ones(weights.n_features, np.float32),
            firing_rate=np.zeros(weights.n_features, np.float32),
            parent={
                **_describe_layers(source, settings),
                "activations": source.digest,
                **describe_blocks(source.axis, settings.splits),
            },
            training={**settings.as_json(), "curve": curve},
        )

    def release(self) -> None:
        """Let go of the state, once the autoencoder is assembled."""
        del self.trainer, self.prepared, self._placed

    def finish(self, sae: SparseAutoencoder) -> None:
        """Write the artefact."""
        write_sae(sae, self.folder)
        finish_artefact(self.folder)
        self._checkpoint.unlink(missing_ok=True)

    def _prepare(self, values: torch.Tensor) -> torch.Tensor:
        return self._placed.apply(self.engine.move(values))

    def _start(self, sample: torch.Tensor) -> None:
        if not torch.isfinite(sample).all():
            raise NotFiniteError("activations hold NaN or infinity", todo="Extract them again")
        self.prepared = Preparation.fit(self.settings, sample)
        rows = self.prepared.apply(sample)
        weights = initial_weights(rows, self.settings)
        self.team.equalise(tensor for _, tensor in weights.named())
        self.trainer = Trainer(weights, self.settings, self.team, self.engine)
        self.trainer.begin(rows)

    def _resume(self, state: dict[str, torch.Tensor]) -> None:
        try:
            names = [field.name for field in fields(Weights)]
            weights = Weights(**{name: torch.empty_like(state[name]) for name in names})
            self.prepared = Preparation.resume(self.settings, state)
            self.trainer = Trainer(weights, self.settings, self.team, self.engine)
            _require_alike(state, {**self.trainer.state(), **self.prepared.state()})
            _require_shapes(state, self.settings.features)
            self.trainer.restore(state)
        except UNREADABLE as error:
            raise StoreError(
                f"{self._checkpoint} is no checkpoint of this training: {error}",
                todo="Delete it; the training then starts again",
            ) from None


def _require_alike(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors of other shapes and types than those of a training that begins."""
    for name, tensor in wanted.items():
        found, rows = state[name], name == "curve"  # one row for each time it was measured
        if found.dtype != tensor.dtype or found.shape[rows:] != tensor.shape[rows:]:
            raise ValueError(f"{name!r} is {found.dtype} {tuple(found.shape)}")


def _require_shapes(state: Mapping[str, torch.Tensor], n_features: int) -> None:
    """Refuse weights that do not fit together, or have another number of features."""
    names = ("encoder", "encoder_bias", "decoder", "decoder_bias", "units.mean")
    encoder, encoder_bias, decoder, decoder_bias, mean = (state[name] for name in names)
    if not (
        encoder.ndim == decoder.ndim == 2
        and encoder.dtype == decoder.dtype == torch.float32
        and len(encoder) == len(decoder) == n_features
        and encoder_bias.shape == (n_features,)
        and len(mean) in (encoder.shape[1], encoder.shape[1] + decoder.shape[1])
    ):
        raise ValueError(f"{n_features} features do not have weights of {tuple(encoder.shape)}")
    if decoder_bias.shape != (decoder.shape[1],):
        raise ValueError(f"the bias of the decoder has the shape {tuple(decoder_bias.shape)}")


def _describe_layers(source: ActivationSource, settings: TrainingSettings) -> dict[str, str]:
    """Return whose activations are read, and the layer that is written where it is another."""
    written = {}
    if settings.n_read is not None and isinstance(source, StackedSource):
        source, other = source.sources
        written = {"writes": other.layer}
    model = source.model
    found = {"model": model["name"], "model_digest": model["digest"], "layer": source.layer}
    return found | written
