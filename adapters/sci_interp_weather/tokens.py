"""The order of tokens: columns of cells outermost, then levels, then rows from north to south.

``token = (column * n_levels + level) * n_rows + row``, so that a step along the token axis by one
column keeps latitude and level. Every array of tokens in this package is made or undone here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .grids import Grid

__all__ = ["CellMeans", "from_tokens", "levels_to_tokens", "to_tokens", "token_coordinates"]


def to_tokens(values: NDArray[Any], n_levels: int = 1) -> NDArray[Any]:
    """Return fields in the order of tokens, the same on every level.

    Parameters
    ----------
    values : (..., n_rows, n_columns)
        Fields, north first.
    n_levels
        Levels of the layer.

    Returns
    -------
    (..., n_columns * n_levels * n_rows)
        Of the same type.
    """
    *lead, n_rows, n_columns = values.shape
    stacked = np.broadcast_to(values[..., None, :, :], (*lead, n_levels, n_rows, n_columns))
    return levels_to_tokens(stacked)


def levels_to_tokens(values: NDArray[Any]) -> NDArray[Any]:
    """Return fields on levels ``(..., n_levels, n_rows, n_columns)`` in the order of tokens."""
    *lead, n_levels, n_rows, n_columns = values.shape
    moved = np.moveaxis(values, -1, -3)  # (..., column, level, row)
    return np.ascontiguousarray(moved).reshape(*lead, n_columns * n_levels * n_rows)


def from_tokens(values: NDArray[Any], shape: tuple[int, int], n_levels: int = 1) -> NDArray[Any]:
    """Return tokens ``(..., n_tokens)`` as fields ``(..., n_levels, n_rows, n_columns)``.

    Parameters
    ----------
    values : (..., n_tokens)
        In the order of tokens.
    shape
        Rows and columns of the grid.
    n_levels
        Levels of the layer.
    """
    n_rows, n_columns = shape
    cells = values.reshape(*values.shape[:-1], n_columns, n_levels, n_rows)
    return np.moveaxis(cells, -3, -1)


def token_coordinates(grid: Grid, n_levels: int = 1) -> Mapping[str, NDArray[np.float64]]:
    """Return ``latitude``, ``longitude`` (degrees) and ``level`` (from 0) of every token."""
    n_rows, n_columns = grid.shape
    shape = (n_levels, n_rows, n_columns)
    level = np.arange(n_levels, dtype=np.float64)
    return {
        "latitude": levels_to_tokens(np.broadcast_to(grid.latitude[None, :, None], shape)),
        "longitude": levels_to_tokens(np.broadcast_to(grid.longitude[None, None, :], shape)),
        "level": levels_to_tokens(np.broadcast_to(level[:, None, None], shape)),
    }


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Area means of a field over the cells of another grid.

    The overlap of two cells on the sphere is the product of their overlaps in the sine of
    latitude and in longitude, so that the means are exact for piecewise constant fields.

    Attributes
    ----------
    rows : (n_to_rows, n_from_rows) float64
        Shares that sum to one in every row.
    columns : (n_to_columns, n_from_columns) float64
        The same along longitude.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]

    @classmethod
    def between(cls, fields: Grid, cells: Grid) -> CellMeans:
        """Return the means of fields on one grid over the cells of another.

        Raises
        ------
        InputError
            If a cell lies outside the fields' grid.
        """
        sines = [-np.sin(np.deg2rad(grid.latitude_edges)) for grid in (fields, cells)]
        rows = _overlap(*sines)
        turns = (-360.0, 0.0, 360.0)
        columns = sum(
            (_overlap(fields.longitude_edges + turn, cells.longitude_edges) for turn in turns),
            start=np.zeros((cells.shape[1], fields.shape[1])),
        )
        for name, share in (("latitude", rows), ("longitude", columns)):
            if not (share.sum(axis=1) > 0).all():
                first = int(np.flatnonzero(share.sum(axis=1) <= 0)[0])
                where = float(getattr(cells, name)[first])
                raise InputError(
                    f"the cells at {name} {where:g} lie outside the fields",
                    allowed="tokens inside the grid of the fields",
                    todo="Look whether the network's geometry belongs to these fields",
                )
        return cls(_normalise(rows), _normalise(columns))

    def of(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the means ``(..., n_to_rows, n_to_columns)`` of ``(..., n_rows, n_columns)``."""
        if self._is_identity:
            return np.asarray(values, dtype=np.float32)
        return (self.rows @ values.astype(np.float64) @ self.columns.T).astype(np.float32)

    @property
    def _is_identity(self) -> bool:
        return all(
            share.shape[0] == share.shape[1] and np.array_equal(share, np.eye(len(share)))
            for share in (self.rows, self.columns)
        )


def _overlap(edges: NDArray[np.float64], into: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length that every interval of ``into`` shares with every one of ``edges``."""
    low = np.maximum(into[:-1, None], edges[None, :-1])
    high = np.minimum(into[1:, None], edges[None, 1:])
    shared = np.clip(high - low, 0.0, None)
    # Edges that agree in theory differ in the last digits: such slivers are no overlap.
    smallest = 1e-6 * np.diff(edges)[None, :]
    return np.where(shared > smallest, shared, 0.0)


def _normalise(share: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = share / share.sum(axis=1, keepdims=True)
    return shares
