"""Connected objects of a field through time: which belong to one event, and how long it lasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .fields import Fields
from .linking import Linker, LinkingSettings
from .masks import MaskObject
from .times import hours_since

__all__ = ["ObjectEvent", "ObjectTracker"]


@dataclass(frozen=True)
class ObjectEvent:
    """An event of objects whose areas overlap from time to time.

    Attributes
    ----------
    name : str
        Kind, first time and a number: ``"blocking 2003-08-03T12 #1"``.
    days : float
        From its first to its last time, both included.
    cut : bool
        Whether it is there at the first or last time of a run, so that it may last longer.
    """

    name: str
    days: float
    cut: bool


@dataclass(frozen=True, eq=False)
class _Run:
    start: int
    numbers: list[list[int]]
    events: list[ObjectEvent]


class ObjectTracker:
    """Follows objects through runs of times, each passed once, on first use.

    Parameters
    ----------
    fields
        Gives the times.
    find
        Returns the objects of a time, always the same and in the same order.
    kind
        First word of the events' names.
    linking
        Parameters; only objects that overlap are linked.
    """

    def __init__(
        self,
        fields: Fields,
        find: Callable[[int], Sequence[MaskObject]],
        kind: str,
        linking: LinkingSettings | None = None,
    ) -> None:
        self._find, self._kind, self._linking = find, kind, linking
        self._labels, self._hours = fields.time_labels, hours_since(fields.times)
        self._bounds = fields.runs()
        self._step = float(np.median(np.diff(self._hours))) if len(self._hours) > 1 else 24.0
        self._runs: dict[int, _Run] = {}

    def events(self, index: int) -> list[ObjectEvent]:
        """Return the event of every object of one time."""
        start, stop = next(bounds for bounds in self._bounds if bounds[0] <= index < bounds[1])
        if start not in self._runs:
            self._runs[start] = self._follow(start, stop)
        run = self._runs[start]
        return [run.events[number] for number in run.numbers[index - run.start]]

    def _follow(self, start: int, stop: int) -> _Run:
        linker = Linker(self._linking, overlap_only=True)
        numbers: list[list[int]] = []
        span: list[tuple[int, int, int]] = []
        for index in range(start, stop):
            hours = float(self._hours[index] - self._hours[max(index - 1, start)])
            numbers.append(linker.add(self._find(index), hours))
            n_before = len(span)
            for number in sorted(numbers[-1]):
                if number < len(span):
                    span[number] = (span[number][0], index, span[number][2])
                else:
                    span.append((index, index, number - n_before + 1))
        events = [
            ObjectEvent(
                name=f"{self._kind} {self._labels[first]} #{ordinal}",
                days=float(self._hours[last] - self._hours[first] + self._step) / 24.0,
                cut=first == start or last == stop - 1,
            )
            for first, last, ordinal in span
        ]
        return _Run(start, numbers, events)
