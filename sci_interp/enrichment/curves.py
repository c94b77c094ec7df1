"""Precision and recall over falling thresholds: each label's printed feature, and its rivals.

A rival is the feature of a baseline, or of the supervised reference, that has the best hybrid F1
for the label on the half that chose. Curves are measured on the other half, token by token.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .chunks import Study
from .lanes import MOST_LANES
from .ranking import count_levels
from .selection import DIRECTIONS, Direction

__all__ = ["CURVE_COLUMNS", "trace_curves"]

Ints = NDArray[np.int64]

CURVE_COLUMNS = ("source", "label", "feature", "direction", "prevalence", "precision", "recall")
#: Levels from one point of a curve to the next: an eighth of an octave.
STEP = 4


def trace_curves(table: pd.DataFrame, studies: Mapping[str, Study]) -> pd.DataFrame:
    """Return the curve of every label and source; nuisance labels are left out.

    Parameters
    ----------
    table : DataFrame
        Sorted rows of the first source, with ``label_number``: the first of each label says which
        feature is drawn, and on which half.
    studies
        The sources, the one of the table first.

    Returns
    -------
    DataFrame
        Columns :data:`CURVE_COLUMNS`; ``recall`` is token recall, ascending in every curve. A curve
        begins at the highest threshold that any token reaches and ends where any activity counts.
    """
    first = table[~table["nuisance"].astype(bool)].drop_duplicates("label_number")
    own = next(iter(studies))
    tasks = [(name, study, way) for name, study in studies.items() for way in DIRECTIONS]

    def trace(task: tuple[str, Study, Direction]) -> pd.DataFrame:
        name, study, way = task
        return _trace_source(
            name, study, first[first["direction"] == way.name], way, own=name == own
        )

    with ThreadPoolExecutor(MOST_LANES) as pool:
        parts = list(pool.map(trace, tasks))
    empty = pd.DataFrame({name: np.zeros(0) for name in CURVE_COLUMNS})
    found = [part for part in parts if len(part)]
    return pd.concat(found, ignore_index=True) if found else empty


def _trace_source(
    name: str, study: Study, rows: pd.DataFrame, way: Direction, *, own: bool
) -> pd.DataFrame:
    label = rows["label_number"].to_numpy(np.int64)
    feature = rows["feature"].to_numpy(np.int64)
    if not own:
        feature = np.array([_choose(study, way, int(at)) for at in label], np.int64)
    selection, mine = study.selection, np.flatnonzero(feature >= 0)
    if len(mine) == 0:
        return pd.DataFrame()
    label, feature = label[mine], feature[mine]
    positive, known = count_levels(
        study.features,
        study.known,
        way.testing,
        feature=feature,
        label=label,
        n_threads=study.settings.n_threads,
    )
    total = selection.n_positive[way.testing][label]
    n_known = selection.n_known[way.testing][selection.group[label]]
    parts = [
        _points(positive[at], known[at], int(total[at])).assign(
            source=name,
            label=study.known.labels[int(label[at])].name,
            feature=int(feature[at]),
            direction=way.name,
            prevalence=total[at] / max(int(n_known[at]), 1),
        )[list(CURVE_COLUMNS)]
        for at in range(len(mine))
    ]
    return pd.concat(parts, ignore_index=True)


def _choose(study: Study, way: Direction, label: int) -> int:
    """Return the feature with the best hybrid F1 on the choosing half, -1 where all have 0."""
    score = study.selection.confusion(way.number, way.selecting, slice(None), label).hybrid_f1
    return int(score.argmax()) if score.max() > 0 else -1


def _points(positive: Ints, known: Ints, n_positive: int) -> pd.DataFrame:
    """Return precision and recall at the thresholds that some known token reaches."""
    hit, active = (np.cumsum(counts[:0:-1]) for counts in (positive, known))
    kept = np.unique(np.append(np.arange(0, len(hit), STEP), len(hit) - 1))
    hit, active = hit[kept], active[kept]
    new = (active > 0) & (np.diff(active, prepend=0) > 0)
    return pd.DataFrame(
        {"precision": hit[new] / active[new], "recall": hit[new] / max(n_positive, 1)}
    )
