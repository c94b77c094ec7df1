"""Which features of a token are on: compiled selection over rows of pre-activations.

Pre-activations arrive as bfloat16 or float32 and are compared as integers of the same bits: for
positive numbers both orders agree. Every routine takes a ``hint``, a key below which candidates are
first skipped; it changes the time a selection takes and never its result.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "above",
    "as_numbers",
    "highest_of_all",
    "highest_of_rows",
    "keep_highest",
    "loosened",
    "over_rows",
]

#: Order-preserving integers of positive floats, ``(n_rows, n_features)``.
Keys: TypeAlias = NDArray[np.int16] | NDArray[np.int32]

#: Columns of a row that are skipped together.
GROUP = 8
#: Counters of the search for a k-th highest number.
BUCKETS = 1024
_MANTISSA_BITS = {torch.bfloat16: 7, torch.float32: 23}


def as_keys(pre: torch.Tensor) -> Keys:
    """Return a view of bfloat16 or float32 numbers as integers of the same bits."""
    kind = torch.int16 if pre.dtype == torch.bfloat16 else torch.int32
    keys: Keys = pre.view(kind).numpy()
    return keys


def as_numbers(keys: NDArray[np.int32] | int, dtype: torch.dtype) -> torch.Tensor:
    """Return the float32 numbers that keys of ``dtype`` stand for."""
    kind = torch.int16 if dtype == torch.bfloat16 else torch.int32
    return torch.as_tensor(keys).to(kind).view(dtype).float()


def highest_of_rows(
    pre: torch.Tensor, k: int, hint: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Select the ``k`` highest positive numbers of every row.

    Parameters
    ----------
    pre : (n_rows, n_features) bfloat16 or float32
        Pre-activations.
    k
        Entries of a row; of equal numbers the first columns are taken.
    hint
        Key from which candidates are sought first.

    Returns
    -------
    indptr : (n_rows + 1,) int64
        Compressed rows.
    feature : (n_entries,) int64
        Columns, ascending inside a row.
    lowest : (n_rows,) int32
        Key of the last one taken; 0 where a row has fewer than ``k`` positive numbers.
    """
    keys = as_keys(pre)
    n_rows, k = len(keys), min(k, keys.shape[1])
    slots = np.empty((n_rows, k), np.int64)
    count = np.empty(n_rows, np.int64)
    lowest = np.empty(n_rows, np.int32)
    over_rows(_highest_of_rows, n_rows, keys, k, hint, slots, count, lowest)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    return indptr, _filled(slots, count), lowest


