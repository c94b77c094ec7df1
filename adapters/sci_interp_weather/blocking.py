"""Blocking: highs aloft that stay.

Connected areas of at least 500,000 km2 poleward of 40 degrees in which the geopotential at 500 hPa
is at least 1.5 standard deviations of the place above what is normal on that day of the year (Dole
and Gordon 1983, Mon. Weather Rev. 111, 1567), that last for at least 5 days, at least half of the
smaller area being shared from one time to the next (after Schwierz, Croci-Maspoli and Davies 2004,
Geophys. Res. Lett. 31, L06125, who follow potential vorticity). One standard deviation serves the
whole year, so that summers, which vary less, have fewer blocks. Areas that the first or last time
of a run of times cuts before that are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from sci_interp.adapter import Label

from .climatology import Climatology, fit_climatology
from .detection import FieldReader, Found, Instance, place_key, remember_last
from .fields import Fields
from .linking import LinkingSettings
from .masks import MaskObject, connected_objects
from .object_tracks import ObjectTracker
from .times import hours_since

__all__ = ["BLOCKING_GROUP", "BlockingDetector", "BlockingSettings"]

BLOCKING_GROUP: Final = "blocking"
_YEAR_HOURS: Final = 8766.0
#: Fewer years do not tell what is normal on a day.
_LEAST_YEARS: Final = 2.0
_LONGEST_STEP: Final = 24.0


@dataclass(frozen=True)
class BlockingSettings:
    """Parameters of blocking.

    Attributes
    ----------
    deviations : float
        Least departure, in standard deviations of the place.
    latitude : float
        Least distance from the equator, degrees.
    area_km2 : float
        Least area.
    days : float
        Least duration.
    overlap : float
        Least part of the smaller area that is shared from one time to the next.
    """

    deviations: float = 1.5
    latitude: float = 40.0
    area_km2: float = 500_000.0
    days: float = 5.0
    overlap: float = 0.5


class BlockingDetector:
    """Blocking of the field ``z500``.

    Parameters
    ----------
    fields
        The fields, at least two years of at least daily times.
    settings
        Parameters.
    """

    group = BLOCKING_GROUP

    def __init__(self, fields: Fields, settings: BlockingSettings | None = None) -> None:
        self._settings = rule = settings or BlockingSettings()
        self._fields, self._reader = fields, FieldReader(fields)
        poleward = np.abs(fields.grid.latitude) >= rule.latitude
        self._poleward = np.repeat(poleward[:, None], fields.grid.shape[1], axis=1)
        text = (
            f"connected area of at least {rule.area_km2:,.0f} km2 poleward of {rule.latitude:g} "
            f"degrees with 500-hPa geopotential at least {rule.deviations:g} standard deviations "
            f"above normal, for at least {rule.days:g} days with {rule.overlap:.0%} overlap "
            "(after Dole and Gordon 1983, Schwierz et al. 2004)"
        )
        self.labels = (Label("blocking", BLOCKING_GROUP, text),)
        self.state = f"{rule}"
        self._objects = remember_last(self._find_objects)
        linking = LinkingSettings(overlap=rule.overlap)
        self._tracker = ObjectTracker(fields, self._objects, "blocking", linking)

    @staticmethod
    def possible(fields: Fields) -> bool:
        """Tell whether the fields hold what is needed: ``z500``, two years, daily or denser."""
        hours = hours_since(fields.times)
        if not fields.has("z500") or hours[-1] - hours[0] < _LEAST_YEARS * _YEAR_HOURS:
            return False
        return bool(np.median(np.diff(hours)) <= _LONGEST_STEP)

    def find(self, index: int) -> Found:
        """Return the blocks of one time."""
        unknown = np.isnan(self._reader.at("z500", index))
        instances = []
        for item, event in zip(self._objects(index), self._tracker.events(index), strict=True):
            if event.days >= self._settings.days:
                key = place_key(item.latitude, item.longitude)
                instances.append(Instance("blocking", key, item.cells, event=event.name))
            elif event.cut:
                unknown.reshape(-1)[item.cells] = True
        return Found(tuple(instances), unknown)

    @cached_property
    def _climatology(self) -> Climatology:
        return fit_climatology(self._fields, ("z500",))

    def _find_objects(self, index: int) -> Sequence[MaskObject]:
        field = self._reader.at("z500", index)[None]
        when = self._fields.times[index : index + 1]
        departure = self._climatology.standardise("z500", field, when)[0]
        mask = (departure >= self._settings.deviations) & self._poleward
        found = connected_objects(mask, self._fields.grid)
        return [item for item in found if item.area_km2 >= self._settings.area_km2]
