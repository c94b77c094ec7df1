"""Coastlines of Natural Earth 1:110m, clipped to a grid and in its longitudes.

``data/coastlines.bin`` holds, compressed by zlib and as little-endian 16-bit integers: the number
of lines, the number of points of each, all longitudes, all latitudes, in hundredths of a degree.
It is made by ``benchmarks/reference/build_coastlines.py``; Natural Earth is in the public domain.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Polyline

if TYPE_CHECKING:
    from .grids import Grid

__all__ = ["coastlines", "pack_lines", "unpack_lines"]

_CIRCLE = 360.0


def coastlines(grid: Grid) -> tuple[Polyline, ...]:
    """Return the coastlines inside the outermost edges of a grid's cells.

    Parameters
    ----------
    grid
        Whose ``longitude_edges`` and ``latitude_edges`` bound the lines; the edges lie half a
        cell beyond the outermost centres.

    Returns
    -------
    tuple of Polyline
        ``x`` in the grid's longitudes (past 180 degrees east where the grid runs past them), ``y``
        degrees north. Lines are broken where they leave the grid, also at its seam.
    """
    west, east = float(grid.longitude_edges[0]), float(grid.longitude_edges[-1])
    latitudes = np.asarray(grid.latitude_edges)
    south, north = float(latitudes.min()), float(latitudes.max())
    found: list[NDArray[np.float64]] = []
    for line in _world():
        low, high = line[:, 0].min(), line[:, 0].max()
        first, last = np.ceil((west - high) / _CIRCLE), np.floor((east - low) / _CIRCLE)
        for turn in np.arange(first, last + 1):
            pieces = _clip(line + np.array([turn * _CIRCLE, 0.0]), 0, west, east)
            found += [part for piece in pieces for part in _clip(piece, 1, south, north)]
    return tuple(Polyline(line[:, 0].copy(), line[:, 1].copy()) for line in found)


def pack_lines(lines: Sequence[NDArray[np.int64]]) -> bytes:
    """Return lines ``(n_points, 2)`` in hundredths of a degree as the bytes of the data file."""
    lengths = [len(line) for line in lines]
    points = np.concatenate(lines)
    numbers = np.concatenate([[len(lines)], lengths, points[:, 0], points[:, 1]])
    assert np.abs(numbers).max() < 2**15, "a number does not fit into 16 bits"
    return zlib.compress(numbers.astype("<i2").tobytes(), 9)


def unpack_lines(data: bytes) -> list[NDArray[np.float64]]:
    """Return the lines ``(n_points, 2)`` of the data file, longitude and latitude in degrees."""
    numbers = np.frombuffer(zlib.decompress(data), "<i2").astype(np.int64)
    n_lines = int(numbers[0])
    lengths, points = numbers[1 : 1 + n_lines], numbers[1 + n_lines :].reshape(2, -1).T / 100.0
    return np.split(points, np.cumsum(lengths)[:-1])


@cache
def _world() -> tuple[NDArray[np.float64], ...]:
    folder = files("sci_interp_weather") / "data"
    return tuple(unpack_lines((folder / "coastlines.bin").read_bytes()))


def _clip(
    line: NDArray[np.float64], axis: int, low: float, high: float
) -> list[NDArray[np.float64]]:
    """Return the parts of a line ``(n_points, 2)`` whose coordinate ``axis`` is in ``low..high``.

    Points are put where the line crosses a bound; the line is then cut at the points outside.
    """
    for bound in (low, high):
        step = np.diff(line[:, axis])
        at = np.flatnonzero((line[:-1, axis] - bound) * (line[1:, axis] - bound) < 0)
        share = ((bound - line[at, axis]) / step[at])[:, None]
        crossing = line[at] + share * (line[at + 1] - line[at])
        crossing[:, axis] = bound
        line = np.insert(line, at + 1, crossing, axis=0)
    middle = (line[:-1, axis] + line[1:, axis]) / 2
    inside = ((middle >= low) & (middle <= high)).astype(np.int8)
    edges = np.diff(inside, prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [line[a : b + 1] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
