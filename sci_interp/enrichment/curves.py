"""Precision and recall over falling thresholds: each label's printed feature, and its rivals.

A rival is the feature of a baseline, or of the supervised reference, that has the best hybrid F1
for the label on the half that chose. Curves are measured on the other half, token by token.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .selection import DIRECTIONS, Direction, Selection

__all__ = ["CURVE_COLUMNS", "CurveBook", "trace_curves"]

Ints = NDArray[np.int64]
#: Precision and token recall at falling thresholds.
Points = tuple[NDArray[np.float64], NDArray[np.float64]]

CURVE_COLUMNS = ("source", "label", "feature", "direction", "prevalence", "precision", "recall")
#: Levels from one point of a curve to the next: an eighth of an octave.
STEP = 4


class CurveBook:
    """The curves of one source's pairs, noted while their areas are computed.

    Parameters
    ----------
    selection
        Thresholds and counts.
    best : DataFrame
        Columns ``feature, label, as_best``: the feature that has the best hybrid F1 for a label on
        the half that a direction, by number, chooses on.
    """

    def __init__(self, selection: Selection, best: pd.DataFrame) -> None:
        self._selection = selection
        columns = (best[name].tolist() for name in ("as_best", "label", "feature"))
        self._best = {(way, label): feature for way, label, feature in zip(*columns, strict=True)}
        self._points: dict[tuple[int, int, int], Points] = {}

    def note(self, way: Direction, feature: int, label: int, positive: Ints, known: Ints) -> None:
        """Keep the curve of a pair.

        Parameters
        ----------
        way
            The direction, on whose testing half tokens were counted.
        feature, label
            The pair.
        positive, known : (256,) int64
            Positive tokens, and all tokens, at each level, ascending.
        """
        n_positive = int(self._selection.n_positive[way.testing][label])
        self._points[way.number, feature, label] = _points(positive, known, n_positive)

    def prune(self, table: pd.DataFrame) -> None:
        """Forget all curves but those of each label's first row and best features.

        Parameters
        ----------
        table : DataFrame
            The source's rows, sorted.
        """
        first = table.drop_duplicates("label_number")
        number = {way.name: way.number for way in DIRECTIONS}
        wanted = {(way, feature, label) for (way, label), feature in self._best.items()}
        wanted |= {
            (number[row.direction], int(row.feature), int(row.label_number))
            for row in first.itertuples()
        }
        self._points = {key: each for key, each in self._points.items() if key in wanted}

    def trace(self, way: Direction, feature: int | None, label: int) -> pd.DataFrame | None:
        """Return a curve of a label, of a feature or of the best; None where there is none."""
        if feature is None:
            feature = self._best.get((way.number, label))
        if feature is None:
            return None
        precision, recall = self._points[way.number, feature, label]
        selection = self._selection
        n_known = int(selection.n_known[way.testing][selection.group[label]])
        prevalence = selection.n_positive[way.testing][label] / max(n_known, 1)
        columns = {"feature": feature, "direction": way.name, "prevalence": prevalence}
        return pd.DataFrame({**columns, "precision": precision, "recall": recall})


def trace_curves(table: pd.DataFrame, books: Mapping[str, CurveBook]) -> pd.DataFrame:
    """Return the curve of every label and source; nuisance labels are left out.

    Parameters
    ----------
    table : DataFrame
        Sorted rows of the first source, with ``label_number``: the first of each label says which
        feature is drawn, and on which half.
    books
        The sources, the one of the table first.

    Returns
    -------
    DataFrame
        Columns :data:`CURVE_COLUMNS`; ``recall`` is token recall, ascending in every curve. A curve
        begins at the highest threshold that any token reaches and ends where any activity counts.
    """
    first = table[~table["nuisance"].astype(bool)].drop_duplicates("label_number")
    found = []
    for at, (name, book) in enumerate(books.items()):
        for way in DIRECTIONS:
            for row in first[first["direction"] == way.name].itertuples():
                feature = int(row.feature) if at == 0 else None
                curve = book.trace(way, feature, int(row.label_number))
                if curve is not None:
                    found.append(curve.assign(source=name, label=row.label)[list(CURVE_COLUMNS)])
    empty = pd.DataFrame({name: np.zeros(0) for name in CURVE_COLUMNS})
    return pd.concat(found, ignore_index=True) if found else empty


def _points(positive: Ints, known: Ints, n_positive: int) -> Points:
    """Return precision and recall at the thresholds that some known token reaches."""
    hit, active = (np.cumsum(counts[:0:-1]) for counts in (positive, known))
    kept = np.unique(np.append(np.arange(0, len(hit), STEP), len(hit) - 1))
    hit, active = hit[kept], active[kept]
    new = (active > 0) & (np.diff(active, prepend=0) > 0)
    return hit[new] / active[new], hit[new] / max(n_positive, 1)
