"""What the features are compared with: baselines, and a supervised probe as ceiling.

Both choose their feature for a label on the half that chose the row's threshold, and are measured
on the row's testing half. A probe was fitted to the labels, so it bounds what the activations hold
and never counts as a baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .selection import DIRECTIONS, Selection
from .table import COLUMNS

__all__ = ["CEILING", "add_references"]

#: Name of the supervised reference in the summary.
CEILING = "probe (supervised)"


def add_references(
    table: pd.DataFrame, baselines: Mapping[str, Selection], ceiling: Selection | None
) -> pd.DataFrame:
    """Return the table with each label's best baseline and ceiling, in final columns.

    Parameters
    ----------
    table
        Rows from ``build_table``.
    baselines
        Thresholds and counts of every baseline.
    ceiling
        Those of the supervised reference.
    """
    names = np.full(len(table), "", object)
    scores, bounds = np.full((2, len(table)), np.nan)
    cache: dict[tuple[int, str], tuple[str, float, float]] = {}
    probe = {CEILING: ceiling} if ceiling is not None else {}
    for at, row in enumerate(table[["label_number", "direction"]].itertuples(index=False)):
        key = (int(row.label_number), str(row.direction))
        if key not in cache:
            cache[key] = (*_best_source(*key, baselines), _best_source(*key, probe)[1])
        names[at], scores[at], bounds[at] = cache[key]
    columns = {"best_baseline": names, "best_baseline_hybrid_f1": scores, "probe_hybrid_f1": bounds}
    return table.assign(**columns)[list(COLUMNS)]


def _best_source(label: int, direction: str, sources: Mapping[str, Selection]) -> tuple[str, float]:
    """Return the source that is best on the choosing half, and what it gets on the other."""
    way = next(way for way in DIRECTIONS if way.name == direction)
    found, result = 0.0, ("", np.nan)
    for name, selection in sources.items():
        chosen = selection.confusion(way.number, way.selecting, slice(None), label).hybrid_f1
        best = int(chosen.argmax())
        if chosen[best] > found:
            tested = selection.confusion(way.number, way.testing, np.array([best]), label)
            found, result = float(chosen[best]), (name, float(tested.hybrid_f1[0]))
    return result
