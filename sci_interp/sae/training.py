"""train: ActivationSource -> SparseAutoencoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sci_interp.batches import ShuffledBatches
from sci_interp.errors import InputError
from sci_interp.manifest import clear_on_mistake
from sci_interp.progress import track
from sci_interp.schema import Split
from sci_interp.source import ActivationSource, StackedSource

from .device import engine_for
from .files import load_sae
from .model import SparseAutoencoder
from .normalisation import CentreKind, NormalisationKind
from .parallel import ALONE, join_team
from .session import CALIBRATION_BATCHES, CHECKPOINT_FILE, STATISTICS_TOKENS, Session, sample_of
from .settings import Precision, Revival, resolve_settings
from .statistics import with_statistics

__all__ = ["calibration_batches", "require_checkpoints", "train"]


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
    block_seed: int | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    device: str = "cpu",
    parallel: bool = False,
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
    whitening, precision, block_seed
        See there. None, or ``"auto"``, leaves the choice to the number of features, tokens, the
        processor, the seed.
    accumulate, patience
        See there; None trains on all ``n_tokens``.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"``: a CUDA device where there is one that
        can do what the other settings ask. See :class:`sci_interp.sae.device.DeviceEngine` for
        what repeats there. A run can continue on another device under the same ``precision``,
        which ``"auto"`` chooses by the device.
    parallel
        Whether the processes that ``torchrun`` started learn together, each from its share of
        every batch: see :mod:`sci_interp.sae.parallel`. The weights are those of one process but
        for rounding, with the exceptions of ``accumulate``.
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
    engine = engine_for(
        device, architecture=architecture, revival=revival, precision=precision, parallel=parallel
    )
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
        precision=engine.precision(precision),
        block_seed=block_seed,
        accumulate=accumulate,
        patience=patience,
    )
    require_checkpoints(checkpoint_every)
    batches = ShuffledBatches(
        source,
        splits=settings.splits,
        batch_size=batch_size,
        seed=seed,
        block_seed=settings.block_seed,
    )
    with join_team(batch_size, engine.device) if parallel else nullcontext(ALONE) as team:
        session = Session(settings, Path(out), team, engine)
        if not session.claim(source):
            with clear_on_mistake(session.folder, committed=CHECKPOINT_FILE):
                _run(session, batches, checkpoint_every=checkpoint_every, progress=progress)
                team.first(lambda: _finish(session, source))
    return load_sae(session.folder)


def _finish(session: Session, source: ActivationSource) -> bool:
    sae = session.assemble(source)
    session.finish(
        with_statistics(sae, source, splits=session.settings.splits, n_tokens=STATISTICS_TOKENS)
    )
    return True


def require_checkpoints(checkpoint_every: int) -> None:
    """Refuse a number of steps between checkpoints that is not positive."""
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every={checkpoint_every} is not usable", allowed="1 or more")


def calibration_batches(batches: ShuffledBatches, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield the batches that thresholds are taken from."""
    for step in range(min(CALIBRATION_BATCHES, batches.steps_per_epoch)):
        yield batches.batches(step, [seed])[0]


def _run(
    session: Session, batches: ShuffledBatches, *, checkpoint_every: int, progress: bool
) -> None:
    session.open(sample_of(batches, session.settings))
    trainer = session.trainer
    steps = range(trainer.step, trainer.end)
    for step in track(
        steps, "train", show=progress and session.team.rank == 0, detail=trainer.describe
    ):
        if step >= trainer.end:
            continue
        session.update(batches.batch(step))
        if trainer.step % checkpoint_every == 0 or trainer.step == trainer.end:
            session.save()
    session.calibrate(calibration_batches(batches, session.settings.seed))
