"""Missing annotations: detectors of a label that fire where the label was assessed and is absent.

A run is judged against decoys, inputs with the same ids, lengths and composition that bear no
label: its conformal p-value is (1 + decoy records whose best run scores as high) / (1 + decoy
records). It is never judged against unannotated records, which hold the positives sought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.annotations import AnnotationSlice, AnnotationStore
from sci_interp.axis import TokenAxis
from sci_interp.schema import MAX_LEVEL, Split

from .explainers import expand
from .multiplicity import adjust_p
from .runs import MASS_STEPS, Detector, Runs, find_runs
from .stretches import CodeReader, Stretch, block_of_records, split_stretches, stretches

__all__ = ["HELD_OUT", "MissingQueue", "queue_missing", "recover_hidden"]

#: Columns of what :func:`recover_hidden` returns.
RECOVERY_COLUMNS = (
    "label",
    "n_hidden",
    "recall",
    "n_queued",
    "false_share",
    "false_share_hidden",
)
#: Splits whose families chose neither threshold nor link.
HELD_OUT: tuple[Split, Split] = ("test", "vault")
_N_SCORES = (MAX_LEVEL + 1) * MASS_STEPS
#: Runs that chance explains as well as this are counted and not kept.
_HOPELESS = 0.5


@dataclass(frozen=True, eq=False)
class MissingQueue:
    """Runs in unannotated held-out records, judged against decoys.

    Attributes
    ----------
    runs : Runs
        Those with q at most, and precision at least, the level asked, best first; of overlapping
        runs for one label only the best.
    p, q : (n_runs,) float64
        Conformal p-value, and Benjamini-Hochberg over the runs tested for the label.
    precision : (n_runs,) float64
        Share of the detector's runs that score as high and lie on the label; where annotations
        are complete, the rest is the false share.
    n_detectors : (n_runs,) int64
        Detectors of the label that fire there.
    n_tested, n_decoys : int
        Number of runs tested, and of decoy records.
    """

    runs: Runs
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    precision: NDArray[np.float64]
    n_detectors: NDArray[np.int64]
    n_tested: int
    n_decoys: int


def queue_missing(
    features: CodeReader,
    known: AnnotationStore,
    detectors: Sequence[Detector],
    *,
    decoys: CodeReader,
    q: float = 0.05,
    min_precision: float = 0.5,
    hidden: NDArray[np.bool_] | None = None,
) -> MissingQueue:
    """Find runs of detectors where their label is missing.

    Parameters
    ----------
    features
        Quantised codes.
    known
        The annotations, on the same axis.
    detectors
        Features, levels and labels of site-level links.
    decoys
        Codes of the decoy inputs, on the same axis.
    q
        False discovery rate over the runs of a label.
    min_precision
        Share of the runs scoring as high, in assessed held-out records, that lie on the label.
        Below it the detector fires outside its label as often as on it: either most annotations
        are missing, or it detects something else, and decoys cannot tell which.
    hidden : (n_labels, n_records), optional
        Records whose annotations of a label are to be overlooked, to test the queue itself.
    """
    features.axis.require_same(known.axis, "the annotations", "the features")
    features.axis.require_same(decoys.axis, "the decoys", "the features")
    of_detector = np.array([detector.label for detector in detectors], np.int64)
    p_of_score = _decoy_p(decoys, detectors)
    # Runs by score: in records without the label, and on the label.
    counts = np.zeros((2, len(detectors), _N_SCORES), np.int64)
    kept = []
    for stretch in split_stretches(features.axis, HELD_OUT):
        runs = find_runs(features, detectors, stretch)
        found = known.read(stretch.start, stretch.stop)
        places = _sort_runs(runs, found, known, of_detector, stretch, hidden)
        for count, chosen in zip(counts, places, strict=True):
            np.add.at(count, (runs.detector[chosen], runs.score[chosen]), 1)
        runs = runs.take(places[0])
        kept.append(runs.take(p_of_score[runs.detector, runs.score] <= _HOPELESS))
    runs = Runs.concatenate(kept)
    label = of_detector[runs.detector]
    p = p_of_score[runs.detector, runs.score]
    precision = _at_least(counts[1]) / np.maximum(_at_least(counts.sum(axis=0)), 1)
    precision = precision[runs.detector, runs.score]
    n_tested = np.zeros(len(known.labels), np.int64)
    np.add.at(n_tested, of_detector, counts[0].sum(axis=1))
    value = _adjust_by_label(p, label, n_tested)
    good = np.flatnonzero((value <= q) & (precision >= min_precision))
    rank = np.lexsort((runs.start[good], -runs.score[good], -precision[good], value[good]))
    best, n_detectors = _distinct(runs.take(good), label[good], rank)
    rows = good[best]
    return MissingQueue(
        runs.take(rows),
        p[rows],
        value[rows],
        precision[rows],
        n_detectors,
        int(n_tested.sum()),
        decoys.axis.n_records,
    )


def _adjust_by_label(
    p: NDArray[np.float64], label: NDArray[np.int64], n_tested: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return q-values over the runs of each label by itself.

    Labels differ in what decoys do to them: a helix forms in shuffled sequences too. Together,
    the hopeless runs of such a label would cost the others their power.
    """
    q = np.ones(len(p))
    for one in np.unique(label):
        rows = label == one
        q[rows] = adjust_p(p[rows], int(n_tested[one]))
    return q


