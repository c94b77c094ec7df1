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

__all__ = ["exchange_table", "map_run"]

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
def _score_tokens(
    tracks: _Tracks, family: int, others: Ints, by_feature: bool, out: Floats
) -> None:
    """Write U of a family with each of others; it gives the feature track, or the label track."""
    word, n_active, n_runs, start, weight, first, run_start, run_stop = tracks
    for at in range(len(others)):
        own, other = (family, others[at]) if by_feature else (others[at], family)
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
                    low, high = map_run(
                        run_start[run] - beside, run_stop[run] - beside, n_from, n_to
                    )
                    covered += high - low
                    both += count_before(word, origin + high) - count_before(word, origin + low)
                total += weight[record] * (both - active * covered / n_to)
            source += 1
            if source == first[other + 1]:  # Records are paired cyclically.
                source = first[other]
        out[at] = total


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
def _score_steps(
    tracks: _Tracks, steps: _Steps, family: int, others: Ints, by_feature: bool, out: Floats
) -> None:
    """Write the same where records are tables of rows and steps meet steps."""
    word, n_active, n_runs, start, weight, first, run_start, run_stop = tracks
    before, row_weight, active, labelled = steps
    for at in range(len(others)):
        own, other = (family, others[at]) if by_feature else (others[at], family)
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
        out[at] = total


@compiled
def _owners(first: Ints, units: Units) -> NDArray[np.bool_]:
    """Return which families have something, of the first of it in every record."""
    n_families = len(units.first) - 1
    found = np.empty(n_families, np.bool_)
    for family in range(n_families):
        found[family] = first[units.first[family + 1]] > first[units.first[family]]
    return found


@compiled
def exchange_table(activity: Activity, units: Units, runs: Runs, label: int) -> ScoreTable:
    """Return U of families with every family of their stratum.

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
    deck, first, own = np.empty((3, n_members), np.int64)
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
                first[n_rows], own[n_rows] = n_values, n_values + place - begin
                n_values += end - begin
                n_rows += 1
    value = np.zeros(n_values)
    stratum = 0
    for row in range(n_rows):
        by_feature = deck[row] < n_members
        place = deck[row] % n_members
        while units.stratum[stratum + 1] <= place:
            stratum += 1
        others = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
        scores = value[first[row] : first[row] + len(others)]
        if len(units.row_weight) > 1:
            _score_steps(tracks, steps, units.member[place], others, by_feature, scores)
        else:
            _score_tokens(tracks, units.member[place], others, by_feature, scores)
    ones = np.ones(n_rows)
    return ScoreTable(value, first[:n_rows], own[:n_rows], deck[:n_rows], ones, ones, 0.0)
