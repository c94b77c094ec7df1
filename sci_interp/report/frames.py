"""Frames: where the points of a plane lie in a drawing, and the ticks along its sides.

Drawings are in tenths of a pixel, in whole numbers, so that paths are short and equal everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Plane

__all__ = ["TENTHS", "Frame", "Side", "Tick", "edges_of", "nice_step"]

#: Units of a drawing per pixel.
TENTHS = 10
_MAP_WIDTH, _WIDE_MAP_WIDTH, _MAX_HEIGHT = 330.0, 500.0, 300.0
#: Width over height above which a map is drawn wide.
_WIDE = 1.6
#: Cells are not drawn thinner than this (pixels); they are brought together.
_MIN_CELL = 2.0
_TICK_SPACE = {"x": 48.0, "y": 38.0}
_DEGREE_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90)

#: Numbers this close to a round one count as round.
_ALMOST = 1 - 1e-9

Lines = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Tick:
    """A tick: its place in pixels along the side, and its text."""

    at: float
    text: str


@dataclass(frozen=True, eq=False)
class Side:
    """Cells along one side of a grid, possibly several of the grid's in one drawn cell.

    Attributes
    ----------
    edges : (n_drawn + 1,) float64
        Edges of the drawn cells, in the order of the grid.
    group : (n_drawn,) int64
        First cell of the grid in each drawn cell.
    factor : int
        Cells of the grid in a drawn cell.
    """

    edges: NDArray[np.float64]
    group: NDArray[np.int64]
    factor: int

    @classmethod
    def of(cls, edges: NDArray[np.float64], pixels_per_unit: float) -> Side:
        """Bring cells together until they are wide enough to be seen."""
        cell = float(np.abs(np.diff(edges)).mean()) * pixels_per_unit
        factor = max(1, math.ceil(round(_MIN_CELL / cell, 6)))
        group = np.arange(0, len(edges) - 1, factor)
        return cls(np.append(edges[group], edges[-1]), group, factor)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middles of the drawn cells ``(n_drawn,)``."""
        middle: NDArray[np.float64] = (self.edges[:-1] + self.edges[1:]) / 2
        return middle


