"""Swap null: whole label tracks exchanged between families of one stratum.

It keeps the profile along the record and destroys which record a track belongs to, so rejecting
it says that a link is more than a shared position. All families with known tokens take part. The
records of two families are paired cyclically. A run keeps its relative place between the ends of
the record. A run that is short beside its record keeps its length too, a run of the whole record
covers the whole record: were lengths scaled, a label of fixed length at the start of every record
would fit its own record better than the tracks of others, by its position alone. A family's own
track is mapped onto itself exactly.

Where a step is more than a token (gridded records), records have one length and steps meet steps of
the same number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .draws import ScoreTable
from .kernel import compiled
from .positions import Activity, active_positions, count_before
from .steps import active_by_row, labelled_by_row
from .tracks import Runs
from .units import Units

__all__ = ["ExchangePlan", "exchange_table", "map_run", "plan_exchanges"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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
    # The quotient of whole numbers below 2**53 rounds down exactly, and faster than whole division.
    begin = int((2.0 * start * (n_to - mapped) + room) / (2.0 * room))
    return begin, begin + mapped


class _Tracks(NamedTuple):
    """Arrays of a pair that the loops over families read; larger tuples cost time.

    Attributes
    ----------
    word : (n_words, 2) uint64
        The activity.
    n_active, n_runs : (n_records + 1,) int64
        Active coordinates, and runs, before every record.
    start, weight, first : array
        Of the units: records' first coordinates, their weights, families' first records.
    run_start, run_stop : (n_runs,) int64
        The label's runs.
    """

    word: NDArray[np.uint64]
    n_active: Ints
    n_runs: NDArray[np.signedinteger]
    start: Ints
    weight: Floats
    first: Ints
    run_start: Ints
    run_stop: Ints


@compiled
def _score_tokens(tracks: _Tracks, own: int, other: int) -> float:
    """Return U of a family's feature track with the label track of another."""
    word, n_active, n_runs, start, weight, first, run_start, run_stop = tracks
    total = 0.0
    source = first[other]
    for record in range(first[own], first[own + 1]):
        begin, end = n_runs[source], n_runs[source + 1]
        active = n_active[record + 1] - n_active[record]
        if active > 0 and end > begin:
            origin, beside = start[record], start[source]
            n_to, n_from = start[record + 1] - origin, start[source + 1] - beside
            both, covered = 0, 0
            for run in range(begin, end):
                # Rounding may let mapped runs overlap by a token: each is counted by itself.
                low, high = map_run(run_start[run] - beside, run_stop[run] - beside, n_from, n_to)
                covered += high - low
                both += count_before(word, origin + high) - count_before(word, origin + low)
            total += weight[record] * (both - active * covered / n_to)
        source += 1
        if source == first[other + 1]:  # Records are paired cyclically.
            source = first[other]
    return total


@compiled
def _score_planned(
    tracks: _Tracks, low: NDArray[np.int32], high: NDArray[np.int32], own: int, other: int
) -> float:
    """Return the same from where the plan says that the other's runs lie."""
    word, n_active, n_runs, start, weight, first, _, _ = tracks
    total = 0.0
    source, entry = first[other], 0
    for record in range(first[own], first[own + 1]):
        n_here = n_runs[source + 1] - n_runs[source]
        active = n_active[record + 1] - n_active[record]
        if active > 0 and n_here > 0:
            both, covered = 0, 0
            for at in range(entry, entry + n_here):
                covered += high[at] - low[at]
                both += count_before(word, high[at]) - count_before(word, low[at])
            total += weight[record] * (
                both - active * covered / (start[record + 1] - start[record])
            )
        entry += n_here
        source += 1
        if source == first[other + 1]:
            source = first[other]
    return total


class _Steps(NamedTuple):
    """What records of steps need besides; empty where a step is a token.

    Attributes
    ----------
    before : (n_active + 1,) float64
        Weight of the active coordinates before each.
    row_weight : (n_rows,) float64
        Weights of rows.
    active, labelled : (n_records, n_rows) float64
        Tokens of every record by row.
    """

    before: Floats
    row_weight: Floats
    active: Floats
    labelled: Floats


