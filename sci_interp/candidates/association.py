"""Which labels features fire at: counts of firing against every explainer, half by half."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import Split
from sci_interp.threads import one_blas_thread

from .explainers import Explainers
from .firing import Firing
from .stretches import split_stretches
from .windows import HALVES

__all__ = ["Association", "FamilyTally", "associate"]

#: Families' worth of base-rate evidence that shrinks a label's share before labels are ranked.
_PRIOR_FAMILIES = 2.0
#: A one-sided 95 % bound lies this many standard errors off.
_Z_ONE_SIDED = 1.645
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Association:
    """Weighted counts of firing against every explainer.

    Attributes
    ----------
    hits : (n, n_explainers) float64
        Firing where the explainer holds.
    fired : (n, n_groups) float64
        Firing where the group was assessed.
    positive : (n_explainers,) float64
        Tokens where the explainer holds.
    assessed : (n_groups,) float64
        Tokens where the group was assessed.
    n_families : (n,) int64
        Families in which the feature fires.
    """

    hits: NDArray[np.float64]
    fired: NDArray[np.float64]
    positive: NDArray[np.float64]
    assessed: NDArray[np.float64]
    n_families: NDArray[np.int64]

    def __add__(self, other: Association) -> Association:
        """Return the counts of two halves together."""
        return Association(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(Association))
        )

    def best_labels(
        self, explainers: Explainers, n_best: int, *, among: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Return the labels that surely explain the most ``(n, n_best)``, -1 for none.

        By the lower 95 % bound of the shrunken share, where families are either in or out: of what
        a few families show by chance, a label that covers half of all tokens would come first by
        the share itself, and leave it the least certain.

        Parameters
        ----------
        explainers
            What was counted.
        n_best
            Labels of a feature, best first.
        among : (n_explainers,)
            Labels to choose from, all by default.
        """
        base = self.positive / np.maximum(self.assessed[explainers.group], 1e-12)
        best = np.full((len(self.hits), n_best), -1, np.int64)
        family = self.fired[:, -1] / np.maximum(self.n_families, 1)
        for first in range(0, len(self.hits), _CHUNK):
            rows = slice(first, first + _CHUNK)
            prior = _PRIOR_FAMILIES * family[rows, None]
            fired = self.fired[rows][:, explainers.group]
            precision = (self.hits[rows] + prior * base) / np.maximum(fired + prior, 1e-12)
            share = (precision - base) / np.maximum(1 - base, 1e-6)
            share[:, slice(0) if among is None else ~among] = -1.0
            n_families = self.n_families[rows, None] + _PRIOR_FAMILIES
            spread = np.sqrt(np.maximum(precision * (1 - precision), 0.0) / n_families)
            error = spread / np.maximum(1 - base, 1e-6)
            # Rounded, so that labels which tie keep their order whatever the sums' last bit.
            bound = np.where(share > 0, share - _Z_ONE_SIDED * error, -np.inf).round(9)
            order = np.argsort(-bound, axis=1, kind="stable")[:, :n_best]
            good = np.take_along_axis(share, order, axis=1) > 0
            best[rows, : order.shape[1]] = np.where(good, order, -1)
        return best

    def of_labels(
        self, explainers: Explainers, labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the share that one label a feature explains, and the label's recall ``(n,)`` each.

        Parameters
        ----------
        explainers
            What was counted.
        labels : (n,)
            One explainer a feature; -1 for none, whose share and recall are NaN.
        """
        row, column = np.arange(len(labels)), np.maximum(labels, 0)
        group = explainers.group[column]
        with np.errstate(invalid="ignore", divide="ignore"):
            base = self.positive[column] / self.assessed[group]
            share = (self.hits[row, column] / self.fired[row, group] - base) / (1 - base)
            recall = self.hits[row, column] / self.positive[column]
        share[labels < 0] = recall[labels < 0] = np.nan
        return share, recall


@one_blas_thread()
def associate(firing: Firing, explainers: Explainers) -> tuple[Association, Association]:
    """Count firing against every explainer, in discovery and in test tokens; one pass.

    Parameters
    ----------
    firing, explainers
        As for :func:`measure_explained_share`.
    """
    discovery, test = (_associate(firing, explainers, split) for split in HALVES)
    return discovery, test


def _associate(firing: Firing, explainers: Explainers, split: Split) -> Association:
    """Count one half."""
    from scipy.sparse import csr_array

    n, n_explainers = len(firing.chosen), len(explainers.names)
    hits, fired = np.zeros((n, n_explainers)), np.zeros((n, explainers.n_groups))
    positive, assessed = np.zeros(n_explainers), np.zeros(explainers.n_groups)
    families = FamilyTally(n)
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
    return Association(hits, fired, positive, assessed, families.n)


class FamilyTally:
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
