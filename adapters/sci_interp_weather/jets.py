"""Jets: connected areas of strong wind near the tropopause.

Wind of at least 30 m/s (Koch, Wernli and Davies 2006, Int. J. Climatol. 26, 283) at the level
nearest to 250 hPa between 200 and 300 hPa, in a connected area at least 1,000 km long. In a
regional domain, a shorter area cut by the edge is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sci_interp.adapter import Label

from .detection import FieldReader, Found, Instance, place_key
from .fields import Fields
from .masks import connected_objects

__all__ = ["JET_GROUP", "JetDetector", "JetSettings", "jet_level"]

JET_GROUP: Final = "jet"


@dataclass(frozen=True)
class JetSettings:
    """Parameters of jets: least wind speed (m/s) and least length (km)."""

    speed: float = 30.0
    length_km: float = 1000.0


def jet_level(fields: Fields) -> int | None:
    """Return the level nearest to 250 hPa, from 200 to 300, with both components; None if none."""
    levels = [
        level for level in range(200, 301, 5) if fields.has(f"u{level}") and fields.has(f"v{level}")
    ]
    return min(levels, key=lambda level: abs(level - 250), default=None)


class JetDetector:
    """Jets of one level.

    Parameters
    ----------
    fields
        Fields with both components of the wind.
    level
        Pressure level, hPa.
    settings
        Parameters.
    """

    group = JET_GROUP

    def __init__(self, fields: Fields, level: int, settings: JetSettings | None = None) -> None:
        self._settings = settings or JetSettings()
        self._grid, self._reader = fields.grid, FieldReader(fields)
        self._names = (f"u{level}", f"v{level}")
        text = (
            f"connected area, at least {self._settings.length_km:g} km long, with wind of at least "
            f"{self._settings.speed:g} m/s at {level} hPa (Koch et al. 2006)"
        )
        self.labels = (Label("jet", JET_GROUP, text),)
        self.state = f"{self._settings} {level}"

    def find(self, index: int) -> Found:
        """Return the jets of one time."""
        u, v = (self._reader.at(name, index) for name in self._names)
        speed = np.hypot(u, v)
        unknown, instances = np.isnan(speed), []
        for item in connected_objects(speed >= self._settings.speed, self._grid):
            if item.length_km >= self._settings.length_km:
                key = place_key(item.latitude, item.longitude)
                instances.append(Instance("jet", key, item.cells))
            elif item.on_edge:
                unknown.reshape(-1)[item.cells] = True
        return Found(tuple(instances), unknown)