@compiled
def _count_rows(activity: Activity, units: Units, runs: Runs, label: int) -> _Steps:
    n_rows = len(units.row_weight)
    n_records = len(units.start) - 1 if n_rows > 1 else 0
    active, labelled = np.zeros((n_records, n_rows)), np.zeros((n_records, n_rows))
    for record in range(n_records):
        inside = active_positions(activity, units.start[record], units.start[record + 1])
        active[record] = active_by_row(inside, units)
        first, last = runs.record[label, record], runs.record[label, record + 1]
        labelled[record] = labelled_by_row(runs.start[first:last], runs.stop[first:last], units)
    return _Steps(activity.before, units.row_weight, active, labelled)


@compiled
def _score_steps(tracks: _Tracks, steps: _Steps, own: int, other: int) -> float:
    """Return the same where records are tables of rows and steps meet steps."""
    word, n_active, n_runs, start, weight, first, run_start, run_stop = tracks
    before, row_weight, active, labelled = steps
    total = 0.0
    source = first[other]
    for record in range(first[own], first[own + 1]):
        begin, end = n_runs[source], n_runs[source + 1]
        if n_active[record + 1] > n_active[record] and end > begin:
            moved = start[record] - start[source]
            both, expected = 0.0, 0.0
            for run in range(begin, end):
                low = count_before(word, run_start[run] + moved)
                both += before[count_before(word, run_stop[run] + moved)] - before[low]
            for row in range(len(row_weight)):
                expected += row_weight[row] * active[record, row] * labelled[source, row]
            n_columns = (start[record + 1] - start[record]) / len(row_weight)
            total += weight[record] * (both - expected / n_columns)
        source += 1
        if source == first[other + 1]:
            source = first[other]
    return total


@compiled
def _owners(first: Ints, units: Units) -> NDArray[np.bool_]:
    """Return which families have something, of the first of it in every record."""
    n_families = len(units.first) - 1
    found = np.empty(n_families, np.bool_)
    for family in range(n_families):
        found[family] = first[units.first[family + 1]] > first[units.first[family]]
    return found


class ExchangePlan(NamedTuple):
    """Where the runs of a label come to lie in the records of every family that may get them.

    The same for all features. A cell is a family with the label and one of its stratum.

    Attributes
    ----------
    row : (n_families,) int64
        First cell of every family with the label, in the order of its stratum; -1 for others.
    first : (n_cells + 1,) int64
        First run of every cell; empty where there is no plan.
    low, high : (n_mapped,) int32
        The runs, in known coordinates, by record of the family that gets them.
    """

    row: Ints
    first: Ints
    low: NDArray[np.int32]
    high: NDArray[np.int32]


@compiled
def _map_cell(
    units: Units,
    runs: Runs,
    label: int,
    cell: tuple[int, int],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
) -> int:
    """Map the runs of the second family onto the records of the first; return how many there are.

    They are counted alone where there is no room.
    """
    n_runs, start = runs.record[label], units.start
    own, other = cell
    source, n_mapped = units.first[other], 0
    for record in range(units.first[own], units.first[own + 1]):
        begin, end = n_runs[source], n_runs[source + 1]
        if len(low):
            origin, beside = start[record], start[source]
            n_to, n_from = start[record + 1] - origin, start[source + 1] - beside
            for run in range(begin, end):
                at = n_mapped + run - begin
                first, last = runs.start[run] - beside, runs.stop[run] - beside
                left, right = map_run(first, last, n_from, n_to)
                low[at], high[at] = origin + left, origin + right
        n_mapped += end - begin
        source += 1
        if source == units.first[other + 1]:
            source = units.first[other]
    return n_mapped


