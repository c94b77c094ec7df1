"""Model-free descriptors of the weather around a token."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .datasets import WeatherDataset

__all__ = ["REACH", "describe_cell_windows"]

#: Cells on either side of a token that its descriptor covers.
REACH: Final = 3
#: Variables that are described; more would dilute the first.
_N_VARIABLES: Final = 3


def describe_cell_windows(
    dataset: WeatherDataset, record: str, tokens: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Describe the standardised anomalies within :data:`REACH` cells of each token.

    A cell of the window contributes the departure from the climatology of its place and day, in
    standard deviations, minus the mean of that record over the domain (so that a record of high
    pressure everywhere resembles no other by that alone), times a weight that falls linearly from
    the token outwards. The expected vector of a random time is zero, so the cosine of two
    unrelated windows is zero on average. Cells outside the grid contribute zeros; a whole circle
    of longitude has no edge. Windows are counted in cells: towards the poles they are narrower.

    Parameters
    ----------
    dataset
        The dataset.
    record
        The record.
    tokens : (n,) int64
        Tokens of the record, on any level.

    Returns
    -------
    (n, 49 * n_variables) float32
        Unit rows; a row without any departure is zero. At most three variables, pressure first.

    Raises
    ------
    UnknownNameError
        If there is no such record.
    """
    at = dataset.index_of(record)
    names = sorted(dataset.variables, key=lambda name: name != "msl")[:_N_VARIABLES]
    area = dataset.grid.row_weights()[:, None]
    n_rows, n_columns = dataset.grid.shape
    column, rest = np.divmod(np.asarray(tokens, np.int64), dataset.n_levels * n_rows)
    row = rest % n_rows
    offsets = np.arange(-REACH, REACH + 1)
    rows = row[:, None, None] + offsets[None, :, None]  # (n, 7, 1)
    columns = column[:, None, None] + offsets[None, None, :]  # (n, 1, 7)
    inside = (rows >= 0) & (rows < n_rows)
    if dataset.grid.periodic:
        columns = columns % n_columns
    else:
        inside = inside & (columns >= 0) & (columns < n_columns)
    fall = 1 - np.abs(offsets) / (REACH + 1)
    weights = np.where(inside, np.minimum(fall[:, None], fall[None, :]), 0.0)  # (n, 7, 7)
    rows, columns = np.clip(rows, 0, n_rows - 1), np.clip(columns, 0, n_columns - 1)
    parts = []
    for name in names:
        anomaly = dataset.anomaly(name, at)  # (n_rows, n_columns)
        anomaly = anomaly - (anomaly * area).sum() / (area.sum() * n_columns)
        parts.append((anomaly[rows, columns] * weights).reshape(len(row), -1))
    vectors = np.concatenate(parts, axis=1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float32)
