"""Lows and highs through time: events, and how fast lows deepen along their tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label

from .detection import FieldReader, Found, Instance, place_key, remember_last
from .fields import Fields
from .linking import Linker, LinkingSettings
from .pressure_systems import (
    DEEPENING_GROUP,
    PRESSURE_GROUP,
    Kind,
    PressureFinder,
    PressureSettings,
    PressureSystem,
    PressureSystems,
    bergerons,
    deepening_label,
    pressure_labels,
)
from .times import hours_since

__all__ = ["DeepeningDetector", "PressureDetector", "PressureTracker", "TrackedSystem"]

_DAY: float = 24.0


@dataclass(frozen=True, eq=False)
class TrackedSystem:
    """A low or high with its place in an event.

    Attributes
    ----------
    system : PressureSystem
        The system.
    event : str
        The event, named by kind, first time and a number: ``"low 1996-01-07T12 #2"``.
    deepening : float
        Deepening in the next 24 hours, in bergerons; NaN for highs and where the track does not
        reach that far.
    """

    system: PressureSystem
    event: str
    deepening: float


@dataclass(frozen=True, eq=False)
class _Run:
    """Tracks of a run of times; per time, one entry for each system of a kind."""

    start: int
    events: dict[Kind, list[list[int]]]
    names: dict[Kind, list[str]]
    deepening: list[NDArray[np.float64]]


class PressureTracker:
    """Finds the systems of any time, and follows them through the run of times around it.

    A run is passed once, on first use, and its centres are kept; areas are found anew when asked
    for, so that memory does not grow with the fields.

    Parameters
    ----------
    fields
        Fields with ``msl``; ``orography`` is used where it is there.
    settings, linking
        Parameters.
    """

    def __init__(
        self,
        fields: Fields,
        settings: PressureSettings | None = None,
        linking: LinkingSettings | None = None,
    ) -> None:
        self.settings = settings or PressureSettings()
        self.linking = linking or LinkingSettings()
        self.fields = fields
        self._reader = FieldReader(fields)
        self._finder = PressureFinder(fields.grid, self.settings, fields.static.get("orography"))
        self._hours = hours_since(fields.times)
        self._bounds = fields.runs()
        self._runs: dict[int, _Run] = {}
        self.systems = remember_last(self._systems)

    def _systems(self, index: int) -> PressureSystems:
        return self._finder.find(self._reader.at("msl", index))

    def tracked(self, index: int) -> tuple[TrackedSystem, ...]:
        """Return the lows, then the highs, of one time."""
        run = self._run_of(index)
        at = index - run.start
        found = self.systems(index)
        tracked = []
        for kind in run.events:
            for k, system in enumerate(found.of_kind(kind)):
                event = run.names[kind][run.events[kind][at][k]]
                change = float(run.deepening[at][k]) if kind == "low" else float("nan")
                tracked.append(TrackedSystem(system, event, change))
        return tuple(tracked)

    def _run_of(self, index: int) -> _Run:
        start, stop = next(bounds for bounds in self._bounds if bounds[0] <= index < bounds[1])
        if start not in self._runs:
            self._runs[start] = self._follow(start, stop)
        return self._runs[start]

    def _follow(self, start: int, stop: int) -> _Run:
        kinds: tuple[Kind, ...] = ("low", "high")
        linkers = {kind: Linker(self.linking) for kind in kinds}
        events: dict[Kind, list[list[int]]] = {kind: [] for kind in kinds}
        names: dict[Kind, list[str]] = {kind: [] for kind in kinds}
        centres: list[NDArray[np.float64]] = []
        for index in range(start, stop):
            found = self._systems(index)
            hours = self._hours[index] - self._hours[max(index - 1, start)]
            for kind in kinds:
                numbers = linkers[kind].add(found.of_kind(kind), float(hours))
                events[kind].append(numbers)
                n_new = max(numbers, default=-1) + 1 - len(names[kind])
                label = self.fields.time_labels[index]
                names[kind] += [f"{kind} {label} #{n + 1}" for n in range(max(n_new, 0))]
            lows = [(low.latitude, low.pressure) for low in found.of_kind("low")]
            centres.append(np.array(lows).reshape(-1, 2))
        deepening = _deepening(events["low"], centres, self._hours[start:stop])
        return _Run(start, events, names, deepening)


def _deepening(
    events: list[list[int]], centres: list[NDArray[np.float64]], hours: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the deepening of every low in the next 24 hours, in bergerons, NaN where unknown."""
    later = np.searchsorted(hours, hours + _DAY - 0.01)
    result = []
    for i, j in enumerate(later.tolist()):
        change = np.full(len(events[i]), np.nan)
        if j < len(hours) and abs(hours[j] - hours[i] - _DAY) <= 0.01:
            for k, event in enumerate(events[i]):
                if event in events[j]:
                    (lat_0, before), (lat_1, after) = (
                        centres[i][k],
                        centres[j][events[j].index(event)],
                    )
                    change[k] = bergerons(before - after, (lat_0 + lat_1) / 2)
        result.append(change)
    return result


class PressureDetector:
    """Lows and highs, centres and areas: see :mod:`~sci_interp_weather.pressure_systems`.

    Parameters
    ----------
    tracker
        Finds and follows them.
    """

    group = PRESSURE_GROUP

    def __init__(self, tracker: PressureTracker) -> None:
        self._tracker = tracker
        self.labels = pressure_labels(tracker.settings, tracker.fields.grid)
        self.state = f"{tracker.settings} {tracker.linking}"

    def find(self, index: int) -> Found:
        """Return the systems of one time."""
        instances = []
        for tracked in self._tracker.tracked(index):
            system, event = tracked.system, tracked.event
            point = (system.latitude, system.longitude)
            key = place_key(*point)
            instances += [
                Instance(f"{system.kind}_center", key, point=point, event=event),
                Instance(f"{system.kind}_area", key, cells=system.cells, event=event),
            ]
        return Found(tuple(instances), self._tracker.systems(index).unknown)


class DeepeningDetector:
    """Lows that deepen in the next 24 hours, at the rate of the settings or faster.

    Areas of lows that cannot be followed for 24 hours, because of a hole, the last time, the
    domain's edge or because they fill, are unknown, as is what is unknown of lows.

    Parameters
    ----------
    tracker
        Finds and follows them.
    """

    group = DEEPENING_GROUP

    def __init__(self, tracker: PressureTracker) -> None:
        self._tracker = tracker
        self.labels: tuple[Label, ...] = (deepening_label(tracker.settings),)
        self.state = f"{tracker.settings} {tracker.linking}"

    def find(self, index: int) -> Found:
        """Return the deepening lows of one time."""
        unknown = self._tracker.systems(index).unknown.copy()
        least = self._tracker.settings.deepening_bergerons
        instances = []
        for tracked in self._tracker.tracked(index):
            system = tracked.system
            if system.kind == "high":
                continue
            if np.isnan(tracked.deepening):
                unknown.reshape(-1)[system.cells] = True
            elif tracked.deepening >= least:
                key = place_key(system.latitude, system.longitude)
                instances.append(Instance("deepening_low", key, system.cells, event=tracked.event))
        return Found(tuple(instances), unknown)
