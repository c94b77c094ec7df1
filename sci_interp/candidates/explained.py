"""Gate 3: how much of a feature's firing its three best labels explain.

The explained share is (precision of the union of three labels - base) / (1 - base), where base is
the share of tokens that bear the union. The labels are chosen on one half of the families and
judged on the other, both ways round, and both halves' firing is put together. Bounds come from a
block bootstrap (Poisson weights, drawn per family) in which one more family of average size speaks
against the claim, so that "never seen in eight families" is not taken for "never".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import Split
from sci_interp.threads import one_blas_thread

from .association import Association, FamilyTally, associate
from .explainers import Explainers
from .firing import Firing
from .stretches import Stretch, split_stretches
from .windows import HALVES

__all__ = ["N_CHOSEN", "ExplainedShare", "measure_explained_share", "measure_lead_share"]

#: Labels in the union.
N_CHOSEN = 3
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class ExplainedShare:
    """Result of gate 3 for the features tested, in the order asked.

    Attributes
    ----------
    share : (n,) float64
        Explained share, both halves together; NaN where the chosen labels were never
        assessed together at a firing token.
    lower, upper : (n,) float64
        One-sided 95 % bounds; ``upper`` is 1 where the share is unknown.
    labels : (2, n, 3) int64
        Explainers chosen on the discovery and on the test half, best first; -1 for none.
    recall : (n,) float64
        Share of the best label's assessed tokens at which the feature fires, both halves.
    """

    share: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    labels: NDArray[np.int64]
    recall: NDArray[np.float64]


@one_blas_thread()
def measure_explained_share(
    firing: Firing,
    explainers: Explainers,
    halves: Sequence[Association] = (),
    *,
    among: NDArray[np.bool_] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> ExplainedShare:
    """Measure the explained share of features, with bounds.

    Two passes over discovery and test tokens; memory grows with features x explainers and
    features x resamples, not with tokens.

    Parameters
    ----------
    firing
        The features tested and the level at which they fire.
    explainers
        The labels that may explain them.
    halves
        What :func:`associate` counted of them, where it did; it is one of the two passes.
    among : (n_explainers,)
        Explainers that count, all by default.
    n_resamples
        Bootstrap resamples.
    seed
        Seed of the bootstrap.
    """
    halves = halves or associate(firing, explainers)
    labels = np.stack([half.best_labels(explainers, N_CHOSEN, among=among) for half in halves])
    judged = [
        _judge(firing, explainers, split, labels[1 - half], n_resamples=n_resamples, seed=seed)
        for half, split in enumerate(HALVES)
    ]
    share, lower, upper = (judged[0] + judged[1]).shares()
    lead = np.maximum(labels[0, :, 0], 0)
    row = np.arange(len(lead))
    hits = sum(half.hits[row, lead] for half in halves)
    total = sum(half.positive[lead] for half in halves)
    recall = np.where(labels[0, :, 0] >= 0, hits / np.maximum(total, 1e-12), 0.0)
    return ExplainedShare(
        share=share,
        lower=np.nan_to_num(np.quantile(lower, 0.05, axis=1), nan=0.0),
        upper=np.nan_to_num(np.quantile(upper, 0.95, axis=1), nan=1.0),
        labels=labels,
        recall=recall,
    )


@one_blas_thread()
def measure_lead_share(
    firing: Firing,
    explainers: Explainers,
    lead: NDArray[np.int64],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the lower 95 % bound of the share that one label alone explains ``(n,)``.

    Parameters
    ----------
    firing, explainers, n_resamples, seed
        As for :func:`measure_explained_share`.
    lead : (n,)
        One explainer a feature, -1 for none.
    """
    labels = np.full((len(lead), N_CHOSEN), -1, np.int64)
    labels[:, 0] = lead
    if len(lead) == 0:
        return np.zeros(0)
    first, second = (
        _judge(firing, explainers, split, labels, n_resamples=n_resamples, seed=seed)
        for split in HALVES
    )
    bound: NDArray[np.float64] = np.quantile((first + second).shares()[1], 0.05, axis=1)
    return np.nan_to_num(bound, nan=0.0)


