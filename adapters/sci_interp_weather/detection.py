"""What a detector of phenomena says of one time, and how it reads fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label

from .fields import Fields

__all__ = [
    "EVERYTHING_UNKNOWN",
    "Detector",
    "FieldReader",
    "Found",
    "Instance",
    "place_key",
    "remember_last",
]

_T = TypeVar("_T")
_CHUNK_BYTES: Final = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Instance:
    """One occurrence of a phenomenon at one time.

    Attributes
    ----------
    label, key : str
        Its label, and what tells it from others of the label at this time.
    cells : (n_cells,) int64 or None
        Its area on the fields' grid, ``row * n_lon + column``; None for a point.
    point : (latitude, longitude) or None
        Where it is, for a point.
    event : str
        The event it belongs to; empty for one of its own.
    """

    label: str
    key: str
    cells: NDArray[np.int64] | None = None
    point: tuple[float, float] | None = None
    event: str = ""


@dataclass(frozen=True, eq=False)
class Found:
    """All that a detector knows of one time.

    Attributes
    ----------
    instances : tuple of Instance
        What it found.
    unknown : (n_lat, n_lon) bool or None
        Where it cannot tell; None for nowhere.
    assessed : bool
        False where it knows nothing of this time.
    everywhere : tuple of (label, event)
        Labels of the whole time rather than of places.
    """

    instances: tuple[Instance, ...] = ()
    unknown: NDArray[np.bool_] | None = None
    assessed: bool = True
    everywhere: tuple[tuple[str, str], ...] = ()


EVERYTHING_UNKNOWN: Final = Found(assessed=False)


class Detector(Protocol):
    """Finds the phenomena of one label group."""

    @property
    def group(self) -> str:
        """The group."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Its labels."""

    @property
    def state(self) -> str:
        """Everything beside the fields that the result depends on."""

    def find(self, index: int) -> Found:
        """Return what there is at one time of the fields."""


def place_key(latitude: float, longitude: float) -> str:
    """Return a key such as ``54.00N 0.00E``.

    >>> place_key(-12.5, 190.0)
    '12.50S 170.00W'
    """
    east = (longitude + 180.0) % 360.0 - 180.0
    north_south, east_west = "S" if latitude < 0 else "N", "W" if east < 0 else "E"
    return f"{abs(latitude):.2f}{north_south} {abs(east):.2f}{east_west}"


def remember_last(function: Callable[[int], _T], n: int = 4) -> Callable[[int], _T]:
    """Return ``function`` with its last ``n`` results kept: labels of one time ask together."""
    remembered: Any = lru_cache(maxsize=n)(function)
    return remembered  # type: ignore[no-any-return]


class FieldReader:
    """Reads single times, a chunk of neighbouring ones at once.

    Parameters
    ----------
    fields
        Where to read.
    strict
        Refuse missing and infinite values, where nothing could be unknown.
    """

    def __init__(self, fields: Fields, *, strict: bool = False) -> None:
        self._fields = fields
        self._strict = strict
        n_bytes = 4 * int(np.prod(fields.grid.shape))
        self._n = max(1, min(512, _CHUNK_BYTES // n_bytes))
        self._held: dict[str, tuple[int, NDArray[np.float32]]] = {}

    def at(self, name: str, index: int) -> NDArray[np.float32]:
        """Return one variable at one time ``(n_lat, n_lon)``, NaN where it is missing or infinite.

        Detectors know nothing there; what the network reads is refused where it is read.

        Raises
        ------
        InputError
            If a strict reader finds such a value.
        """
        start = index - index % self._n
        if name not in self._held or self._held[name][0] != start:
            stop = min(start + self._n, len(self._fields))
            self._held[name] = (start, self._read(name, slice(start, stop)))
        held = self._held[name][1]
        return np.asarray(held[index - start])

    def _read(self, name: str, part: slice) -> NDArray[np.float32]:
        if self._strict:
            return self._fields.read(name, part)
        read = self._fields.read(name, part, allow_missing=True)
        return np.where(np.isfinite(read), read, np.float32(np.nan))
