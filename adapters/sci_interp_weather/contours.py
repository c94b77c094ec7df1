"""Closed contours around the minima of a field on a regular grid, whole circle or region.

The rule is that of TempestExtremes (Ullrich and Zarzycki 2017, Geosci. Model Dev. 10, 1069): a
minimum counts if, along every path that leaves it, the field rises by a given amount within a
given great-circle distance. Minima that pass it own the inside of their outermost closed contour
(Wernli and Schwierz 2006, J. Atmos. Sci. 63, 2486): water is poured in at the minimum and rises
until it would run over into a deeper minimum, over the domain's edge or out of a given radius.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .grids import Grid

__all__ = ["Basin", "Mesh", "find_basins", "mesh_of"]

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(cache=True, nogil=True)

_REJECTED: Final = 0
_CLOSED: Final = 1
_POLE: Final = 90.0 - 1e-6


class Mesh(NamedTuple):
    """How the cells of a grid, ``row * n_lon + column``, touch and where they lie.

    Eight cells touch each cell; on a whole circle the first column touches the last one, and a
    row that reaches a pole touches itself across it. Other borders are edges of the domain.
    """

    n_lat: int
    n_lon: int
    periodic: bool
    north_cap: bool
    south_cap: bool
    sin_latitude: NDArray[np.float64]
    cos_latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Basin:
    """A minimum of a field with the inside of a contour around it.

    Attributes
    ----------
    cell : int
        Where the minimum is, ``row * n_lon + column``.
    value : float
        The field there.
    depth : float
        Level of the outermost closed contour above ``value``.
    prominence : float
        Rise on the easiest way to a deeper minimum of the domain; to the highest value where
        there is no deeper one.
    cells : (n_cells,) int64
        Cells inside the contour.
    decided : bool
        False where the domain's edge cuts the contour that the rule asks for, so that the rule
        cannot be decided; ``cells`` are then inside that contour.
    """

    cell: int
    value: float
    depth: float
    prominence: float
    cells: NDArray[np.int64]
    decided: bool


def mesh_of(grid: Grid) -> Mesh:
    """Return the neighbourhoods of a grid."""
    latitude = np.deg2rad(np.clip(grid.latitude, -90.0, 90.0))
    return Mesh(
        n_lat=len(grid.latitude),
        n_lon=len(grid.longitude),
        periodic=bool(grid.periodic),
        north_cap=bool(grid.periodic and grid.latitude_edges[0] >= _POLE),
        south_cap=bool(grid.periodic and grid.latitude_edges[-1] <= -_POLE),
        sin_latitude=np.sin(latitude),
        cos_latitude=np.cos(latitude),
        longitude=np.deg2rad(grid.longitude),
    )


def find_basins(
    field: NDArray[np.float32] | NDArray[np.float64],
    mesh: Mesh,
    *,
    rise: float,
    within: float,
    reach: float,
) -> list[Basin]:
    """Return the minima that a closed contour surrounds, the deepest first.

    A minimum on the domain's edge is never closed: the true one may lie outside. It is rejected
    where the field does not rise enough inside of the domain, and undecided elsewhere. Cells
    without a value are outside of the domain.

    Parameters
    ----------
    field : (n_lat, n_lon)
        Values, NaN where there is none; pass the negative field for maxima.
    mesh
        Neighbourhoods of its cells.
    rise
        Least rise from the minimum to the contour, in the field's unit.
    within
        Greatest distance of that contour from the minimum, in degrees of a great circle.
    reach
        Greatest distance of the outermost closed contour from the minimum, in degrees.
    """
    value = np.ascontiguousarray(field, np.float64).reshape(-1)
    missing = np.isnan(value)
    order = np.argsort(value, kind="stable")[: len(value) - int(missing.sum())]
    if len(order) == 0:
        return []
    rank = np.full(len(value), -1, np.int64)
    rank[order] = np.arange(len(order))
    edge = _edge(missing, mesh)
    prominence = _prominence(value, order, rank, mesh)
    minima = np.flatnonzero(prominence >= rise)
    visited = np.full(len(value), -1, np.int64)
    limits = (rise, float(np.cos(np.deg2rad(within))), float(np.cos(np.deg2rad(min(reach, 180.0)))))
    basins = []
    for cell in minima[np.argsort(rank[minima])].tolist():
        state, level, cells = _flood(cell, value, order, rank, edge, visited, limits, mesh)
        if state != _REJECTED:
            depth, decided = level - value[cell], state == _CLOSED
            spill = float(prominence[cell])
            basins.append(Basin(cell, float(value[cell]), float(depth), spill, cells, decided))
    return basins


@_compiled
def _neighbour(cell: int, k: int, mesh: Mesh) -> int:
    """Return neighbour ``k`` (0 to 8, 4 is the cell itself), or -1 outside of the domain."""
    row, column = cell // mesh.n_lon + k // 3 - 1, cell % mesh.n_lon + k % 3 - 1
    if row < 0:
        if not mesh.north_cap:
            return -1
        row, column = 0, column + mesh.n_lon // 2
    elif row >= mesh.n_lat:
        if not mesh.south_cap:
            return -1
        row, column = mesh.n_lat - 1, column + mesh.n_lon // 2
    if mesh.periodic:
        column %= mesh.n_lon
    elif column < 0 or column >= mesh.n_lon:
        return -1
    return row * mesh.n_lon + column


@_compiled
def _edge(missing: NDArray[np.bool_], mesh: Mesh) -> NDArray[np.bool_]:
    """Return the cells that touch the outside of the domain, ``(n_cells,)``."""
    edge = np.zeros(len(missing), np.bool_)
    for cell in range(len(missing)):
        for k in range(9):
            other = _neighbour(cell, k, mesh)
            edge[cell] |= other < 0 or missing[other]
    return edge


@_compiled
def _cos_distance(a: int, b: int, mesh: Mesh) -> float:
    row_a, row_b = a // mesh.n_lon, b // mesh.n_lon
    turn = np.cos(mesh.longitude[a % mesh.n_lon] - mesh.longitude[b % mesh.n_lon])
    return float(
        mesh.sin_latitude[row_a] * mesh.sin_latitude[row_b]
        + mesh.cos_latitude[row_a] * mesh.cos_latitude[row_b] * turn
    )


@_compiled
def _prominence(
    value: NDArray[np.float64], order: NDArray[np.int64], rank: NDArray[np.int64], mesh: Mesh
) -> NDArray[np.float64]:
    """Return the prominence of every minimum, 0 elsewhere, by joining basins in ascending order.

    Returns
    -------
    (n_cells,) float64
    """
    root = np.full(len(value), -1, np.int64)
    prominence = np.zeros(len(value))
    for cell in order:
        own = cell
        root[cell] = cell
        for k in range(9):
            other = _neighbour(cell, k, mesh)
            if other < 0 or root[other] < 0:
                continue
            while root[other] != other:
                root[other] = root[root[other]]
                other = root[other]
            if other == own:
                continue
            if rank[other] < rank[own]:
                own, other = other, own
            root[other] = own
            prominence[other] = value[cell] - value[other]
    lowest = order[0]
    prominence[lowest] = value[order[-1]] - value[lowest]
    return prominence


@_compiled
def _flood(
    start: int,
    value: NDArray[np.float64],
    order: NDArray[np.int64],
    rank: NDArray[np.int64],
    edge: NDArray[np.bool_],
    visited: NDArray[np.int64],
    limits: tuple[float, float, float],
    mesh: Mesh,
) -> tuple[int, float, NDArray[np.int64]]:
    """Pour water in at a minimum until it runs over.

    Returns
    -------
    state
        0 rejected, 1 closed, 2 undecided.
    level
        The contour's level.
    cells : (n_cells,) int64
        Inside the contour.
    """
    rise, near, far = limits
    low = level = value[start]
    cut, passed, n_inside = False, False, 0
    cells = [start for _ in range(0)]
    heap = [rank[start]]
    visited[start] = start
    while len(heap) > 0:
        cell = order[heapq.heappop(heap)]
        height, cosine = value[cell], _cos_distance(start, cell, mesh)
        if height > level:
            level, n_inside = height, len(cells)
            if not passed and height >= low + rise:
                passed = True
                if cut:
                    return 2, level, np.array(cells, np.int64)
        if passed:
            if rank[cell] < rank[start] or cosine < far or edge[cell]:
                return 1, level, np.array(cells[:n_inside], np.int64)
        elif cosine < near:
            return 0, level, np.array(cells[:0], np.int64)
        elif edge[cell]:
            cut = True
        cells.append(cell)
        for k in range(9):
            other = _neighbour(cell, k, mesh)
            if other >= 0 and rank[other] >= 0 and visited[other] != start:
                visited[other] = start
                heapq.heappush(heap, rank[other])
    return (2 if cut else 1), level, np.array(cells, np.int64)