@dataclass(frozen=True, eq=False)
class _Judgement:
    """Firing of features against labels chosen elsewhere.

    ``sums`` (2, n): explained, assessed; ``resampled`` (2, n, r) the same in every resample;
    ``base`` (n,) share of the tokens that bear the labels; ``n_families`` (n,).
    """

    sums: NDArray[np.float64]
    resampled: NDArray[np.float32]
    base: NDArray[np.float64]
    n_families: NDArray[np.int64]

    def __add__(self, other: _Judgement) -> _Judgement:
        """Return both halves together: a half counts by its firing."""
        fired = np.stack([self.sums[1], other.sums[1]])
        base = (fired * np.stack([self.base, other.base])).sum(axis=0)
        return _Judgement(
            self.sums + other.sums,
            self.resampled + other.resampled,
            base / np.maximum(fired.sum(axis=0), 1e-12),
            self.n_families + other.n_families,
        )

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the share ``(n,)``, and both bounds' resamples ``(n, r)``.

        NaN where nothing was assessed.
        """
        explained, assessed = self.sums
        some = assessed > 0
        span = np.maximum(1 - self.base, 1e-6)
        family = np.where(some, assessed / np.maximum(self.n_families, 1), np.nan)[:, None]
        upper = (self.resampled[0] + family) / (self.resampled[1] + family)
        lower = self.resampled[0] / (self.resampled[1] + family)
        precision = np.where(some, explained / np.where(some, assessed, 1), np.nan)
        return (
            (precision - self.base) / span,
            (lower - self.base[:, None]) / span[:, None],
            (upper - self.base[:, None]) / span[:, None],
        )


def _judge(
    firing: Firing,
    explainers: Explainers,
    split: Split,
    labels: NDArray[np.int64],
    *,
    n_resamples: int,
    seed: int,
) -> _Judgement:
    """Measure the share of the labels chosen elsewhere on one half."""
    from scipy.sparse import csr_array

    n = len(labels)
    triples, of_feature = np.unique(labels, axis=0, return_inverse=True)
    of_feature = of_feature.ravel()
    base = np.zeros((2, len(triples)))
    sums = np.zeros((2, n))
    families = FamilyTally(n)
    resampled = np.zeros((2, n, n_resamples), np.float32)
    for stretch in split_stretches(explainers.axis, [split]):
        union = _Union.of(explainers, stretch, triples)
        base += union.totals(stretch.weight)
        token, column = firing.read(stretch)
        hit, known = union.at(of_feature[column], token)
        weight, block = stretch.weight[token], stretch.block[token]
        families.add(column[known], block[known])
        first, n_blocks = stretch.block[0], int(np.ptp(stretch.block)) + 1
        draws = _poisson(first + np.arange(n_blocks), n_resamples, seed)
        for row, mask in enumerate((hit, known)):
            places = (column, block - first)
            family = csr_array((weight * mask, places), shape=(n, n_blocks))
            sums[row] += family.sum(axis=1)
            resampled[row] += family @ draws
    expected = (base[0] / np.maximum(base[1], 1e-12))[of_feature]
    return _Judgement(sums, resampled, expected, families.n)


@dataclass(frozen=True, eq=False)
class _Union:
    """Where unions of labels hold in a stretch.

    ``holds`` and ``known`` (n_used, n_tokens): one row for each explainer that occurs in a triple;
    ``place`` (n_triples, 3): rows of each triple.
    """

    holds: NDArray[np.bool_]
    known: NDArray[np.bool_]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, explainers: Explainers, stretch: Stretch, triples: NDArray[np.int64]) -> _Union:
        """Read the explainers of ``triples``; -1 never holds and is always known."""
        positive, assessed = explainers.read(stretch)
        used, place = np.unique(triples, return_inverse=True)
        real = np.maximum(used, 0)
        holds = positive[:, real].toarray().T > 0
        known = assessed[:, explainers.group[real]].toarray().T > 0
        none = (used < 0)[:, None]
        return cls(
            np.ascontiguousarray(holds & ~none),
            np.ascontiguousarray(known | none),
            place.reshape(triples.shape),
        )

    def at(
        self, triple: NDArray[np.int64], token: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return whether triples hold, and are known, at tokens ``(n,)`` each."""
        rows = self.place[triple].T
        known = np.logical_and.reduce([self.known[row, token] for row in rows])
        return np.logical_or.reduce([self.holds[row, token] for row in rows]) & known, known

    def totals(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight at which every triple holds, and is known ``(2, n_triples)``."""
        totals = np.zeros((2, len(self.place)))
        for first in range(0, len(self.place), _CHUNK):
            rows = self.place[first : first + _CHUNK].T
            known = np.logical_and.reduce([self.known[row] for row in rows])
            holds = np.logical_or.reduce([self.holds[row] for row in rows]) & known
            totals[:, first : first + _CHUNK] = holds @ weight, known @ weight
        return totals


def _poisson(blocks: NDArray[np.int64], n_resamples: int, seed: int) -> NDArray[np.float32]:
    """Return bootstrap weights ``(n_blocks, n_resamples)`` that depend on the block alone."""
    return np.stack(
        [np.random.default_rng([seed, 3, int(block)]).poisson(1.0, n_resamples) for block in blocks]
    ).astype(np.float32)
