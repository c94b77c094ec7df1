"""Swap null: whole label tracks exchanged between families of one stratum.

It keeps the profile along the record and destroys which record a track belongs to, so rejecting
it says that a link is more than a shared position. All families with known tokens take part. The
records of two families are paired cyclically. A run keeps its relative place between the ends of
the record. A run that is short beside its record keeps its length too, a run of the whole record
covers the whole record: were lengths scaled, a label of fixed length at the start of every record
would fit its own record better than the tracks of others, by its position alone. A family's own
track is mapped onto itself exactly.

Where a step is more than a token (gridded records), steps meet steps of the same number, and those
beyond the shorter of the two records' ends meet nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled, next_below
from .local_null import TIE, studentise
from .positions import active_positions, advance, split_by_record
from .steps import expected_overlap
from .tracks import Entries, Runs
from .units import Units, weight_before

__all__ = ["exchange_score", "swap_exceedances"]

Ints = NDArray[np.int64]


@compiled
def map_run(start: int, stop: int, n_from: int, n_to: int) -> tuple[int, int]:
    """Map a run of a record with ``n_from`` tokens onto one with ``n_to``, both from 0.

    The length changes by ``(n_to - n_from) * share**2``, where share is the run's share of its
    record, and stays in ``1 .. n_to``.
    """
    length = stop - start
    if length == n_from:
        return 0, n_to
    change = np.rint((n_to - n_from) * (length / n_from) ** 2)
    mapped = min(max(length + int(change), 1), n_to)
    room = n_from - length
    begin = (2 * start * (n_to - mapped) + room) // (2 * room)
    return begin, begin + mapped


@compiled
def clip_runs(runs: Runs, bounds: tuple[int, int], origin: int, size: int) -> tuple[Ints, Ints]:
    """Return start and stop of a record's runs from its first token, up to ``size`` tokens."""
    start = np.minimum(runs.start[bounds[0] : bounds[1]] - origin, size)
    return start, np.minimum(runs.stop[bounds[0] : bounds[1]] - origin, size)


@compiled
def map_runs(
    runs: Runs, bounds: tuple[int, int], origin: int, sizes: tuple[int, int]
) -> tuple[Ints, Ints]:
    """Return start and stop of a record's runs mapped onto a record of another length.

    Rounding may let mapped runs overlap by a token: each is counted by itself.
    """
    n_runs = bounds[1] - bounds[0]
    start, stop = np.empty(n_runs, np.int64), np.empty(n_runs, np.int64)
    for at in range(n_runs):
        run = bounds[0] + at
        start[at], stop[at] = map_run(
            runs.start[run] - origin, runs.stop[run] - origin, sizes[0], sizes[1]
        )
    return start, stop


@compiled
def exchange_score(
    position: Ints,
    before: NDArray[np.float64],
    first: Ints,
    units: Units,
    runs: Runs,
    label: int,
    pair: tuple[int, int],
) -> float:
    """Return U of one family's feature track against another family's label track.

    Parameters
    ----------
    position, before, first
        Active known coordinates, the weight before each, and the first of them in every record.
    units, runs, label
        Records, label runs, and the label.
    pair
        Family of the feature track, family of the label track.
    """
    begin, end = units.first[pair[0]], units.first[pair[0] + 1]
    other, n_other = units.first[pair[1]], units.first[pair[1] + 1] - units.first[pair[1]]
    total = 0.0
    for record in range(begin, end):
        n_active = first[record + 1] - first[record]
        if n_active == 0:
            continue
        origin = units.start[record]
        n_tokens = units.start[record + 1] - origin
        source = other + (record - begin) % n_other
        bounds = (runs.record[label, source], runs.record[label, source + 1])
        if bounds[0] == bounds[1]:
            continue
        other_origin = units.start[source]
        if len(units.row_weight) > 1:
            start, stop = clip_runs(runs, bounds, other_origin, n_tokens)
            inside = position[first[record] : first[record + 1]] - origin
            expected = expected_overlap(inside, start, stop, n_tokens, units)
        else:
            sizes = (units.start[source + 1] - other_origin, n_tokens)
            start, stop = map_runs(runs, bounds, other_origin, sizes)
            expected = n_active * np.sum(stop - start) / n_tokens
        both, last = 0.0, first[record + 1]
        for run in range(len(start)):
            at = advance(position, first[record], last, origin + start[run])
            both += before[advance(position, at, last, origin + stop[run])] - before[at]
        total += units.weight[record] * (both - expected)
    return total


@compiled
def _active_families(first: Ints, units: Units) -> NDArray[np.bool_]:
    n_families = len(units.first) - 1
    found = np.empty(n_families, np.bool_)
    for family in range(n_families):
        found[family] = first[units.first[family + 1]] > first[units.first[family]]
    return found


