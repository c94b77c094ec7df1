"""Storm tracks, and tropical cyclones as labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.errors import InputError

from .detection import EVERYTHING_UNKNOWN, Found, Instance, place_key
from .fields import Fields
from .times import STANDARD_CALENDARS, hours_since

__all__ = ["CYCLONE_GROUP", "CycloneDetector", "CycloneSettings", "StormFix", "Tracks"]

CYCLONE_GROUP: Final = "tropical cyclones"


@dataclass(frozen=True)
class CycloneSettings:
    """Parameters of tropical cyclones.

    Attributes
    ----------
    radius_km : float
        Tokens nearer than this are in the cyclone.
    ring_km : float
        Tokens from ``radius_km`` to here are unknown.
    gap_hours : float
        Longest time between two fixes over which a position is interpolated.
    shift_hours : float
        Time after a field's own at which storms are looked for: 12 for means of days that are
        named by their first hour.
    """

    radius_km: float = 500.0
    ring_km: float = 1000.0
    gap_hours: float = 12.0
    shift_hours: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and (value > 0 or item.name == "shift_hours")):
                raise InputError(
                    f"{item.name} of tropical cyclones is {value}", allowed="a number above 0"
                )
        if self.ring_km < self.radius_km:
            raise InputError(
                f"the ring of tropical cyclones ends at {self.ring_km:g} km, inside the cyclone",
                allowed=f"ring_km of {self.radius_km:g} or more",
            )


@dataclass(frozen=True)
class StormFix:
    """A storm at one time: its id, position in degrees, and whether it is surely tropical."""

    storm: str
    latitude: float
    longitude: float
    tropical: bool


@dataclass(frozen=True, eq=False)
class Tracks:
    """Positions of storms.

    Attributes
    ----------
    source : str
        Where they come from, for messages and definitions.
    storm : (n_fixes,) str
        Ids.
    hours : (n_fixes,) float64
        Hours since 1970-01-01.
    latitude, longitude : (n_fixes,) float64
        Degrees.
    tropical : (n_fixes,) bool
        False where the storm is a disturbance or extratropical at that time.
    """

    source: str
    storm: NDArray[np.str_]
    hours: NDArray[np.float64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    tropical: NDArray[np.bool_]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all fixes."""
        state = hashlib.sha256("\n".join(self.storm.tolist()).encode())
        for values in (self.hours, self.latitude, self.longitude, self.tropical):
            state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Order of the fixes by storm, then time."""
        return np.lexsort((self.hours, self.storm))

    @cached_property
    def _by_time(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Positions in ``_order`` by time, and these times."""
        hours = self.hours[self._order]
        positions = np.argsort(hours, kind="stable")
        return positions, hours[positions]

    def at(self, hours: float, *, gap_hours: float) -> list[StormFix]:
        """Return every storm at one time, its position interpolated between fixes.

        Parameters
        ----------
        hours
            Hours since 1970-01-01.
        gap_hours
            Longest time between the two fixes.
        """
        order = self._order
        positions, when = self._by_time
        window = np.searchsorted(when, [hours - max(gap_hours, 1e-3), hours], side="right")
        found: dict[str, StormFix] = {}
        for i in np.sort(positions[slice(*window.tolist())]).tolist():
            a = order[i]
            b = order[i + 1] if i + 1 < len(order) else a
            exact = abs(self.hours[a] - hours) < 1e-3
            follows = self.storm[a] == self.storm[b] and self.hours[a] < hours <= self.hours[b]
            if exact:
                b = a
            elif not follows or self.hours[b] - self.hours[a] > gap_hours:
                continue
            share = 0.0 if exact else (hours - self.hours[a]) / (self.hours[b] - self.hours[a])
            latitude, longitude = self._between(int(a), int(b), float(share))
            tropical = bool(self.tropical[a] and self.tropical[b])
            storm = str(self.storm[a])
            found[storm] = StormFix(storm, latitude, longitude, tropical)
        return list(found.values())

    def _between(self, a: int, b: int, share: float) -> tuple[float, float]:
        turn = (self.longitude[b] - self.longitude[a] + 180.0) % 360.0 - 180.0
        latitude = self.latitude[a] + share * (self.latitude[b] - self.latitude[a])
        return float(latitude), float(self.longitude[a] + share * turn)

    def covers(self, hours: float) -> bool:
        """Tell whether the tracks begin before and end after a time."""
        return bool(self.hours.min() <= hours <= self.hours.max())


class CycloneDetector:
    """Tropical cyclones of given tracks: discs of 500 km; from there to 1,000 km it is unknown.

    Storms that are not tropical at the time (disturbances, extratropical stages) are unknown over
    the whole disc. Times before the first and after the last fix of the tracks are unknown.

    Parameters
    ----------
    fields
        Gives grid and times.
    tracks
        The storms.
    settings
        Parameters.

    Raises
    ------
    InputError
        If no time of the fields is covered by the tracks, or the fields' calendar is not real.
    """

    group = CYCLONE_GROUP

    def __init__(
        self, fields: Fields, tracks: Tracks, settings: CycloneSettings | None = None
    ) -> None:
        self._settings = settings or CycloneSettings()
        self._tracks, self._grid = tracks, fields.grid
        _check_calendar(fields, tracks.source)
        self._hours = hours_since(fields.times) + self._settings.shift_hours
        if not any(tracks.covers(float(hours)) for hours in self._hours):
            first, last = (_day(float(h)) for h in (tracks.hours.min(), tracks.hours.max()))
            raise InputError(
                f"the tracks of {tracks.source} run from {first} to {last}, the fields from "
                f"{fields.time_labels[0]} to {fields.time_labels[-1]}",
                allowed="tracks of the fields' years",
                todo="Give the tracks of these years, or leave tracks out",
            )
        text = (
            f"within {self._settings.radius_km:g} km of the centre of a tropical or subtropical "
            f"cyclone of {tracks.source}; unknown up to {self._settings.ring_km:g} km"
        )
        self.labels = (Label("tropical_cyclone", CYCLONE_GROUP, text),)
        self.state = f"{self._settings} {tracks.digest}"

    def find(self, index: int) -> Found:
        """Return the cyclones of one time."""
        hours, settings = float(self._hours[index]), self._settings
        if not self._tracks.covers(hours):
            return EVERYTHING_UNKNOWN
        unknown = np.zeros(self._grid.shape, np.bool_)
        instances = []
        for fix in self._tracks.at(hours, gap_hours=settings.gap_hours):
            distance = self._grid.distance_km(fix.latitude, fix.longitude)
            unknown |= distance <= settings.ring_km
            inside = np.flatnonzero(distance <= settings.radius_km)
            if fix.tropical and len(inside):
                key = f"{fix.storm} {place_key(fix.latitude, fix.longitude)}"
                instances.append(Instance("tropical_cyclone", key, inside, event=fix.storm))
        for instance in instances:
            unknown.reshape(-1)[instance.cells] = False
        return Found(tuple(instances), unknown)


def _check_calendar(fields: Fields, source: str) -> None:
    calendar = getattr(fields.times, "calendar", "standard")
    if calendar not in STANDARD_CALENDARS:
        raise InputError(
            f"the fields have a calendar of {calendar!r}, and {source} is about real days",
            allowed="fields in the Gregorian calendar",
            todo="Leave it out for model years",
        )


def _day(hours: float) -> str:
    return str(np.datetime64("1970-01-01T00", "h") + np.timedelta64(int(hours), "h"))[:10]
