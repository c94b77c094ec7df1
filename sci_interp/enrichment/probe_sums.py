"""Additive sums over discovery tokens from which sparse probes are fitted, for one universe.

A token counts with the weight of its record, so that families weigh equally, and only where the
labels' group was assessed. A feature's value is its activation relative to its scale, as its level
stands for it; 0 where it is silent. Sums are float64 in the order of the tokens, whatever the
number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.schema import LEVELS_PER_OCTAVE, MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .counts import order_runs
from .inputs import KnownSource, RunSlice, iterate_slices, known_mask
from .kernel import compiled, run_ranges

__all__ = ["LEVEL_VALUES", "ProbeSums", "ProbeUniverse", "sum_products", "sum_values"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Activation relative to a feature's scale, by level ``(256,)``; level 0 is silent.
LEVEL_VALUES: Floats = np.append(
    0.0, np.exp2((np.arange(1, MAX_LEVEL + 1) - MAX_LEVEL) / LEVELS_PER_OCTAVE)
)


class ProbeUniverse(NamedTuple):
    """Codes and annotations in the tokens where one label group was assessed.

    Attributes
    ----------
    features, known
        Codes and annotations on the same axis.
    group : int
        The label group.
    n_threads : int
        Number of threads; nothing depends on it.
    """

    features: FeatureSource
    known: KnownSource
    group: int
    n_threads: int

    def slices(self, split: Split) -> Iterator[tuple[int, Codes, RunSlice, NDArray[np.bool_]]]:
        """Yield first token, codes, annotations and which tokens are known, slice by slice."""
        n_groups = len(self.known.groups)
        for start, stop in iterate_slices(self.features.axis, split):
            runs = self.known.read(start, stop)
            mask = known_mask(runs, start, stop - start, n_groups)[self.group]
            yield start, self.features.read(start, stop), runs, mask


@dataclass(frozen=True, eq=False)
class ProbeSums:
    """Weighted sums over the known tokens of a universe.

    Attributes
    ----------
    weight : (1,) float64
        Weight of all known tokens.
    first, second : (n_features,) float64
        Sum of values and of squared values.
    positive : (n_labels,) float64
        Weight of a label's tokens.
    cross : (n_labels, n_features) float64
        Sum of values over a label's tokens.
    """

    weight: Floats
    first: Floats
    second: Floats
    positive: Floats
    cross: Floats

    @property
    def deviation(self) -> Floats:
        """Standard deviation of every feature ``(n_features,)``; 0 where it does not vary."""
        mean_square = self.second / self._total
        variance = mean_square - self.mean**2
        # What is left of a constant by rounding is no variance.
        deviation: Floats = np.sqrt(np.where(variance > 1e-9 * mean_square, variance, 0.0))
        return deviation

    @property
    def mean(self) -> Floats:
        """Mean of every feature ``(n_features,)``."""
        return self.first / self._total

    @property
    def correlation(self) -> Floats:
        """Correlation of every label and feature ``(n_labels, n_features)``; 0 without variance."""
        share = self.positive / self._total
        covariance = self.cross / self._total - np.outer(share, self.mean)
        below = np.outer(np.sqrt(np.maximum(share * (1 - share), 0)), self.deviation)
        quotient: Floats = np.divide(covariance, below, out=np.zeros(below.shape), where=below > 0)
        return quotient

    @property
    def _total(self) -> float:
        return max(float(self.weight[0]), float(np.finfo(float).tiny))


def sum_values(universe: ProbeUniverse, labels: Ints) -> ProbeSums:
    """Sum values over the discovery half, alone and inside labels, in one pass.

    Parameters
    ----------
    universe
        Codes, annotations and label group.
    labels : (n_labels,) int64
        Labels of the group. Memory is ``8 * n_labels * n_features`` bytes.
    """
    n_features = universe.features.n_features
    sums = ProbeSums(
        weight=np.zeros(1),
        first=np.zeros(n_features),
        second=np.zeros(n_features),
        positive=np.zeros(len(labels)),
        cross=np.zeros((len(labels), n_features)),
    )
    for start, codes, runs, known in universe.slices("discovery"):
        tokens = _WeightedTokens.of(universe.features.axis, start, codes, known)
        sums.weight[0] += tokens.weight.sum()
        _add_values(*tokens, LEVEL_VALUES, sums.first, sums.second)
        _add_labels(sums, tokens, runs, labels, start=start, n_threads=universe.n_threads)
    return sums


def sum_products(universe: ProbeUniverse, chosen: Ints) -> Floats:
    """Return the weighted sums of products of features ``(n_chosen, n_chosen)`` on discovery.

    Parameters
    ----------
    universe
        Codes, annotations and label group.
    chosen : (n_chosen,) int64
        Features, ascending.
    """
    place = np.full(universe.features.n_features, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    products = np.zeros((len(chosen), len(chosen)))
    for start, codes, _, known in universe.slices("discovery"):
        tokens = _WeightedTokens.of(universe.features.axis, start, codes, known)
        _add_rows(products, tokens, place, n_threads=universe.n_threads)
    return np.tril(products) + np.tril(products, -1).T


class _WeightedTokens(NamedTuple):
    """Codes of a slice and the weight of its tokens, 0 where unknown; in the kernels' order."""

    indptr: Ints
    feature: NDArray[np.unsignedinteger]
    level: NDArray[np.uint8]
    weight: Floats

    @classmethod
    def of(
        cls, axis: TokenAxis, start: int, codes: Codes, known: NDArray[np.bool_]
    ) -> _WeightedTokens:
        weight = axis.family_weights(start, start + len(known))
        level = np.asarray(codes.value, np.uint8)
        return cls(codes.indptr, codes.feature, level, np.where(known, weight, 0.0))