@compiled
def plan_exchanges(units: Units, runs: Runs, label: int, most_runs: int) -> ExchangePlan:
    """Map the runs of a label onto the records of all families that may get them.

    Parameters
    ----------
    units, runs, label
        Families, runs, and the label whose.
    most_runs
        Mapped runs that are worth their memory; there is no plan where there are more, nor where
        a step is more than a token.
    """
    has_label = _owners(runs.record[label], units)
    row = np.full(len(has_label), -1, np.int64)
    cells = [(0, 0)][:0]
    nothing = np.empty(0, np.int32)
    if most_runs > 0 and len(units.row_weight) == 1 and units.start[-1] < 2**31:
        for stratum in range(len(units.stratum) - 1):
            members = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
            for other in members:
                if has_label[other]:
                    row[other] = len(cells)
                    for own in members:
                        cells.append((own, other))
    first = np.zeros(len(cells) + 1, np.int64)
    for at, cell in enumerate(cells):
        first[at + 1] = first[at] + _map_cell(units, runs, label, cell, nothing, nothing)
    if not 0 < first[-1] <= most_runs:
        return ExchangePlan(row, first[:0], nothing, nothing)
    low, high = np.empty(first[-1], np.int32), np.empty(first[-1], np.int32)
    for at, cell in enumerate(cells):
        mine = slice(first[at], first[at + 1])
        _map_cell(units, runs, label, cell, low[mine], high[mine])
    return ExchangePlan(row, first, low, high)


@compiled
def exchange_table(
    activity: Activity, units: Units, runs: Runs, label: int, plan: ExchangePlan
) -> ScoreTable:
    """Return U of families with every family of their stratum; the plan saves time, or is none.

    Only families with the feature and families with the label can score. In every stratum the
    fewer of the two are rows. Rows of the deck are members of strata, and once more, for families
    with the label, those that say whose partner each is.
    """
    has_feature, has_label = _owners(activity.first, units), _owners(runs.record[label], units)
    tracks = _Tracks(
        activity.word,
        activity.first,
        runs.record[label],
        units.start,
        units.weight,
        units.first,
        runs.start,
        runs.stop,
    )
    steps = _count_rows(activity, units, runs, label)
    n_members = len(units.member)
    deck, first, own_value = np.empty((3, n_members), np.int64)
    n_strata = len(units.stratum) - 1
    n_rows, n_values = 0, 0
    for stratum in range(n_strata):
        begin, end = units.stratum[stratum], units.stratum[stratum + 1]
        members = units.member[begin:end]
        n_feature, n_label = np.sum(has_feature[members]), np.sum(has_label[members])
        by_feature = n_feature <= n_label
        chosen = has_feature if by_feature else has_label
        for place in range(begin, end):
            if min(n_feature, n_label) > 0 and chosen[units.member[place]]:
                deck[n_rows] = place if by_feature else n_members + place
                first[n_rows], own_value[n_rows] = n_values, n_values + place - begin
                n_values += end - begin
                n_rows += 1
    value = np.zeros(n_values)
    stratum = 0
    for row in range(n_rows):
        by_feature = deck[row] < n_members
        place = deck[row] % n_members
        while units.stratum[stratum + 1] <= place:
            stratum += 1
        begin, end = units.stratum[stratum], units.stratum[stratum + 1]
        for at in range(begin, end):
            own, other = (place, at) if by_feature else (at, place)
            into, of = units.member[own], units.member[other]
            if len(units.row_weight) > 1:
                score = _score_steps(tracks, steps, into, of)
            elif not has_label[of]:
                score = 0.0
            elif len(plan.first):
                cell = plan.row[of] + own - begin
                mapped = slice(plan.first[cell], plan.first[cell + 1])
                score = _score_planned(tracks, plan.low[mapped], plan.high[mapped], into, of)
            else:
                score = _score_tokens(tracks, into, of)
            value[first[row] + at - begin] = score
    ones = np.ones(n_rows)
    return ScoreTable(value, first[:n_rows], own_value[:n_rows], deck[:n_rows], ones, ones, 0.0)
