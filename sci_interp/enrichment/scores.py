"""Family scores of feature-label pairs: U = sum over records of w (TP - E).

In a record with n known tokens, X of them have the feature, Y the label and TP both; E is the mean
of TP over all shifts of the label, X Y / n where a step is a token, and row by row, weighted, where
records are tables of rows and columns. Families are independent of each other, so
T = sum U / sqrt(sum U^2) is compared with Student's t. Labels of whole records do not vary inside
records: theirs are in :mod:`sci_interp.enrichment.family_means`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entries import Entries
from .family_means import score_family_means
from .kernel import compiled, run_ranges
from .positions import Activity, active_positions, count_before, read_activity, weight_inside
from .steps import expected_overlap
from .tracks import Instances, LabelTracks, Runs
from .units import (
    KnownRanges,
    Units,
    known_positions_before,
    known_weight_before,
    weight_between,
)

__all__ = ["PairList", "Robust", "count_families", "score_pairs"]

Ints = NDArray[np.int64]

#: Pairs that a thread takes at once.
PAIRS_AT_ONCE = 64


class PairList(NamedTuple):
    """Pairs to score, sorted by entry row and bin so that neighbours share a feature track.

    Attributes
    ----------
    row : (n_pairs,) int64
        Row of the feature in the entries.
    bin : (n_pairs,) int64
        Lowest bin that counts as active.
    label : (n_pairs,) int64
        Label, as a place in the group's labels.
    """

    row: Ints
    bin: Ints
    label: Ints

    def part(self, start: int, stop: int) -> PairList:
        """Return consecutive pairs."""
        return PairList(self.row[start:stop], self.bin[start:stop], self.label[start:stop])


@dataclass(frozen=True, eq=False)
class Robust:
    """Sums over families, per pair, all ``(n_pairs,)`` float64.

    Attributes
    ----------
    first, second, fourth : array
        Sums of U, U^2 and U^4.
    n_informative : array
        Families with a record in which both tracks vary.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    fourth: NDArray[np.float64]
    n_informative: NDArray[np.float64]

    @property
    def statistic(self) -> NDArray[np.float64]:
        """T, 0 where no family is informative."""
        return _divide(self.first, np.sqrt(self.second))

    @property
    def kish(self) -> NDArray[np.float64]:
        """Effective number of families, (sum U^2)^2 / sum U^4."""
        return _divide(self.second**2, self.fourth)

    @property
    def p(self) -> NDArray[np.float64]:
        """One-sided p of T with ``n_informative - 1`` degrees of freedom; 1 below two families."""
        from scipy.special import stdtr

        enough = self.n_informative >= 2
        freedom = np.where(enough, self.n_informative - 1, 1.0)
        return np.where(enough, stdtr(freedom, -self.statistic), 1.0)


def score_pairs(
    entries: Entries, tracks: LabelTracks, pairs: PairList, *, n_threads: int
) -> Robust:
    """Return the robust sums of pairs; of family means where labels cover whole records."""
    sums = np.zeros((len(pairs.row), 4))
    add = score_family_means if tracks.by_family else _score

    def work(start: int, stop: int) -> None:
        add(entries, tracks.units, tracks.runs, pairs.part(start, stop), sums[start:stop])

    run_ranges(work, len(pairs.row), size=PAIRS_AT_ONCE, n_threads=n_threads)
    return Robust(*sums.T.copy())


def count_families(
    entries: Entries, tracks: LabelTracks, pairs: PairList, *, n_threads: int
) -> NDArray[np.float64]:
    """Return TP, X and hit instances of pairs in every family ``(3, n_families, n_pairs)``.

    Known tokens count, with the weight of their row.
    """
    counts = np.zeros((len(pairs.row), 3, len(tracks.units.first) - 1))

    def work(start: int, stop: int) -> None:
        part, out = pairs.part(start, stop), counts[start:stop]
        _count(entries, tracks.units, tracks.known, tracks.runs, tracks.instances, part, out)

    run_ranges(work, len(pairs.row), size=PAIRS_AT_ONCE, n_threads=n_threads)
    return np.ascontiguousarray(counts.transpose(1, 2, 0))


def count_label_families(tracks: LabelTracks, start: int, stop: int) -> NDArray[np.float64]:
    """Return n, Y and instances of labels ``start:stop``, ``(3, stop - start, n_families)``.

    Known tokens count, with the weight of their row.
    """
    units, runs, instances = tracks.units, tracks.runs, tracks.instances
    n_labels, n_families = stop - start, len(units.first) - 1
    counts = np.zeros((3, n_labels, n_families))
    counts[0] = np.diff(known_weight_before(units.start[units.first], tracks.known, units))
    covered = np.append(0, np.cumsum(_run_weights(units, runs)))
    counts[1] = np.diff(covered[runs.record[start:stop, units.first]], axis=1)
    bounds = instances.first[start : stop + 1]
    label = np.repeat(np.arange(n_labels), np.diff(bounds))
    np.add.at(counts[2], (label, instances.family[bounds[0] : bounds[-1]]), 1)
    return counts


