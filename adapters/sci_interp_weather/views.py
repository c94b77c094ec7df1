"""What a report draws of one record: its map."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Plane, RecordView

from .coastlines import coastlines
from .datasets import WeatherDataset
from .tokens import to_tokens

__all__ = ["contour_step", "view_record"]

#: What is drawn of a variable: its name for readers, unit, factor to it, distance of the contours.
_DRAWN: Final = {
    "msl": ("sea-level pressure", "hPa", 0.01, 4.0),
    "z500": ("500-hPa height", "m", 1 / 9.80665, 60.0),
    "t850": ("850-hPa temperature", "K", 1.0, 4.0),
}
_N_CONTOURS: Final = 10


def view_record(dataset: WeatherDataset, record: str) -> RecordView:
    """Return the map of one record: cells of the tokens, sea-level pressure, coastlines.

    The first variable is drawn where there is no sea-level pressure.

    Raises
    ------
    UnknownNameError
        If there is no such record.
    """
    at = dataset.index_of(record)
    name = "msl" if dataset.fields.has("msl") else dataset.variables[0]
    values = dataset.fields.read(name, slice(at, at + 1))[0]
    title, unit, factor, step = _DRAWN.get(name, (name, dataset.units.get(name, ""), 1.0, 0.0))
    field = (values * factor).astype(np.float32)
    grid, fields = dataset.grid, dataset.fields.grid
    cells = np.arange(grid.shape[0] * grid.shape[1], dtype=np.int64).reshape(grid.shape)
    plane = Plane(
        x_name="longitude",
        y_name="latitude",
        x=grid.longitude,
        y=grid.latitude,
        cell=to_tokens(cells, dataset.n_levels),
        period=360.0 if grid.periodic else 0.0,
        field_x=fields.longitude,
        field_y=fields.latitude,
        field=field,
        field_name=title,
        field_unit=unit,
        contour_step=step or contour_step(field),
        outlines=coastlines(fields),
    )
    return RecordView(title=f"{_moment(record)} · {_extent(dataset)}", symbols=(), plane=plane)


def contour_step(field: NDArray[np.float32]) -> float:
    """Return 1, 2 or 5 times a power of ten that gives about ten contours."""
    span = float(np.nanmax(field) - np.nanmin(field))
    if not span > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(span / _N_CONTOURS))
    return float(next(n * power for n in (1, 2, 5, 10) if n * power >= span / _N_CONTOURS))


def _moment(record: str) -> str:
    day, _, hour = record.partition("T")
    return f"{day} {hour} UTC"


def _extent(dataset: WeatherDataset) -> str:
    grid = dataset.fields.grid
    south, north = (_degrees(value, "N", "S") for value in grid.latitude[[-1, 0]].tolist())
    if grid.periodic:
        return f"{south}-{north}, all longitudes"
    west, east = (_degrees(value, "E", "W") for value in grid.longitude[[0, -1]].tolist())
    return f"{south}-{north} {west}-{east}"


def _degrees(value: float, positive: str, negative: str) -> str:
    turned = (value + 180.0) % 360.0 - 180.0 if positive == "E" else value
    return f"{abs(turned):g}°{positive if turned >= 0 else negative}"
