"""Longitude-latitude grids in one orientation: north first, longitude ascending."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sci_interp.errors import InputError

__all__ = ["EARTH_RADIUS_KM", "Grid", "great_circle_km", "order_latitude", "order_longitude"]

#: Radius of the sphere with the Earth's surface (IUGG mean radius), in km.
EARTH_RADIUS_KM = 6371.0
#: Coordinates are read to 1e-4 degree (11 m), so that float32 and float64 copies agree.
_DECIMALS = 4
_LATITUDE = "latitudes in degrees north, from -90 to 90, in either order"
_LONGITUDE = "longitudes in degrees east, evenly spaced, 0 to 360 or -180 to 180"


def great_circle_km(
    latitude1: ArrayLike, longitude1: ArrayLike, latitude2: ArrayLike, longitude2: ArrayLike
) -> NDArray[np.float64]:
    """Return great-circle distances in km between points in degrees; the arguments broadcast.

    The haversine formula on a sphere of :data:`EARTH_RADIUS_KM`.
    """
    phi1, phi2 = np.radians(latitude1), np.radians(latitude2)
    half_lambda = np.radians(np.subtract(longitude2, longitude1)) / 2
    chord = np.sin((phi2 - phi1) / 2) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin(half_lambda) ** 2
    distance = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return np.asarray(distance, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of cells on the sphere.

    Attributes
    ----------
    latitude : (n_lat,) float64
        Centres, degrees north, northernmost first.
    longitude : (n_lon,) float64
        Centres, degrees east, ascending, the first in [-180, 180); they pass 180 where a region
        crosses the date line.
    latitude_edges, longitude_edges : (n_lat + 1,), (n_lon + 1,) float64
        Half way between centres; rows end at the poles.
    periodic : bool
        Whether the columns close the whole circle.
    """

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    latitude_edges: NDArray[np.float64]
    longitude_edges: NDArray[np.float64]
    periodic: bool

    @classmethod
    def regular(cls, latitude: ArrayLike, longitude: ArrayLike) -> Grid:
        """Return the grid with these centres, given in any order.

        Rows may be Gaussian. The outermost rows are as wide as their neighbours, and reach the
        pole where less than half a row would be left.

        Raises
        ------
        InputError
            For fewer than two rows or columns, values that are repeated, not finite or outside
            the globe, and columns or rows with a gap.
        """
        rows = np.asarray(latitude, dtype=np.float64)
        columns = np.asarray(longitude, dtype=np.float64)
        north_first = _rounded(rows)[order_latitude(rows)]
        order, wrapped = order_longitude(columns)
        eastward = wrapped[order]
        steps = np.diff(eastward)
        step = float(np.mean(steps))
        return cls(
            latitude=north_first,
            longitude=eastward,
            latitude_edges=_row_edges(north_first),
            longitude_edges=np.concatenate(
                [[eastward[0] - step / 2], eastward[:-1] + steps / 2, [eastward[-1] + step / 2]]
            ),
            periodic=bool(abs(eastward.size * step - 360.0) < 0.5 * step),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.latitude.size, self.longitude.size

    @cached_property
    def digest(self) -> str:
        """SHA-256 over centres and edges."""
        state = hashlib.sha256(b"periodic" if self.periodic else b"bounded")
        for axis in (self.latitude, self.longitude, self.latitude_edges, self.longitude_edges):
            state.update(f"|{axis.size}|".encode())
            state.update(np.ascontiguousarray(axis, dtype="<f8").tobytes())
        return state.hexdigest()

    def row_weights(self) -> NDArray[np.float64]:
        """Return the exact area of a cell of every row ``(n_lat,)``, the largest being 1.

        A cell between two meridians has an area proportional to the difference of the sines of
        its northern and southern edge; a row centred on the pole gets its half cell.
        """
        heights = self._heights()
        return np.asarray(heights / heights.max(), dtype=np.float64)

    def step_weights(self, scale: int = 1000) -> tuple[int, ...]:
        """Return :meth:`row_weights` as whole numbers from 1 to ``scale``."""
        return tuple(max(1, round(scale * weight)) for weight in self.row_weights().tolist())

    def area(self) -> NDArray[np.float64]:
        """Return the area of every cell ``(n_lat, n_lon)`` in km2."""
        widths = np.radians(np.diff(self.longitude_edges))
        area = EARTH_RADIUS_KM**2 * np.outer(self._heights(), widths)
        return np.asarray(area, dtype=np.float64)

    def distance_km(self, latitude: float, longitude: float) -> NDArray[np.float64]:
        """Return the great-circle distance of every centre ``(n_lat, n_lon)`` from a point."""
        return great_circle_km(self.latitude[:, None], self.longitude[None, :], latitude, longitude)

    def nearest(self, latitude: float, longitude: float) -> tuple[int, int] | None:
        """Return row and column of the cell that contains a point; None outside the grid."""
        north, south = self.latitude_edges[0], self.latitude_edges[-1]
        west, east = self.longitude_edges[0], self.longitude_edges[-1]
        eastward = west + (longitude - west) % 360.0
        if not (south <= latitude <= north and (self.periodic or eastward <= east)):
            return None
        row = int(np.searchsorted(-self.latitude_edges, -latitude, side="right")) - 1
        column = int(np.searchsorted(self.longitude_edges, eastward, side="right")) - 1
        return min(row, self.latitude.size - 1), min(column, self.longitude.size - 1)

    def coarsen(self, rows: int, columns: int, *, rows_offset: int = 0) -> Grid:
        """Return the grid of patches of ``rows`` times ``columns`` cells.

        Patches are laid from the row ``rows_offset`` southwards and from the first column
        eastwards. Rows and columns that do not fill a patch are left out (a network with patches
        of four rows drops the row at the south pole of a 721-row grid), except that a whole
        circle must be filled.

        Raises
        ------
        InputError
            If no patch fits, or if the patches do not close the circle.
        """
        n_rows = (self.latitude.size - rows_offset) // rows if rows > 0 <= rows_offset else 0
        n_columns = self.longitude.size // columns if columns > 0 else 0
        if n_rows < 1 or n_columns < 1:
            raise InputError(
                f"patches of {rows} x {columns} cells from row {rows_offset} do not fit a grid "
                f"of {self.shape[0]} x {self.shape[1]}",
                todo="Use smaller patches, or a grid that the network was made for",
            )
        if self.periodic and n_columns * columns != self.longitude.size:
            raise InputError(
                f"{self.longitude.size} columns around the globe cannot be divided into patches "
                f"of {columns}",
                todo="Use a grid whose number of columns is a multiple of the patch width",
            )
        used = slice(rows_offset, rows_offset + n_rows * rows)
        return Grid(
            latitude=self.latitude[used].reshape(n_rows, rows).mean(axis=1),
            longitude=self.longitude[: n_columns * columns].reshape(-1, columns).mean(axis=1),
            latitude_edges=self.latitude_edges[rows_offset::rows][: n_rows + 1],
            longitude_edges=self.longitude_edges[::columns][: n_columns + 1],
            periodic=self.periodic,
        )

    def _heights(self) -> NDArray[np.float64]:
        sines = np.sin(np.radians(self.latitude_edges))
        return np.asarray(sines[:-1] - sines[1:], dtype=np.float64)


def order_latitude(latitude: NDArray[Any]) -> NDArray[np.int64]:
    """Return the positions of the rows from north to south.

    Raises
    ------
    InputError
        As :meth:`Grid.regular`.
    """
    rows = _checked_axis(latitude, "latitude", _LATITUDE)
    if np.abs(rows).max() > 90.0:
        raise InputError(
            f"latitude {rows[np.argmax(np.abs(rows))]:g} is outside the globe",
            allowed=_LATITUDE,
            todo="Check whether latitude and longitude are exchanged, or in radians or metres",
        )
    order = np.argsort(-rows, kind="stable")
    _check_spacing(np.diff(-rows[order]), "latitude", tolerance=0.25)
    return order.astype(np.int64)


def order_longitude(
    longitude: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the positions of the columns from west to east, and every column's longitude.

    A whole circle starts at the first column at or after -180; a region starts after the widest
    gap of the circle, wherever the file cuts it.

    Raises
    ------
    InputError
        As :meth:`Grid.regular`.
    """
    columns = _checked_axis(longitude, "longitude", _LONGITUDE)
    if np.abs(columns).max() > 540.0:
        raise InputError(
            f"longitude {columns[np.argmax(np.abs(columns))]:g} is outside the globe",
            allowed=_LONGITUDE,
            todo="Check whether the file is on a map projection, in metres",
        )
    wrapped = _rounded((columns + 180.0) % 360.0 - 180.0)
    wrapped[wrapped >= 180.0] -= 360.0
    order = np.argsort(wrapped, kind="stable")
    gaps = np.diff(wrapped[order], append=wrapped[order[0]] + 360.0)
    if gaps.max() > 1.5 * np.median(gaps):
        start = (int(np.argmax(gaps)) + 1) % gaps.size
        order = np.roll(order, -start)
        wrapped = np.where(wrapped < wrapped[order[0]], wrapped + 360.0, wrapped)
    _check_spacing(np.diff(wrapped[order]), "longitude", tolerance=0.02)
    return order.astype(np.int64), wrapped


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Adding zero turns -0 into 0, which has another digest.
    return np.asarray(np.round(values, _DECIMALS) + 0.0, dtype=np.float64)


def _checked_axis(values: NDArray[Any], name: str, allowed: str) -> NDArray[np.float64]:
    axis = _rounded(np.asarray(values, dtype=np.float64))
    if axis.ndim != 1 or axis.size < 2:
        raise InputError(
            f"{name} has the shape {axis.shape}, which is not a row of two or more values",
            allowed=allowed,
            todo="Interpolate the fields to a regular longitude-latitude grid first",
        )
    if not np.isfinite(axis).all():
        raise InputError(f"{name} holds NaN or infinity", allowed=allowed)
    return axis


def _check_spacing(steps: NDArray[np.float64], name: str, *, tolerance: float) -> None:
    if steps.min() <= 0:
        raise InputError(
            f"{name} has a value twice",
            todo="Leave out the repeated row or column (0 and 360 degrees are one meridian)",
        )
    middle = float(np.median(steps))
    # Coordinates are rounded: a fine grid's spacing is known to twice that only.
    if np.abs(steps - middle).max() > tolerance * middle + 2 * 10.0**-_DECIMALS:
        raise InputError(
            f"{name} is not evenly spaced: steps from {steps.min():g} to {steps.max():g} degrees",
            todo="Select one region without a gap, or interpolate to a regular grid",
        )


def _row_edges(latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    middles = (latitude[:-1] + latitude[1:]) / 2
    edges = np.concatenate(
        [[2 * latitude[0] - middles[0]], middles, [2 * latitude[-1] - middles[-1]]]
    )
    half_row = (latitude[0] - latitude[-1]) / (latitude.size - 1) / 2
    if edges[0] > 90.0 - half_row:
        edges[0] = 90.0
    if edges[-1] < half_row - 90.0:
        edges[-1] = -90.0
    return np.asarray(edges, dtype=np.float64)
