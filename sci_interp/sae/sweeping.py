"""sweep: ActivationSource, or several -> many SparseAutoencoders, in one pass over the data."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sci_interp.batches import ShuffledBatches
from sci_interp.errors import InputError, NotFiniteError, SciInterpError
from sci_interp.locks import is_held, release
from sci_interp.manifest import begin_artefact, finish_artefact, is_finished, write_atomically
from sci_interp.progress import track
from sci_interp.schema import Split
from sci_interp.source import ActivationSource, StackedSource
from sci_interp.tables import write_table

from .faithfulness import fidelities, require_tokens
from .files import load_sae
from .session import CHECKPOINT_FILE, STATISTICS_TOKENS, Session, sample_of
from .settings import TrainingSettings
from .statistics import all_with_statistics
from .sweep_result import KIND, TABLE, TIMES_FILE, Sweep, tabulate
from .sweep_runs import resolve_runs
from .training import calibration_batches, require_checkpoints

__all__ = ["sweep"]

#: Seconds so far, while the sweep is unfinished; named like a temporary file.
SO_FAR_FILE = "times.tmp"
#: Runs that one message of progress tells of; the next message tells of the next.
TOLD_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class _Layer:
    """The runs on one source: a layer, or all layers of a transcoder or crosscoder."""

    source: ActivationSource
    batches: ShuffledBatches
    runs: Mapping[str, TrainingSettings]


def sweep(
    source: ActivationSource | Mapping[str, ActivationSource],
    *,
    out: Path | str,
    runs: Sequence[Mapping[str, Any]] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    n_tokens: int = 2_000_000,
    batch_size: int = 2048,
    splits: Sequence[Split] = ("train", "discovery"),
    block_seed: int | None = None,
    measured_on: Sequence[Split] = ("test",),
    checkpoint_every: int = 100,
    progress: bool = True,
    **common: Any,
) -> Sweep:
    """Train several sparse autoencoders in one pass over the data, and compare them.

    Each batch is read once, and every run takes its step on it before the next is read. A run is
    byte for byte what :func:`~sci_interp.sae.train` makes of its settings with the same
    ``block_seed``; where that is the run's own seed, of its settings alone. An interrupted sweep
    continues to the same bytes.

    What differs from training alone: all runs read the same blocks of tokens in the same order,
    that of ``block_seed``. Runs of different seeds have an initialisation of their own and an order
    of their own of the tokens inside the shuffle buffer (of 131,072 tokens), so that their batches
    differ and their buffers do not. Give every seed its own ``train`` where that is too little.

    In memory are one buffer of tokens, a batch for each seed, and for each run its weights three
    times (with the moments of the optimiser) and the encoder once more in the arithmetic of the
    choice and the pre-activations of a batch: about ``28 * features * width + 4 * features *
    batch_size`` bytes at most. Runs step one after another, so that gradients need room once.

    Parameters
    ----------
    source
        As for ``train``. Or several by name, for example those of ``stream`` of several layers:
        every run is done on each, on the same tokens in the same order, and its name begins with
        the source's. Streams that share a pass run the network once where they keep as many units
        as the shuffle buffer has blocks: ``cached_units=16``.
    out
        Folder of the sweep; every run is a folder in it that ``load_sae`` reads.
    runs
        Settings of each run, under the names that ``train`` has for them, for example
        ``[{"k": 16, "architecture": "topk"}, {"k": 16, "seed": 1}]``.
    grid
        In place of ``runs``: values of each setting; every combination is a run.
    n_tokens, batch_size, splits
        As for ``train``, of all runs.
    block_seed
        Seed of the order of blocks; by default the first run's seed.
    measured_on
        Splits that the table's FVU, L0 and dead fraction are measured on.
    checkpoint_every, progress
        As for ``train``.
    **common
        Other settings of ``train`` that all runs share, where a run does not say otherwise.

    Raises
    ------
    InputError
        If a setting is out of range, two runs are the same, or splits hold too few tokens.
    UnknownNameError
        If ``train`` has no such setting, or there is no such architecture.
    NotFiniteError
        If activations, or the loss of a run, are not finite.
    StoreError
        If the folder holds other work.
    """
    shared = {"n_tokens": n_tokens, "batch_size": batch_size, "splits": splits}
    sources = dict(source) if isinstance(source, Mapping) else {"": source}
    _require_names(sources)
    layers = []
    for prefix, each in sources.items():
        plain = resolve_runs(each, runs, grid, common=common, shared=shared, block_seed=block_seed)
        require_tokens(each, measured_on)
        first = next(iter(plain.values()))
        batches = ShuffledBatches(
            each, splits=first.splits, batch_size=batch_size, seed=first.seed, block_seed=block_seed
        )
        named = {f"{prefix}-{name}" if prefix else name: held for name, held in plain.items()}
        layers.append(_Layer(each, batches, named))
    require_checkpoints(checkpoint_every)
    wanted = {name: settings for layer in layers for name, settings in layer.runs.items()}
    folder = Path(out)
    request = {
        **_describe(wanted),
        "model": " + ".join(dict.fromkeys(each.model["name"] for each in sources.values())),
        "layer": ", ".join(each.layer for each in sources.values()),
        "measured_on": list(measured_on),
        **next(iter(sources.values())).axis.quarantine_settings(),
    }
    inputs = {f"activations {name}".strip(): each.digest for name, each in sources.items()}
    if not begin_artefact(folder, KIND, inputs=inputs, settings=request):
        with _clear_uncommitted(folder, wanted):
            _train_all(layers, folder, checkpoint_every, progress=progress)
            found = []
            for layer in layers:
                saes = [load_sae(folder / name) for name in layer.runs]
                found += fidelities(saes, layer.source, splits=measured_on)
            write_table(folder, TABLE, tabulate(wanted, found))
            finish_artefact(folder)
    _keep_times(folder)
    return Sweep.open(folder)


def _require_names(sources: Mapping[str, ActivationSource]) -> None:
    """Refuse sources whose names cannot begin a folder's, or whose tokens differ."""
    if not sources:
        raise InputError("the sweep has no source", allowed="at least one")
    for name in sources:
        if name.startswith(".") or set(name) & set("/\\:\0"):
            raise InputError(f"the source {name!r} cannot name folders", todo="Name it otherwise")
    if len(sources) > 1:
        StackedSource(list(sources.values()))