def _add_labels(
    sums: ProbeSums,
    tokens: _WeightedTokens,
    runs: RunSlice,
    labels: Ints,
    *,
    start: int,
    n_threads: int,
) -> None:
    order, bounds = order_runs(runs, labels)
    begin = np.asarray(runs.start, np.int64)[order] - start
    end = np.asarray(runs.stop, np.int64)[order] - start

    def work(low: int, high: int) -> None:
        for at in range(low, high):
            part = slice(bounds[at], bounds[at + 1])
            sums.positive[at] += _add_inside(
                *tokens, LEVEL_VALUES, begin[part], end[part], sums.cross[at]
            )

    run_ranges(work, len(labels), size=1, n_threads=n_threads)


def _add_rows(products: Floats, tokens: _WeightedTokens, place: Ints, *, n_threads: int) -> None:
    def work(low: int, high: int) -> None:
        _add_products(*tokens, LEVEL_VALUES, place, low, high, products)

    # Later rows of the triangle are longer, so there are more ranges than threads.
    n_ranges = 1 if n_threads <= 1 else 4 * n_threads
    size = max(1, -(-len(products) // n_ranges))
    run_ranges(work, len(products), size=size, n_threads=n_threads)


@compiled
def _add_values(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    level: NDArray[np.uint8],
    weight: Floats,
    values: Floats,
    first: Floats,
    second: Floats,
) -> None:
    for token in range(len(weight)):
        if weight[token] == 0:
            continue
        for entry in range(indptr[token], indptr[token + 1]):
            value = values[level[entry]]
            first[feature[entry]] += weight[token] * value
            second[feature[entry]] += weight[token] * value * value


@compiled
def _add_inside(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    level: NDArray[np.uint8],
    weight: Floats,
    values: Floats,
    begin: Ints,
    end: Ints,
    cross: Floats,
) -> float:
    """Add the tokens in the union of one label's runs; return their weight."""
    seen = np.zeros(len(weight), np.bool_)
    total = 0.0
    for run in range(len(begin)):
        for token in range(begin[run], end[run]):
            if seen[token] or weight[token] == 0:
                continue
            seen[token] = True
            total += weight[token]
            for entry in range(indptr[token], indptr[token + 1]):
                cross[feature[entry]] += weight[token] * values[level[entry]]
    return total


@compiled
def _add_products(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    level: NDArray[np.uint8],
    weight: Floats,
    values: Floats,
    place: Ints,
    low: int,
    high: int,
    products: Floats,
) -> None:
    """Add to the rows ``low:high`` of the lower triangle; features ascend inside a token."""
    column = np.empty(len(products), np.int64)
    value = np.empty(len(products), np.float64)
    for token in range(len(weight)):
        if weight[token] == 0:
            continue
        n_kept = 0
        for entry in range(indptr[token], indptr[token + 1]):
            at = place[feature[entry]]
            if 0 <= at < high:
                column[n_kept] = at
                value[n_kept] = values[level[entry]]
                n_kept += 1
        for row in range(n_kept):
            if column[row] >= low:
                scaled = weight[token] * value[row]
                for other in range(row + 1):
                    products[column[row], column[other]] += scaled * value[other]
