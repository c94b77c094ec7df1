"""Whole records in stretches of bounded size, and what a stretch holds as sparse matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.schema import Split

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "Stretch",
    "block_of_records",
    "entries",
    "indicator",
    "split_stretches",
    "stretches",
    "windows_per_block",
]

#: Tokens read at a time; memory scales with it and with nothing else.
STRETCH_TOKENS = 16_384


@dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive whole records.

    Attributes
    ----------
    first, last : int
        Half-open range of records.
    start, stop : int
        Half-open range of tokens.
    record : (n_tokens,) int64
        Record of every token.
    block : (n_tokens,) int64
        Block of every token.
    weight : (n_tokens,) float64
        Weight of every token.
    """

    first: int
    last: int
    start: int
    stop: int
    record: NDArray[np.int64]
    block: NDArray[np.int64]
    weight: NDArray[np.float64]

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return self.stop - self.start


def stretches(
    axis: TokenAxis, first: int, last: int, *, n_tokens: int | None = None
) -> Iterator[Stretch]:
    """Yield the records ``first:last`` in stretches of at most ``n_tokens``, one record at least.

    Parameters
    ----------
    axis
        The records.
    first, last
        Half-open range of records.
    n_tokens
        Largest stretch, ``STRETCH_TOKENS`` by default; a record that is longer comes whole.
    """
    n_tokens = n_tokens or STRETCH_TOKENS
    starts = axis.record_starts
    block_of_record = block_of_records(axis)
    while first < last:
        fits = int(np.searchsorted(starts, starts[first] + n_tokens, "right")) - 1
        stop = min(max(fits, first + 1), last)
        lengths = np.diff(starts[first : stop + 1])
        record = np.repeat(np.arange(first, stop), lengths)
        yield Stretch(
            first,
            stop,
            int(starts[first]),
            int(starts[stop]),
            record,
            block_of_record[record],
            axis.family_weights(int(starts[first]), int(starts[stop])),
        )
        first = stop


def block_of_records(axis: TokenAxis) -> NDArray[np.int64]:
    """Return the number of the block of every record ``(n_records,)``."""
    return np.repeat(np.arange(len(axis.block_starts) - 1), np.diff(axis.block_starts))


def windows_per_block(axis: TokenAxis, n_windows: int) -> int:
    """Return how many of ``n_windows`` alike may come from one block: one, of grids more."""
    n_blocks = len(axis.block_starts) - 1
    return max(1, 2 * n_windows // n_blocks) if len(axis.step_weights) > 1 else 1


def split_stretches(
    axis: TokenAxis, splits: Sequence[Split], *, n_tokens: int | None = None
) -> Iterator[Stretch]:
    """Yield the records of neighbouring splits in stretches; see :func:`stretches`."""
    return stretches(axis, *axis.record_range(splits), n_tokens=n_tokens)


def entries(codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return token, feature and value of every entry of ``codes``, each ``(n_entries,)``."""
    token = np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr))
    return token, codes.feature.astype(np.int64), codes.value


def indicator(
    row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int]
) -> csr_array:
    """Return a sparse matrix ``shape`` of float64 ones at the given, possibly repeated, places."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(len(row)), (row, column)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
