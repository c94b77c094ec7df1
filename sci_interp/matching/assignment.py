"""One-to-one matches: the partners that maximise the sum of the scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MATRIX_BYTES", "assign"]

#: Largest matrix of float32 scores that is held; the assignment needs twice as much beside it.
MATRIX_BYTES = 512 * 2**20


def assign(
    scores: NDArray[np.floating], rows: NDArray[np.bool_], columns: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the score with the one-to-one partner of every row, and which column that is.

    Crouse (2016), "On implementing 2D rectangular assignment algorithms".

    Parameters
    ----------
    scores : (n_rows, n_columns)
        What is maximised in sum.
    rows, columns : (n_rows,), (n_columns,) bool
        Which of them take part; where rows outnumber columns, some stay without a partner.

    Returns
    -------
    score : (n_rows,) float64
        NaN without a partner.
    partner : (n_rows,) int64
        -1 there.
    """
    from scipy.optimize import linear_sum_assignment

    score = np.full(len(scores), np.nan)
    partner = np.full(len(scores), -1, np.int64)
    row, column = np.flatnonzero(rows), np.flatnonzero(columns)
    if len(row) and len(column):
        at, to = linear_sum_assignment(scores[np.ix_(row, column)], maximize=True)
        partner[row[at]] = column[to]
        score[row[at]] = scores[row[at], column[to]]
    return score, partner
