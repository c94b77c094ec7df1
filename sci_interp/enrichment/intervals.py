"""Intervals by resampling families, the units that are independent of each other.

Every measure is a function of counts, and counts add up over families: a resample is a vector of
family multiplicities, and all measures of all pairs follow from one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import SPLITS, Split

from .chunks import Study, each_chunk
from .measures import Confusion
from .scores import PairList, count_families, count_label_families
from .tracks import Entries, LabelTracks

__all__ = ["MEASURES", "bootstrap_pairs"]

Floats = NDArray[np.float64]

#: Measures that get an interval.
MEASURES = ("log_odds", "f1", "hybrid_f1")
#: Numbers of one temporary array.
MAX_NUMBERS = 2**16


def bootstrap_pairs(
    study: Study, pairs: pd.DataFrame, split: Split, *, n_bootstrap: int, level: float = 0.95
) -> pd.DataFrame:
    """Return percentile intervals of pairs in one split.

    Parameters
    ----------
    study
        Codes, annotations and seed.
    pairs : DataFrame
        Columns ``feature, label, bin``.
    split
        Where to resample families.
    n_bootstrap
        Number of resamples; 0 leaves every interval empty.
    level
        Nominal coverage.

    Returns
    -------
    DataFrame
        The index of ``pairs``; columns ``log_odds_low, log_odds_high, f1_low, ...``. NaN where
        no family of the split is known for the label's group.
    """
    columns = [f"{name}_{end}" for name in MEASURES for end in ("low", "high")]
    result = pd.DataFrame(np.nan, index=pairs.index, columns=columns)
    if n_bootstrap == 0:
        return result
    current: LabelTracks | None = None
    for tracks, entries, listed, piece in each_chunk(study, split, pairs):
        n_families = len(tracks.units.first) - 1
        if n_families == 0:
            continue
        if tracks is not current:
            current = tracks
            weights = _resample(study, tracks, n_families, n_bootstrap)
            totals = _label_totals(tracks, weights)
        size = max(1, MAX_NUMBERS // max(3 * n_families, n_bootstrap))
        for first in range(0, len(piece), size):
            part = listed.part(first, first + size)
            counts = _resampled_counts(study, entries, tracks, part, weights)
            ends = _quantiles(counts, totals, part.label, level, study.selection.unit)
            result.loc[piece.index[first : first + size]] = ends
    return result


def _resample(
    study: Study, tracks: LabelTracks, n_families: int, n_bootstrap: int
) -> NDArray[np.uint8]:
    """Return how often each family is drawn ``(n_bootstrap, n_families)``."""
    group = int(study.selection.group[tracks.labels[0]])
    random = np.random.default_rng([study.settings.seed, SPLITS.index(tracks.split), group])
    weights = np.empty((n_bootstrap, n_families), np.uint8)
    for row in range(n_bootstrap):
        drawn = np.bincount(random.integers(0, n_families, n_families), minlength=n_families)
        weights[row] = np.minimum(drawn, 255)
    return weights


def _label_totals(tracks: LabelTracks, weights: NDArray[np.uint8]) -> Floats:
    """Return resampled n, Y and instances ``(3, n_labels, n_bootstrap)``."""
    n_labels, size = len(tracks.labels), max(1, MAX_NUMBERS // weights.shape[1])
    totals = np.empty((3, n_labels, len(weights)))
    for start in range(0, n_labels, size):
        stop = min(start + size, n_labels)
        for at, part in enumerate(count_label_families(tracks, start, stop)):
            totals[at, start:stop] = _multiply(weights, part.T).T
    return totals


def _resampled_counts(
    study: Study,
    entries: Entries,
    tracks: LabelTracks,
    pairs: PairList,
    weights: NDArray[np.uint8],
) -> Floats:
    """Return resampled TP, X and hit instances ``(3, n_pairs, n_bootstrap)``."""
    counts = count_families(entries, tracks, pairs, n_threads=study.settings.n_threads)
    return np.stack([_multiply(weights, part).T for part in counts])


def _multiply(weights: NDArray[np.uint8], counts: Floats) -> Floats:
    """Multiply in pieces of rows; integers below 2**53 make any order of summation exact."""
    size = max(1, MAX_NUMBERS // weights.shape[1])
    parts = [
        weights[row : row + size].astype(np.float64) @ counts
        for row in range(0, len(weights), size)
    ]
    return np.concatenate(parts)


def _quantiles(
    counts: Floats, totals: Floats, label: NDArray[np.int64], level: float, unit: int
) -> Floats:
    table = Confusion(
        true_positive=counts[0] / unit,
        active=counts[1] / unit,
        positive=totals[1][label] / unit,
        known=totals[0][label] / unit,
        hit=counts[2],
        instances=totals[2][label],
    )
    tail = (1 - level) / 2
    measures: Mapping[str, Floats] = {name: getattr(table, name) for name in MEASURES}
    ends = [np.quantile(values, [tail, 1 - tail], axis=1) for values in measures.values()]
    return np.concatenate(ends).T
