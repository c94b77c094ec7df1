"""One variable of one file: what it is, where and when it holds, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .axes import Axes, coordinate_values, find_axes, pressure_levels, read_coordinate
from .grids import Grid, order_latitude, order_longitude
from .lexicon import QUANTITIES, Quantity, canonical_name, identify, parse_name
from .times import Times, decode_times
from .units import check_range, converter

__all__ = ["Opening", "Piece", "find_pieces"]

#: Numbers above, in hPa, are years.
_HIGHEST_PRESSURE = 1100.0
_LEVEL_IN_FILE_NAME = re.compile(r"([a-z]+)(\d{2,4})(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Opening:
    """What the user said about the files.

    Attributes
    ----------
    renamed : mapping of str to str
        Name in the file by canonical name.
    select : mapping of str to value
        The member, or other position, to take along a further dimension.
    time_units : str or None
        Units of a time axis that has none.
    quantities : frozenset of str or None
        Names of the quantities that were asked for; None for all. Static ones are always taken.
    """

    renamed: Mapping[str, str]
    select: Mapping[str, Any]
    time_units: str | None
    quantities: frozenset[str] | None

    def wants(self, quantity: Quantity) -> bool:
        """Tell whether a quantity is to be read at all: the unasked may be in any state."""
        return quantity.static or self.quantities is None or quantity.name in self.quantities


@dataclass(frozen=True, eq=False)
class Piece:
    """A variable of a file, or one pressure level of it.

    Attributes
    ----------
    name : str
        Canonical name, ``"z500"``.
    where : str
        File and variable, for messages.
    quantity : Quantity
        What it is.
    level : float or None
        Pressure level in hPa.
    grid : Grid
        Its grid in canonical orientation.
    times : Times or None
        Its times in the order of the file; None where it has none.
    array : xarray.DataArray
        Dimensions (time where ``times`` runs along one, latitude, longitude) in the file's order.
    rows, columns : (n_lat,), (n_lon,) int64
        Positions in the file, from north to south and from west to east.
    scale : (float, float)
        Factor and offset to canonical units.
    """

    name: str
    where: str
    quantity: Quantity
    level: float | None
    grid: Grid
    times: Times | None
    array: xr.DataArray
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scale: tuple[float, float]

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return fields ``(n, n_lat, n_lon)`` at distinct positions of the file's time axis.

        Raises
        ------
        InputError
            If the file is damaged, or the values are not in the quantity's range.
        """
        order = np.argsort(positions)
        ascending = positions[order]
        starts = np.flatnonzero(np.diff(ascending, prepend=-2) != 1)
        bounds = zip(starts.tolist(), [*starts[1:].tolist(), ascending.size], strict=True)
        parts = [
            self._oriented(slice(int(ascending[first]), int(ascending[stop - 1]) + 1))
            for first, stop in bounds
        ]
        values = np.empty((positions.size, *self.grid.shape), dtype=np.float32)
        values[order] = np.concatenate(parts)
        return values

    def _oriented(self, part: slice) -> NDArray[np.float32]:
        array = self.array[part] if self.array.ndim == 3 else self.array
        try:
            raw = np.asarray(array.values, dtype=np.float64)
        except Exception as error:  # noqa: BLE001 - every format's library has errors of its own
            raise InputError(
                f"{self.where} cannot be read ({type(error).__name__}: {error})",
                todo="Copy or download the file again",
            ) from None
        raw = raw.reshape((-1, *raw.shape[-2:]))
        values = raw[:, self.rows[:, None], self.columns[None, :]]
        values = values * self.scale[0] + self.scale[1]
        check_range(self.quantity, self.level, values, scale=self.scale, where=self.where)
        return values.astype(np.float32)


def find_pieces(path: str, dataset: xr.Dataset, opening: Opening) -> list[Piece]:
    """Return every variable of a file that the lexicon or the user names.

    A quantity on pressure levels gives one piece a level. Where a file has no level axis, its
    name may tell the level (``t850_ei.nc``).

    Raises
    ------
    InputError
        If axes, times or units cannot be understood, a further dimension is not selected, or two
        variables of the file are the same quantity.
    """
    pieces: list[Piece] = []
    for variable in map(str, dataset.data_vars):
        if dataset[variable].dtype.kind not in "biuf":
            continue
        renamed = [name for name, in_file in opening.renamed.items() if in_file == variable]
        for name in renamed:
            pieces += _pieces_of(path, dataset, variable, parse_name(name), opening)
        found = identify(variable, str(dataset[variable].attrs.get("standard_name", "")))
        if found is not None and not renamed and opening.wants(found[0]):
            one = _pieces_of(path, dataset, variable, found, opening)
            pieces += [piece for piece in one if piece.name not in opening.renamed]
    seen: dict[str, Piece] = {}
    for piece in pieces:
        other = seen.setdefault(piece.name, piece)
        if other is not piece:
            raise InputError(
                f"{piece.where} and {other.where} are both {piece.name!r}",
                todo=f"Choose one with variables={{{piece.name!r}: 'NAME IN THE FILE'}}",
            )
    return pieces