@compiled
def _run_weights(units: Units, runs: Runs) -> NDArray[np.float64]:
    weight = np.empty(len(runs.start))
    for run in range(len(weight)):
        weight[run] = weight_between(units, runs.start[run], runs.stop[run])
    return weight


@compiled
def _score(
    entries: Entries, units: Units, runs: Runs, pairs: PairList, sums: NDArray[np.float64]
) -> None:
    activity = read_activity(entries, pairs.row[0], pairs.bin[0], units)
    for pair in range(len(pairs.row)):
        if pair > 0 and (
            pairs.row[pair] != pairs.row[pair - 1] or pairs.bin[pair] != pairs.bin[pair - 1]
        ):
            activity = read_activity(entries, pairs.row[pair], pairs.bin[pair], units)
        if len(units.row_weight) > 1:
            _score_steps(activity, units, runs, pairs.label[pair], sums[pair])
        else:
            _score_tokens(activity, units, runs, pairs.label[pair], sums[pair])


@compiled
def _score_tokens(
    activity: Activity, units: Units, runs: Runs, label: int, sums: NDArray[np.float64]
) -> None:
    # Arrays by themselves: large tuples cost time in the loops.
    word, n_active, pointer = activity.word, activity.first, runs.record[label]
    start, weight, first = units.start, units.weight, units.first
    run_start, run_stop = runs.start, runs.stop
    for family in range(len(first) - 1):
        begin, end = first[family], first[family + 1]
        if pointer[begin] == pointer[end]:
            continue
        score, varies = 0.0, False
        for record in range(begin, end):
            active = n_active[record + 1] - n_active[record]
            if active == 0 or pointer[record] == pointer[record + 1]:
                continue
            both, covered = 0, 0
            for run in range(pointer[record], pointer[record + 1]):
                covered += run_stop[run] - run_start[run]
                both += count_before(word, run_stop[run]) - count_before(word, run_start[run])
            n_tokens = start[record + 1] - start[record]
            varies |= active < n_tokens and covered < n_tokens
            score += weight[record] * (both - active * covered / n_tokens)
        if varies:
            _add_powers(score, sums)


@compiled
def _score_steps(
    activity: Activity, units: Units, runs: Runs, label: int, sums: NDArray[np.float64]
) -> None:
    pointer = runs.record[label]
    for family in range(len(units.first) - 1):
        score, varies = 0.0, False
        for record in range(units.first[family], units.first[family + 1]):
            n_active = activity.first[record + 1] - activity.first[record]
            own = slice(pointer[record], pointer[record + 1])
            if n_active == 0 or own.start == own.stop:
                continue
            origin, end = units.start[record], units.start[record + 1]
            start, stop = runs.start[own] - origin, runs.stop[own] - origin
            varies |= n_active < end - origin and np.sum(stop - start) < end - origin
            inside = active_positions(activity, origin, end) - origin
            expected = expected_overlap(inside, start, stop, end - origin, units)
            both = _weight_inside_runs(activity, runs, (own.start, own.stop))
            score += units.weight[record] * (both - expected)
        if varies:
            _add_powers(score, sums)


@compiled
def _add_powers(score: float, sums: NDArray[np.float64]) -> None:
    square = score * score
    sums[0] += score
    sums[1] += square
    sums[2] += square * square
    sums[3] += 1


@compiled
def _weight_inside_runs(activity: Activity, runs: Runs, bounds: tuple[int, int]) -> float:
    both = 0.0
    for run in range(bounds[0], bounds[1]):
        both += weight_inside(activity, runs.start[run], runs.stop[run])
    return both


@compiled
def _count(
    entries: Entries,
    units: Units,
    known: KnownRanges,
    runs: Runs,
    instances: Instances,
    pairs: PairList,
    counts: NDArray[np.float64],
) -> None:
    for pair in range(len(pairs.row)):
        activity = read_activity(entries, pairs.row[pair], pairs.bin[pair], units)
        known_before = _known_before(activity, known, units)
        label = pairs.label[pair]
        for family in range(len(units.first) - 1):
            begin, end = units.first[family], units.first[family + 1]
            bounds = (runs.record[label, begin], runs.record[label, end])
            counts[pair, 0, family] = _weight_inside_runs(activity, runs, bounds)
            first, last = activity.first[begin], activity.first[end]
            counts[pair, 1, family] = last - first
            if len(known_before):
                counts[pair, 1, family] = known_before[last] - known_before[first]
        for instance in range(instances.first[label], instances.first[label + 1]):
            for run in range(instances.run[instance], instances.run[instance + 1]):
                before = count_before(activity.word, instances.start[run])
                if count_before(activity.word, instances.stop[run]) > before:
                    counts[pair, 2, instances.family[instance]] += 1
                    break


@compiled
def _known_before(activity: Activity, known: KnownRanges, units: Units) -> NDArray[np.float64]:
    """Return the known weight before every active position; nothing where each counts 1."""
    if len(units.row_weight) == 1:  # Where a step is a token, all tokens of units are known.
        return np.empty(0)
    return known_positions_before(active_positions(activity, 0, units.start[-1]), known, units)


def _divide(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
