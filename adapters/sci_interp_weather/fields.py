"""Fields of one grid and one time axis, read a few times at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sci_interp.errors import InputError, UnknownNameError

from .grids import Grid
from .times import Times, hours_since, most_common_step, runs_of, time_labels

__all__ = ["DEFAULT_LIMIT", "Fields", "Reader"]

#: Bytes that one read may take, unless the user allows more.
DEFAULT_LIMIT = 2**31
#: Reads the fields at ascending indices ``(n,)``: float32 ``(n, n_lat, n_lon)`` of a grid.
Reader: TypeAlias = "Callable[[NDArray[np.int64]], NDArray[np.float32]]"
_DIGEST_BLOCK = 64 * 2**20


class Fields:
    """Fields in one orientation and in canonical units, whatever file they come from.

    Parameters
    ----------
    grid
        Where they lie.
    times
        When they hold, ascending.
    readers
        What reads them, by canonical name (``"msl"``, ``"z500"``), already in the orientation of
        ``grid`` and in the unit that :data:`~sci_interp_weather.lexicon.QUANTITIES` names.
    static
        Fields without a time ``(n_lat, n_lon)``: ``"lsm"`` (0 to 1), ``"orography"`` (m).
    allow_missing
        Whether NaN is passed on instead of refused.
    limit
        Bytes that one :meth:`read` may return.

    Raises
    ------
    InputError
        If there is no time or no variable, or times are repeated or not ascending.
    """

    def __init__(
        self,
        grid: Grid,
        times: Times,
        readers: Mapping[str, Reader],
        static: Mapping[str, NDArray[np.float32]],
        *,
        allow_missing: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        if len(times) == 0 or not readers:
            raise InputError(
                "there are no fields", todo="Check the selection of times and variables"
            )
        if np.any(np.diff(hours_since(times)) <= 0):
            raise InputError(
                "a time occurs twice, or the times are not ascending",
                todo="Sort the times and leave out the repeated ones",
            )
        self.grid = grid
        self.times = times
        self.static = dict(static)
        self._readers = dict(readers)
        self._allow_missing = allow_missing
        self._limit = limit

    @classmethod
    def from_arrays(
        cls,
        grid: Grid,
        times: Times,
        values: Mapping[str, ArrayLike],
        *,
        static: Mapping[str, ArrayLike] | None = None,
        allow_missing: bool = False,
    ) -> Fields:
        """Return fields held in memory: ``(n, n_lat, n_lon)`` in canonical form and units.

        Raises
        ------
        InputError
            If an array does not have the shape of the times and the grid.
        """
        held = {
            name: _fitting(array, (len(times), *grid.shape), name) for name, array in values.items()
        }
        return cls(
            grid,
            times,
            {name: array.__getitem__ for name, array in held.items()},
            {name: _fitting(array, grid.shape, name) for name, array in (static or {}).items()},
            allow_missing=allow_missing,
        )

    @property
    def allows_missing(self) -> bool:
        """Whether missing values are meant, and passed on."""
        return self._allow_missing

    @property
    def variables(self) -> tuple[str, ...]:
        """Canonical names, in the order they were asked for."""
        return tuple(self._readers)

    @cached_property
    def time_labels(self) -> tuple[str, ...]:
        """ISO time of every field, such as ``2009-12-17T00``."""
        return time_labels(self.times)

    @cached_property
    def step(self) -> pd.Timedelta:
        """The most common spacing of the times; 0 where there is only one."""
        return most_common_step(self.times)

    def __len__(self) -> int:
        return len(self.times)

    def has(self, name: str) -> bool:
        """Tell whether there is a variable of this canonical name."""
        return name in self._readers

    def index_of(self, label: str) -> int:
        """Return the position of a time label.

        Raises
        ------
        UnknownNameError
            If there is no such time.
        """
        try:
            return self._positions[label]
        except KeyError:
            raise UnknownNameError("time", label, self.time_labels) from None

    def runs(self) -> list[tuple[int, int]]:
        """Return half-open index ranges of times without a hole between them."""
        return runs_of(self.times)

    @cached_property
    def holes(self) -> list[tuple[str, str]]:
        """The times before and after every hole of the time axis."""
        starts = [start for start, _ in self.runs()[1:]]
        return [(self.time_labels[i - 1], self.time_labels[i]) for i in starts]

    def read(
        self,
        name: str,
        index: NDArray[np.int64] | Sequence[int] | slice,
        *,
        allow_missing: bool = False,
    ) -> NDArray[np.float32]:
        """Return one variable ``(n, n_lat, n_lon)`` at the times asked for, in that order.

        Parameters
        ----------
        name
            Canonical name of the variable.
        index
            Places of the times.
        allow_missing
            Pass on what is missing or infinite, for those who look for it.

        Raises
        ------
        UnknownNameError
            If there is no such variable.
        InputError
            If an index is outside the times, the answer would be larger than the limit, or a value
            is infinite or missing, unless missing values were allowed.
        """
        if name not in self._readers:
            raise UnknownNameError("variable", name, self._readers)
        wanted = self._indices(index)
        n_bytes = 4 * wanted.size * self.grid.latitude.size * self.grid.longitude.size
        if n_bytes > self._limit:
            raise InputError(
                f"{wanted.size} fields of {name!r} take {n_bytes:,} bytes, more than the limit "
                f"of {self._limit:,}",
                todo="Read fewer times at once, or open the fields with a larger limit=",
            )
        distinct, back = np.unique(wanted, return_inverse=True)
        values = self._readers[name](distinct)
        if not allow_missing:
            self._check_finite(name, distinct, values)
        return values if np.array_equal(distinct, wanted) else values[back]

    def blocks(self, name: str, n_bytes: int = _DIGEST_BLOCK) -> Iterator[NDArray[np.float32]]:
        """Yield a variable in order of time, in pieces ``(n, n_lat, n_lon)`` of some bytes.

        What is missing comes as it is: a field that cannot be used is a part of the content.
        """
        n_each = max(1, n_bytes // (4 * self.grid.latitude.size * self.grid.longitude.size))
        for start in range(0, len(self), n_each):
            part = slice(start, min(start + n_each, len(self)))
            yield self.read(name, part, allow_missing=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over grid, times and all values, read once, a piece at a time.

        It does not depend on the orientation, packing or order of the files.
        """
        state = hashlib.sha256(self.grid.digest.encode())
        state.update("|".join(self.time_labels).encode())
        state.update(getattr(self.times, "calendar", "standard").encode())
        for name in sorted(self.variables):
            state.update(f"|{name}|".encode())
            for block in self.blocks(name):
                state.update(_canonical_bytes(block))
        for name in sorted(self.static):
            state.update(f"|static {name}|".encode())
            state.update(_canonical_bytes(self.static[name]))
        return state.hexdigest()

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.time_labels)}

    def _indices(self, index: NDArray[np.int64] | Sequence[int] | slice) -> NDArray[np.int64]:
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)), dtype=np.int64)
        wanted = np.asarray(index, dtype=np.int64).reshape(-1)
        outside = (wanted < 0) | (wanted >= len(self))
        if outside.any():
            raise InputError(
                f"there is no field number {wanted[outside][0]}", allowed=f"0 to {len(self) - 1}"
            )
        return wanted

    def _check_finite(
        self, name: str, index: NDArray[np.int64], values: NDArray[np.float32]
    ) -> None:
        bad = np.isinf(values) if self._allow_missing else ~np.isfinite(values)
        if bad.any():
            first = int(np.argmax(bad.any(axis=(1, 2))))
            raise InputError(
                f"{name!r} has {int(bad[first].sum())} missing or infinite values of "
                f"{bad[first].size} at {self.time_labels[int(index[first])]}",
                todo="Fill them, choose times or a region without them, or open the fields with "
                "allow_missing=True where missing values are meant",
            )


def _fitting(array: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    values = np.asarray(array, dtype=np.float32)
    if values.shape != shape:
        raise InputError(f"{name!r} has the shape {values.shape}", allowed=str(shape))
    return values


def _canonical_bytes(values: NDArray[np.float32]) -> bytes:
    """Return little-endian bytes in which every missing value looks the same."""
    plain = np.array(values, dtype="<f4", order="C")
    plain[np.isnan(plain)] = np.nan
    return plain.tobytes()
