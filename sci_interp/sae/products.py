"""Compiled products over the active entries of compressed rows, four entries at a time.

A table row that four entries share is in the first cache then. Sums may be reordered by the
compiler (``reassoc``), but every entry goes through the same instructions wherever it stands: the
last entries of a row are filled up to four.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

__all__ = ["combine", "dots", "drop_parallel", "reconstruct", "transpose"]

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
)


@_compiled
def _dots_of_row(given: Any, table: Any, feature: Any, first: int, last: int, product: Any) -> None:
    """Put ``given . table[feature]`` of the entries ``first:last`` into ``product``."""
    i = first
    while i < last:
        a = table[feature[i]]
        b = table[feature[min(i + 1, last - 1)]]
        c = table[feature[min(i + 2, last - 1)]]
        d = table[feature[min(i + 3, last - 1)]]
        of_a = of_b = of_c = of_d = np.float32(0.0)
        for j in range(len(given)):
            x = given[j]
            of_a += x * a[j]
            of_b += x * b[j]
            of_c += x * c[j]
            of_d += x * d[j]
        product[i] = of_a
        if i + 1 < last:
            product[i + 1] = of_b
        if i + 2 < last:
            product[i + 2] = of_c
        if i + 3 < last:
            product[i + 3] = of_d
        i += 4


@_compiled
def _add_to_row(made: Any, table: Any, feature: Any, value: Any, first: int, last: int) -> None:
    """Add ``value * table[feature]`` of the entries ``first:last`` to ``made``."""
    i = first
    while i + 4 <= last:
        a, b = table[feature[i]], table[feature[i + 1]]
        c, d = table[feature[i + 2]], table[feature[i + 3]]
        of_a, of_b, of_c, of_d = value[i], value[i + 1], value[i + 2], value[i + 3]
        for j in range(len(made)):
            made[j] += of_a * a[j] + of_b * b[j] + of_c * c[j] + of_d * d[j]
        i += 4
    while i < last:
        a = table[feature[i]]
        for j in range(len(made)):
            made[j] += value[i] * a[j]
        i += 1


@_compiled
def dots(
    indptr: Any, feature: Any, left: Any, right: Any, product: Any, start: int, stop: int
) -> None:
    """Put ``left[row] . right[feature]`` of every entry into ``product``."""
    for row in range(start, stop):
        _dots_of_row(left[row], right, feature, indptr[row], indptr[row + 1], product)


@_compiled
def combine(
    indptr: Any, feature: Any, value: Any, table: Any, made: Any, start: int, stop: int
) -> None:
    """Put the sum of ``value * table[feature]`` over the entries of every row into ``made``."""
    total = np.empty(table.shape[1], np.float32)
    for row in range(start, stop):
        total[:] = 0.0
        _add_to_row(total, table, feature, value, indptr[row], indptr[row + 1])
        made[row] = total


@_compiled
def reconstruct(
    indptr: Any,
    feature: Any,
    value: Any,
    table: Any,
    bias: Any,
    target: Any,
    error: Any,
    slope: Any,
    squared: Any,
    start: int,
    stop: int,
) -> None:
    """Reconstruct rows and go back while their table rows are in the cache.

    ``error`` is reconstruction plus bias minus target, ``slope`` its product with the table row of
    every entry, ``squared`` the square of its length.
    """
    total = np.empty(table.shape[1], np.float32)
    for row in range(start, stop):
        total[:] = bias - target[row]
        first, last = indptr[row], indptr[row + 1]
        _add_to_row(total, table, feature, value, first, last)
        _dots_of_row(total, table, feature, first, last, slope)
        error[row] = total
        length = np.float32(0.0)
        for j in range(len(total)):
            length += total[j] * total[j]
        squared[row] = length


@_compiled
def drop_parallel(gradient: Any, table: Any, start: int, stop: int) -> None:
    """Take from every gradient row its part along the table's unit row."""
    for row in range(start, stop):
        slope, unit = gradient[row], table[row]
        along = np.float32(0.0)
        for j in range(len(slope)):
            along += slope[j] * unit[j]
        for j in range(len(slope)):
            slope[j] -= along * unit[j]


@_compiled
def transpose(indptr: Any, feature: Any, at: Any, row_of: Any, entry_of: Any) -> None:
    """Sort entries by feature, then row; ``at`` holds each feature's first place, and is used."""
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            place = at[feature[i]]
            row_of[place] = row
            entry_of[place] = i
            at[feature[i]] = place + 1