@compiled
def _choose_rows(
    has_feature: NDArray[np.bool_], has_label: NDArray[np.bool_], units: Units
) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """Return the rows of the score table: the fewer of feature and label families per stratum.

    Returns
    -------
    rows : (n_rows,) int64
        Families, by stratum.
    cells : (n_rows + 1,) int64
        First cell of every row; a row has one cell per family of its stratum.
    bounds : (n_strata + 1,) int64
        First row of every stratum.
    by_feature : (n_strata,) bool
        Whether the stratum's rows are families with the feature.
    """
    n_strata = len(units.stratum) - 1
    rows = np.empty(len(has_feature), np.int64)
    cells = np.zeros(len(has_feature) + 1, np.int64)
    bounds = np.zeros(n_strata + 1, np.int64)
    by_feature = np.zeros(n_strata, np.bool_)
    n_rows = 0
    for stratum in range(n_strata):
        members = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
        n_feature, n_label = np.sum(has_feature[members]), np.sum(has_label[members])
        by_feature[stratum] = n_feature <= n_label
        chosen = has_feature if by_feature[stratum] else has_label
        for member in members:
            if n_feature > 0 and n_label > 0 and chosen[member]:
                rows[n_rows] = member
                cells[n_rows + 1] = cells[n_rows] + len(members)
                n_rows += 1
        bounds[stratum + 1] = n_rows
    return rows[:n_rows], cells[: n_rows + 1], bounds, by_feature


@compiled
def exchange_table(
    position: Ints, units: Units, runs: Runs, label: int
) -> tuple[NDArray[np.float64], Ints, Ints, Ints, NDArray[np.bool_]]:
    """Score every exchange that can matter.

    Only families with the feature and families with the label can score. In every stratum the
    fewer of the two are given distinct random partners among all its families, which is how a
    random permutation looks from their side.

    Returns
    -------
    scores : (n_cells,) float64
        U of every row with every family of its stratum.
    cells, bounds : int64 arrays
        First cell of every row, first row of every stratum.
    own : (n_rows,) int64
        Cell of every row with itself: the observed state.
    by_feature : (n_strata,) bool
        Whether the stratum's rows are families with the feature, and not with the label.
    """
    first, before = split_by_record(position, units), weight_before(position, units)
    has_feature = _active_families(first, units)
    has_label = _active_families(runs.record[label], units)
    rows, cells, bounds, by_feature = _choose_rows(has_feature, has_label, units)
    scores = np.zeros(cells[-1])
    own = np.empty(len(rows), np.int64)
    for stratum in range(len(bounds) - 1):
        members = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
        for row in range(bounds[stratum], bounds[stratum + 1]):
            for place in range(len(members)):
                pair = (rows[row], members[place])
                if not by_feature[stratum]:
                    pair = (members[place], rows[row])
                cell = cells[row] + place
                if members[place] == rows[row]:
                    own[row] = cell
                if has_feature[pair[0]] and has_label[pair[1]]:
                    scores[cell] = exchange_score(position, before, first, units, runs, label, pair)
    return scores, cells, bounds, own, by_feature


@compiled
def swap_exceedances(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    settings: tuple[int, int, int],
    state: NDArray[np.uint64],
) -> tuple[int, int]:
    """Exchange label tracks until enough exchanges reach the observed statistic.

    Parameters and results are those of the local null; the number of shifts is not used.
    """
    _, n_draws, enough = settings
    position = active_positions(entries, pair[0], pair[1])
    scores, cells, bounds, own, _ = exchange_table(position, units, runs, pair[2])
    observed = studentise(np.sum(scores[own]), np.sum(scores[own] ** 2))
    deck = np.empty(len(units.member), np.int64)  # places inside strata, partly shuffled per draw
    for stratum in range(len(bounds) - 1):
        for place in range(units.stratum[stratum], units.stratum[stratum + 1]):
            deck[place] = place - units.stratum[stratum]
    n_exceed = 0
    for draw in range(n_draws):
        total, squares = 0.0, 0.0
        for stratum in range(len(bounds) - 1):
            at, end = units.stratum[stratum], units.stratum[stratum + 1]
            for row in range(bounds[stratum], bounds[stratum + 1]):
                other = at + next_below(state, end - at)
                deck[at], deck[other] = deck[other], deck[at]
                score = scores[cells[row] + deck[at]]
                total += score
                squares += score * score
                at += 1
        n_exceed += studentise(total, squares) >= observed - TIE * max(1.0, abs(observed))
        if n_exceed >= enough:
            return n_exceed, draw + 1
    return n_exceed, n_draws