def highest_of_all(
    pre: torch.Tensor, n_entries: int, hint: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Select the ``n_entries`` highest positive numbers of a whole batch.

    Returns
    -------
    indptr, feature
        Compressed rows as in :func:`highest_of_rows`; equal numbers are taken in reading order.
    lowest : int
        Key of the last one taken; 0 where the batch has fewer positive numbers.
    """
    keys = as_keys(pre)
    indptr = _count_above(keys, hint)
    if hint > 0 and indptr[-1] < n_entries:
        hint, indptr = 0, _count_above(keys, 0)
    feature = np.empty(indptr[-1], np.int64)
    found = np.empty(indptr[-1], np.int32)
    over_rows(_fill_above, len(keys), keys, hint, indptr, feature, found)
    if len(found) <= n_entries:
        return indptr, feature, 0
    lowest = int(np.partition(found, len(found) - n_entries)[len(found) - n_entries])
    kept = found > lowest
    ties = np.flatnonzero(found == lowest)
    kept[ties[: n_entries - int(kept.sum())]] = True
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return before[indptr], feature[kept], lowest


def above(pre: torch.Tensor, floor: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Select everything at or above a floor of each row, which may be negative.

    Parameters
    ----------
    pre : (n_rows, n_features) bfloat16 or float32
        Pre-activations.
    floor : (n_rows,) float32
        Floors, rounded to the precision of ``pre``; a negative zero counts as below zero.
    """
    keys = as_keys(pre)
    edge = as_keys(floor.to(pre.dtype)).astype(np.int32)
    edge = np.where(edge < 0, edge ^ np.int32(2147483647), edge) - 1
    count = np.empty(len(keys), np.int64)
    over_rows(_count_ordered, len(keys), keys, edge, count)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    feature = np.empty(indptr[-1], np.int64)
    over_rows(_fill_ordered, len(keys), keys, edge, indptr, feature)
    return indptr, feature


def keep_highest(
    indptr: NDArray[np.int64], value: NDArray[np.float32], k: int
) -> NDArray[np.bool_]:
    """Mark the ``k`` highest positive values of every compressed row; the first of equal ones."""
    kept = np.zeros(len(value), np.bool_)
    over_rows(_keep_highest, len(indptr) - 1, indptr, value, k, kept)
    return kept


def loosened(lowest: int, dtype: torch.dtype) -> int:
    """Return a hint about 15 % below the lowest key that was selected last."""
    return max(0, lowest - (1 << (_MANTISSA_BITS[dtype] - 2)))


def _filled(slots: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    k = slots.shape[1]
    if int(count.min(initial=k)) == k:
        return slots.reshape(-1)
    return slots[np.arange(k) < count[:, None]]


def _count_above(keys: Keys, floor: int) -> NDArray[np.int64]:
    indptr = np.zeros(len(keys) + 1, np.int64)
    over_rows(_count_rows, len(keys), keys, floor, indptr[1:])
    np.cumsum(indptr, out=indptr)
    return indptr


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="selection")


def over_rows(kernel: Callable[..., None], n_rows: int, *arguments: Any) -> None:
    """Run a kernel on as many row ranges as torch has threads; rows are independent.

    The kernel's last two arguments are the first row and the one after the last.
    """
    n_threads = min(torch.get_num_threads(), max(1, n_rows // 64))
    if n_threads == 1:
        kernel(*arguments, 0, n_rows)
        return
    edges = np.linspace(0, n_rows, n_threads + 1).astype(np.int64)
    jobs = [
        _pool(n_threads).submit(kernel, *arguments, start, stop)
        for start, stop in pairwise(edges.tolist())
    ]
    for job in jobs:
        job.result()


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
def _highest_of_rows(
    keys: Any, k: int, hint: int, slots: Any, count: Any, lowest: Any, start: int, stop: int
) -> None:
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
def _count_rows(keys: Any, floor: int, count: Any, start: int, stop: int) -> None:
    lowest = keys.dtype.type(floor)
    for row in range(start, stop):
        line = keys[row]
        n = np.int32(0)
        for j in range(keys.shape[1]):
            n += np.int32(line[j] > lowest)
        count[row] = n


@_compiled
def _fill_above(
    keys: Any, floor: int, indptr: Any, feature: Any, found: Any, start: int, stop: int
) -> None:
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
def _ordered_above(line: Any, floor: Any, room: Any, number: Any, column: Any) -> int:
    """Do as :func:`_columns_above` for a floor that may be negative."""
    if floor >= 0:
        return _columns_above(line, line.dtype.type(floor), len(line), room, number, column)
    n = 0
    for j in range(len(line)):
        column[n] = j
        n += _ordered(line[j]) > floor
    return n


@_compiled
def _count_ordered(keys: Any, floor: Any, count: Any, start: int, stop: int) -> None:
    room, number = _room(keys), np.empty(0, np.int32)
    column = np.empty(keys.shape[1] + 1, np.int32)
    for row in range(start, stop):
        count[row] = _ordered_above(keys[row], floor[row], room, number, column)


@_compiled
def _fill_ordered(keys: Any, floor: Any, indptr: Any, feature: Any, start: int, stop: int) -> None:
    room, number = _room(keys), np.empty(0, np.int32)
    column = np.empty(keys.shape[1] + 1, np.int32)
    for row in range(start, stop):
        n = _ordered_above(keys[row], floor[row], room, number, column)
        feature[indptr[row] : indptr[row] + n] = column[:n]


@_compiled
def _keep_highest(indptr: Any, value: Any, k: int, kept: Any, start: int, stop: int) -> None:
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
