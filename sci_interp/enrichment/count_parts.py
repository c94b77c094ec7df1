"""Counts as a part on disk: which cells are not zero, a bit each, and the numbers in them.

Counts of some records are sparse, and counts of many parts are added up: one part is in memory at a
time, and it is added where it belongs without being made dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import StoreError
from sci_interp.shards import read_group, write_group

from .counts import Counts
from .kernel import compiled

__all__ = ["COUNTS_GROUP", "add_counts", "write_counts"]

Bits = NDArray[np.uint8]
Integers = NDArray[np.signedinteger]

#: The Zarr group in the folder of a part.
COUNTS_GROUP: Final = "counts"
#: One dimension an array.
DIMENSIONS: Final = {"occupied": "eight_cells", "number": "occupied_cell"}


def write_counts(folder: Path, counts: Counts, *, active: bool) -> dict[str, str]:
    """Write counts durably, and return the SHA-256 of the files by path inside the folder.

    Parameters
    ----------
    folder
        Of the part.
    counts
        The counts; none is negative.
    active
        Whether what is the same for all labels is among them.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    pieces = _pieces(counts, active)
    bits = [np.empty(-(-len(piece) // 8), np.uint8) for piece in pieces]
    n_cells = [_mark(piece, marks) for piece, marks in zip(pieces, bits, strict=True)]
    # No sum reaches what its histogram cannot hold.
    number = np.empty(sum(n_cells), counts.tokens.dtype)
    at = 0
    for piece, n in zip(pieces, n_cells, strict=True):
        _gather(piece, number[at : at + n])
        at += n
    arrays = {"occupied": np.concatenate(bits), "number": number}
    return write_group(folder, COUNTS_GROUP, arrays, DIMENSIONS)


def add_counts(group: Path, counts: Counts, *, active: bool) -> None:
    """Add the counts that :func:`write_counts` wrote, in place.

    Parameters
    ----------
    group
        The Zarr group of the part.
    counts
        Of the same labels, groups, features and bins.
    active
        As it was written.

    Raises
    ------
    StoreError
        If it cannot be read, or holds counts of another shape.
    """
    arrays = read_group(group, list(DIMENSIONS))
    pieces = _pieces(counts, active)
    _require_shape(group, arrays, pieces)
    bit = cell = 0
    for piece in pieces:
        n_bytes = -(-len(piece) // 8)
        cell += _scatter(arrays["occupied"][bit : bit + n_bytes], arrays["number"][cell:], piece)
        bit += n_bytes


def _pieces(counts: Counts, active: bool) -> list[Integers]:
    """Return views of all numbers, in the order of the file."""
    found: list[Integers] = [counts.tokens, counts.instances, counts.n_positive, counts.n_instances]
    if active:
        found += [counts.active, counts.entries, counts.n_known]
    return [array.reshape(-1) for array in found]


def _require_shape(group: Path, arrays: Mapping[str, NDArray[Any]], pieces: list[Integers]) -> None:
    """Refuse what would be added to other cells."""
    occupied, number = arrays["occupied"], arrays["number"]
    fits = len(occupied) == sum(-(-len(piece) // 8) for piece in pieces)
    fits = fits and occupied.dtype == np.uint8 and number.dtype.kind == "i"
    if not fits or _count_bits(occupied) != len(number) or not _ends_inside(occupied, pieces):
        raise StoreError(
            f"{group} holds counts of another shape", todo="Delete it, and run the command again"
        )


def _ends_inside(occupied: Bits, pieces: list[Integers]) -> bool:
    """Return whether no bit behind the last cell of a piece is set."""
    ends = np.cumsum([-(-len(piece) // 8) for piece in pieces])
    spare = [(-len(piece)) % 8 for piece in pieces]
    return not any(occupied[end - 1] >> (8 - n) for end, n in zip(ends, spare, strict=True) if n)


@compiled
def _mark(cells: Integers, bits: Bits) -> int:
    """Set a bit for every cell that is not zero, and return how many there are."""
    n_set = 0
    for byte in range(len(bits)):
        word = 0
        for bit in range(min(8, len(cells) - 8 * byte)):
            if cells[8 * byte + bit] != 0:
                word |= 1 << bit
                n_set += 1
        bits[byte] = word
    return n_set


@compiled
def _gather(cells: Integers, number: Integers) -> None:
    """Write the numbers that are not zero one after another."""
    at = 0
    for cell in range(len(cells)):
        if cells[cell] != 0:
            number[at] = cells[cell]
            at += 1


@compiled
def _scatter(bits: Bits, number: Integers, cells: Integers) -> int:
    """Add the numbers to the cells whose bits are set, and return how many there are."""
    at = 0
    for byte in range(len(bits)):
        if bits[byte] == 0:
            continue
        for bit in range(8):
            if bits[byte] >> bit & 1:
                cells[8 * byte + bit] += number[at]
                at += 1
    return at


@compiled
def _count_bits(bits: Bits) -> int:
    n_set = 0
    for byte in range(len(bits)):
        word = bits[byte]
        while word:
            n_set += word & 1
            word >>= 1
    return n_set
