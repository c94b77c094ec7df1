"""Where a feature is active: its known coordinates, and which of them lie in which record."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled
from .tracks import Entries
from .units import Units

__all__ = ["active_positions", "advance", "split_by_record"]

Ints = NDArray[np.int64]


@compiled
def active_positions(entries: Entries, row: int, lowest_bin: int) -> Ints:
    """Return the known coordinates at which a feature reaches a bin, ascending."""
    begin, end = entries.first[row], entries.first[row + 1]
    found = np.empty(end - begin, np.int64)
    n_found = 0
    for entry in range(begin, end):
        if entries.bin[entry] >= lowest_bin:
            found[n_found] = entries.position[entry]
            n_found += 1
    return found[:n_found]


@compiled
def split_by_record(position: Ints, units: Units) -> Ints:
    """Return the first position in every record, and the number of positions."""
    n_records = len(units.start) - 1
    first = np.empty(n_records + 1, np.int64)
    at = 0
    for record in range(n_records):
        while at < len(position) and position[at] < units.start[record]:
            at += 1
        first[record] = at
    first[n_records] = len(position)
    return first


@compiled
def advance(position: Ints, at: int, end: int, limit: int) -> int:
    """Return the first place in ``at:end`` whose position is ``limit`` or more (galloping)."""
    step = 1
    low = at
    while low + step < end and position[low + step] < limit:
        low += step
        step *= 2
    high = min(low + step, end)
    while low < high:
        middle = (low + high) // 2
        if position[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low
