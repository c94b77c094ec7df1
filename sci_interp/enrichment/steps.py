"""Overlaps of tracks that are moved by whole steps, row by row.

A record is a table of rows (latitudes) by columns (steps); a shift moves columns and keeps rows.
With one row a step is a token, and all of this is what it is for chains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled
from .units import Units

__all__ = ["active_by_row", "expected_overlap", "labelled_by_row", "overlap_at_steps"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@compiled
def active_by_row(position: Ints, units: Units) -> Floats:
    """Return the active tokens of every row ``(n_rows,)``; records begin with the first row."""
    n_rows = len(units.row_weight)
    found = np.zeros(n_rows)
    for token in position:
        found[token % n_rows] += 1
    return found


@compiled
def labelled_by_row(start: Ints, stop: Ints, units: Units) -> Floats:
    """Return the tokens of runs by row ``(n_rows,)``."""
    n_rows = len(units.row_weight)
    found = np.zeros(n_rows)
    for run in range(len(start)):
        for token in range(start[run], stop[run]):
            found[token % n_rows] += 1
    return found


@compiled
def expected_overlap(position: Ints, start: Ints, stop: Ints, size: int, units: Units) -> float:
    """Return the mean weight of a feature inside a label over all circular shifts.

    Parameters
    ----------
    position : (n_active,) int64
        Active tokens of the record, from its first.
    start, stop : (n_runs,) int64
        The label's disjoint runs, from the record's first token.
    size
        Tokens of the record.
    units
        Weights of the rows.

    Returns
    -------
    float
        Sum over rows of weight x active x labelled / columns.
    """
    active, labelled = active_by_row(position, units), labelled_by_row(start, stop, units)
    n_rows = len(units.row_weight)
    return float(np.sum(units.row_weight * active * labelled) * n_rows / size)


@compiled
def overlap_at_steps(position: Ints, start: Ints, stop: Ints, size: int, units: Units) -> Floats:
    """Return the weight of a feature inside a label at every circular shift of the label.

    Parameters are those of :func:`expected_overlap`; the result is ``(n_columns,)``.
    """
    n_rows = len(units.row_weight)
    n_columns = size // n_rows
    first = np.zeros(n_rows + 1, np.int64)
    for run in range(len(start)):
        for token in range(start[run], stop[run]):
            first[token % n_rows + 1] += 1
    first = np.cumsum(first)
    column = np.empty(first[n_rows], np.int64)
    cursor = first[:n_rows].copy()
    for run in range(len(start)):
        for token in range(start[run], stop[run]):
            row = token % n_rows
            column[cursor[row]] = token // n_rows
            cursor[row] += 1
    both = np.zeros(n_columns)
    for token in position:
        row, here = token % n_rows, token // n_rows
        for at in range(first[row], first[row + 1]):
            shift = here - column[at]
            if shift < 0:
                shift += n_columns
            both[shift] += units.row_weight[row]
    return both
