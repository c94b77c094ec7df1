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
from numpy.typing import NDArray

from . import scans

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

#: Rows that a first guess of a floor is taken from.
SAMPLE_ROWS = 64
#: Columns of a row that are kept on the way; of rows with more, a second look finds them again.
SLOTS = 256
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
    over_rows(scans.highest_of_rows, n_rows, keys, k, hint, slots, count, lowest)
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
    hint = hint or _guess(keys, n_entries)
    indptr = _count_above(keys, hint)
    if hint > 0 and indptr[-1] < n_entries:
        hint, indptr = 0, _count_above(keys, 0)
    feature = np.empty(indptr[-1], np.int64)
    found = np.empty(indptr[-1], np.int32)
    over_rows(scans.fill_above, len(keys), keys, hint, indptr, feature, found)
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
    slots = np.empty((len(keys), SLOTS), np.int32)
    over_rows(scans.find_ordered, len(keys), keys, edge, slots, count)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    feature = np.empty(indptr[-1], np.int64)
    over_rows(scans.fill_ordered, len(keys), keys, edge, slots, indptr, feature)
    return indptr, feature


def keep_highest(
    indptr: NDArray[np.int64], value: NDArray[np.float32], k: int
) -> NDArray[np.bool_]:
    """Mark the ``k`` highest positive values of every compressed row; the first of equal ones."""
    kept = np.zeros(len(value), np.bool_)
    over_rows(scans.keep_highest, len(indptr) - 1, indptr, value, k, kept)
    return kept


def loosened(lowest: int, dtype: torch.dtype) -> int:
    """Return a hint about 15 % below the lowest key that was selected last."""
    return max(0, lowest - (1 << (_MANTISSA_BITS[dtype] - 2)))


def _guess(keys: Keys, n_entries: int) -> int:
    """Return a key that about half as many again as ``n_entries`` exceed in a sample of rows."""
    some = keys[:: max(1, len(keys) // SAMPLE_ROWS)]
    positive = some[some > 0]
    wanted = int(1.5 * n_entries * len(some) / max(1, len(keys)))
    if len(positive) <= wanted:
        return 0
    place = len(positive) - 1 - wanted
    return int(np.partition(positive, place)[place])


def _filled(slots: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    k = slots.shape[1]
    if int(count.min(initial=k)) == k:
        return slots.reshape(-1)
    return slots[np.arange(k) < count[:, None]]


def _count_above(keys: Keys, floor: int) -> NDArray[np.int64]:
    indptr = np.zeros(len(keys) + 1, np.int64)
    over_rows(scans.count_rows, len(keys), keys, floor, indptr[1:])
    np.cumsum(indptr, out=indptr)
    return indptr


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="selection")


def over_rows(kernel: Callable[..., None], n_rows: int, *arguments: Any, n_least: int = 64) -> None:
    """Run a kernel on as many row ranges as torch has threads; rows are independent.

    The kernel's last two arguments are the first row and the one after the last. No range has
    fewer than ``n_least`` rows, unless there are fewer in all.
    """
    n_threads = min(torch.get_num_threads(), max(1, n_rows // n_least))
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