def _decoy_p(decoys: CodeReader, detectors: Sequence[Detector]) -> NDArray[np.float64]:
    """Return the conformal p-value of every score ``(n_detectors, n_scores)``."""
    n_records = decoys.axis.n_records
    best = np.zeros((len(detectors), _N_SCORES), np.int64)
    for stretch in stretches(decoys.axis, 0, n_records):
        runs = find_runs(decoys, detectors, stretch)
        _, pair = np.unique(runs.detector * n_records + runs.record, return_inverse=True)
        highest = np.zeros(int(pair.max(initial=-1)) + 1, np.int64)
        owner = np.zeros_like(highest)
        np.maximum.at(highest, pair, runs.score)
        owner[pair] = runs.detector
        np.add.at(best, (owner, highest), 1)
    return (1.0 + _at_least(best)) / (1.0 + n_records)


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many score at least as high, from counts by score ``(n_detectors, n_scores)``."""
    total: NDArray[np.float64] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1].astype(np.float64)
    return total


def _sort_runs(
    runs: Runs,
    found: AnnotationSlice,
    known: AnnotationStore,
    of_detector: NDArray[np.int64],
    stretch: Stretch,
    hidden: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which assessed runs lie in records without the label, and which on the label."""
    if len(runs.start) == 0:
        return np.zeros(0, bool), np.zeros(0, bool)
    label = of_detector[runs.detector]
    at = stretch.record[found.start - stretch.start]
    seen = np.isin(found.label, of_detector)
    seen &= True if hidden is None else ~hidden[found.label, at]
    bears = np.zeros((len(known.labels), stretch.last - stretch.first), bool)
    bears[found.label[seen], at[seen] - stretch.first] = True
    used, place = np.unique(of_detector, return_inverse=True)
    row = np.searchsorted(used, found.label[seen])
    ranges = (found.start[seen] - stretch.start, found.stop[seen] - stretch.start)
    on_label = _tokens_in(runs, stretch, place[runs.detector], (row, *ranges), len(used))
    ranges = (found.known_start - stretch.start, found.known_stop - stretch.start)
    group = known.group_of_label[label]
    inside = _tokens_in(runs, stretch, group, (found.known_group, *ranges), len(known.groups))
    assessed = inside == runs.stop - runs.start
    return assessed & ~bears[label, runs.record - stretch.first], assessed & (on_label > 0)


def _tokens_in(
    runs: Runs,
    stretch: Stretch,
    row: NDArray[np.int64],
    ranges: tuple[NDArray[np.integer[Any]], NDArray[np.int64], NDArray[np.int64]],
    n_rows: int,
) -> NDArray[np.int64]:
    """Return how many tokens of each run lie in the ranges of its row ``(n_runs,)``."""
    covered = np.zeros((n_rows, stretch.n_tokens + 1), np.int32)
    owner, token = expand(ranges[1], ranges[2])
    covered[ranges[0][owner], token + 1] = 1
    reach = np.cumsum(covered, axis=1, dtype=np.int32)
    last, first = reach[row, runs.stop - stretch.start], reach[row, runs.start - stretch.start]
    return (last - first).astype(np.int64)


