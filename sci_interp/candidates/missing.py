"""Missing annotations: detectors of a label that fire where the label was assessed and is absent.

What is tested is a pair of a record and a label that it does not bear, by the strongest run of any
of the label's detectors. It is judged against decoys, inputs with the same ids, lengths and
composition that bear no label: its conformal p-value is (1 + decoy records in which they fire as
strongly) / (1 + decoy records). It is never judged against unannotated records, which hold the
positives sought. Benjamini-Hochberg runs over all pairs of all labels, silent ones counted: one
list is printed, and its rate is bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .explainers import expand
from .multiplicity import adjust_p
from .runs import MASS_STEPS, Detector, Runs, find_runs
from .stretches import Stretch, split_stretches, stretches

if TYPE_CHECKING:
    from sci_interp.enrichment.inputs import KnownSource

__all__ = ["HELD_OUT", "MissingQueue", "merge_runs", "queue_missing"]

#: Splits that are searched. Detectors are chosen on discovery: threshold, precision, rank. Test
#: blocks also told whether the link is significant, vault blocks told nothing.
HELD_OUT: tuple[Split, Split] = ("test", "vault")
#: Row, first token and token after the last of ranges.
_Ranges = tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]], NDArray[np.integer[Any]]]
_N_SCORES = (MAX_LEVEL + 1) * MASS_STEPS
#: Runs that chance explains as well as this are counted and not kept.
_HOPELESS = 0.5


@dataclass(frozen=True, eq=False)
class MissingQueue:
    """Unannotated records in which detectors of a label fire, judged against decoys.

    Attributes
    ----------
    runs : Runs
        The strongest run of each pair of record and label listed, best first. The false
        discovery rate of the whole list is at most the ``q`` asked.
    p : (n_runs,) float64
        Conformal p-value, 1 / (1 + decoy records) at the least.
    q : (n_runs,) float64
        Benjamini-Hochberg over all pairs of all labels, silent or not.
    share_on_label : (n_runs,) float64
        Share of the records in which the label's detectors fire as strongly, and where they do
        so on the label; where annotations are complete, the rest is the false share.
    n_detectors : (n_runs,) int64
        Detectors of the label that fire at the place: whose runs overlap, directly or through
        others.
    n_tested, n_decoys : int
        Number of pairs tested, and of decoy records.
    """

    runs: Runs
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    share_on_label: NDArray[np.float64]
    n_detectors: NDArray[np.int64]
    n_tested: int
    n_decoys: int


def queue_missing(
    features: FeatureSource,
    known: KnownSource,
    detectors: Sequence[Detector],
    *,
    decoys: Sequence[FeatureSource] | None,
    q: float = 0.05,
    min_share: float = 0.5,
) -> MissingQueue:
    """Find records where detectors fire and their label is missing.

    Parameters
    ----------
    features
        Quantised codes.
    known
        The annotations, on the same axis.
    detectors
        Features, levels and labels of site-level links.
    decoys
        Codes of one or more sets of decoy inputs, each on the same axis. p is no smaller than
        1 / (1 + decoy records of all sets). None judges nothing: whatever fires is listed, which
        is what this queue is to be compared with.
    q
        False discovery rate of the list, over all labels together.
    min_share
        Share of the records in which detectors fire as strongly that bear the label there. Below
        it they fire outside their label as often as on it: either most annotations are missing,
        or they detect something else, and decoys cannot tell which. Such a pair counts with a
        p-value of 1, so that leaving it out keeps the rate.
    """
    features.axis.require_same(known.axis, "the annotations", "the features")
    judges = () if decoys is None else decoys
    for one in judges:
        features.axis.require_same(one.axis, "the decoys", "the features")
    of_detector = np.array([detector.label for detector in detectors], np.int64)
    used, row = np.unique(of_detector, return_inverse=True)
    p_of_score = _decoy_p(judges, detectors, row)
    if decoys is None:
        p_of_score[:], min_share = 0.0, 0.0
    # Pairs by score: in records without the label, and on the label.
    counts = np.zeros((2, len(used), _N_SCORES), np.int64)
    kept, n_firing, n_tested = [], [np.zeros(0, np.int64)], 0
    for stretch in split_stretches(features.axis, HELD_OUT):
        runs = find_runs(features, detectors, stretch)
        found = _Found.of(known, stretch, used)
        n_tested += int(found.is_open.sum())
        open_runs, on_label = found.sort(runs, row)
        best, _ = _strongest(runs.take(on_label), row)
        np.add.at(counts[1], (row[best.detector], best.score), 1)
        best, n_detectors = _strongest(runs.take(open_runs), row)
        np.add.at(counts[0], (row[best.detector], best.score), 1)
        hopeful = p_of_score[row[best.detector], best.score] <= _HOPELESS
        kept.append(best.take(hopeful))
        n_firing.append(n_detectors[hopeful])
    runs = Runs.concatenate(kept)
    at = (row[runs.detector], runs.score)
    share = (_at_least(counts[1]) / np.maximum(_at_least(counts.sum(axis=0)), 1))[at]
    p = np.where(share >= min_share, p_of_score[at], 1.0)
    value = adjust_p(p, n_tested)
    order = np.lexsort((runs.start, -runs.score, -share, value))
    order = order[(value[order] <= q) & (share[order] >= min_share)]
    return MissingQueue(
        runs.take(order),
        p[order],
        value[order],
        share[order],
        np.concatenate(n_firing)[order],
        n_tested,
        sum(one.axis.n_records for one in judges),
    )


def merge_runs(runs: Runs, label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of every run ``(n_runs,)``: runs of one label that overlap share one.

    Parameters
    ----------
    runs
        The runs.
    label : (n_runs,)
        Label of each.
    """
    order = np.lexsort((runs.start, label))
    place = np.zeros(len(order), np.int64)
    n_places, reach, before = 0, -1, -1
    for row in order.tolist():
        if label[row] != before or runs.start[row] >= reach:
            n_places, reach, before = n_places + 1, -1, int(label[row])
        reach = max(reach, int(runs.stop[row]))
        place[row] = n_places - 1
    return place


