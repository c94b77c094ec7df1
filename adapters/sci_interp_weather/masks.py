"""Masks on a field's grid: projected to tokens, turned into runs, cut into connected objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .grids import Grid, great_circle_km
from .tokens import CellMeans, to_tokens

__all__ = [
    "MaskObject",
    "connected_objects",
    "project_cells",
    "project_mask",
    "runs_of_mask",
    "touches_edge",
]

#: Means are float32.
_HALF: Final = 0.5 - 1e-6
_EIGHT: Final = np.ones((3, 3), np.bool_)


def project_mask(mask: NDArray[np.bool_], means: CellMeans) -> NDArray[np.bool_]:
    """Return the token cells, ``(n_rows, n_columns)``, with at least half their area inside.

    Parameters
    ----------
    mask : (n_lat, n_lon) bool
        On the fields' grid.
    means
        From that grid to the tokens'.
    """
    return means.of(mask.astype(np.float32)) >= _HALF


def project_cells(cells: NDArray[np.int64], means: CellMeans) -> NDArray[np.bool_]:
    """Return the token cells, ``(n_rows, n_columns)``, of which an object holds at least half.

    Of an object that holds half of no cell, it is the one cell that it holds most of. An object
    that lies outside of the tokens has no cell.

    Parameters
    ----------
    cells : (n_cells,) int64
        The object on the fields' grid, ``row * n_lon + column``.
    means
        From that grid to the tokens'.
    """
    from_rows, row = np.unique(cells // means.columns.shape[1], return_inverse=True)
    from_columns, column = np.unique(cells % means.columns.shape[1], return_inverse=True)
    mask = np.zeros((len(from_rows), len(from_columns)))
    mask[row, column] = 1.0
    rows, columns = means.rows[:, from_rows], means.columns[:, from_columns]
    to_rows, to_columns = np.flatnonzero(rows.any(1)), np.flatnonzero(columns.any(1))
    inside = np.zeros((len(rows), len(columns)), np.bool_)
    share = rows[to_rows] @ mask @ columns[to_columns].T
    if share.size == 0:
        return inside
    inside[np.ix_(to_rows, to_columns)] = share >= _HALF
    if share.max() < _HALF:
        best = np.unravel_index(int(np.argmax(share)), share.shape)
        inside[to_rows[best[0]], to_columns[best[1]]] = True
    return inside


def runs_of_mask(mask: NDArray[np.bool_], n_levels: int = 1) -> list[tuple[int, int]]:
    """Return the half-open token ranges of a mask ``(n_rows, n_columns)``, on every level."""
    tokens = np.flatnonzero(to_tokens(mask, n_levels))
    if len(tokens) == 0:
        return []
    last = np.flatnonzero(tokens[1:] - tokens[:-1] > 1)
    starts = [int(tokens[0]), *tokens[last + 1].tolist()]
    stops = [*(tokens[last] + 1).tolist(), int(tokens[-1]) + 1]
    return list(zip(starts, stops, strict=True))


@dataclass(frozen=True, eq=False)
class MaskObject:
    """A connected part of a mask.

    Attributes
    ----------
    cells : (n_cells,) int64
        Its cells, ``row * n_lon + column``, ascending.
    latitude, longitude : float
        Its middle, weighted by area.
    area_km2 : float
        Its area.
    length_km : float
        Distance of its two farthest cells (the second found from the first, and the first from
        its middle).
    on_edge : bool
        Whether it touches an edge of the domain.
    """

    cells: NDArray[np.int64]
    latitude: float
    longitude: float
    area_km2: float
    length_km: float
    on_edge: bool


def connected_objects(mask: NDArray[np.bool_], grid: Grid) -> list[MaskObject]:
    """Return the connected parts of a mask (8 neighbours, across the seam of a whole circle).

    Parameters
    ----------
    mask : (n_lat, n_lon) bool
        The mask.
    grid
        Its grid.
    """
    from scipy import ndimage

    labels, n_labels = ndimage.label(mask, structure=_EIGHT)
    if n_labels == 0:
        return []
    if grid.periodic:
        labels = _join_seam(labels, n_labels)
    flat = labels.reshape(-1)
    cells = np.flatnonzero(flat)
    cells = cells[np.argsort(flat[cells], kind="stable")]
    starts = np.flatnonzero(np.diff(flat[cells], prepend=0))
    area, edge = grid.area().reshape(-1), touches_edge(grid).reshape(-1)
    return [_measure(part, area, edge, grid) for part in np.split(cells, starts[1:])]


def _join_seam(labels: NDArray[np.int32], n_labels: int) -> NDArray[np.int64]:
    """Give one number to the parts that touch across the seam, the order of first cells kept."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, last = labels[:, 0], labels[:, -1]
    left = np.concatenate([last, last[:-1], last[1:]])
    right = np.concatenate([first, first[1:], first[:-1]])
    touching = (left > 0) & (right > 0)
    left, right = left[touching], right[touching]
    graph = coo_matrix((np.ones(len(left)), (left, right)), shape=(n_labels + 1,) * 2)
    joined = connected_components(graph, directed=False)[1].astype(np.int64)
    return np.where(labels > 0, joined[labels] + 1, 0)


def touches_edge(grid: Grid) -> NDArray[np.bool_]:
    """Return the cells ``(n_lat, n_lon)`` on an edge of a regional domain (poles are none)."""
    edge = np.zeros(grid.shape, np.bool_)
    edge[0] = grid.latitude_edges[0] < 90.0 - 1e-6 or not grid.periodic
    edge[-1] = grid.latitude_edges[-1] > -90.0 + 1e-6 or not grid.periodic
    if not grid.periodic:
        edge[:, [0, -1]] = True
    return edge


def _measure(
    cells: NDArray[np.int64], area: NDArray[np.float64], edge: NDArray[np.bool_], grid: Grid
) -> MaskObject:
    n_lon = len(grid.longitude)
    latitude, longitude = grid.latitude[cells // n_lon], grid.longitude[cells % n_lon]
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    weight = area[cells]
    x, y, z = (
        float((weight * part).sum())
        for part in (np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi))
    )
    middle_lat = float(np.rad2deg(np.arctan2(z, np.hypot(x, y))))
    middle_lon = float(np.rad2deg(np.arctan2(y, x)))
    far = int(np.argmax(great_circle_km(middle_lat, middle_lon, latitude, longitude)))
    across = great_circle_km(latitude[far], longitude[far], latitude, longitude)
    return MaskObject(
        cells=np.sort(cells),
        latitude=middle_lat,
        longitude=middle_lon,
        area_km2=float(weight.sum()),
        length_km=float(across.max()),
        on_edge=bool(edge[cells].any()),
    )