def _distinct(
    runs: Runs, label: NDArray[np.int64], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best of the runs that overlap for one label, best first, and their numbers."""
    place = np.full(len(rank), -1, np.int64)
    n_places, reach, before = 0, -1, -1
    for row in np.lexsort((runs.start, label)).tolist():
        if label[row] != before or runs.start[row] >= reach:
            n_places, reach, before = n_places + 1, -1, int(label[row])
        reach = max(reach, int(runs.stop[row]))
        place[row] = n_places - 1
    _, first = np.unique(place[rank], return_index=True)
    best = rank[np.sort(first)]
    pairs = np.unique(np.stack([place, runs.detector]), axis=1)
    return best, np.bincount(pairs[0], minlength=n_places)[place[best]]


def recover_hidden(
    features: CodeReader,
    known: AnnotationStore,
    detectors: Sequence[Detector],
    *,
    decoys: CodeReader,
    share: float = 0.2,
    q: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Hide annotations by family and measure whether the queue finds them again.

    Parameters
    ----------
    features, known, detectors, decoys, q
        As for :func:`queue_missing`.
    share
        Share of each label's annotated held-out families to hide.
    seed
        Which families are hidden.

    Returns
    -------
    DataFrame
        One row for each label that has a detector: ``label``; ``n_hidden`` instances;
        ``recall``: share of them that a queued run touches; ``n_queued`` runs; ``false_share``:
        share of queued runs that touch no hidden instance, an upper bound of the false discovery
        rate, for instances that nobody annotated count as false; ``false_share_hidden``: the same
        among queued runs in records with hidden instances. NaN where there is none.
    """
    chosen = sorted({detector.label for detector in detectors})
    runs = _instances(known, chosen)
    hidden = _hide(known.axis, runs, len(known.labels), share=share, seed=seed)
    queue = queue_missing(features, known, detectors, decoys=decoys, q=q, hidden=hidden)
    runs = runs[:, hidden[runs[0], runs[1]]]
    of_detector = np.array([detector.label for detector in detectors], np.int64)
    label = of_detector[queue.runs.detector]
    rows = []
    for one in chosen:
        mine, wanted = queue.runs.take(label == one), runs[:, runs[0] == one]
        true, found = _touches(mine, wanted)
        among = hidden[one, mine.record]
        n_hidden = len(np.unique(wanted[4]))
        rows.append(
            {
                "label": known.labels[one].name,
                "n_hidden": n_hidden,
                "recall": found / n_hidden if n_hidden else np.nan,
                "n_queued": len(true),
                "false_share": 1 - true.mean() if len(true) else np.nan,
                "false_share_hidden": 1 - true[among].mean() if among.any() else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=list(RECOVERY_COLUMNS))


def _touches(runs: Runs, instances: NDArray[np.int64]) -> tuple[NDArray[np.bool_], int]:
    """Return which runs touch an instance, and how many instances are touched."""
    true = np.zeros(len(runs.start), bool)
    found: set[int] = set()
    for row, (start, stop) in enumerate(zip(runs.start, runs.stop, strict=True)):
        touched = instances[4, (instances[2] < stop) & (instances[3] > start)]
        true[row] = len(touched) > 0
        found.update(touched.tolist())
    return true, len(found)


def _instances(known: AnnotationStore, labels: Sequence[int]) -> NDArray[np.int64]:
    """Return label, record, start, stop and instance of held-out runs ``(5, n_runs)``."""
    parts = [np.zeros((5, 0), np.int64)]
    for stretch in split_stretches(known.axis, HELD_OUT):
        found = known.read(stretch.start, stretch.stop)
        record = stretch.record[found.start - stretch.start]
        columns = (found.label, record, found.start, found.stop, found.instance)
        rows = np.stack([np.asarray(column, np.int64) for column in columns])
        parts.append(rows[:, np.isin(found.label, labels)])
    return np.concatenate(parts, axis=1)


def _hide(
    axis: TokenAxis, runs: NDArray[np.int64], n_labels: int, *, share: float, seed: int
) -> NDArray[np.bool_]:
    """Choose a share of each label's families and return the records that bear it there."""
    hidden = np.zeros((n_labels, axis.n_records), bool)
    block = block_of_records(axis)[runs[1]]
    for label in np.unique(runs[0]):
        rows = runs[0] == label
        families = np.unique(block[rows])
        n_hidden = max(1, round(share * len(families)))
        generator = np.random.default_rng([seed, 4, int(label)])
        chosen = generator.choice(families, n_hidden, replace=False)
        hidden[label, runs[1, rows & np.isin(block, chosen)]] = True
    return hidden