def _describe(wanted: Mapping[str, TrainingSettings]) -> dict[str, Any]:
    """Return every setting of every run: those that all share once, others by run."""
    every = {name: settings.as_json() for name, settings in wanted.items()}
    first = next(iter(every.values()))
    shared = {
        key: value
        for key, value in first.items()
        if all(settings.get(key) == value for settings in every.values())
    }
    own = {
        f"{name}.{key}": value
        for name, settings in every.items()
        for key, value in settings.items()
        if key not in shared
    }
    return {"runs": list(wanted), **shared, **own}


def _train_all(
    layers: Sequence[_Layer], folder: Path, checkpoint_every: int, *, progress: bool
) -> None:
    """Train every run that is unfinished."""
    waiting = []
    for layer in layers:
        sessions = {name: Session(settings, folder / name) for name, settings in layer.runs.items()}
        waiting.append(
            {name: each for name, each in sessions.items() if not each.claim(layer.source)}
        )
    if not any(waiting):
        return
    for layer, sessions in zip(layers, waiting, strict=True):
        for session in sorted(sessions.values(), key=lambda each: each.settings.seed):
            session.open(sample_of(layer.batches, session.settings))
    _step_all(layers, waiting, folder, checkpoint_every, progress=progress)
    for layer, sessions in zip(layers, waiting, strict=True):
        if sessions:
            _finish_all(layer, sessions)


def _finish_all(layer: _Layer, sessions: Mapping[str, Session]) -> None:
    """Calibrate, measure and write the runs of one layer."""
    for session in sorted(sessions.values(), key=lambda each: each.settings.seed):
        session.calibrate(calibration_batches(layer.batches, session.settings.seed))
    saes = [session.assemble(layer.source) for session in sessions.values()]
    for session in sessions.values():
        session.release()
    splits = next(iter(sessions.values())).settings.splits
    described = all_with_statistics(saes, layer.source, splits=splits, n_tokens=STATISTICS_TOKENS)
    for session, sae in zip(sessions.values(), described, strict=True):
        session.finish(sae)


def _step_all(
    layers: Sequence[_Layer],
    waiting: Sequence[Mapping[str, Session]],
    folder: Path,
    checkpoint_every: int,
    *,
    progress: bool,
) -> None:
    """Do all steps; a run whose checkpoint is ahead of another's waits for it."""
    sessions = {name: session for each in waiting for name, session in each.items()}
    n_steps = next(iter(sessions.values())).settings.n_steps
    seconds = _read_times(folder / SO_FAR_FILE)
    trainers = {name: session.trainer for name, session in sessions.items()}
    begin = min((each.step for each in trainers.values() if each.step < each.end), default=n_steps)
    turn = itertools.cycle(sessions)
    n_told = min(TOLD_AT_ONCE, len(sessions))

    def say() -> str:
        told = [next(turn) for _ in range(n_told)]
        return "; ".join(f"{name}: {trainers[name].describe()}" for name in told)

    for step in track(range(begin, n_steps), "sweep", show=progress, detail=say):
        due = {
            name: sessions[name] for name, each in trainers.items() if each.step == step < each.end
        }
        if not due:
            continue
        for layer in layers:
            _step_layer(
                layer, {name: due[name] for name in layer.runs if name in due}, step, seconds
            )
        regular = (step + 1) % checkpoint_every == 0
        ready = [name for name in due if regular or step + 1 == trainers[name].end]
        if ready:
            write_atomically(folder / SO_FAR_FILE, json.dumps(seconds))
        for name in ready:
            due[name].save()


def _step_layer(
    layer: _Layer, due: Mapping[str, Session], step: int, seconds: dict[str, float]
) -> None:
    """Do one step of every run of a layer, on one reading of its tokens."""
    seeds = sorted({session.settings.seed for session in due.values()})
    if not seeds:
        return
    values = dict(zip(seeds, layer.batches.batches(step, seeds), strict=True))
    for name, session in due.items():
        started = time.perf_counter()
        with _named(name):
            session.update(values[session.settings.seed])
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put a run's name before what is not finite in it."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{name}: {error.what}", todo=error.todo) from None


@contextmanager
def _clear_uncommitted(folder: Path, runs: Iterable[str]) -> Iterator[None]:
    """Remove a sweep that a mistake stops before any run has a checkpoint; release its locks."""
    try:
        yield
    except BaseException as error:
        folders = [folder / name for name in runs]
        kept = any(is_finished(each) or (each / CHECKPOINT_FILE).is_file() for each in folders)
        if isinstance(error, SciInterpError) and is_held(folder) and not kept:
            shutil.rmtree(folder, ignore_errors=True)
        release(folder)
        raise


def _read_times(path: Path) -> dict[str, float]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _keep_times(folder: Path) -> None:
    """Give the times their lasting name, beside the artefact's files and outside its digest."""
    path = folder / SO_FAR_FILE
    if path.is_file():
        path.replace(folder / TIMES_FILE)
