"""Fronts by the thermal front parameter.

The parameter is the change of the temperature gradient's strength down the gradient, ``-grad|grad
T| . grad T / |grad T|`` (Hewson 1998, Meteorol. Appl. 5, 37). It is large on the warm side of a
zone of strong gradient, where an analyst draws the front. A cell is in a front where the parameter
of the temperature at 850 hPa is at least 3.3e-11 K m-2 and the gradient, extrapolated by one grid
step of 100 km across the zone, at least 1.5 K in 100 km (Hewson's two masks), in a connected area
at least 500 km long. Differences are taken over the two neighbours on the grid; cells poleward of
80 degrees and on the edge of a domain cannot be told and are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label

from .detection import FieldReader, Found, Instance, place_key
from .fields import Fields
from .grids import EARTH_RADIUS_KM, Grid
from .masks import connected_objects, touches_edge

__all__ = ["FRONT_GROUP", "FrontDetector", "FrontSettings", "thermal_front_parameter"]

FRONT_GROUP: Final = "fronts"
_ACROSS_M: Final = 1e5 / np.sqrt(2.0)


@dataclass(frozen=True)
class FrontSettings:
    """Parameters of fronts.

    Attributes
    ----------
    parameter : float
        Least thermal front parameter, K m-2.
    gradient : float
        Least gradient of temperature, K m-1.
    length_km : float
        Least length.
    latitude : float
        Greatest distance from the equator, degrees.
    """

    parameter: float = 3.3e-11
    gradient: float = 1.5e-5
    length_km: float = 500.0
    latitude: float = 80.0


def thermal_front_parameter(
    temperature: NDArray[np.float32], grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return parameter (K m-2), gradient (K m-1) and the gradient's own gradient (K m-2).

    Parameters
    ----------
    temperature : (n_lat, n_lon)
        K.
    grid
        Its grid.

    Returns
    -------
    tuple of three (n_lat, n_lon) float64
        Cells beside the edge of a regional domain have one-sided differences.
    """
    east, north = _gradient(temperature.astype(np.float64), grid)
    strength = np.hypot(east, north)
    east_2, north_2 = _gradient(strength, grid)
    with np.errstate(invalid="ignore", divide="ignore"):
        parameter = -(east_2 * east + north_2 * north) / strength
    parameter[strength == 0] = 0.0
    return parameter, strength, np.hypot(east_2, north_2)


def _gradient(
    values: NDArray[np.float64], grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the derivatives to the east and to the north, per metre."""
    radius = 1000.0 * EARTH_RADIUS_KM
    phi, lam = np.deg2rad(grid.latitude), np.deg2rad(grid.longitude)
    north = np.gradient(values, phi, axis=0) / radius
    if grid.periodic:
        around = np.concatenate([values[:, -1:], values, values[:, :1]], axis=1)
        east = (around[:, 2:] - around[:, :-2]) / (2.0 * (lam[1] - lam[0]))
    else:
        east = np.gradient(values, lam, axis=1)
    return east / (radius * np.maximum(np.cos(phi), 1e-3)[:, None]), north


class FrontDetector:
    """Fronts of the field ``t850``.

    Parameters
    ----------
    fields
        The fields.
    settings
        Parameters.
    """

    group = FRONT_GROUP

    def __init__(self, fields: Fields, settings: FrontSettings | None = None) -> None:
        self._settings = rule = settings or FrontSettings()
        self._grid, self._reader = fields.grid, FieldReader(fields)
        polar = np.abs(fields.grid.latitude) > rule.latitude
        self._unknown = touches_edge(fields.grid) | polar[:, None]
        text = (
            f"connected area, at least {rule.length_km:g} km long, with a thermal front parameter "
            f"of 850-hPa temperature of at least {rule.parameter:g} K m-2 and a gradient of at "
            f"least {rule.gradient * 1e5:g} K in 100 km (Hewson 1998)"
        )
        self.labels = (Label("front", FRONT_GROUP, text),)
        self.state = f"{rule}"

    def find(self, index: int) -> Found:
        """Return the fronts of one time."""
        field = self._reader.at("t850", index)
        parameter, gradient, curvature = thermal_front_parameter(field, self._grid)
        mask = parameter >= self._settings.parameter
        mask &= gradient + _ACROSS_M * curvature >= self._settings.gradient
        unknown, instances = self._unknown | np.isnan(parameter), []
        for item in connected_objects(mask & ~self._unknown, self._grid):
            if item.length_km >= self._settings.length_km:
                key = place_key(item.latitude, item.longitude)
                instances.append(Instance("front", key, item.cells))
        return Found(tuple(instances), unknown)
