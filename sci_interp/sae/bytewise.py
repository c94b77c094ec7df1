"""The dense product in 8-bit arithmetic: about half the time of bfloat16 where both are native.

A token becomes signed bytes with a unit of its own, an encoder row unsigned ones. Their sums are
exact integers, which depend on neither the order of the sum nor the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numba import njit

from .selection import over_rows
from .tiles import FEATURES, ROWS, WORD, tile
from .weights import Weights

__all__ = ["Bytes"]

#: Largest number that a byte holds on either side of zero.
LARGEST = 127
#: What an unsigned byte of a packed row holds for zero.
MIDDLE = 128
#: Rows that go through all features before the next ones: they stay in the nearest cache.
BLOCK = 16 * ROWS

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz", "reassoc"}
)


class Bytes:
    """An encoder in 8-bit numbers.

    Parameters
    ----------
    weights
        The parameters, of at least 64 features; :meth:`refresh` follows their changes.

    Attributes
    ----------
    unit : (n_features,) float32
        Distance between neighbouring 8-bit numbers of every encoder row.
    lost : (n_features,) float32
        Length of what rounding took from every encoder row.
    """

    #: Rows that the result has room for at least.
    FEWEST: ClassVar[int] = ROWS

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._n_words = -(-weights.width // WORD)
        last = weights.n_features - FEATURES
        starts = [*range(0, last, FEATURES), last]
        self._starts = np.array(starts, np.int64)
        self._packed = np.zeros((len(starts), self._n_words, FEATURES), np.uint32)
        self.unit, self.lost = torch.empty(weights.n_features), torch.empty(weights.n_features)
        self._rows = np.empty((0, 0), np.int8)
        self.refresh()

    def refresh(self) -> None:
        """Copy the weights after a step."""
        made = (self._packed, self.unit.numpy(), self.lost.numpy())
        encoder = self._weights.encoder.numpy()
        over_rows(_pack, len(self._starts), encoder, self._starts, *made, n_least=2)

    def product(self, rows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Put ``rows @ encoder.T + encoder_bias`` into ``out``.

        Parameters
        ----------
        rows : (n_rows, width) float32
            Finite numbers.
        out : (n_rows or more, n_features) bfloat16
            With room for at least six rows; what is behind the rows is not kept.

        Returns
        -------
        lost : (n_rows,) float32
            Length of what rounding took from every row.
        """
        n_rows = max(self.FEWEST, len(rows))
        if len(self._rows) < n_rows:
            self._rows = np.zeros((n_rows, WORD * self._n_words), np.int8)
        unit, lost = np.zeros(n_rows, np.float32), np.zeros(n_rows, np.float32)
        total = np.zeros(n_rows, np.int32)
        over_rows(_to_bytes, len(rows), rows.numpy(), self._rows, unit, lost, total)
        factors = (unit, total, self.unit.numpy(), self._weights.encoder_bias.numpy())
        packed = (self._starts, self._packed)
        given = (self._rows, *factors, *packed, out.view(torch.int16).numpy())
        over_rows(_multiply, n_rows, *given)
        return torch.from_numpy(lost[: len(rows)])


@_compiled
def _largest(line: Any) -> Any:
    found = np.float32(0.0)
    for j in range(len(line)):
        found = max(found, abs(line[j]))
    return found


@_compiled
def _round_line(line: Any, made: Any, middle: Any) -> Any:
    """Round a line to bytes around ``middle``; return unit, length lost and sum of the bytes."""
    largest = _largest(line)
    unit = largest / np.float32(LARGEST)
    factor = np.float32(LARGEST) / largest if largest > 0 else np.float32(0.0)
    total, lost = np.int32(0), np.float32(0.0)
    for j in range(len(line)):
        number = np.rint(line[j] * factor)
        made[j] = np.int32(number) + middle
        total += np.int32(number)
        lost += (line[j] - number * unit) ** 2
    return unit, np.sqrt(lost), total


@_compiled
def _to_bytes(
    rows: Any, made: Any, unit: Any, lost: Any, total: Any, start: int, stop: int
) -> None:
    """Round rows to signed bytes; ``total`` is what the offset of packed bytes adds to sums."""
    for row in range(start, stop):
        unit[row], lost[row], whole = _round_line(rows[row], made[row], np.int32(0))
        total[row] = np.int32(MIDDLE) * whole


@_compiled
def _pack(
    encoder: Any, starts: Any, packed: Any, unit: Any, lost: Any, start: int, stop: int
) -> None:
    """Round encoder rows to unsigned bytes, words of a tile's features side by side."""
    number = np.zeros(packed.shape[1] * WORD, np.uint8)
    words = number.view(np.uint32)
    for panel in range(start, stop):
        for f in range(FEATURES):
            at = starts[panel] + f
            unit[at], lost[at], _ = _round_line(encoder[at], number, np.int32(MIDDLE))
            for word in range(len(words)):
                packed[panel, word, f] = words[word]


@_compiled
def _multiply(
    rows: Any,
    row_unit: Any,
    row_total: Any,
    unit: Any,
    bias: Any,
    starts: Any,
    packed: Any,
    out: Any,
    start: int,
    stop: int,
) -> None:
    """Multiply tile by tile; the last rows of a range are computed twice where tiles overlap."""
    n_words, n_features = packed.shape[1], out.shape[1]
    stride = rows.shape[1]
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        for panel in range(len(starts)):
            column = starts[panel]
            for begin in range(first, last, ROWS):
                row = min(begin, stop - ROWS)
                tile(
                    rows.ctypes.data + row * stride,
                    stride,
                    packed.ctypes.data + panel * n_words * FEATURES * WORD,
                    n_words,
                    row_unit.ctypes.data + 4 * row,
                    row_total.ctypes.data + 4 * row,
                    unit.ctypes.data + 4 * column,
                    bias.ctypes.data + 4 * column,
                    out.ctypes.data + 2 * (row * n_features + column),
                    2 * n_features,
                )
