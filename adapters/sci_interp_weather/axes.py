"""Which dimension of a variable is what: by CF attributes, then by name, never by position."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .stores import READ_ERRORS

__all__ = ["Axes", "coordinate_values", "find_axes", "pressure_levels", "read_coordinate"]

_NAMES = {
    "latitude": frozenset({"latitude", "lat", "lats", "y_lat"}),
    "longitude": frozenset({"longitude", "lon", "lons", "long"}),
    "time": frozenset({"time", "valid_time", "timestep", "times", "date"}),
    "level": frozenset(
        {"level", "levels", "plev", "pressure_level", "isobaricinhpa", "isobaric", "pressure"}
    ),
}
_NORTH = frozenset({"degrees_north", "degree_north", "degreesn", "degreen", "degrees_n"})
_EAST = frozenset({"degrees_east", "degree_east", "degreese", "degreee", "degrees_e"})
#: Pressure units of a level axis and their size in hPa.
_PRESSURE = {"hpa": 1.0, "millibar": 1.0, "millibars": 1.0, "mb": 1.0, "mbar": 1.0, "pa": 0.01}


@dataclass(frozen=True)
class Axes:
    """The axes of one variable.

    Attributes
    ----------
    latitude, longitude : str
        Dimensions with coordinates of that name.
    time : str or None
        The variable that holds the times; None where there is none.
    time_dimension : str or None
        The dimension along which the times run; None for one time.
    level : str or None
        The variable that holds pressure levels.
    level_dimension : str or None
        The dimension along which the levels run; None for one level.
    others : tuple of str
        Further dimensions, such as ensemble members.
    """

    latitude: str
    longitude: str
    time: str | None
    time_dimension: str | None
    level: str | None
    level_dimension: str | None
    others: tuple[str, ...]


def find_axes(dataset: xr.Dataset, name: str, *, where: str) -> Axes | None:
    """Return the axes of a variable; None where it is no field of latitude and longitude.

    Raises
    ------
    InputError
        If latitude and longitude are two-dimensional.
    """
    dims = [str(dim) for dim in dataset[name].dims]
    roles: dict[str, tuple[str, str]] = {}
    for dim in dims:
        for role, coordinate in _roles_along(dataset, dim):
            roles.setdefault(role, (dim, coordinate))
    if "latitude" not in roles or "longitude" not in roles:
        _refuse_curvilinear(dataset, dims, where)
        return None
    taken = {dim for dim, _ in roles.values()}
    time = roles.get("time", (None, _scalar(dataset, "time")))
    level = roles.get("level", (None, _scalar(dataset, "level")))
    return Axes(
        latitude=roles["latitude"][0],
        longitude=roles["longitude"][0],
        time=time[1],
        time_dimension=time[0],
        level=level[1],
        level_dimension=level[0],
        others=tuple(dim for dim in dims if dim not in taken),
    )


def coordinate_values(dataset: xr.Dataset, name: str, *, where: str) -> NDArray[np.float64]:
    """Return a coordinate's numbers ``(n,)``.

    Raises
    ------
    InputError
        If they are not numbers, or damaged.
    """
    values = read_coordinate(dataset, name, where=where)
    if not np.issubdtype(values.dtype, np.number):
        raise InputError(f"{where}: the coordinate {name!r} does not hold numbers")
    return values.astype(np.float64)


def read_coordinate(dataset: xr.Dataset, name: str, *, where: str) -> NDArray[Any]:
    """Return a coordinate as the file holds it ``(n,)``.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        return np.atleast_1d(dataset.variables[name].values)
    except READ_ERRORS as error:
        raise InputError(
            f"{where}: the coordinate {name!r} cannot be read ({type(error).__name__}: {error})",
            todo="Copy or download the file again",
        ) from None


def pressure_levels(dataset: xr.Dataset, name: str, *, where: str) -> NDArray[np.float64]:
    """Return pressure levels in hPa ``(n,)``.

    Without units, levels above 2000 are taken for Pa.
    """
    values = coordinate_values(dataset, name, where=where)
    units = _attribute(dataset.variables[name], "units").lower()
    factor = _PRESSURE.get(units, 0.01 if np.nanmax(values) > 2000.0 else 1.0)
    return np.asarray(np.round(values * factor, 4), dtype=np.float64)


def _roles_along(dataset: xr.Dataset, dim: str) -> Iterator[tuple[str, str]]:
    """Yield role and variable for what is defined along one dimension, the best first."""
    along = [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.dims == (dim,) and (name == dim or name in dataset.coords or _is_time(variable))
    ]
    along.sort(key=lambda name: _rank(name, dim, dataset.variables[name]))
    for name in along:
        role = _role(name, dataset.variables[name])
        if role:
            yield role, name


def _role(name: Hashable, variable: xr.Variable) -> str | None:
    """Return what a coordinate means: ``"latitude"``, ``"longitude"``, ``"time"``, ``"level"``."""
    standard_name = _attribute(variable, "standard_name")
    units = _attribute(variable, "units").lower()
    lower = str(name).lower()
    for role, spellings in (("latitude", _NORTH), ("longitude", _EAST)):
        if standard_name == role or units in spellings:
            return role
    if _is_time(variable):
        return "time"
    if units in _PRESSURE or standard_name == "air_pressure":
        return "level"
    if standard_name:
        return None
    axis = {"Y": "latitude", "X": "longitude", "T": "time"}.get(_attribute(variable, "axis"))
    if axis in ("latitude", "longitude") and units in ("m", "km", "metre", "1"):
        return None
    return axis or next((role for role, names in _NAMES.items() if lower in names), None)


def _is_time(variable: xr.Variable) -> bool:
    if _attribute(variable, "standard_name") in ("time", "forecast_reference_time"):
        return True
    return " since " in _attribute(variable, "units")


def _rank(name: str, dim: str, variable: xr.Variable) -> tuple[int, bool, str]:
    """Order what runs along a dimension: the time of validity before that of the analysis."""
    standard_name = _attribute(variable, "standard_name")
    order = {"time": 0, "forecast_reference_time": 2}.get(standard_name, 1)
    return order, name != dim, name


def _scalar(dataset: xr.Dataset, role: str) -> str | None:
    """Return the variable without dimensions that has a role."""
    names = [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.dims == () and _role(name, variable) == role
    ]
    names.sort(key=lambda name: _rank(name, "", dataset.variables[name]))
    return names[0] if names else None


def _refuse_curvilinear(dataset: xr.Dataset, dims: list[str], where: str) -> None:
    for name, variable in dataset.variables.items():
        role = _role(name, variable)
        if (
            role in ("latitude", "longitude")
            and variable.ndim == 2
            and set(variable.dims) <= {*dims}
        ):
            raise InputError(
                f"{where}: {role} is two-dimensional ({name!r})",
                allowed="one-dimensional latitude and longitude",
                todo="Interpolate the fields to a regular longitude-latitude grid first",
            )


def _attribute(variable: xr.Variable, name: str) -> str:
    return str(variable.attrs.get(name, "")).strip()
