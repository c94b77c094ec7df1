"""opening: files -> Fields, whatever their format, names, units, order and orientation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .fields import DEFAULT_LIMIT, Fields, Reader
from .grids import Grid
from .lexicon import accepted_names, canonical_name, parse_name
from .pieces import Opening, Piece, find_pieces
from .stores import open_store
from .times import Times, hours_since, join_times, time_labels

__all__ = ["open_fields"]

#: Times at which a variable is looked at when it is opened, until one can be read.
_TRIED: Final = 32


def open_fields(
    path: str | Path | Sequence[str | Path],
    *,
    variables: Sequence[str] | Mapping[str, str] | None = None,
    period: tuple[str, str] | None = None,
    select: Mapping[str, Any] | None = None,
    time_units: str | None = None,
    chunks: Any = None,
    allow_missing: bool = False,
    engine: str | None = None,
    limit: int = DEFAULT_LIMIT,
    storage_options: Mapping[str, Any] | None = None,
) -> Fields:
    """Open fields lazily, in one orientation, vocabulary and system of units.

    Variables and dimensions are found by CF attributes and by name, never by position. Several
    files may hold different variables, or the same ones at different times.

    Parameters
    ----------
    path
        NetCDF or GRIB file, Zarr folder or URL, or several of them; ``*`` in a file name matches.
    variables
        Names by any source's convention (``"z500"``, ``"mean_sea_level_pressure"``), or a mapping
        from such a name to the name in the file; None takes every variable that is known.
    period
        First and last time, as ISO labels or their beginnings: ``("2001", "2008-06")``.
    select
        What to take along further dimensions: ``{"member": 3}``.
    time_units
        CF units of a time axis that has none: ``"hours since 1996-01-05"``.
    chunks
        Passed to xarray; makes the fields dask arrays.
    allow_missing
        Whether NaN is passed on instead of refused.
    engine
        ``"netcdf4"``, ``"h5netcdf"``, ``"scipy"``, ``"zarr"`` or ``"cfgrib"``; None looks at the
        file.
    limit
        Bytes that one read, one chunk or one coordinate may take.
    storage_options
        Passed to fsspec with a URL.

    Raises
    ------
    InputError
        With the likely cause, for files that cannot be read or understood, absent variables,
        implausible units, and files that do not fit together.
    UnknownNameError
        If a name in ``variables`` is not in the lexicon.
    MissingExtraError
        If the package that reads this format is not installed.

    Warns
    -----
    UserWarning
        If times are left out because not every variable has them.
    """
    renamed = dict(variables) if isinstance(variables, Mapping) else {}
    opening = Opening(
        {canonical_name(*parse_name(name)): in_file for name, in_file in renamed.items()},
        select or {},
        time_units,
        None if variables is None else frozenset(parse_name(name)[0].name for name in variables),
    )
    pieces: list[Piece] = []
    present: list[str] = []
    for each in _paths(path):
        for dataset in open_store(
            each, engine=engine, chunks=chunks, limit=limit, storage_options=storage_options
        ):
            pieces += find_pieces(each, dataset, opening)
            present += [str(name) for name in dataset.data_vars]
    wanted = _wanted(pieces, variables, present)
    pieces = [piece for piece in pieces if piece.name in wanted or piece.quantity.static]
    grid = _common_grid(pieces)
    series = {name: _Series.join(name, [p for p in pieces if p.name == name]) for name in wanted}
    times = _common_times(series, period)
    fields = Fields(
        grid,
        times,
        {name: one.reader(times) for name, one in series.items()},
        {p.name: p.read(np.zeros(1, np.int64))[0] for p in pieces if p.quantity.static},
        allow_missing=allow_missing,
        limit=limit,
    )
    for name in fields.variables:
        _require_one(fields, name)
    return fields


def _require_one(fields: Fields, name: str) -> None:
    """Refuse a variable that can be read at none of the first times.

    One time that is damaged, or that lacks a value, is one bad record, not a bad file.
    """
    errors = []
    for at in range(min(_TRIED, len(fields))):
        try:
            fields.read(name, [at])
        except InputError as error:
            errors.append(error)
        else:
            return
    raise errors[0]


class _Series:
    """One variable over the times of all files."""

    def __init__(self, pieces: Sequence[Piece], times: Times, owner: NDArray[np.int64]) -> None:
        self.times = times
        self._pieces = pieces
        self._owner = owner  # (n, 2): piece and position in it

    @classmethod
    def join(cls, name: str, pieces: Sequence[Piece]) -> _Series:
        """Put the times of several files in order."""
        axes = [piece.times for piece in pieces if piece.times is not None]
        if len(axes) != len(pieces):
            without = next(piece for piece in pieces if piece.times is None)
            raise InputError(
                f"{without.where} has no time",
                todo="Add a time coordinate with units such as 'hours since 1900-01-01'",
            )
        if len({getattr(axis, "calendar", "standard") for axis in axes}) > 1:
            raise InputError(f"the files of {name!r} have different calendars")
        times = join_times(axes)
        counts = [len(axis) for axis in axes]
        file = np.repeat(np.arange(len(axes)), counts)
        owner = np.stack([file, np.concatenate([np.arange(n) for n in counts])], axis=1)
        order = np.argsort(hours_since(times), kind="stable")
        times, owner = times[order], owner[order]
        repeated = np.flatnonzero(np.diff(hours_since(times)) == 0)
        if repeated.size:
            first = int(repeated[0])
            owners = {pieces[int(owner[i, 0])].where for i in (first, first + 1)}
            raise InputError(
                f"the time {time_labels(times[first : first + 1])[0]} occurs twice in "
                + " and ".join(sorted(owners)),
                todo="Leave out one of them",
            )
        return cls(pieces, times, owner)

    def reader(self, times: Times) -> Reader:
        """Return what reads this variable at indices of a part of its times."""
        at = np.searchsorted(hours_since(self.times), hours_since(times))
        return partial(self._read, self._owner[at])

    def _read(self, owner: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = owner[index]
        values = np.empty((index.size, *self._pieces[0].grid.shape), dtype=np.float32)
        for i in np.unique(chosen[:, 0]).tolist():
            mine = chosen[:, 0] == i
            values[mine] = self._pieces[i].read(chosen[mine, 1])
        return values


def _paths(path: str | Path | Sequence[str | Path]) -> list[str]:
    given = [path] if isinstance(path, (str, Path)) else list(path)
    paths: list[str] = []
    for each in map(str, given):
        pattern = Path(each)
        if "*" in pattern.name and "://" not in each:
            matches = sorted(str(match) for match in pattern.parent.glob(pattern.name))
            if not matches:
                raise InputError(f"no file matches {each}", todo="Check the path")
            paths += matches
        else:
            paths.append(each)
    if not paths:
        raise InputError("no file was given", todo="Name one or more files")
    return paths


def _wanted(
    pieces: Sequence[Piece],
    variables: Sequence[str] | Mapping[str, str] | None,
    present: Sequence[str],
) -> list[str]:
    """Return canonical names in the order asked for; refuse what no file holds."""
    held = dict.fromkeys(p.name for p in pieces if not p.quantity.static)
    if variables is None:
        names = [
            name for name in held if any(p.name == name and p.times is not None for p in pieces)
        ]
        if not names:
            raise InputError(
                "no variable is known by its name or standard_name",
                allowed="names of ERA5, WeatherBench 2, ECMWF, Aurora, earth2studio or CF",
                todo=f"The files hold {_shown(present)}; name one with "
                "variables={'msl': 'NAME IN THE FILE'}",
            )
        return names
    names = []
    for given in variables:
        quantity, level = parse_name(given)
        name = canonical_name(quantity, level)
        if quantity.static:
            if not any(p.name == name for p in pieces):
                raise _missing(given, present)
        elif name not in held:
            raise _missing(given, present, [p.name for p in pieces if p.quantity is quantity])
        elif name not in names:
            names.append(name)
    return names


def _missing(name: str, present: Sequence[str], levels: Sequence[str] = ()) -> InputError:
    quantity, level = parse_name(name)
    at = f", only {', '.join(dict.fromkeys(levels))}" if levels else ""
    return InputError(
        f"no file holds {name!r}{at}",
        allowed=accepted_names(quantity, level),
        todo=f"The files hold {_shown(present)}; name one with "
        f"variables={{{canonical_name(quantity, level)!r}: 'NAME IN THE FILE'}}",
    )


def _shown(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if not distinct:
        return "nothing"
    return ", ".join(distinct[:20]) + (" and more" if len(distinct) > 20 else "")


def _common_grid(pieces: Sequence[Piece]) -> Grid:
    first = pieces[0]
    for piece in pieces[1:]:
        if piece.grid.digest != first.grid.digest:
            raise InputError(
                f"{piece.where} lies on another grid ({_extent(piece.grid)}) than {first.where} "
                f"({_extent(first.grid)})",
                todo="Interpolate all variables to one grid first",
            )
    return first.grid


def _extent(grid: Grid) -> str:
    return (
        f"{grid.shape[0]} x {grid.shape[1]}, latitude {grid.latitude[-1]:g} to "
        f"{grid.latitude[0]:g}, longitude {grid.longitude[0]:g} to {grid.longitude[-1]:g}"
    )


def _common_times(series: Mapping[str, _Series], period: tuple[str, str] | None) -> Times:
    """Return the times that all variables have, within the period."""
    axes = {name: one.times for name, one in series.items()}
    if not axes:
        raise InputError("no variable with a time was asked for", todo="Name one, such as 'msl'")
    if len({getattr(axis, "calendar", "standard") for axis in axes.values()}) > 1:
        raise InputError("the variables have different calendars")
    common = next(iter(axes.values()))
    for axis in axes.values():
        common = common[np.isin(hours_since(common), hours_since(axis))]
    n_each = {name: len(axis) for name, axis in axes.items()}
    if len(common) == 0:
        spans = "; ".join(f"{name}: {_span(axis)}" for name, axis in axes.items())
        raise InputError(f"the variables have no time in common ({spans})")
    if max(n_each.values()) > len(common):
        counts = ", ".join(f"{name} {n}" for name, n in n_each.items())
        warnings.warn(
            f"{len(common)} times are common to all variables and used ({counts})", stacklevel=3
        )
    return common if period is None else _within(common, period)


def _within(times: Times, period: tuple[str, str]) -> Times:
    labels = np.array(time_labels(times))
    first, last = period
    inside = (labels >= first) & ((labels <= last) | np.char.startswith(labels, last))
    if not inside.any():
        raise InputError(f"no time lies from {first} to {last}", allowed=_span(times))
    chosen: pd.Index = times[inside]
    return chosen


def _span(times: Times) -> str:
    labels = time_labels(times[[0, -1]])
    return f"{labels[0]} to {labels[1]}"
