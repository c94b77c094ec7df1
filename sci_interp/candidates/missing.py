"""Missing annotations: detectors of a label that fire where the label was assessed and is absent.

A run is judged against decoys, inputs with the same ids, lengths and composition that bear no
label: its conformal p-value is (1 + decoy records whose best run scores as high) / (1 + decoy
records). It is never judged against unannotated records, which hold the positives sought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.annotations import AnnotationSlice, AnnotationStore
from sci_interp.axis import TokenAxis
from sci_interp.schema import MAX_LEVEL, Split

from .explainers import expand
from .runs import MASS_STEPS, Detector, Runs, find_runs
from .stretches import CodeReader, Stretch, block_of_records, split_stretches, stretches

__all__ = ["HELD_OUT", "MissingQueue", "queue_missing", "recover_hidden"]

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
        Those with q at most the level asked, best first; of overlapping runs for one label only
        the best.
    p, q : (n_runs,) float64
        Conformal p-value, and Benjamini-Hochberg over all runs tested.
    n_detectors : (n_runs,) int64
        Detectors of the label that fire there.
    n_tested, n_decoys : int
        Number of runs tested, and of decoy records.
    """

    runs: Runs
    p: NDArray[np.float64]
    q: NDArray[np.float64]
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
        False discovery rate over runs.
    hidden : (n_labels, n_records), optional
        Records whose annotations of a label are to be overlooked, to test the queue itself.
    """
    features.axis.require_same(known.axis, "the annotations", "the features")
    features.axis.require_same(decoys.axis, "the decoys", "the features")
    p_of_score = _decoy_p(decoys, detectors)
    kept, n_tested = [], 0
    for stretch in split_stretches(features.axis, HELD_OUT):
        runs = find_runs(features, detectors, stretch)
        found = known.read(stretch.start, stretch.stop)
        runs = runs.take(_is_open(runs, found, known, detectors, stretch, hidden))
        n_tested += len(runs.start)
        kept.append(runs.take(p_of_score[runs.detector, runs.score] <= _HOPELESS))
    runs = Runs.concatenate(kept)
    p = p_of_score[runs.detector, runs.score]
    value = adjust(p, n_tested)
    good = np.flatnonzero(value <= q)
    best, n_detectors = _distinct(runs.take(good), value[good], detectors)
    rows = good[best]
    n_decoys = decoys.axis.n_records
    return MissingQueue(runs.take(rows), p[rows], value[rows], n_detectors, n_tested, n_decoys)


def adjust(p: NDArray[np.float64], n_tested: int) -> NDArray[np.float64]:
    """Return Benjamini-Hochberg q-values; p-values left out count in ``n_tested`` as large."""
    order = np.argsort(p, kind="stable")
    raised = p[order] * n_tested / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
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
    at_least = np.cumsum(best[:, ::-1], axis=1)[:, ::-1]
    p: NDArray[np.float64] = (1.0 + at_least.astype(np.float64)) / (1.0 + n_records)
    return p


def _is_open(
    runs: Runs,
    found: AnnotationSlice,
    known: AnnotationStore,
    detectors: Sequence[Detector],
    stretch: Stretch,
    hidden: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    """Return which runs lie in assessed tokens of records without the label ``(n_runs,)``."""
    if len(runs.start) == 0:
        return np.zeros(0, bool)
    label = np.array([detector.label for detector in detectors], np.int64)[runs.detector]
    at = stretch.record[found.start - stretch.start]
    seen = np.ones(len(at), bool) if hidden is None else ~hidden[found.label, at]
    bears = np.zeros((len(known.labels), stretch.last - stretch.first), bool)
    bears[found.label[seen], at[seen] - stretch.first] = True
    assessed = np.zeros((len(known.groups), stretch.n_tokens + 1), np.int64)
    owner, token = expand(found.known_start, found.known_stop)
    assessed[found.known_group[owner], token - stretch.start + 1] = 1
    reach = np.cumsum(assessed, axis=1)
    group = known.group_of_label[label]
    inside = reach[group, runs.stop - stretch.start] - reach[group, runs.start - stretch.start]
    is_open: NDArray[np.bool_] = ~bears[label, runs.record - stretch.first] & (
        inside == runs.stop - runs.start
    )
    return is_open


def _distinct(
    runs: Runs, q: NDArray[np.float64], detectors: Sequence[Detector]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best of the runs that overlap for one label, best first, and their numbers."""
    label = np.array([detector.label for detector in detectors], np.int64)[runs.detector]
    precision = np.array([detector.precision for detector in detectors])[runs.detector]
    order = np.lexsort((runs.start, label))
    place = np.full(len(order), -1, np.int64)
    n_places, reach, before = -1, -1, -1
    for row in order.tolist():
        if label[row] != before or runs.start[row] >= reach:
            n_places, reach, before = n_places + 1, -1, int(label[row])
        reach = max(reach, int(runs.stop[row]))
        place[row] = n_places
    rank = np.lexsort((runs.start, -runs.score, -np.nan_to_num(precision), q))
    _, first = np.unique(place[rank], return_index=True)
    best = rank[np.sort(first)]
    pairs = np.unique(np.stack([place, runs.detector]), axis=1)
    return best, np.bincount(pairs[0], minlength=n_places + 1)[place[best]]


def recover_hidden(
    features: CodeReader,
    known: AnnotationStore,
    detectors: Sequence[Detector],
    *,
    decoys: CodeReader,
    share: float = 0.2,
    q: float = 0.05,
    seed: int = 0,
) -> dict[str, float]:
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
    dict
        ``recall``: share of hidden instances that a queued run touches. ``false_share``: share of
        queued runs that touch no hidden instance, an upper bound of the false discovery rate, for
        instances that nobody annotated count as false. ``false_share_hidden``: the same among
        queued runs in records with hidden instances. ``n_hidden``, ``n_queued``.
    """
    runs = _instances(known, sorted({detector.label for detector in detectors}))
    hidden = _hide(known.axis, runs, len(known.labels), share=share, seed=seed)
    queue = queue_missing(features, known, detectors, decoys=decoys, q=q, hidden=hidden)
    runs = runs[:, hidden[runs[0], runs[1]]]
    label = np.array([detector.label for detector in detectors], np.int64)[queue.runs.detector]
    true = np.zeros(len(label), bool)
    found: set[int] = set()
    for row, wanted in enumerate(label):
        touches = (
            (runs[0] == wanted)
            & (runs[2] < queue.runs.stop[row])
            & (runs[3] > queue.runs.start[row])
        )
        true[row] = touches.any()
        found.update(runs[4, touches].tolist())
    among = hidden[label, queue.runs.record]
    n_hidden = len(np.unique(runs[4]))
    return {
        "recall": len(found) / n_hidden if n_hidden else float("nan"),
        "false_share": float(1 - true.mean()) if len(true) else 0.0,
        "false_share_hidden": float(1 - true[among].mean()) if among.any() else 0.0,
        "n_hidden": float(n_hidden),
        "n_queued": float(len(true)),
    }


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
