"""Measures of a link, all pure functions of one table of counts.

Symbols: TP, FP, FN, TN count known tokens with the feature at or above its threshold or not, and
with the label or not; H is the number of instances that the feature hits at one token at least,
I the number of instances. Tokens and instances are counted once each, without weights.
A measure whose denominator is 0 is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .counts import at_or_above

__all__ = ["Confusion", "auroc", "average_precision"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of feature-label pairs at one threshold each; all arrays broadcast together.

    Attributes
    ----------
    true_positive : array
        TP, tokens with both.
    active : array
        TP + FP, tokens with the feature.
    positive : array
        TP + FN, tokens with the label.
    known : array
        TP + FP + FN + TN, the label's universe.
    hit : array
        H, instances hit.
    instances : array
        I, instances.
    """

    true_positive: Floats
    active: Floats
    positive: Floats
    known: Floats
    hit: Floats
    instances: Floats

    @property
    def precision(self) -> Floats:
        """TP / (TP + FP)."""
        return _divide(self.true_positive, self.active)

    @property
    def token_recall(self) -> Floats:
        """TP / (TP + FN)."""
        return _divide(self.true_positive, self.positive)

    @property
    def instance_recall(self) -> Floats:
        """H / I."""
        return _divide(self.hit, self.instances)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and token recall: 2 TP / (2 TP + FP + FN)."""
        return _divide(2 * self.true_positive, self.active + self.positive)

    @property
    def hybrid_f1(self) -> Floats:
        """Harmonic mean of token precision and instance recall, as InterPLM defines its F1."""
        precision, recall = self.precision, self.instance_recall
        return _divide(2 * precision * recall, precision + recall)

    @property
    def mcc(self) -> Floats:
        """Matthews correlation: (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))."""
        above = self.true_positive * self.known - self.active * self.positive
        silent, negative = self.known - self.active, self.known - self.positive
        product = np.sqrt(self.active * silent) * np.sqrt(self.positive * negative)
        return _divide(above, product)

    @property
    def lift(self) -> Floats:
        """Precision over prevalence (TP + FN) / (TP + FP + FN + TN)."""
        return _divide(self.true_positive * self.known, self.active * self.positive)

    @property
    def log_odds(self) -> Floats:
        """Natural log of the odds ratio with 0.5 added to each cell (Haldane and Anscombe)."""
        both = self.true_positive + 0.5
        feature_only = self.active - self.true_positive + 0.5
        label_only = self.positive - self.true_positive + 0.5
        neither = self.known - self.active - self.positive + self.true_positive + 0.5
        return np.log(both) + np.log(neither) - np.log(feature_only) - np.log(label_only)


def auroc(
    tokens: NDArray[np.int64], active: NDArray[np.int64], *, positive: int, known: int
) -> Floats:
    """Return the area under the ROC curve of binned activity, ties counted half.

    Parameters
    ----------
    tokens, active : (..., n_bins) int64
        Positive and all known tokens in each bin; tokens in none are silent.
    positive, known
        Known positive tokens, known tokens.

    Notes
    -----
    The Mann-Whitney statistic of the bins; exact for activity quantised to them. 0.5 where there
    is no positive or no negative token.
    """
    hits = _with_silent(tokens, positive)
    misses = _with_silent(active - tokens, known - positive)
    below = misses.cumsum(-1) - misses
    wins = (hits * (below + 0.5 * misses)).sum(-1)
    pairs = float(positive) * float(known - positive)
    return wins / pairs if pairs else np.full(wins.shape, 0.5)


def average_precision(
    tokens: NDArray[np.int64], active: NDArray[np.int64], *, positive: int, known: int
) -> Floats:
    """Return the mean precision over recall steps, one step per bin and one for silent tokens.

    The parameters are those of :func:`auroc`.
    """
    hits = _with_silent(tokens, positive)
    above = at_or_above(_with_silent(active, known))
    precision = _divide(at_or_above(hits), above)
    return _divide((hits * precision).sum(-1), np.asarray(float(positive)))


def _with_silent(histogram: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    silent = total - histogram.sum(-1, keepdims=True)
    return np.concatenate([silent, histogram], axis=-1)


def _divide(above: NDArray[np.generic], below: NDArray[np.generic]) -> Floats:
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    quotient: Floats = np.divide(above, below, out=np.zeros(above.shape), where=below != 0)
    return quotient
