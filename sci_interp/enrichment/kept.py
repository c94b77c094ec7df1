"""Slices that are read again and again: the first that are read stay in memory."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["KeptSlices"]

Slice = TypeVar("Slice")


class KeptSlices(Generic[Slice]):
    """Token ranges with what is annotated there, as long as they fit; several threads may ask.

    Parameters
    ----------
    read
        Reads a slice, whose attributes are arrays.
    most_bytes
        Memory of those that are kept; others are read again.
    """

    def __init__(self, read: Callable[[int, int], Slice], *, most_bytes: int) -> None:
        self._read = read
        self._free = most_bytes
        self._slices: dict[tuple[int, int], Slice] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._slices)

    def get(self, start: int, stop: int) -> Slice:
        """Return the slice ``start:stop``; what is kept is read-only."""
        with self._lock:
            found = self._slices.get((start, stop))
            if found is None:
                found = self._read(start, stop)
                columns = list(vars(found).values())
                n_bytes = sum(column.nbytes for column in columns)
                if n_bytes <= self._free:
                    self._free -= n_bytes
                    for column in columns:
                        column.flags.writeable = False
                    self._slices[start, stop] = found
            return found