def _strongest(runs: Runs, row: NDArray[np.int64]) -> tuple[Runs, NDArray[np.int64]]:
    """Return the strongest run of each record and label, and how many detectors fire there."""
    label = row[runs.detector]
    place = merge_runs(runs, label)
    order = np.lexsort((runs.start, -runs.score, runs.record, label))
    same = (np.diff(label[order], prepend=-1) == 0) & (np.diff(runs.record[order], prepend=-1) == 0)
    best = order[~same]
    pairs = np.unique(np.stack([place, runs.detector]), axis=1)[0]
    return runs.take(best), np.bincount(pairs)[place[best]]


def _decoy_p(
    decoys: Sequence[FeatureSource], detectors: Sequence[Detector], row: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the conformal p-value of every label and score ``(n_labels, n_scores)``.

    The strongest run of any of the label's detectors is what counts, in decoys as in places.
    """
    best = np.zeros((int(row.max(initial=-1)) + 1, _N_SCORES), np.int64)
    for one in decoys:
        for stretch in stretches(one.axis, 0, one.axis.n_records):
            runs = find_runs(one, detectors, stretch)
            label_and_record = row[runs.detector] * one.axis.n_records + runs.record
            pairs, pair = np.unique(label_and_record, return_inverse=True)
            highest = np.zeros(len(pairs), np.int64)
            np.maximum.at(highest, pair, runs.score)
            np.add.at(best, (pairs // one.axis.n_records, highest), 1)
    n_decoys = sum(one.axis.n_records for one in decoys)
    return (1.0 + _at_least(best)) / (1.0 + n_decoys)


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many score at least as high, from counts by score, the last axis."""
    total: NDArray[np.float64] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1].astype(np.float64)
    return total


@dataclass(frozen=True, eq=False)
class _Found:
    """What is annotated in a stretch of the labels ``used``, and which pairs are to be tested.

    ``is_open`` (n_used, n_records): assessed, and without the label.
    """

    stretch: Stretch
    group: NDArray[np.int64]
    n_groups: int
    ranges: _Ranges
    known: _Ranges
    is_open: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        known: KnownSource,
        stretch: Stretch,
        used: NDArray[np.int64],
    ) -> _Found:
        """Read a stretch."""
        found = known.read(stretch.start, stretch.stop)
        at = stretch.record[found.start - stretch.start]
        seen = np.isin(found.label, used)
        row = np.searchsorted(used, found.label[seen])
        bears = np.zeros((len(used), stretch.last - stretch.first), bool)
        bears[row, at[seen] - stretch.first] = True
        assessed = np.zeros((len(known.groups), bears.shape[1]), bool)
        of_known = stretch.record[found.known_start - stretch.start] - stretch.first
        assessed[found.known_group, of_known] = True
        group = np.asarray(known.group_of_label, np.int64)[used]
        return cls(
            stretch,
            group,
            len(known.groups),
            (row, found.start[seen] - stretch.start, found.stop[seen] - stretch.start),
            (
                found.known_group,
                found.known_start - stretch.start,
                found.known_stop - stretch.start,
            ),
            assessed[group] & ~bears,
        )

    def sort(
        self, runs: Runs, row: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which assessed runs lie in records without the label, and which on it."""
        if len(runs.start) == 0:
            return np.zeros(0, bool), np.zeros(0, bool)
        label = row[runs.detector]
        on_label = _tokens_in(runs, self.stretch, label, self.ranges, len(self.group))
        inside = _tokens_in(runs, self.stretch, self.group[label], self.known, self.n_groups)
        assessed = inside == runs.stop - runs.start
        is_open = self.is_open[label, runs.record - self.stretch.first]
        return assessed & is_open, assessed & (on_label > 0)


def _tokens_in(
    runs: Runs,
    stretch: Stretch,
    row: NDArray[np.int64],
    ranges: _Ranges,
    n_rows: int,
) -> NDArray[np.int64]:
    """Return how many tokens of each run lie in the ranges of its row ``(n_runs,)``."""
    covered = np.zeros((n_rows, stretch.n_tokens + 1), np.int32)
    owner, token = expand(ranges[1], ranges[2])
    covered[ranges[0][owner], token + 1] = 1
    reach = np.cumsum(covered, axis=1, dtype=np.int32)
    last, first = reach[row, runs.stop - stretch.start], reach[row, runs.start - stretch.start]
    return (last - first).astype(np.int64)
