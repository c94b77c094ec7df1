"""Local null: labels shifted circularly inside their records, one shift shared by a family.

Records of tokens are shifted by tokens, gridded records by whole columns, and labels of whole
records by records inside their family (see :mod:`sci_interp.enrichment.units`).

It keeps in which records a feature and a label occur and destroys where they meet, so rejecting it
says that a link is more than presence in the same records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .draws import N_SHIFTS, ScoreTable
from .kernel import compiled
from .positions import Activity, active_positions
from .steps import expected_overlap, overlap_at_steps
from .tracks import Runs
from .units import Units

__all__ = ["count_shifts", "shift_table"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@compiled
def count_shifts(units: Units) -> Ints:
    """Return the number of shifts of every family ``(n_families,)``.

    A family has as many as its longest record has steps, at most ``N_SHIFTS``.
    """
    n_rows = len(units.row_weight)
    found = np.empty(len(units.first) - 1, np.int64)
    for family in range(len(found)):
        begin, end = units.first[family], units.first[family + 1]
        longest = np.max(units.start[begin + 1 : end + 1] - units.start[begin:end]) // n_rows
        found[family] = min(longest, N_SHIFTS)
    return found


@compiled
def overlap_at_shifts(
    word: NDArray[np.uint64],
    span: tuple[int, int],
    start: Ints,
    stop: Ints,
    before: Ints,
    both: Ints,
) -> None:
    """Write TP of one record at every circular shift of the label.

    Parameters
    ----------
    word : (n_words, 2) uint64
        The activity.
    span
        First known coordinate of the record, and the one after its last.
    start, stop : (n_runs,) int64
        The label's disjoint runs in the record.
    before : (2 n_tokens + 1,) int64
        Overwritten; may be longer.
    both : (n_tokens,) int64
        TP at every shift; may be longer.
    """
    origin, n_tokens = span[0], span[1] - span[0]
    # Active tokens before each place, twice around.
    before[0] = 0
    for place in range(n_tokens):
        at = np.uint64(origin + place)
        bit = (word[at >> np.uint64(6), 0] >> (at & np.uint64(63))) & np.uint64(1)
        before[place + 1] = before[place] + np.int64(bit)
    for place in range(n_tokens + 1):
        before[n_tokens + place] = before[n_tokens] + before[place]
    both[:n_tokens] = 0
    for run in range(len(start)):
        first, last = before[start[run] - origin :], before[stop[run] - origin :]
        for shift in range(n_tokens):
            both[shift] += last[shift] - first[shift]


@compiled
def _informative_families(activity: Activity, units: Units, runs: Runs, label: int) -> Ints:
    """Return the families that have feature and label in one record."""
    pointer = runs.record[label]
    found = np.empty(len(units.first) - 1, np.int64)
    n_found = 0
    for family in range(len(found)):
        for record in range(units.first[family], units.first[family + 1]):
            has_feature = activity.first[record + 1] > activity.first[record]
            if has_feature and pointer[record + 1] > pointer[record]:
                found[n_found] = family
                n_found += 1
                break
    return found[:n_found]


@compiled
def shift_table(
    activity: Activity, units: Units, runs: Runs, label: int, n_shifts: Ints
) -> ScoreTable:
    """Return U of every informative family at every shift.

    A family is shifted by the same fraction of every record's length. Shift 0 is the observed
    state; rows of the deck are families.

    Parameters
    ----------
    activity, units, runs, label
        The tracks of a pair.
    n_shifts : (n_families,) int64
        Numbers of shifts (:func:`count_shifts`).
    """
    pointer = runs.record[label]
    family = _informative_families(activity, units, runs, label)
    first = np.zeros(len(family) + 1, np.int64)
    first[1:] = np.cumsum(n_shifts[family])
    value = np.zeros(first[-1])
    # Arrays by themselves: large tuples cost time in the loops.
    word, n_active, start, weight = activity.word, activity.first, units.start, units.weight
    longest = np.max(np.diff(start)) if len(start) > 1 else 0
    before, both = np.empty(2 * longest + 1, np.int64), np.empty(longest, np.int64)
    has_steps = len(units.row_weight) > 1
    for row in range(len(family)):
        n = n_shifts[family[row]]
        scores = value[first[row] : first[row + 1]]
        for record in range(units.first[family[row]], units.first[family[row] + 1]):
            begin, end = pointer[record], pointer[record + 1]
            active = n_active[record + 1] - n_active[record]
            if active == 0 or begin == end:
                continue
            span = (start[record], start[record + 1])
            if has_steps:
                _add_steps(activity, units, record, runs, (begin, end), scores)
                continue
            own = slice(begin, end)
            overlap_at_shifts(word, span, runs.start[own], runs.stop[own], before, both)
            n_tokens = span[1] - span[0]
            covered = 0
            for run in range(begin, end):
                covered += runs.stop[run] - runs.start[run]
            expected = active * covered / n_tokens
            for shift in range(n):
                moved = shift if n == n_tokens else (shift * n_tokens) // n
                scores[shift] += weight[record] * (both[moved] - expected)
    ones = np.ones(len(family))
    return ScoreTable(value, first[:-1], first[:-1], family, ones, ones, 0.0)


@compiled
def _add_steps(
    activity: Activity,
    units: Units,
    record: int,
    runs: Runs,
    bounds: tuple[int, int],
    scores: Floats,
) -> None:
    """Add U of a record of steps at every shift."""
    origin, end = units.start[record], units.start[record + 1]
    inside = active_positions(activity, origin, end) - origin
    start = runs.start[bounds[0] : bounds[1]] - origin
    stop = runs.stop[bounds[0] : bounds[1]] - origin
    both = overlap_at_steps(inside, start, stop, end - origin, units)
    expected = expected_overlap(inside, start, stop, end - origin, units)
    for shift in range(len(scores)):
        moved = (shift * len(both)) // len(scores)
        scores[shift] += units.weight[record] * (both[moved] - expected)