def _pieces_of(
    path: str,
    dataset: xr.Dataset,
    variable: str,
    found: tuple[Quantity, float | None],
    opening: Opening,
) -> list[Piece]:
    quantity, level = found
    where = f"{path}: {variable}"
    array = dataset[variable]
    axes = find_axes(dataset, variable, where=where)
    if axes is None:
        if opening.quantities is None or quantity.static:
            return []
        raise InputError(
            f"{where} has no latitude and longitude, only {', '.join(map(str, array.dims))}",
            allowed="dimensions with coordinates that CF attributes or names tell as such",
            todo="Add units 'degrees_north' and 'degrees_east' to the coordinates; interpolate "
            "fields on a map projection or a mesh to a regular grid",
        )
    array = _select_others(array, axes, dataset, opening, where)
    times, array = _times(dataset, array, axes, opening, where, static=quantity.static)
    units, spelled = str(array.attrs.get("units", "")), variable
    levels = _levels(path, dataset, axes, quantity, level, where)
    if quantity.name == "z" and not levels and times is None:
        # A geopotential without level and time is that of the ground, as in Aurora's files.
        quantity, levels = QUANTITIES["orography"], [(None, None)]
        spelled = "surface_geopotential"
    latitude = coordinate_values(dataset, axes.latitude, where=where)
    longitude = coordinate_values(dataset, axes.longitude, where=where)
    pieces = []
    for at, position in levels:
        one = array if position is None else array.isel({axes.level_dimension: position})
        dims = [*([axes.time_dimension] if one.ndim == 3 else []), axes.latitude, axes.longitude]
        pieces.append(
            Piece(
                name=canonical_name(quantity, at),
                where=where,
                quantity=quantity,
                level=at,
                grid=Grid.regular(latitude, longitude),
                times=times,
                array=one.transpose(*dims),
                rows=order_latitude(latitude),
                columns=order_longitude(longitude)[0],
                scale=converter(quantity, units, spelled, where=where),
            )
        )
    return pieces


def _select_others(
    array: xr.DataArray, axes: Axes, dataset: xr.Dataset, opening: Opening, where: str
) -> xr.DataArray:
    """Take the member that the user chose along every further dimension."""
    for dim in axes.others:
        labels = dataset[dim].values if dim in dataset.variables else np.arange(array.sizes[dim])
        if array.sizes[dim] == 1:
            array = array.isel({dim: 0})
            continue
        shown = ", ".join(map(str, labels[:8])) + (" and more" if labels.size > 8 else "")
        if dim not in opening.select:
            raise InputError(
                f"{where} also runs along {dim!r}, which is neither time, level, latitude nor "
                "longitude",
                allowed=f"one of {shown}",
                todo=f"Choose one with select={{{dim!r}: {labels[0]}}}",
            )
        at = np.flatnonzero(labels == opening.select[dim])
        if at.size != 1:
            raise InputError(
                f"{where} has no {dim!r} {opening.select[dim]!r}", allowed=f"one of {shown}"
            )
        array = array.isel({dim: int(at[0])})
    return array


def _times(
    dataset: xr.Dataset,
    array: xr.DataArray,
    axes: Axes,
    opening: Opening,
    where: str,
    *,
    static: bool,
) -> tuple[Times | None, xr.DataArray]:
    """Return the times and the array; static fields lose their time axis."""
    if static:
        return None, array if axes.time_dimension is None else array.isel({axes.time_dimension: 0})
    if axes.time is None:
        return None, array
    attrs = dataset.variables[axes.time].attrs
    units = str(attrs.get("units", ""))
    if " since " not in units and opening.time_units:
        units = opening.time_units
    times = decode_times(
        read_coordinate(dataset, axes.time, where=where),
        units,
        str(attrs.get("calendar", "standard")),
        where=f"{where}: the coordinate {axes.time!r}",
    )
    return times, array


def _levels(
    path: str,
    dataset: xr.Dataset,
    axes: Axes,
    quantity: Quantity,
    level: float | None,
    where: str,
) -> list[tuple[float | None, int | None]]:
    """Return (pressure level, position along the level axis) of the fields of a variable."""
    if axes.level_dimension is not None and axes.level is not None:
        values = pressure_levels(dataset, axes.level, where=where).tolist()
        if quantity.on_levels:
            return [(each, i) for i, each in enumerate(values) if level is None or each == level]
        return [(None, 0)] if len(values) == 1 else []
    if not quantity.on_levels:
        return [(None, None)]
    if level is None and axes.level is not None:
        level = float(pressure_levels(dataset, axes.level, where=where)[0])
    if level is None:
        level = _level_in_file_name(path, quantity)
    return [] if level is None else [(level, None)]


def _level_in_file_name(path: str, quantity: Quantity) -> float | None:
    """Return 850 for a file ``t850_ei.nc`` of temperature; None where the name tells nothing."""
    for match in _LEVEL_IN_FILE_NAME.finditer(Path(path).stem):
        if match[1].lower() in quantity.names and float(match[2]) <= _HIGHEST_PRESSURE:
            return float(match[2])
    return None
