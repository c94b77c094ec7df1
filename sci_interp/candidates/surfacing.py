"""surface: FeatureStore x EnrichmentResult x AnnotationStore -> Candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sci_interp.adapter import Adapter, Dataset
from sci_interp.annotations import AnnotationStore
from sci_interp.axis import TokenAxis
from sci_interp.errors import StoreError
from sci_interp.manifest import begin_artefact, clear_on_mistake, read_manifest
from sci_interp.progress import track
from sci_interp.schema import RECORD, SPLIT
from sci_interp.source import FeatureSource

from .detectors import choose_detectors
from .missing import MissingQueue, queue_missing
from .multiplicity import control_cut
from .recovery import RECOVERY_COLUMNS, recover_hidden
from .result import GATES_1_TO_3, GATES_2_AND_3, Candidates
from .runs import MASS_STEPS, Detector
from .unexplained import KINDS, Gates, basic_score, rank_candidates, run_gates

if TYPE_CHECKING:
    from sci_interp.enrichment import EnrichmentResult

__all__ = ["MISSING_COLUMNS", "surface"]

MISSING_COLUMNS = (
    "record",
    "start",
    "stop",
    "label",
    "feature",
    "n_features",
    "score",
    "share_on_label",
    "p",
    "q",
    "split",
    "also_there",
)


def surface(
    features: FeatureSource,
    table: EnrichmentResult,
    *,
    known: AnnotationStore,
    adapter: Adapter,
    dataset: Dataset,
    seeds: Sequence[FeatureSource] = (),
    control: FeatureSource | None = None,
    control_seeds: Sequence[FeatureSource] = (),
    decoys: Sequence[FeatureSource] = (),
    gates: Gates | None = None,
    q_missing: float = 0.05,
    q_control: float = 0.1,
    out: Path | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Candidates:
    """Find candidates: features that nothing explains, and annotations that seem to be missing.

    Parameters
    ----------
    features
        Codes of the dictionary under study.
    table
        Its enrichment; site-level links look for missing annotations.
    known
        The annotations.
    adapter, dataset
        Who describes windows, knows the nuisances and names the coordinates.
    seeds
        Codes by dictionaries trained from other seeds, for gate 1.
    control
        Codes of the weight-shuffled network, for gate 5. Its gates are
        run as here. Where control / here exceeds ``q_control``, the list is withheld, but for the
        part whose scores the control rarely reaches.
    control_seeds
        Codes of the weight-shuffled network by dictionaries from other seeds, as many as
        ``seeds``, for gate 1 of the control; without, gate 1 is outside the comparison.
    decoys
        Codes of sets of decoy inputs, each on the same axis; without, no missing annotation is
        listed. More sets resolve smaller p-values: a list of n pairs among m tested needs p down
        to ``q_missing * n / m``. With them, the queue is measured too, on annotations that are
        hidden from it.
    gates
        Levels of the gates.
    q_missing
        False discovery rate of missing annotations.
    q_control
        Largest tolerable ratio of control to candidates.
    out
        Folder of the artefact; without, nothing is written.
    seed
        Seed of reference sets and bootstrap.
    progress
        Tell on standard error how far the work is.

    Raises
    ------
    StoreError
        If the stores or the dataset do not belong together, or ``out`` holds other work.
    """
    gates = gates or Gates()
    others = _name_stores(seeds, control, control_seeds, decoys)
    _require_fit(features, table, known, dataset, others)
    settings = _settings(gates, q_missing=q_missing, q_control=q_control, seed=seed)
    claimed = [] if out is None else [Path(out)]
    for folder in claimed:
        inputs = _digests(features, table, known, dataset, others)
        if begin_artefact(folder, "candidates", inputs=inputs, settings=settings):
            return Candidates.open(folder)
    where: dict[str, Any] = {"adapter": adapter, "dataset": dataset, "gates": gates, "seed": seed}
    detectors = choose_detectors(table, features, known)
    work: dict[str, Callable[[], Any]] = {
        "gates": lambda: run_gates(features, known, seeds=seeds, **where)
    }
    if control is not None:
        work["control"] = lambda: run_gates(control, known, seeds=control_seeds, **where)
    if decoys:
        work["missing"] = lambda: queue_missing(
            features, known, detectors, decoys=decoys, q=q_missing
        )
        labels = sorted({detector.label for detector in detectors})
        work["hidden"] = lambda: recover_hidden(
            features, known, labels, decoys=decoys, q=q_missing, seed=seed
        )
    with clear_on_mistake(*claimed):
        steps = track(work.items(), "surface", total=len(work), show=progress)
        done = {name: step() for name, step in steps}
    measured, queue = done["gates"], done.get("missing")
    notes = _notes(len(seeds), control is not None, queue, len(detectors))
    compared = GATES_1_TO_3 if seeds and control_seeds else GATES_2_AND_3
    unexplained = rank_candidates(measured, KINDS[0])
    if control is not None:
        if compared == GATES_2_AND_3:
            notes["gate 5"] = "gate 1 is outside the comparison: it was not tested on both sides"
        unexplained = _controlled(
            unexplained, measured, done["control"], compared, q_control=q_control, notes=notes
        )
    missing = pd.DataFrame(columns=list(MISSING_COLUMNS))
    if queue is not None:
        missing = _missing_table(queue, detectors, known, adapter=adapter, dataset=dataset)
    candidates = Candidates(
        unexplained=unexplained,
        subtypes=rank_candidates(measured, *KINDS[1:]),
        missing=missing,
        hidden=done.get("hidden", pd.DataFrame(columns=list(RECOVERY_COLUMNS))),
        gates=measured,
        count=len(_passing(measured, compared)),
        n_tested=len(measured),
        control_count=None if control is None else len(_passing(done["control"], compared)),
        control_n_tested=None if control is None else len(done["control"]),
        compared=compared,
        notes=notes,
        settings=settings,
    )
    for folder in claimed:
        candidates.write(folder)
    return candidates


def _settings(gates: Gates, **numbers: float) -> dict[str, Any]:
    return {"gates": asdict(gates), **numbers}


def _name_stores(
    seeds: Sequence[FeatureSource],
    control: FeatureSource | None,
    control_seeds: Sequence[FeatureSource],
    decoys: Sequence[FeatureSource],
) -> dict[str, FeatureSource]:
    """Return every other store by the name that messages and the manifest give it."""
    others = {f"seed {index + 1}": other for index, other in enumerate(seeds)}
    others |= {"control": control} if control is not None else {}
    others |= {f"control seed {index + 1}": other for index, other in enumerate(control_seeds)}
    return others | {f"decoys {index + 1}": other for index, other in enumerate(decoys)}


def _require_fit(
    features: FeatureSource,
    table: EnrichmentResult,
    known: AnnotationStore,
    dataset: Dataset,
    others: Mapping[str, FeatureSource],
) -> None:
    """Refuse stores of other records, and an enrichment or a dataset of other stores."""
    features.axis.require_same(known.axis, "the features", "the annotations")
    for name, store in others.items():
        features.axis.require_same(store.axis, "the features", f"the features of {name}")
    if known.manifest.inputs.get("dataset") != dataset.digest:
        raise StoreError(
            f"{known.path} was made from another dataset than the one given",
            todo="Give the same sequences and the same files beside them as to annotate",
        )
    made_from = read_manifest(table.path).inputs if table.path is not None else {}
    for name, digest in {"features": features.digest, "annotations": known.digest}.items():
        if made_from.get(name, digest) != digest:
            raise StoreError(
                f"{table.path} was made from other {name} than those given",
                todo=f"Give the {name} that were enriched, or run enrich on these",
            )


def _notes(
    n_seeds: int, has_control: bool, queue: MissingQueue | None, n_detectors: int
) -> dict[str, str]:
    """Return what was not tested, and what the missing annotations were judged against."""
    notes = {"gate 4": "not tested: no feature was ablated"}
    if n_seeds == 0:
        notes["gate 1"] = "not tested: no dictionary from another seed was given"
    if not has_control:
        notes["gate 5"] = "not tested: no control was given"
    if queue is None:
        notes["missing annotations"] = "not sought: no decoys were given"
    else:
        notes["missing annotations"] = (
            f"{n_detectors} detectors, {queue.n_tested} pairs of record and absent label, judged "
            f"against {queue.n_decoys:,} decoys; p is {1 / (1 + queue.n_decoys):.2g} at the least. "
            "Detectors were chosen on discovery blocks; in test blocks their links were tested, "
            "vault blocks were not looked at before"
        )
    return notes


def _passing(measured: pd.DataFrame, compared: str) -> pd.DataFrame:
    """Return the features that pass the gates compared with the control."""
    passing = measured[measured["coherent"] & measured["unexplained"]]
    return passing[passing["reproducible"] != "no"] if compared == GATES_1_TO_3 else passing


def _controlled(
    unexplained: pd.DataFrame,
    measured: pd.DataFrame,
    control: pd.DataFrame,
    compared: str,
    *,
    q_control: float,
    notes: dict[str, str],
) -> pd.DataFrame:
    """Return the part of the list in which the control is at most a share ``q_control``."""
    passing, passing_there = _passing(measured, compared), _passing(control, compared)
    n_here, n_control = len(passing), len(passing_there)
    if n_control <= q_control * n_here:
        return unexplained
    here, there = basic_score(passing), basic_score(passing_there)
    cut = control_cut(here, there, q_control)
    kept = unexplained[basic_score(unexplained) >= cut].reset_index(drop=True)
    why = (
        f"{n_here} features pass {compared} here and {n_control} in the control, more than a "
        f"share of {q_control:g}"
    )
    outside = f"; {notes['gate 5']}" if "gate 5" in notes else ""
    notes["gate 5"] = (
        f"the list is withheld: {why}, at any score"
        if np.isinf(cut)
        else f"part of the list is withheld: {why}. Coherence x (1 - upper bound) is at least "
        f"{cut:.3g} for those listed, where the control keeps to that share"
    ) + outside
    return kept


def _missing_table(
    queue: MissingQueue,
    detectors: Sequence[Detector],
    known: AnnotationStore,
    *,
    adapter: Adapter,
    dataset: Dataset,
) -> pd.DataFrame:
    runs = queue.runs
    owners = [detectors[index] for index in runs.detector.tolist()]
    spans = [
        _coordinates(known.axis, adapter, dataset, record=record, start=start, stop=stop)
        for record, start, stop in zip(
            runs.record.tolist(), runs.start.tolist(), runs.stop.tolist(), strict=True
        )
    ]
    ids = known.axis.records[RECORD].to_numpy()
    columns = {
        "record": [str(ids[record]) for record in runs.record],
        "start": np.array([span[0] for span in spans], np.float64),
        "stop": np.array([span[1] for span in spans], np.float64),
        "label": [known.labels[owner.label].name for owner in owners],
        "feature": np.array([owner.feature for owner in owners], np.int64),
        "n_features": queue.n_detectors,
        "score": runs.score / MASS_STEPS,
        "share_on_label": queue.share_on_label,
        "p": queue.p,
        "q": queue.q,
        "split": known.axis.records[SPLIT].to_numpy()[runs.record],
        "also_there": [
            _other_labels(known, owner.label, start, stop)
            for owner, start, stop in zip(
                owners, runs.start.tolist(), runs.stop.tolist(), strict=True
            )
        ],
    }
    table = pd.DataFrame(columns)
    for name in ("start", "stop"):
        if (table[name] == table[name].round()).all():
            table[name] = table[name].astype(np.int64)
    return table[list(MISSING_COLUMNS)]


def _other_labels(known: AnnotationStore, label: int, start: int, stop: int) -> str:
    """Return the other findings that are annotated in a token range."""
    row = int(np.searchsorted(known.axis.record_starts, start, "right")) - 1
    found = known.read(int(known.axis.record_starts[row]), stop)
    there = np.unique(found.label[(found.start < stop) & (found.stop > start)]).tolist()
    labels = [known.labels[index] for index in there if index != label]
    return ", ".join(other.name for other in labels if not other.nuisance)


def _coordinates(
    axis: TokenAxis, adapter: Adapter, dataset: Dataset, *, record: int, start: int, stop: int
) -> tuple[float, float]:
    """Return the first and the last coordinate of a run; tokens from 1 without a single one."""
    first = start - int(axis.record_starts[record])
    last = stop - 1 - int(axis.record_starts[record])
    if len(adapter.coordinates) != 1:
        return first + 1, last + 1
    name = str(axis.records[RECORD].iloc[record])
    values = adapter.token_coordinates(dataset, name)[adapter.coordinates[0]]
    return float(values[first]), float(values[last])


def _digests(
    features: FeatureSource,
    table: EnrichmentResult,
    known: AnnotationStore,
    dataset: Dataset,
    others: Mapping[str, FeatureSource],
) -> dict[str, str]:
    found = {
        "features": features.digest,
        "enrichment": table.digest,
        "annotations": known.digest,
        "dataset": dataset.digest,
    }
    return found | {name: other.digest for name, other in others.items()}
