"""Objects of successive times linked to events: a low followed along its way.

Two objects of successive times may be one event where they are no further apart than a speed limit
lets them move, and either closer than a reach or with areas that overlap: in daily data the speed
limit alone would link a low with its neighbour. Among the allowed pairs, those are taken that make
the sum of distances least, every object in at most one pair, two objects left alone costing as much
as a pair at the speed limit (Hungarian method). Nothing is linked across a hole in time, nor
where the caller starts anew. Longitude needs no care, as distances are those on the sphere.

The established library for this, tobac, predicts each object's position from its last steps and
searches around it; that needs steps much shorter than the distance between objects. Steps here are
up to a day, in which a low moves further than its own size; and areas are at hand, so that overlap
is a stronger sign than a predicted position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .grids import great_circle_km

__all__ = ["Linker", "LinkingSettings", "Located"]

_NEVER: Final = 1e9


@dataclass(frozen=True)
class LinkingSettings:
    """Parameters of linking.

    Attributes
    ----------
    speed_km_h : float
        Greatest speed of an object.
    reach_km : float
        Greatest distance, in one step, of objects whose areas do not overlap.
    overlap : float
        Areas overlap where they share at least one cell, and this part of the smaller area.
    """

    speed_km_h: float = 120.0
    reach_km: float = 1500.0
    overlap: float = 0.01

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{item.name} of linking is {value}", allowed="a number above 0")


class Located(Protocol):
    """What can be linked: an object with a middle and an area of cells (ascending or not)."""

    @property
    def latitude(self) -> float:
        """Degrees north."""

    @property
    def longitude(self) -> float:
        """Degrees east."""

    @property
    def cells(self) -> NDArray[np.int64]:
        """Its area, numbers of grid cells."""


class Linker:
    """Gives event numbers to objects, one time after the other.

    Parameters
    ----------
    settings
        Parameters.
    overlap_only
        Whether only objects whose areas overlap may be linked.
    """

    def __init__(
        self, settings: LinkingSettings | None = None, *, overlap_only: bool = False
    ) -> None:
        self._settings = settings or LinkingSettings()
        self._overlap_only = overlap_only
        self._objects: Sequence[Located] = ()
        self._events: list[int] = []
        self._n_events = 0

    def add(self, objects: Sequence[Located], hours: float) -> list[int]:
        """Return the event of every object, numbers from 0 on in the order of appearance.

        Parameters
        ----------
        objects
            The objects of the next time.
        hours
            Hours since the time before.
        """
        events = [-1] * len(objects)
        for before, now in self._pairs(objects, hours):
            events[now] = self._events[before]
        for now, event in enumerate(events):
            if event < 0:
                events[now] = self._n_events
                self._n_events += 1
        self._objects, self._events = objects, events
        return list(events)

    def _pairs(self, objects: Sequence[Located], hours: float) -> list[tuple[int, int]]:
        from scipy.optimize import linear_sum_assignment

        if not self._objects or not objects:
            return []
        (lat_0, lon_0), (lat_1, lon_1) = _places(self._objects), _places(objects)
        distance = great_circle_km(lat_0[:, None], lon_0[:, None], lat_1[None], lon_1[None])
        farthest = self._settings.speed_km_h * hours
        near = distance <= farthest
        if self._overlap_only:
            near &= self._overlap(objects, near)
        else:
            beyond = near & (distance > self._settings.reach_km)
            near &= (distance <= self._settings.reach_km) | self._overlap(objects, beyond)
        # Half of the price of leaving both alone is added for each object that stays alone.
        n_before, n_now = distance.shape
        cost = np.full((n_before + n_now,) * 2, _NEVER)
        cost[:n_before, :n_now] = np.where(near, distance, _NEVER)
        alone = np.arange(n_before), n_now + np.arange(n_before)
        cost[alone] = farthest / 2
        cost[n_before + np.arange(n_now), np.arange(n_now)] = farthest / 2
        cost[n_before:, n_now:] = 0.0
        rows, columns = linear_sum_assignment(cost)
        taken = (rows < n_before) & (columns < n_now)
        pairs = zip(rows[taken].tolist(), columns[taken].tolist(), strict=True)
        return [(before, now) for before, now in pairs if near[before, now]]

    def _overlap(self, now: Sequence[Located], asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the pairs asked for overlap, ``(n_before, n_now)``."""
        overlap = np.zeros(asked.shape, np.bool_)
        sets = {j: set(now[j].cells.tolist()) for j in np.flatnonzero(asked.any(0)).tolist()}
        for i, j in np.argwhere(asked).tolist():
            before = self._objects[i].cells.tolist()
            n_shared = sum(cell in sets[j] for cell in before)
            least = self._settings.overlap * min(len(before), len(sets[j]))
            overlap[i, j] = n_shared >= max(1.0, least)
        return overlap


def _places(objects: Sequence[Located]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([o.latitude for o in objects]), np.array([o.longitude for o in objects])
