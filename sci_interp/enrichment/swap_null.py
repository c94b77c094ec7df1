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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled, next_below
from .local_null import TIE, studentise
from .positions import active_positions, advance, split_by_record
from .steps import expected_overlap
from .tracks import Entries, Runs
from .units import Units, weight_before

__all__ = ["Exchange", "exchange_score", "exchange_table", "prepare_exchange", "swap_exceedances"]

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
        source = other + (record - begin) % n_other
        bounds = (runs.record[label, source], runs.record[label, source + 1])
        part = (first[record], first[record + 1])
        if part[0] == part[1] or bounds[0] == bounds[1]:
            continue
        origins = (units.start[source], units.start[record])
        sizes = (units.start[source + 1] - origins[0], units.start[record + 1] - origins[1])
        if len(units.row_weight) > 1:
            start, stop = clip_runs(runs, bounds, origins[0], sizes[1])
            inside = position[part[0] : part[1]] - origins[1]
            expected = expected_overlap(inside, start, stop, sizes[1], units)
            both = 0.0
            for run in range(len(start)):
                both += _weight_inside(
                    position, before, part, origins[1] + start[run], origins[1] + stop[run]
                )
        else:
            both, covered = 0.0, 0
            for run in range(bounds[0], bounds[1]):
                # Rounding may let mapped runs overlap by a token: each is counted by itself.
                mapped = map_run(
                    runs.start[run] - origins[0], runs.stop[run] - origins[0], sizes[0], sizes[1]
                )
                covered += mapped[1] - mapped[0]
                both += _weight_inside(
                    position, before, part, origins[1] + mapped[0], origins[1] + mapped[1]
                )
            expected = (part[1] - part[0]) * covered / sizes[1]
        total += units.weight[record] * (both - expected)
    return total


@compiled
def _weight_inside(
    position: Ints, before: NDArray[np.float64], part: tuple[int, int], start: int, stop: int
) -> float:
    """Return the weight of the positions of a record that lie in a run."""
    at = advance(position, part[0], part[1], start)
    return float(before[advance(position, at, part[1], stop)] - before[at])


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


class Exchange(NamedTuple):
    """A pair's tracks and the exchanges of label tracks that can matter to them.

    Only families with the feature and families with the label can score. In every stratum the
    fewer of the two are given distinct random partners among all its families, which is how a
    random permutation looks from their side.

    Attributes
    ----------
    position, first, before
        Active known coordinates, the first of them in every record, and the weight before each.
    has_feature, has_label : (n_families,) bool
        Families with each.
    rows : (n_rows,) int64
        The families that are given partners, by stratum.
    cells : (n_rows + 1,) int64
        First cell of every row; a row has one cell per family of its stratum.
    own : (n_rows,) int64
        Cell of every row with itself: the observed state.
    bounds : (n_strata + 1,) int64
        First row of every stratum.
    by_feature : (n_strata,) bool
        Whether the stratum's rows are families with the feature, and not with the label.
    """

    position: Ints
    first: Ints
    before: NDArray[np.float64]
    has_feature: NDArray[np.bool_]
    has_label: NDArray[np.bool_]
    rows: Ints
    cells: Ints
    own: Ints
    bounds: Ints
    by_feature: NDArray[np.bool_]


@compiled
def prepare_exchange(position: Ints, units: Units, runs: Runs, label: int) -> Exchange:
    """Return what the scores of exchanges are made of."""
    first, before = split_by_record(position, units), weight_before(position, units)
    has_feature = _active_families(first, units)
    has_label = _active_families(runs.record[label], units)
    rows, cells, bounds, by_feature = _choose_rows(has_feature, has_label, units)
    own = np.empty(len(rows), np.int64)
    for stratum in range(len(bounds) - 1):
        row = bounds[stratum]
        for place in range(units.stratum[stratum], units.stratum[stratum + 1]):
            if row < bounds[stratum + 1] and units.member[place] == rows[row]:
                own[row] = cells[row] + place - units.stratum[stratum]
                row += 1
    return Exchange(
        position, first, before, has_feature, has_label, rows, cells, own, bounds, by_feature
    )


@compiled
def score_cell(
    exchange: Exchange, units: Units, runs: Runs, label: int, stratum: int, row: int, place: int
) -> float:
    """Return U of a row with the family at a place of its stratum."""
    other = units.member[units.stratum[stratum] + place]
    pair = (exchange.rows[row], other)
    if not exchange.by_feature[stratum]:
        pair = (other, exchange.rows[row])
    if not (exchange.has_feature[pair[0]] and exchange.has_label[pair[1]]):
        return 0.0
    return exchange_score(
        exchange.position, exchange.before, exchange.first, units, runs, label, pair
    )


@compiled
def exchange_table(exchange: Exchange, units: Units, runs: Runs, label: int) -> NDArray[np.float64]:
    """Return U of every row with every family of its stratum ``(n_cells,)``."""
    scores = np.empty(exchange.cells[-1])
    for stratum in range(len(exchange.bounds) - 1):
        for row in range(exchange.bounds[stratum], exchange.bounds[stratum + 1]):
            for cell in range(exchange.cells[row], exchange.cells[row + 1]):
                place = cell - exchange.cells[row]
                scores[cell] = score_cell(exchange, units, runs, label, stratum, row, place)
    return scores


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

    Parameters and results are those of the local null; the number of shifts is not used. A cell is
    scored when it is first drawn: most pairs are no links, and few draws show that.
    """
    _, n_draws, enough = settings
    label = pair[2]
    exchange = prepare_exchange(active_positions(entries, pair[0], pair[1]), units, runs, label)
    cells, bounds = exchange.cells, exchange.bounds
    scores = np.full(cells[-1], np.nan)
    deck = np.empty(len(units.member), np.int64)  # places inside strata, partly shuffled per draw
    observed = 0.0
    n_exceed = 0
    for draw in range(-1, n_draws):  # The first is the observed state.
        total, squares = 0.0, 0.0
        for stratum in range(len(bounds) - 1):
            at, end = units.stratum[stratum], units.stratum[stratum + 1]
            if draw < 0:
                for place in range(at, end):
                    deck[place] = place - at
            for row in range(bounds[stratum], bounds[stratum + 1]):
                cell = exchange.own[row]
                if draw >= 0:
                    other = at + next_below(state, end - at)
                    deck[at], deck[other] = deck[other], deck[at]
                    cell = cells[row] + deck[at]
                if np.isnan(scores[cell]):
                    place = cell - cells[row]
                    scores[cell] = score_cell(exchange, units, runs, label, stratum, row, place)
                total += scores[cell]
                squares += scores[cell] * scores[cell]
                at += 1
        if draw < 0:
            observed = studentise(total, squares)
            continue
        n_exceed += studentise(total, squares) >= observed - TIE * max(1.0, abs(observed))
        if n_exceed >= enough:
            return n_exceed, draw + 1
    return n_exceed, n_draws
