"""Gate 3: how much of a feature's firing its three best labels explain.

The explained share is (precision of the union of three labels - base) / (1 - base), where base is
the share of tokens that bear the union. The labels are chosen on one half of the families and
judged on the other, both ways round, and the two shares are averaged. Bounds come from a block
bootstrap (Poisson weights, drawn per family) in which one more family of average size speaks
against the claim, so that "never seen in eight families" is not taken for "never".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import Split
from sci_interp.source import FeatureSource
from sci_interp.threads import one_blas_thread

from .explainers import Explainers
from .stretches import Stretch, entries, split_stretches
from .windows import HALVES

__all__ = ["N_CHOSEN", "ExplainedShare", "measure_explained_share", "measure_lead_share"]

#: Labels in the union.
N_CHOSEN = 3
#: Families' worth of base-rate evidence that shrinks a label's share before labels are ranked.
_PRIOR_FAMILIES = 2.0
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class ExplainedShare:
    """Result of gate 3 for the features tested, in the order asked.

    Attributes
    ----------
    share : (n,) float64
        Explained share, mean over the two halves; NaN where the chosen labels were never
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


@dataclass(frozen=True, eq=False)
class Firing:
    """Which features fire where: the features tested, and the level that counts.

    Attributes
    ----------
    features
        Quantised codes.
    chosen : (n,) int64
        Features tested, ascending.
    level : (n,) int64
        Lowest level that counts as firing.
    """

    features: FeatureSource
    chosen: NDArray[np.int64]
    level: NDArray[np.int64]

    def read(self, stretch: Stretch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return token in the stretch, and place in ``chosen``, of all firing."""
        token, feature, level = entries(self.features.read(stretch.start, stretch.stop))
        place = np.full(self.features.n_features, -1, np.int64)
        place[self.chosen] = np.arange(len(self.chosen))
        column = place[feature]
        fires = column >= 0
        fires[fires] = level[fires] >= self.level[column[fires]]
        return token[fires], column[fires]


@one_blas_thread()
def measure_explained_share(
    firing: Firing, explainers: Explainers, *, n_resamples: int = 1000, seed: int = 0
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
    n_resamples
        Bootstrap resamples.
    seed
        Seed of the bootstrap.
    """
    halves = [_associate(firing, explainers, split) for split in HALVES]
    labels = np.stack([half.best_labels(explainers) for half in halves])
    judged = [
        _judge(firing, explainers, split, labels[1 - half], n_resamples=n_resamples, seed=seed)
        for half, split in enumerate(HALVES)
    ]
    share, lower, upper = (
        np.mean([getattr(half, name) for half in judged], axis=0)
        for name in ("share", "lower", "upper")
    )
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
    halves = [
        _judge(firing, explainers, split, labels, n_resamples=n_resamples, seed=seed).lower
        for split in HALVES
    ]
    bound: NDArray[np.float64] = np.quantile(np.mean(halves, axis=0), 0.05, axis=1)
    return np.nan_to_num(bound, nan=0.0)


@dataclass(frozen=True, eq=False)
class _Association:
    """Weighted counts of one half.

    ``hits`` (n, n_explainers) firing and positive; ``fired`` (n, n_groups) firing and assessed;
    ``positive`` (n_explainers,); ``assessed`` (n_groups,); ``family`` (n,) mean firing of a family.
    """

    hits: NDArray[np.float64]
    fired: NDArray[np.float64]
    positive: NDArray[np.float64]
    assessed: NDArray[np.float64]
    family: NDArray[np.float64]

    def best_labels(self, explainers: Explainers) -> NDArray[np.int64]:
        """Return the three labels with the largest shrunken share ``(n, 3)``, -1 for none."""
        base = self.positive / np.maximum(self.assessed[explainers.group], 1e-12)
        best = np.full((len(self.hits), N_CHOSEN), -1, np.int64)
        for first in range(0, len(self.hits), _CHUNK):
            rows = slice(first, first + _CHUNK)
            prior = _PRIOR_FAMILIES * self.family[rows, None]
            fired = self.fired[rows][:, explainers.group]
            precision = (self.hits[rows] + prior * base) / np.maximum(fired + prior, 1e-12)
            share = (precision - base) / np.maximum(1 - base, 1e-6)
            # Rounded, so that labels which tie keep their order whatever the sums' last bit.
            order = np.argsort(-share.round(9), axis=1, kind="stable")[:, :N_CHOSEN]
            good = np.take_along_axis(share, order, axis=1) > 0
            best[rows, : order.shape[1]] = np.where(good, order, -1)
        return best


def _associate(firing: Firing, explainers: Explainers, split: Split) -> _Association:
    """Count one half: firing against every explainer."""
    from scipy.sparse import csr_array

    n, n_explainers = len(firing.chosen), len(explainers.names)
    hits, fired = np.zeros((n, n_explainers)), np.zeros((n, explainers.n_groups))
    positive, assessed = np.zeros(n_explainers), np.zeros(explainers.n_groups)
    families = _FamilyTally(n)
    for stretch in split_stretches(explainers.axis, [split]):
        token, column = firing.read(stretch)
        shape = (n, stretch.n_tokens)
        weighted = csr_array((stretch.weight[token], (column, token)), shape=shape)
        labels, known = explainers.read(stretch)
        hits += (weighted @ labels).toarray()
        fired += (weighted @ known).toarray()
        positive += labels.T @ stretch.weight
        assessed += known.T @ stretch.weight
        families.add(column, stretch.block[token])
    family = fired[:, -1] / np.maximum(families.n, 1)
    return _Association(hits, fired, positive, assessed, family)


@dataclass(frozen=True, eq=False)
class _Judgement:
    """Explained share of one half: estimate ``(n,)`` and both bounds' resamples ``(n, r)``."""

    share: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


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
    families = _FamilyTally(n)
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
    return _shares(sums, resampled, expected, families.n)


class _FamilyTally:
    """Number of families of each feature, where a family may continue in the next stretch."""

    def __init__(self, n_features: int) -> None:
        self.n = np.zeros(n_features, np.int64)
        self._last = np.full(n_features, -1, np.int64)

    def add(self, feature: NDArray[np.int64], block: NDArray[np.int64]) -> None:
        """Add firing of features in blocks; blocks never descend from call to call."""
        pair = np.unique(np.stack([feature, block]), axis=1)
        new = pair[1] != self._last[pair[0]]
        np.add.at(self.n, pair[0][new], 1)
        self._last[pair[0]] = pair[1]


def _shares(
    sums: NDArray[np.float64],
    resampled: NDArray[np.float32],
    base: NDArray[np.float64],
    n_families: NDArray[np.int64],
) -> _Judgement:
    """Turn (explained, assessed) firing into explained shares; NaN where nothing was assessed."""
    span = np.maximum(1 - base, 1e-6)
    family = np.where(n_families > 0, sums[1] / np.maximum(n_families, 1), np.nan)[:, None]
    upper = (resampled[0] + family) / (resampled[1] + family)
    lower = resampled[0] / (resampled[1] + family)
    precision = np.where(sums[1] > 0, sums[0] / np.where(sums[1] > 0, sums[1], 1), np.nan)
    return _Judgement(
        share=(precision - base) / span,
        lower=(lower - base[:, None]) / span[:, None],
        upper=(upper - base[:, None]) / span[:, None],
    )


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
