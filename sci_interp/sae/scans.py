"""Compiled scans over rows of pre-activations, as integers of the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "count_rows",
    "fill_above",
    "fill_ordered",
    "find_ordered",
    "highest_of_rows",
    "keep_highest",
]

#: Columns of a row that are skipped together.
GROUP = 8
#: Counters of the search for a k-th highest number.
BUCKETS = 1024

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(cache=True, nogil=True)


@_compiled
def _kth_highest(numbers: Any, n: int, k: int) -> Any:
    """Return the k-th highest of ``numbers[:n]`` (Hoare's selection; reorders them)."""
    low, high = 0, n - 1
    while low < high:
        pivot = numbers[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while numbers[left] > pivot:
                left += 1
            while numbers[right] < pivot:
                right -= 1
            if left <= right:
                numbers[left], numbers[right] = numbers[right], numbers[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break
    return numbers[k - 1]


@_compiled
def _kth_of_many(numbers: Any, n: int, k: int, count: Any) -> Any:
    """Return the k-th highest of ``numbers[:n]`` from counts of buckets; reorders them.

    Buckets hold one number each, or few of neighbouring size, which are then sorted out.
    """
    top = floor = numbers[0]
    for i in range(n):
        top = numbers[i] if numbers[i] > top else top
        floor = numbers[i] if numbers[i] < floor else floor
    shift = 0
    while (top - floor) >> shift >= len(count):
        shift += 1
    bucket = (top - floor) >> shift
    count[: bucket + 1] = 0
    for i in range(n):
        count[(numbers[i] - floor) >> shift] += 1
    before = 0
    while before + count[bucket] < k:
        before += count[bucket]
        bucket -= 1
    if shift == 0:
        return np.int32(floor + bucket)
    n_inside = 0
    for i in range(n):
        if (numbers[i] - floor) >> shift == bucket:
            numbers[n_inside] = numbers[i]
            n_inside += 1
    return _kth_highest(numbers, n_inside, k - before)


@_compiled
def _columns_above(line: Any, floor: Any, most: int, room: Any, number: Any, column: Any) -> int:
    """Put the columns of a row above a floor into ``column``, ascending; return their number.

    Group g holds column g of every eighth part of the row. Most groups hold nothing, which their
    highest numbers tell, computed many groups at a time. Where more than ``most`` of these are
    above the floor, their ``most``-th highest bounds that of the row, and the floor rises to it.
    Loops over numbers are free of branches.
    """
    highest, group, count = room
    n_groups = len(line) // GROUP
    for g in range(n_groups):
        highest[g] = line[g]
    for part in range(1, GROUP):
        here = line[part * n_groups : (part + 1) * n_groups]
        for g in range(n_groups):
            highest[g] = here[g] if here[g] > highest[g] else highest[g]
    found = 0
    for g in range(n_groups):
        group[found] = g
        found += highest[g] > floor
    if found > most:
        for i in range(found):
            number[i] = highest[group[i]]
        floor = highest.dtype.type(_kth_of_many(number, found, most, count) - 1)
        n_before, found = found, 0
        for i in range(n_before):
            g = group[i]
            group[found] = g
            found += highest[g] > floor
    n = 0
    for part in range(GROUP):
        for i in range(found):
            at = part * n_groups + group[i]
            column[n] = at
            n += line[at] > floor
    for j in range(GROUP * n_groups, len(line)):
        column[n] = j
        n += line[j] > floor
    return n


@_compiled
def _room(keys: Any) -> Any:
    """Return the scratch of :func:`_columns_above`."""
    n_groups = keys.shape[1] // GROUP
    highest, group = np.empty(n_groups, keys.dtype), np.empty(n_groups + 1, np.int32)
    return highest, group, np.empty(BUCKETS, np.int32)


@_compiled
def highest_of_rows(
    keys: Any, k: int, hint: int, slots: Any, count: Any, lowest: Any, start: int, stop: int
) -> None:
    """Select the ``k`` highest positive numbers of rows; see :mod:`sci_interp.sae.selection`."""
    n_features = keys.shape[1]
    room = _room(keys)
    column = np.empty(n_features + 1, np.int32)
    number = np.empty(n_features, np.int32)
    floor, zero = keys.dtype.type(hint), keys.dtype.type(0)
    for row in range(start, stop):
        line = keys[row]
        n = _columns_above(line, floor, k, room, number, column)
        if n < k and hint > 0:
            n = _columns_above(line, zero, k, room, number, column)
        if n <= k:
            last = line[column[0]] if n == k else zero
            for i in range(n):
                slots[row, i] = column[i]
                last = min(last, line[column[i]])
            count[row] = n
            lowest[row] = last
            continue
        for i in range(n):
            number[i] = line[column[i]]
        last = _kth_of_many(number, n, k, room[2])
        ties = k
        for i in range(n):
            ties -= line[column[i]] > last
        taken = 0
        for i in range(n):
            key = line[column[i]]
            if key > last or (key == last and ties > 0):
                ties -= key == last
                slots[row, taken] = column[i]
                taken += 1
        count[row] = k
        lowest[row] = last


@_compiled
def count_rows(keys: Any, floor: int, count: Any, start: int, stop: int) -> None:
    """Count the numbers above a floor in every row."""
    lowest = keys.dtype.type(floor)
    for row in range(start, stop):
        line = keys[row]
        n = np.int32(0)
        for j in range(keys.shape[1]):
            n += np.int32(line[j] > lowest)
        count[row] = n


@_compiled
def fill_above(
    keys: Any, floor: int, indptr: Any, feature: Any, found: Any, start: int, stop: int
) -> None:
    """Write columns and numbers above a floor of every row, from ``indptr`` on."""
    room, number = _room(keys), np.empty(0, np.int32)
    column = np.empty(keys.shape[1] + 1, np.int32)
    lowest = keys.dtype.type(floor)
    for row in range(start, stop):
        line = keys[row]
        n = _columns_above(line, lowest, len(line), room, number, column)
        at = indptr[row]
        for i in range(n):
            feature[at + i] = column[i]
            found[at + i] = line[column[i]]


@_compiled
def _ordered(key: Any) -> Any:
    """Return an integer that orders negative floats too (their bits count downwards)."""
    number = np.int32(key)
    return number if number >= 0 else number ^ np.int32(2147483647)


@_compiled
def _ordered_above(line: Any, floor: Any, room: Any, number: Any, column: Any) -> Any:
    """Do as :func:`_columns_above` for a floor that may be negative."""
    if floor >= 0:
        return _columns_above(line, line.dtype.type(floor), len(line), room, number, column)
    n = 0
    for j in range(len(line)):
        column[n] = j
        n += _ordered(line[j]) > floor
    return n


@_compiled
def find_ordered(keys: Any, floor: Any, slots: Any, count: Any, start: int, stop: int) -> None:
    """Count the numbers above the floor of each row, which may be negative.

    Their columns go into ``slots`` as far as these reach.
    """
    room, number = _room(keys), np.empty(0, np.int32)
    column = np.empty(keys.shape[1] + 1, np.int32)
    for row in range(start, stop):
        n = _ordered_above(keys[row], floor[row], room, number, column)
        count[row] = n
        slots[row, :n] = column[: min(n, slots.shape[1])]


@_compiled
def fill_ordered(
    keys: Any, floor: Any, slots: Any, indptr: Any, feature: Any, start: int, stop: int
) -> None:
    """Write the columns above the floor of each row from ``indptr`` on; slots hold most of them."""
    room, number = _room(keys), np.empty(0, np.int32)
    column = np.empty(keys.shape[1] + 1, np.int32)
    for row in range(start, stop):
        first, last = indptr[row], indptr[row + 1]
        if last - first <= slots.shape[1]:
            feature[first:last] = slots[row, : last - first]
        else:
            _ordered_above(keys[row], floor[row], room, number, column)
            feature[first:last] = column[: last - first]


@_compiled
def keep_highest(indptr: Any, value: Any, k: int, kept: Any, start: int, stop: int) -> None:
    """Mark the ``k`` highest positive values of compressed rows."""
    for row in range(start, stop):
        first, n = indptr[row], indptr[row + 1] - indptr[row]
        number = value[first : first + n].copy()
        last = _kth_highest(number, n, k) if n > k else np.float32(0.0)
        ties = k
        for i in range(n):
            ties -= value[first + i] > last
        for i in range(n):
            here = value[first + i]
            if here > last:
                kept[first + i] = here > 0
            elif here == last and ties > 0:
                ties -= 1
                kept[first + i] = here > 0
