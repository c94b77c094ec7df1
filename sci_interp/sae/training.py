"""train: ActivationSource -> SparseAutoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from sci_interp.axis import describe_blocks
from sci_interp.batches import ShuffledBatches
from sci_interp.errors import InputError, NotFiniteError, StoreError
from sci_interp.manifest import (
    begin_artefact,
    clear_on_mistake,
    finish_artefact,
    write_atomically,
)
from sci_interp.progress import track
from sci_interp.schema import Split
from sci_interp.source import ActivationSource, StackedSource

from .files import KIND, load_sae, read_tensors, write_sae
from .initialisation import initial_weights
from .model import SparseAutoencoder
from .normalisation import CentreKind, NormalisationKind
from .preparation import Preparation
from .settings import Precision, Revival, TrainingSettings, resolve_settings
from .statistics import with_statistics
from .trainer import Trainer
from .weights import Weights

__all__ = ["train"]

#: Named like a temporary file: no part of the artefact.
CHECKPOINT_FILE = "checkpoint.tmp"
#: Tokens that normalisation and initial directions are taken from, at least.
SAMPLE_TOKENS = 32_768
#: Batches that thresholds are taken from, at most.
CALIBRATION_BATCHES = 16
#: Tokens that scale and firing rate are taken from, at most.
STATISTICS_TOKENS = 500_000


def train(
    source: ActivationSource,
    *,
    out: Path | str,
    features: int = 2048,
    k: int = 32,
    seed: int = 0,
    architecture: str = "topk",
    n_tokens: int = 2_000_000,
    batch_size: int = 2048,
    learning_rate: float | None = None,
    splits: Sequence[Split] = ("train", "discovery"),
    normalisation: NormalisationKind = "scale",
    warm_up: float = 0.05,
    decay: float = 0.3,
    auxiliary: float = 1 / 32,
    revival: Revival = "auxiliary",
    dead_after: int | None = None,
    blend: float = 0.8,
    penalty: float | None = None,
    plain_penalty: bool = False,
    centre: CentreKind = "mean",
    whitening: bool = False,
    precision: Precision = "auto",
    checkpoint_every: int = 100,
    progress: bool = True,
) -> SparseAutoencoder:
    """Train a sparse autoencoder and save it.

    An interrupted run continues from its last checkpoint to the same bytes.

    Parameters
    ----------
    source
        Activations, stored or live; a ``StackedSource`` of several layers for a transcoder (read
        and written) or a crosscoder.
    out
        Folder of the artefact.
    features, k, seed, architecture, n_tokens, batch_size, learning_rate, splits, normalisation
        See :class:`sci_interp.sae.settings.TrainingSettings`, as for those that follow.
    warm_up, decay, auxiliary, revival, dead_after, blend, penalty, plain_penalty, centre
        See there.
    whitening, precision
        See there. None, or ``"auto"``, leaves the choice to the number of features, tokens, the
        processor.
    checkpoint_every
        Steps between checkpoints; has no influence on the result.
    progress
        Whether to report on standard error.

    Raises
    ------
    InputError
        If a setting is out of range, or the splits hold too few tokens.
    NotFiniteError
        If activations hold NaN or infinity.
    StoreError
        If the folder holds other work.
    """
    settings = resolve_settings(
        features=features,
        k=k,
        seed=seed,
        architecture=architecture,
        n_tokens=n_tokens,
        batch_size=batch_size,
        learning_rate=learning_rate,
        splits=splits,
        normalisation=normalisation,
        warm_up=warm_up,
        decay=decay,
        auxiliary=auxiliary,
        revival=revival,
        dead_after=dead_after,
        blend=blend,
        penalty=penalty,
        plain_penalty=plain_penalty,
        centre=centre,
        whitening=whitening,
        widths=source.widths if isinstance(source, StackedSource) else (),
        precision=precision,
    )
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every={checkpoint_every} is not usable", allowed="1 or more")
    batches = ShuffledBatches(source, splits=settings.splits, batch_size=batch_size, seed=seed)
    folder = Path(out)
    request = {**settings.as_json(), "model": source.model["name"], "layer": source.layer}
    if begin_artefact(folder, KIND, inputs={"activations": source.digest}, settings=request):
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        return load_sae(folder)
    with clear_on_mistake(folder, committed=CHECKPOINT_FILE):
        trained = _run(
            batches, settings, folder, checkpoint_every=checkpoint_every, progress=progress
        )
    write_sae(_assemble(*trained, source=source), folder)
    finish_artefact(folder)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    return load_sae(folder)


def _run(
    batches: ShuffledBatches,
    settings: TrainingSettings,
    folder: Path,
    *,
    checkpoint_every: int,
    progress: bool,
) -> tuple[Trainer, Preparation]:
    path = folder / CHECKPOINT_FILE
    trainer, prepared = _resume(path, settings) if path.is_file() else _start(batches, settings)
    steps = range(trainer.step, settings.n_steps)
    for step in track(steps, "train", show=progress, detail=trainer.describe):
        trainer.update(prepared.apply(torch.from_numpy(batches.batch(step))))
        if trainer.step % checkpoint_every == 0 or trainer.step == settings.n_steps:
            write_atomically(path, save_tensors({**trainer.state(), **prepared.state()}))
    n_batches = min(CALIBRATION_BATCHES, batches.steps_per_epoch)
    trainer.calibrate(prepared.apply(torch.from_numpy(batches.batch(i))) for i in range(n_batches))
    return trainer, prepared


def _start(batches: ShuffledBatches, settings: TrainingSettings) -> tuple[Trainer, Preparation]:
    n_wanted = max(SAMPLE_TOKENS, settings.features)
    n_batches = min(batches.steps_per_epoch, -(-n_wanted // settings.batch_size))
    sample = torch.from_numpy(np.concatenate([batches.batch(step) for step in range(n_batches)]))
    if not torch.isfinite(sample).all():
        raise NotFiniteError("activations hold NaN or infinity", todo="Extract them again")
    prepared = Preparation.fit(settings, sample)
    rows = prepared.apply(sample)
    trainer = Trainer(initial_weights(rows, settings), settings)
    trainer.begin(rows)
    return trainer, prepared


def _resume(path: Path, settings: TrainingSettings) -> tuple[Trainer, Preparation]:
    state = read_tensors(path)
    try:
        names = [field.name for field in fields(Weights)]
        weights = Weights(**{name: torch.empty_like(state[name]) for name in names})
        prepared = Preparation.resume(settings, state)
        trainer = Trainer(weights, settings)
        trainer.restore(state)
    except KeyError as error:
        raise StoreError(
            f"{path} lacks {error}", todo="Delete it; the training then starts again"
        ) from None
    return trainer, prepared


def _assemble(
    trainer: Trainer, prepared: Preparation, *, source: ActivationSource
) -> SparseAutoencoder:
    settings = trainer.settings
    columns = ("step", "fvu", "l0", "dead_fraction")
    curve = [dict(zip(columns, point, strict=True)) for point in trainer.curve]
    weights = trainer.sparsity.finish(prepared.finish(trainer.weights))
    read, written = prepared.units.split(settings.n_read)
    sae = SparseAutoencoder(
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
    return with_statistics(sae, source, splits=settings.splits, n_tokens=STATISTICS_TOKENS)


def _describe_layers(source: ActivationSource, settings: TrainingSettings) -> dict[str, str]:
    """Return whose activations are read, and the layer that is written where it is another."""
    written = {}
    if settings.n_read is not None and isinstance(source, StackedSource):
        source, other = source.sources
        written = {"writes": other.layer}
    model = source.model
    found = {"model": model["name"], "model_digest": model["digest"], "layer": source.layer}
    return found | written
