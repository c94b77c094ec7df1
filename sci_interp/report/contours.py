"""Contours of a field, by marching squares: F x level -> lines along which F equals the level.

The method is that of marching squares (Lorensen & Cline 1987, in two dimensions), with linear
interpolation along the edges of the cells and saddles resolved by the mean of the four corners.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["contour_levels", "contour_lines"]

_MAX_LEVELS = 30

# Corners of a cell, from the lower left around, weigh 1, 2, 4, 8; its edges are numbered from the
# lower one around: 0 below, 1 right, 2 above, 3 left. A segment leaves by the second edge, with
# the corners that are above the level on its left. Saddles: the first row of a pair is for a
# middle that is above the level.
_SEGMENTS = {
    1: (0, 3), 2: (1, 0), 3: (1, 3), 4: (2, 1), 6: (2, 0), 7: (2, 3),
    8: (3, 2), 9: (0, 2), 11: (1, 2), 12: (3, 1), 13: (0, 1), 14: (3, 0),
}  # fmt: skip
_SADDLES = {5: (((2, 3), (0, 1)), ((0, 3), (2, 1))), 10: (((3, 0), (1, 2)), ((1, 0), (3, 2)))}


def contour_levels(field: NDArray[np.floating], step: float) -> tuple[NDArray[np.float64], float]:
    """Return the multiples of ``step`` inside the range of a field, and the step that was taken.

    The step is doubled until the levels are few enough to be read; NaN is left out. There is no
    level for a field without finite values, or a step that is no positive number.
    """
    finite = field[np.isfinite(field)]
    if not len(finite) or not (math.isfinite(step) and step > 0):
        return np.zeros(0), step
    low, high = float(finite.min()), float(finite.max())
    # A float has room for 53 bits: a step that needs more cannot tell the levels apart.
    while (high - low) / step > _MAX_LEVELS or max(abs(low), abs(high)) / step > 2.0**40:
        step *= 2
    numbers = np.arange(math.ceil(low / step), math.floor(high / step) + 1, dtype=np.float64)
    return step * numbers, step


def contour_lines(
    x: NDArray[np.float64], y: NDArray[np.float64], field: NDArray[np.floating], level: float
) -> list[NDArray[np.float64]]:
    """Return the lines ``(n_points, 2)`` along which a field equals a level.

    Parameters
    ----------
    x, y
        Nodes ``(n_x,)``, ``(n_y,)``.
    field
        Values ``(n_y, n_x)``; no line is drawn in a cell with a corner that is not finite.
    level
        The value.

    Returns
    -------
    list
        Closed lines end where they begin. The field is at or above the level on the left of a
        line, where x and y ascend.
    """
    values = field.astype(np.float64)
    start, stop = _segments(values, level)
    used, inverse = np.unique(np.concatenate([start, stop]), return_inverse=True)
    points = _crossings(x, y, values, level=level, edges=used)
    return [
        points[chain]
        for chain in _chains(inverse[: len(start)].tolist(), inverse[len(start) :].tolist())
    ]


def _segments(
    field: NDArray[np.float64], level: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges at which each segment begins and ends, numbered over the whole grid."""
    n_y, n_x = field.shape
    above = (field >= level).astype(np.int64)
    kind = above[:-1, :-1] + 2 * above[:-1, 1:] + 4 * above[1:, 1:] + 8 * above[1:, :-1]
    corners = np.stack([field[:-1, :-1], field[:-1, 1:], field[1:, 1:], field[1:, :-1]])
    kind[~np.isfinite(corners).all(axis=0)] = 0
    row, column = np.nonzero((kind > 0) & (kind < 15))
    kind, is_high = kind[row, column], corners[:, row, column].mean(axis=0) >= level
    below, left = row * n_x + column, n_y * n_x + row * n_x + column
    edges = np.stack([below, left + 1, below + n_x, left])
    start, stop = [], []

    def take(chosen: NDArray[np.bool_], pair: tuple[int, int]) -> None:
        start.append(edges[pair[0], chosen])
        stop.append(edges[pair[1], chosen])

    for case, pair in _SEGMENTS.items():
        take(kind == case, pair)
    for case, (high, low) in _SADDLES.items():
        for one, other in zip(high, low, strict=True):
            take((kind == case) & is_high, one)
            take((kind == case) & ~is_high, other)
    return np.concatenate(start), np.concatenate(stop)


def _crossings(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    field: NDArray[np.float64],
    *,
    level: float,
    edges: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the points ``(n_edges, 2)`` at which edges cross the level."""
    n_y, n_x = field.shape
    is_upright = edges >= n_y * n_x
    row, column = np.divmod(edges % (n_y * n_x), n_x)
    to_row, to_column = row + is_upright, column + ~is_upright
    one, other = field[row, column], field[to_row, to_column]
    share = (level - one) / (other - one)
    return np.stack(
        [
            x[column] + share * (x[to_column] - x[column]),
            y[row] + share * (y[to_row] - y[row]),
        ],
        axis=1,
    )


def _chains(start: list[int], stop: list[int]) -> list[list[int]]:
    """Join segments end to end; every point begins and ends one segment at most."""
    following = dict(zip(start, stop, strict=True))
    ends = set(stop)
    chains = []
    for first in [*sorted(set(start) - ends), *sorted(start)]:
        if first not in following:
            continue
        chain = [first]
        while chain[-1] in following:
            chain.append(following.pop(chain[-1]))
        chains.append(chain)
    return chains
