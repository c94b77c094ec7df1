"""Weighted correlation of every feature of one dictionary with every feature of another.

Features are worked on one by one: the products of a feature with all of the other dictionary are
summed over its active tokens, in their order. Memory is one row for each thread, and no sum depends
on the number of threads or on how the features are divided among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.enrichment.kernel import compiled, run_ranges

from .coding import ByFeature, ByToken

__all__ = ["Correlator", "Moments", "moments_of"]

Floats = NDArray[np.float64]

#: Features of a piece of work for a thread.
PIECE = 32
#: A variance below this share of the mean square is rounding.
ROUNDING = 1e-10


class Moments(NamedTuple):
    """Weighted mean of every feature, and one over its standard deviation (0 where it is 0).

    Attributes
    ----------
    mean, inverse : (n_features,) float64
        Both.
    """

    mean: Floats
    inverse: Floats


def moments_of(codes: ByToken, weight: Floats, n_features: int) -> Moments:
    """Return the moments of the codes, every token with its weight ``(n_tokens,)``."""
    sums, squares = np.zeros((2, n_features))
    _add_moments(codes, weight, sums, squares)
    total = weight.sum()
    mean, square = sums / total, squares / total
    variance = square - mean**2
    varies = variance > ROUNDING * square
    return Moments(mean, np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0))


@dataclass(frozen=True, eq=False)
class Correlator:
    """One dictionary's codes, to be compared with another's on the same tokens.

    Attributes
    ----------
    codes : ByFeature
        Its codes.
    moments : Moments
        Their moments.
    weight : (n_tokens,) float64
        Weight of every token.
    n_threads : int
        Threads to work on.
    """

    codes: ByFeature
    moments: Moments
    weight: Floats
    n_threads: int

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.moments.mean)

    def best(
        self, other: ByToken, n_other: int, place: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the highest correlation of every feature, and with which of the other's.

        Parameters
        ----------
        other
            The other dictionary's codes.
        n_other
            Number of its features.
        place : (n_tokens,) int64
            Which of the other's tokens every token is compared with.

        Returns
        -------
        correlation : (n_features,) float32
            0 where a feature never varies.
        partner : (n_features,) int64
            -1 there.
        """
        theirs = self._moments_there(other, n_other, place)
        correlation = np.zeros(self.n_features, np.float32)
        partner = np.full(self.n_features, -1, np.int64)
        given = (self.codes, self.moments, self.weight, place, other, theirs)

        def work(start: int, stop: int) -> None:
            _best_of_rows(start, stop, *given, float(self.weight.sum()), correlation, partner)

        run_ranges(work, self.n_features, size=PIECE, n_threads=self.n_threads)
        return correlation, partner

    def matrix(self, other: ByToken, n_other: int) -> NDArray[np.float32]:
        """Return all correlations on the same tokens ``(n_features, n_other)``."""
        place = np.arange(len(self.weight))
        theirs = self._moments_there(other, n_other, place)
        whole = np.empty((self.n_features, n_other), np.float32)
        given = (self.codes, self.moments, self.weight, place, other, theirs)

        def work(start: int, stop: int) -> None:
            _rows(start, stop, *given, float(self.weight.sum()), whole)

        run_ranges(work, self.n_features, size=PIECE, n_threads=self.n_threads)
        return whole

    def _moments_there(self, other: ByToken, n_other: int, place: NDArray[np.int64]) -> Moments:
        """Return the other's moments over the tokens that are met, each as often as it is."""
        met = np.bincount(place, weights=self.weight, minlength=len(other.first) - 1)
        return moments_of(other, np.asarray(met, np.float64), n_other)


@compiled
def _add_moments(codes: ByToken, weight: Floats, sums: Floats, squares: Floats) -> None:
    for token in range(len(weight)):
        for entry in range(codes.first[token], codes.first[token + 1]):
            value = float(codes.value[entry])
            sums[codes.feature[entry]] += weight[token] * value
            squares[codes.feature[entry]] += weight[token] * value * value


@compiled
def _correlate_row(
    feature: int,
    codes: ByFeature,
    moments: Moments,
    weight: Floats,
    place: NDArray[np.int64],
    other: ByToken,
    theirs: Moments,
    total: float,
    row: Floats,
) -> None:
    """Write the correlations of one feature with all of the other dictionary."""
    row[:] = 0.0
    for entry in range(codes.first[feature], codes.first[feature + 1]):
        token = codes.token[entry]
        value = weight[token] * codes.value[entry]
        for met in range(other.first[place[token]], other.first[place[token] + 1]):
            row[other.feature[met]] += value * other.value[met]
    mean, inverse = moments.mean[feature], moments.inverse[feature]
    for column in range(len(row)):
        found = (row[column] / total - mean * theirs.mean[column]) * (
            inverse * theirs.inverse[column]
        )
        row[column] = min(max(found, -1.0), 1.0)


@compiled
def _rows(
    start: int,
    stop: int,
    codes: ByFeature,
    moments: Moments,
    weight: Floats,
    place: NDArray[np.int64],
    other: ByToken,
    theirs: Moments,
    total: float,
    whole: NDArray[np.float32],
) -> None:
    row = np.empty(len(theirs.mean))
    for feature in range(start, stop):
        _correlate_row(feature, codes, moments, weight, place, other, theirs, total, row)
        whole[feature] = row


@compiled
def _best_of_rows(
    start: int,
    stop: int,
    codes: ByFeature,
    moments: Moments,
    weight: Floats,
    place: NDArray[np.int64],
    other: ByToken,
    theirs: Moments,
    total: float,
    correlation: NDArray[np.float32],
    partner: NDArray[np.int64],
) -> None:
    row = np.empty(len(theirs.mean))
    for feature in range(start, stop):
        if moments.inverse[feature] == 0.0:
            continue
        _correlate_row(feature, codes, moments, weight, place, other, theirs, total, row)
        best, at = -2.0, -1
        for column in range(len(row)):
            if theirs.inverse[column] > 0.0 and row[column] > best:
                best, at = row[column], column
        if at >= 0:
            correlation[feature], partner[feature] = best, at
