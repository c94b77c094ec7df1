"""Local null: labels shifted circularly inside their records, one shift shared by a family.

Records of tokens are shifted by tokens, gridded records by whole columns, and labels of whole
records by records inside their family (see :mod:`sci_interp.enrichment.units`).

It keeps in which records a feature and a label occur and destroys where they meet, so rejecting it
says that a link is more than presence in the same records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled, next_below
from .positions import active_positions, split_by_record
from .scores import expected_in_record
from .steps import overlap_at_steps
from .tracks import Entries, Runs
from .units import Units

__all__ = ["local_exceedances", "shift_scores"]

Ints = NDArray[np.int64]

#: Ties are exceedances; this absorbs the rounding of sums in another order.
TIE = 1e-9


@compiled
def overlap_at_shifts(position: Ints, start: Ints, stop: Ints, n_tokens: int) -> Ints:
    """Return TP of one record at every circular shift of the label ``(n_tokens,)``.

    Parameters
    ----------
    position : (n_active,) int64
        Active known coordinates of the record.
    start, stop : (n_runs,) int64
        The label's disjoint runs in the record.
    n_tokens
        Number of known tokens of the record.
    """
    change = np.zeros(n_tokens + 1, np.int64)
    for active in position:
        for run in range(len(start)):
            # The run [start, stop) moved by s covers the position for s in (p - stop, p - start].
            first = active - stop[run] + 1
            last = active - start[run] + 1
            if first >= 0:
                change[first] += 1
                change[last] -= 1
            elif last <= 0:
                change[first + n_tokens] += 1
                change[last + n_tokens] -= 1
            else:
                change[first + n_tokens] += 1
                change[n_tokens] -= 1
                change[0] += 1
                change[last] -= 1
    return np.cumsum(change[:n_tokens])


@compiled
def _at_shifts(
    position: Ints,
    part: tuple[int, int],
    units: Units,
    record: int,
    runs: Runs,
    bounds: tuple[int, int],
) -> NDArray[np.float64]:
    """Return TP of one record at every shift; parameters as for the expected overlap."""
    origin = units.start[record]
    size = units.start[record + 1] - origin
    inside = position[part[0] : part[1]] - origin
    start = runs.start[bounds[0] : bounds[1]] - origin
    stop = runs.stop[bounds[0] : bounds[1]] - origin
    if len(units.row_weight) > 1:
        return overlap_at_steps(inside, start, stop, size, units)
    return overlap_at_shifts(inside, start, stop, size).astype(np.float64)


@compiled
def shift_scores(
    position: Ints, units: Units, runs: Runs, label: int, n_shifts: int
) -> tuple[NDArray[np.float64], Ints, Ints]:
    """Return U of every informative family at every shift, and the number of shifts of each.

    A family is shifted by the same fraction of every record's length; it has as many shifts as
    its longest record has steps, at most ``n_shifts``. Shift 0 is the observed state.

    Returns
    -------
    scores : (n_informative, n_shifts) float64
        U; columns at or past the family's number of shifts are 0.
    n_of_family : (n_informative,) int64
        The number of shifts.
    family : (n_informative,) int64
        The families.
    """
    first = split_by_record(position, units)
    pointer = runs.record[label]
    n_rows = len(units.row_weight)
    n_families = len(units.first) - 1
    informative = np.zeros(n_families, np.bool_)
    for family in range(n_families):
        for record in range(units.first[family], units.first[family + 1]):
            if first[record + 1] > first[record] and pointer[record + 1] > pointer[record]:
                informative[family] = True
    chosen = np.flatnonzero(informative)
    scores = np.zeros((len(chosen), n_shifts))
    n_of_family = np.ones(len(chosen), np.int64)
    for row in range(len(chosen)):
        begin, end = units.first[chosen[row]], units.first[chosen[row] + 1]
        longest = np.max(units.start[begin + 1 : end + 1] - units.start[begin:end]) // n_rows
        n_of_family[row] = min(longest, n_shifts)
        for record in range(begin, end):
            n_active = first[record + 1] - first[record]
            if n_active == 0 or pointer[record] == pointer[record + 1]:
                continue
            part = (first[record], first[record + 1])
            bounds = (pointer[record], pointer[record + 1])
            both = _at_shifts(position, part, units, record, runs, bounds)
            expected = expected_in_record(position, part, units, record, runs, bounds)
            for shift in range(n_of_family[row]):
                moved = (shift * len(both)) // n_of_family[row]
                scores[row, shift] += units.weight[record] * (both[moved] - expected)
    return scores, n_of_family, chosen


@compiled
def studentise(total: float, squares: float) -> float:
    """Return sum U / sqrt(sum U^2), 0 where all scores are 0."""
    return total / np.sqrt(squares) if squares > 0 else 0.0


@compiled
def local_exceedances(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    settings: tuple[int, int, int],
    state: NDArray[np.uint64],
) -> tuple[int, int]:
    """Draw shifts until enough of them reach the observed statistic.

    Parameters
    ----------
    entries, units, runs
        The tracks.
    pair
        Entry row, lowest bin and label.
    settings
        Largest number of shifts of a family, draws at most, exceedances at which to stop.
    state : (1,) uint64
        The pair's random stream.

    Returns
    -------
    n_exceed, n_drawn : int
        Draws that reach the observed statistic, and draws made.
    """
    n_shifts, n_draws, enough = settings
    position = active_positions(entries, pair[0], pair[1])
    scores, n_of_family, _ = shift_scores(position, units, runs, pair[2], n_shifts)
    observed = studentise(np.sum(scores[:, 0]), np.sum(scores[:, 0] ** 2))
    n_exceed = 0
    for draw in range(n_draws):
        total, squares = 0.0, 0.0
        for row in range(len(scores)):
            score = scores[row, next_below(state, n_of_family[row])]
            total += score
            squares += score * score
        n_exceed += studentise(total, squares) >= observed - TIE * max(1.0, abs(observed))
        if n_exceed >= enough:
            return n_exceed, draw + 1
    return n_exceed, n_draws