@dataclass(frozen=True, eq=False)
class Frame:
    """An equirectangular map: x is shortened by the cosine of the middle latitude.

    Attributes
    ----------
    x_low, x_high, y_low, y_high : float
        The part of the plane that is drawn.
    period : float
        Length after which x repeats, 0 where it does not.
    width, height : float
        Size of the map in pixels.
    is_geographic : bool
        Whether x and y are degrees of longitude and latitude.
    """

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    period: float
    width: float
    height: float
    is_geographic: bool

    @classmethod
    def of(cls, plane: Plane) -> Frame:
        """Return the frame that holds the tokens and the field of a plane; one period at most."""
        geographic = is_geographic(plane)
        sides = [(plane.x, plane.y), (plane.field_x, plane.field_y)]
        x = [edges_of(side) for side, _ in sides]
        y = np.concatenate([edges_of(side, is_latitude=geographic) for _, side in sides])
        x_low, x_high = min(e[0] for e in x), max(e[-1] for e in x)
        if plane.period and x_high - x_low > plane.period * (1 - 1e-6):
            x_low, x_high = x[0][0], x[0][0] + plane.period
        y_low, y_high = y.min(), y.max()
        shrink = math.cos(math.radians((y_low + y_high) / 2)) if geographic else 1.0
        aspect = (x_high - x_low) * max(shrink, 0.1) / (y_high - y_low)
        width = _WIDE_MAP_WIDTH if aspect > _WIDE else min(_MAP_WIDTH, _MAX_HEIGHT * aspect)
        size = max(round(width, 1), 40.0), max(round(width / aspect, 1), 40.0)
        return cls(
            float(x_low),
            float(x_high),
            float(y_low),
            float(y_high),
            plane.period,
            *size,
            geographic,
        )

    @property
    def x_scale(self) -> float:
        """Pixels per unit of x."""
        return self.width / (self.x_high - self.x_low)

    @property
    def y_scale(self) -> float:
        """Pixels per unit of y."""
        return self.height / (self.y_high - self.y_low)

    def to_x(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where x lies, in tenths of a pixel."""
        return (x - self.x_low) * (self.x_scale * TENTHS)

    def to_y(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where y lies, in tenths of a pixel from the top."""
        return (self.y_high - y) * (self.y_scale * TENTHS)

    def turns(self, low: float, high: float) -> list[float]:
        """Return what to add to x so that ``low..high`` appears everywhere it is seen."""
        if not self.period:
            return [0.0]
        first = math.ceil((self.x_low - high) / self.period)
        last = math.floor((self.x_high - low) / self.period)
        return [turn * self.period for turn in range(first, last + 1)]

    def lines(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Lines:
        """Return the visible pieces ``(n_points, 2)`` of a line, in tenths of a pixel.

        The line is broken where it leaves the map, where it jumps over the seam, and where a
        point is not finite.
        """
        width, height = TENTHS * self.width, TENTHS * self.height
        pieces: Lines = []
        for piece in self._unbroken(x, y):
            for turn in self.turns(float(piece[:, 0].min()), float(piece[:, 0].max())):
                drawn = np.stack([self.to_x(piece[:, 0] + turn), self.to_y(piece[:, 1])], axis=1)
                for part in clip(drawn, 0, 0.0, width):
                    pieces += clip(part, 1, 0.0, height)
        return pieces

    def _unbroken(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Lines:
        points = np.stack([x, y], axis=1).astype(np.float64)
        finite = np.isfinite(points[:, 0]) & np.isfinite(points[:, 1])
        broken = ~(finite[1:] & finite[:-1])
        if self.period:
            broken |= np.abs(np.diff(points[:, 0])) > self.period / 2
        parts = np.split(points, np.flatnonzero(broken) + 1)
        return [part for part in parts if len(part) > 1]

    def x_ticks(self) -> list[Tick]:
        """Return ticks along the lower side, from the left."""
        values = _tick_values(self.x_low, self.x_high, self.x_scale, "x", self.is_geographic)
        return [
            Tick(round(float(self.to_x(value)) / TENTHS, 1), self._text(float(value), "EW"))
            for value in values
        ]

    def y_ticks(self) -> list[Tick]:
        """Return ticks along the left side, from below."""
        values = _tick_values(self.y_low, self.y_high, self.y_scale, "y", self.is_geographic)
        return [
            Tick(round(float(self.to_y(value)) / TENTHS, 1), self._text(float(value), "NS"))
            for value in values
        ]

    def place(self, x: float, y: float) -> str:
        """Return a place as a reader writes it: ``50°N 30°W``."""
        pair = self._text(round(y, 1), "NS"), self._text(round(x, 1), "EW")
        return " ".join(pair) if self.is_geographic else f"({pair[1]}, {pair[0]})"

    def _text(self, value: float, sides: str) -> str:
        if not self.is_geographic:
            return f"{value:.6g}".replace("-", "\u2212")
        if sides == "EW":
            value = (value + 180.0) % 360.0 - 180.0
        text = f"{abs(value):.6g}\u00b0"
        return text if value in (0.0, -180.0) else text + sides[int(value < 0)]


def is_geographic(plane: Plane) -> bool:
    """Return whether a plane is in degrees of longitude and latitude."""
    return (plane.x_name, plane.y_name) == ("longitude", "latitude")


def edges_of(centres: NDArray[np.float64], *, is_latitude: bool = False) -> NDArray[np.float64]:
    """Return the edges ``(n + 1,)`` half-way between centres; latitudes end at the poles."""
    centres = np.asarray(centres, np.float64)
    edges: NDArray[np.float64]
    if len(centres) == 1:
        edges = centres[0] + np.array([-0.5, 0.5])
    else:
        middle = (centres[:-1] + centres[1:]) / 2
        first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
        edges = np.concatenate([[first], middle, [last]])
    return np.clip(edges, -90.0, 90.0) if is_latitude else edges


def clip(line: NDArray[np.float64], axis: int, low: float, high: float) -> Lines:
    """Return the parts of a line ``(n_points, 2)`` with coordinate ``axis`` in ``low..high``."""
    for bound in (low, high):
        side = line[:, axis] - bound
        at = np.flatnonzero(side[:-1] * side[1:] < 0)
        share = (side[at] / (side[at] - side[at + 1]))[:, None]
        crossing = line[at] + share * (line[at + 1] - line[at])
        crossing[:, axis] = bound
        line = np.insert(line, at + 1, crossing, axis=0)
    middle = (line[:-1, axis] + line[1:, axis]) / 2
    change = np.diff(((middle >= low) & (middle <= high)).astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    return [line[a : b + 1] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]


def _tick_values(
    low: float, high: float, scale: float, side: str, geographic: bool
) -> NDArray[np.float64]:
    """Return the round values between ``low`` and ``high`` that have room for their text."""
    wanted = _TICK_SPACE[side] / scale
    fitting = [step for step in _DEGREE_STEPS if step >= wanted] if geographic else []
    step = fitting[0] if fitting else nice_step(wanted)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return step * np.arange(first, last + 1, dtype=np.float64)


def nice_step(at_least: float) -> float:
    """Return the smallest of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is large enough.

    >>> nice_step(3.2), nice_step(0.011), nice_step(1.0)
    (4.0, 0.015, 1.0)
    """
    power = 10.0 ** math.floor(math.log10(at_least))
    fitting = [m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= at_least * _ALMOST]
    return float(f"{fitting[0]:.2g}")
