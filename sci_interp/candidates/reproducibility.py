"""Gate 1: a feature returns in dictionaries trained from other seeds.

Features are matched by the correlation of their activations over shared tokens. How good a match
chance gives is measured on a copy of the other dictionary's codes whose records are exchanged: a
record meets one half the data away, token by token from its start, so that position still
matches and content does not. Features of the weight-shuffled network are no second null: those of
token identity are in both networks, and match nearly perfectly. That network is compared through
all gates instead, gate 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.schema import LEVELS_PER_OCTAVE, MAX_LEVEL
from sci_interp.source import FeatureSource

from .explainers import expand
from .stretches import entries
from .windows import HALVES

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Reproducibility", "match_features", "measure_reproducibility"]

#: Share of features whose best match may reach the level by chance.
NULL_RATE = 0.01
#: Tokens of a slice; the product of two sparse matrices of this size fits in memory.
_SLICE_TOKENS = 8_192
#: Bytes of the matrix of products.
_MATRIX_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class Reproducibility:
    """Result of gate 1 for the features tested, in the order asked.

    Attributes
    ----------
    correlation : (n_seeds, n) float64
        Correlation with the best match in each other dictionary.
    null_level : (n_seeds,) float64
        Correlation that at most 1 % of the features reach with exchanged records.
    n_needed : int
        Other dictionaries in which a feature must be matched above the level.
    """

    correlation: NDArray[np.float64]
    null_level: NDArray[np.float64]
    n_needed: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean correlation with the best matches ``(n,)``."""
        mean: NDArray[np.float64] = self.correlation.mean(axis=0)
        return mean

    @property
    def passed(self) -> NDArray[np.bool_]:
        """Whether each feature is matched in enough dictionaries ``(n,)``."""
        matched = self.correlation > self.null_level[:, None]
        passed: NDArray[np.bool_] = matched.sum(axis=0) >= self.n_needed
        return passed


def measure_reproducibility(
    features: FeatureSource,
    seeds: Sequence[FeatureSource],
    *,
    chosen: NDArray[np.int64],
    n_tokens: int = 1_000_000,
) -> Reproducibility:
    """Match features with those of dictionaries trained from other seeds.

    Matches are needed in 60 % of all dictionaries, this one counted, and in three at least (in
    all, where there are fewer).

    Parameters
    ----------
    features
        The codes tested.
    seeds
        Codes of the same tokens by other dictionaries.
    chosen
        Features to match, ascending.
    n_tokens
        Tokens compared at most: records evenly spaced over discovery and test.
    """
    for other in seeds:
        features.axis.require_same(other.axis, "the features of another seed", "the features")
    n_all = 1 + len(seeds)
    needed = min(n_all, max(3, math.ceil(0.6 * n_all))) - 1
    correlation, levels = [], []
    for other in seeds:
        real, _ = match_features(features, other, chosen=chosen, n_tokens=n_tokens)
        null, _ = match_features(features, other, chosen=chosen, n_tokens=n_tokens, exchange=True)
        correlation.append(real)
        levels.append(_null_level(null))
    return Reproducibility(np.array(correlation), np.array(levels), needed)


def _null_level(best: NDArray[np.float64]) -> float:
    """Return the correlation that at most 1 % of the best matches under a null exceed."""
    return float(np.quantile(best, 1 - NULL_RATE)) if len(best) else 0.0


def match_features(
    features: FeatureSource,
    other: FeatureSource,
    *,
    chosen: NDArray[np.int64],
    n_tokens: int,
    exchange: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the correlation with the best match, and which feature that is, ``(n,)`` each.

    Parameters
    ----------
    features, other
        Codes on one axis.
    chosen
        Features to match, ascending.
    n_tokens
        Tokens compared at most.
    exchange
        Compare every record with one half the data away.
    """
    n_rows = max(1, _MATRIX_BYTES // (8 * other.n_features))
    parts = [
        _best(features, other, chosen[first : first + n_rows], n_tokens, exchange)
        for first in range(0, len(chosen), n_rows)
    ]
    if not parts:
        return np.zeros(0), np.zeros(0, np.int64)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _best(
    features: FeatureSource,
    other: FeatureSource,
    chosen: NDArray[np.int64],
    n_tokens: int,
    exchange: bool,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    products = np.zeros((len(chosen), other.n_features))
    mine, theirs = np.zeros((2, len(chosen))), np.zeros((2, other.n_features))
    column = np.full(features.n_features, -1, np.int64)
    column[chosen] = np.arange(len(chosen))
    n_compared = 0
    for here, there in _pairs(features.axis, n_tokens, exchange):
        a = _matrix(features, here, column, len(chosen))
        b = _matrix(other, there, np.arange(other.n_features), other.n_features)
        product = (a.T @ b).tocoo()
        products[product.coords] += product.data
        mine += np.stack([a.sum(axis=0), a.power(2).sum(axis=0)])
        theirs += np.stack([b.sum(axis=0), b.power(2).sum(axis=0)])
        n_compared += a.shape[0]
    means = mine[0] / max(n_compared, 1), theirs[0] / max(n_compared, 1)
    spread = [
        np.sqrt(np.maximum(sums[1] - n_compared * mean**2, 0.0))
        for sums, mean in zip((mine, theirs), means, strict=True)
    ]
    products -= n_compared * np.outer(*means)
    products /= np.maximum(np.outer(*spread), 1e-12)
    best = products.argmax(axis=1)
    return products[np.arange(len(best)), best], best


def _matrix(
    features: FeatureSource, tokens: NDArray[np.int64], column: NDArray[np.int64], n_columns: int
) -> csr_array:
    """Return relative activations of the tokens ``(n_tokens, n_columns)`` as a sparse matrix."""
    from scipy.sparse import csr_array

    start, stop = int(tokens[0]), int(tokens[-1]) + 1
    token, feature, level = entries(features.read(start, stop))
    row = np.full(stop - start, -1, np.int64)
    row[tokens - start] = np.arange(len(tokens))
    keep = (row[token] >= 0) & (column[feature] >= 0)
    value = np.exp2((level[keep].astype(np.float64) - MAX_LEVEL) / LEVELS_PER_OCTAVE)
    places = (row[token[keep]], column[feature[keep]])
    return csr_array((value, places), shape=(len(tokens), n_columns))


def _pairs(
    axis: TokenAxis, n_tokens: int, exchange: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield tokens of this and tokens of the other dictionary, as many of each, in slices."""
    first, last = axis.record_range(HALVES)
    starts = axis.record_starts
    n_all = int(starts[last] - starts[first])
    step = max(1, math.ceil(n_all / n_tokens))
    records = np.arange(first, last, step)
    partners = np.roll(records, -(len(records) // 2)) if exchange else records
    n_tokens_of = np.diff(starts)
    length = np.minimum(n_tokens_of[records], n_tokens_of[partners])
    begin = 0
    while begin < len(records):
        size = np.cumsum(length[begin:])
        end = begin + max(1, int(np.searchsorted(size, _SLICE_TOKENS, "right")))
        # A slice ends where the partners start anew: both sides are read in ascending order.
        falls = np.flatnonzero(np.diff(partners[begin:end]) < 0)
        end = begin + int(falls[0]) + 1 if len(falls) else end
        here, there = (starts[side[begin:end]] for side in (records, partners))
        n_each = length[begin:end]
        yield expand(here, here + n_each)[1], expand(there, there + n_each)[1]
        begin = end
