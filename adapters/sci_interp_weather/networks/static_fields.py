"""Static fields of a network, such as land and soil: a NetCDF file -> arrays, north first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.grids import order_latitude, order_longitude

__all__ = ["read_static"]

_LATITUDE = ("latitude", "lat")
_LONGITUDE = ("longitude", "lon")
_LARGEST = 2**28


def read_static(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Read variables without a time ``(n_rows, n_columns)``, in the orientation of a grid.

    Parameters
    ----------
    path
        A NetCDF file whose axes are called latitude and longitude, or lat and lon; a further
        axis of length one is dropped.
    names
        The variables.

    Raises
    ------
    InputError
        If the file cannot be read, or a variable has other axes, is too large or has gaps.
    UnknownNameError
        If a variable is not in the file.
    """
    import netCDF4

    try:
        data = netCDF4.Dataset(path)
    except (OSError, UnicodeDecodeError) as error:  # names that are no text
        raise InputError(f"{path} cannot be read as NetCDF: {error}") from None
    with data:
        found = {}
        for name in names:
            if name not in data.variables:
                raise UnknownNameError("variable", name, list(data.variables), where=str(path))
            found[name] = _field(data, name, path)
        return found


def _field(data: Any, name: str, path: Path) -> NDArray[np.float32]:
    variables = data.variables
    variable = variables[name]
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    rows = [dim for dim in sizes if dim in _LATITUDE and dim in variables]
    columns = [dim for dim in sizes if dim in _LONGITUDE and dim in variables]
    others = [size for dim, size in sizes.items() if dim not in (*rows, *columns)]
    if len(rows) != 1 or len(columns) != 1 or any(size != 1 for size in others):
        raise InputError(
            f"{path}: {name} has the axes {', '.join(f'{d} {n}' for d, n in sizes.items())}",
            allowed="latitude and longitude, with their coordinates",
        )
    if 4 * np.prod(list(sizes.values()), dtype=np.float64) > _LARGEST:
        raise InputError(f"{path}: {name} is larger than {_LARGEST:,} bytes")
    values = np.ma.filled(np.ma.asarray(variable[:], dtype=np.float32), np.nan)
    order = [list(sizes).index(rows[0]), list(sizes).index(columns[0])]
    values = np.moveaxis(values, order, (-2, -1)).reshape(sizes[rows[0]], sizes[columns[0]])
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name} has missing values", todo="Fill them first")
    north_first = order_latitude(np.asarray(variables[rows[0]][:], dtype=np.float64))
    eastward, _ = order_longitude(np.asarray(variables[columns[0]][:], dtype=np.float64))
    return np.ascontiguousarray(values[north_first][:, eastward])
