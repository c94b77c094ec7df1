"""Cells of a map: brought together where they are too thin to see, filled, outlined, dotted.

Everything becomes the data of an SVG path, in whole tenths of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .frames import TENTHS, Frame, Side, edges_of

__all__ = ["Mesh", "line_path"]

#: Distance that dots keep (pixels).
_DOT_SPACE = 7.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """The drawn cells of a regular grid.

    Attributes
    ----------
    frame
        Where they are drawn.
    x, y
        Cells along both sides.
    """

    frame: Frame
    x: Side
    y: Side

    @classmethod
    def of(cls, frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64]) -> Mesh:
        """Return the mesh of the grid with centres ``x`` and ``y``."""
        across, along = edges_of(x), edges_of(y, is_latitude=frame.is_geographic)
        return cls(frame, Side.of(across, frame.x_scale), Side.of(along, frame.y_scale))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of drawn cells along y and along x."""
        return len(self.y.group), len(self.x.group)

    @property
    def wraps(self) -> bool:
        """Whether the cells go round the whole circle."""
        span = self.x.edges[-1] - self.x.edges[0]
        cell = span / len(self.x.group)
        return bool(self.frame.period and abs(span - self.frame.period) < 0.01 * cell)

    @property
    def note(self) -> str:
        """What a caption says of cells that were brought together, nothing where none were."""
        if self.x.factor == self.y.factor == 1:
            return ""
        return f"{self.y.factor} by {self.x.factor} cells drawn as one"

    def mean(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return means ``shape`` over the drawn cells of ``values``, those that are not NaN."""
        if values.shape == self.shape:
            return values.astype(np.float64)
        is_finite = np.isfinite(values)
        total, n = self._sum(np.where(is_finite, values, 0.0)), self._sum(is_finite)
        mean: NDArray[np.float64] = np.divide(
            total, n, out=np.full(self.shape, np.nan), where=n > 0
        )
        return mean

    def largest(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the largest of ``values`` in every drawn cell ``shape``."""
        rows = np.maximum.reduceat(values, self.y.group, axis=0)
        return np.maximum.reduceat(rows, self.x.group, axis=1)

    def fill(self, styles: NDArray[np.int64]) -> dict[int, str]:
        """Return a path for every style above 0 of the cells ``shape``; rows in whole runs."""
        n_y, n_x = self.shape
        ends = np.ones((n_y, n_x + 1), bool)
        ends[:, 1:-1] = np.diff(styles, axis=1) != 0
        row, first = np.nonzero(ends[:, :-1])
        last = np.nonzero(ends[:, 1:])[1] + 1
        style = styles[row, first]
        paths = {}
        for value in np.unique(style[style > 0]).tolist():
            chosen = style == value
            boxes = self._boxes(row[chosen], row[chosen] + 1, first[chosen], last[chosen])
            paths[value] = "".join(f"M{x} {y}h{w}v{h}h{-w}z" for x, y, w, h in boxes if w and h)
        return paths

    def outline(self, mask: NDArray[np.bool_]) -> str:
        """Return the path along the edges of the cells of a mask ``shape``."""
        beside = np.pad(mask, ((0, 0), (1, 1)), mode="wrap" if self.wraps else "constant")
        above = np.pad(mask, ((1, 1), (0, 0)))
        upright = beside[:, 1:] != beside[:, :-1]
        level = above[1:] != above[:-1]
        column, top, bottom = _runs(upright.T)
        row, left, right = _runs(level)
        boxes = self._boxes(top, bottom, column, column) + self._boxes(row, row, left, right)
        return "".join(f"M{x} {y}h{w}" if w else f"M{x} {y}v{h}" for x, y, w, h in boxes if w or h)

    def dots(self, mask: NDArray[np.bool_]) -> str:
        """Return a path with dots in the cells of a mask ``shape``, where it has room for them."""
        room = _DOT_SPACE / np.array([self.frame.y_scale, self.frame.x_scale])
        sides = np.array([np.abs(np.diff(side.edges)).mean() for side in (self.y, self.x)])
        every = np.ceil(room / sides - 1e-6).astype(np.int64)
        row, column = every[:, None] * np.nonzero(mask[:: every[0], :: every[1]])
        boxes = self._boxes(row, row + 1, column, column + 1)
        return "".join(f"M{x + w // 2} {y + h // 2}h0" for x, y, w, h in boxes if w and h)

    def place(self, row: int, column: int) -> tuple[float, float]:
        """Return the middle of a cell of the grid, in pixels."""
        row, column = row // self.y.factor, column // self.x.factor
        box = self._boxes(*(np.array([at]) for at in (row, row + 1, column, column + 1)))
        x, y, w, h = box[0]
        return (x + w / 2) / TENTHS, (y + h / 2) / TENTHS

    def _sum(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        rows = np.add.reduceat(values.astype(np.float64), self.y.group, axis=0)
        total: NDArray[np.float64] = np.add.reduceat(rows, self.x.group, axis=1)
        return total

    def _boxes(
        self,
        top: NDArray[np.int64],
        bottom: NDArray[np.int64],
        left: NDArray[np.int64],
        right: NDArray[np.int64],
    ) -> list[tuple[int, int, int, int]]:
        """Return x, y, width, height of boxes between edges, where they are seen.

        Boxes across the seam are cut there: a part lies at either end.
        """
        frame, edges = self.frame, self.x.edges
        sides = np.sort(frame.to_y(np.stack([self.y.edges[top], self.y.edges[bottom]])), axis=0)
        y = np.rint(np.clip(sides, 0, TENTHS * frame.height)).astype(np.int64)
        boxes = []
        for turn in frame.turns(float(edges.min()), float(edges.max())):
            ends = frame.to_x(np.stack([edges[left], edges[right]]) + turn)
            seen = (ends[1] >= -0.5) & (ends[0] <= TENTHS * frame.width + 0.5)
            x = np.rint(np.clip(ends, 0, TENTHS * frame.width)).astype(np.int64)
            columns = x[0], y[0], x[1] - x[0], y[1] - y[0]
            boxes += [tuple(box) for box in np.stack(columns, axis=1)[seen].tolist()]
        return boxes


def line_path(lines: list[NDArray[np.float64]]) -> str:
    """Return the path along lines ``(n_points, 2)`` in tenths of a pixel.

    Points that fall together are dropped, and so are lines that fall to a point.
    """
    parts = []
    for line in lines:
        points = np.rint(line).astype(np.int64)
        steps = np.diff(points, axis=0)
        steps = steps[steps.any(axis=1)]
        if len(steps):
            text = " ".join(f"{dx} {dy}" for dx, dy in steps.tolist())
            parts.append(f"M{points[0, 0]} {points[0, 1]}l{text}".replace(" -", "-"))
    return "".join(parts)


def _runs(
    marked: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return row, first and last (exclusive) of every run of true cells along the rows."""
    change = np.diff(np.pad(marked, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(change == 1)
    return row, first, np.nonzero(change == -1)[1]
