"""Intervals by resampling families, the units that are independent of each other.

Every measure is a function of counts, and counts add up over families: a resample is a vector of
family multiplicities, and all measures of all pairs follow from one matrix product.

Few families carry a measure, and percentiles of resamples of few units lie too close together. They
are therefore taken at the normal tails of Student's quantiles (the expanded percentile interval:
Hesterberg, American Statistician 69:371, 2015), with as many degrees of freedom as families by
Kish's number of their influences on the measure, less one. Plain percentiles are short on planted
truth.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import SPLITS, Split

from .chunks import Study, each_chunk
from .entries import Entries
from .held import Resamples
from .kernel import run_ranges
from .measures import Confusion
from .scores import PairList, count_families, count_label_families
from .tracks import LabelTracks

__all__ = ["MEASURES", "bootstrap_pairs"]

Floats = NDArray[np.float64]

#: Measures that get an interval.
MEASURES = ("log_odds", "f1", "hybrid_f1")
#: Fewest families that degrees of freedom are taken of.
FEWEST = 4
#: Numbers of one temporary array.
MAX_NUMBERS = 2**18


def bootstrap_pairs(
    study: Study, pairs: pd.DataFrame, split: Split, *, n_bootstrap: int, level: float = 0.95
) -> pd.DataFrame:
    """Return expanded percentile intervals of pairs in one split.

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
            make = partial(_resample, study, tracks, n_bootstrap)
            labels = study.held.resamples(tracks, n_bootstrap, make)
        found = np.empty((len(piece), len(columns)))
        data = (entries, tracks, listed)
        work = partial(_bootstrap_range, data, labels, study.selection.unit, level, found)
        size = max(1, MAX_NUMBERS // max(3 * n_families, n_bootstrap))
        run_ranges(work, len(piece), size=size, n_threads=study.n_threads)
        result.loc[piece.index] = found
    return result


def _bootstrap_range(
    data: tuple[Entries, LabelTracks, PairList],
    labels: Resamples,
    unit: int,
    level: float,
    found: Floats,
    start: int,
    stop: int,
) -> None:
    """Write the intervals of the pairs ``start:stop``."""
    entries, tracks, listed = data
    part = listed.part(start, stop)
    counts = count_families(entries, tracks, part, n_threads=1)
    n_families, n_pairs = counts.shape[1:]
    side_by_side = counts.transpose(1, 0, 2).reshape(n_families, 3 * n_pairs)
    drawn = _multiply(labels.weights, side_by_side).T.reshape(3, n_pairs, -1)
    resampled = _measure(drawn, labels.totals[:, part.label], unit)
    n_effective = _effective_families(counts, labels, part.label, unit)
    found[start:stop] = _ends(resampled, n_effective, level)


def _resample(study: Study, tracks: LabelTracks, n_bootstrap: int) -> Resamples:
    """Draw families, and count what labels have in each resample."""
    n_families = len(tracks.units.first) - 1
    group = int(study.selection.group[tracks.labels[0]])
    random = np.random.default_rng([study.settings.seed, SPLITS.index(tracks.split), group])
    weights = np.empty((n_bootstrap, n_families), np.uint8)
    for row in range(n_bootstrap):
        drawn = np.bincount(random.integers(0, n_families, n_families), minlength=n_families)
        weights[row] = np.minimum(drawn, 255)
    return _count_labels(tracks, weights)


def _count_labels(tracks: LabelTracks, weights: NDArray[np.uint8]) -> Resamples:
    n_labels, n_families = len(tracks.labels), weights.shape[1]
    size = max(1, MAX_NUMBERS // n_families)
    totals = np.empty((3, n_labels, len(weights)))
    known = np.zeros(n_families, np.float32)
    owned = np.empty((2, n_labels, n_families), np.float32)
    for start in range(0, n_labels, size):
        stop = min(start + size, n_labels)
        counts = count_label_families(tracks, start, stop)
        known, owned[:, start:stop] = counts[0, 0].astype(np.float32), counts[1:]
        for at, part in enumerate(counts):
            totals[at, start:stop] = _multiply(weights, part.T).T
    return Resamples(weights, totals, known, owned)


def _effective_families(
    counts: Floats, labels: Resamples, label: NDArray[np.int64], unit: int
) -> Floats:
    """Return Kish's number of the families' influences on every measure ``(n_measures, n_pairs)``.

    The influence of a family is what the measure changes by when it is left out.
    """
    # Families come last: the order of a sum is then the same whatever pairs are beside each other.
    of_pair = np.ascontiguousarray(counts.transpose(0, 2, 1))
    of_label = np.empty(of_pair.shape)
    of_label[0] = labels.known
    of_label[1:] = labels.owned[:, label]
    of_pair, of_label = (x.sum(axis=2, keepdims=True) - x for x in (of_pair, of_label))
    without = _measure(of_pair, of_label, unit)
    influence = without - without.mean(axis=2, keepdims=True)
    square = influence**2
    second, fourth = square.sum(axis=2), (square**2).sum(axis=2)
    found: Floats = np.divide(second**2, fourth, out=np.zeros(second.shape), where=fourth > 0)
    return found


def _multiply(weights: NDArray[np.uint8], counts: Floats) -> Floats:
    """Multiply in pieces of rows; whole numbers make any order of summation exact.

    They are so below 2**24 in single precision, which is used where no sum can be larger.
    """
    largest = counts.sum(axis=0).max(initial=0) * weights.max(initial=0)
    kind: type[np.floating] = np.float32 if largest < 2**24 else np.float64
    factors = counts.astype(kind)
    size = max(1, MAX_NUMBERS // weights.shape[1])
    found = np.empty((len(weights), counts.shape[1]))
    for row in range(0, len(weights), size):
        part = slice(row, row + size)
        found[part] = weights[part].astype(kind) @ factors
    return found


def _measure(counts: Floats, of_label: Floats, unit: int) -> Floats:
    """Return measures ``(n_measures, ...)`` of TP, X, hits and of n, Y, instances ``(3, ...)``."""
    table = Confusion(
        true_positive=counts[0] / unit,
        active=counts[1] / unit,
        positive=of_label[1] / unit,
        known=of_label[0] / unit,
        hit=counts[2],
        instances=of_label[2],
    )
    return np.stack([getattr(table, name) for name in MEASURES])


def _ends(resampled: Floats, n_effective: Floats, level: float) -> Floats:
    """Return low and high of every measure ``(n_pairs, 2 n_measures)``.

    Parameters
    ----------
    resampled : (n_measures, n_pairs, n_bootstrap) float64
        The measures in resamples.
    n_effective : (n_measures, n_pairs) float64
        Families that carry each.
    level
        Nominal coverage.
    """
    from scipy.special import ndtr, stdtrit

    freedom = np.maximum(n_effective, FEWEST) - 1
    tail = ndtr(stdtrit(freedom, (1 - level) / 2))
    found = np.sort(resampled, axis=2)
    low = _at_rank(found, tail)
    high = _at_rank(found, 1 - tail)
    return np.stack([low, high], axis=1).reshape(-1, low.shape[1]).T


def _at_rank(found: Floats, share: Floats) -> Floats:
    """Return quantiles of sorted rows by linear interpolation, each row's own share."""
    place = share * (found.shape[2] - 1)
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, found.shape[2] - 1)
    low, high = (np.take_along_axis(found, at[..., None], axis=2)[..., 0] for at in (before, after))
    return np.asarray(low + (place - before) * (high - low))
