"""One ordering of tokens from both signs of a covariate, and bins of it.

A feature store holds one side of a number's mean in each feature. Ranks of a covariate are its own
levels above :data:`RANK_ABSENT`, and those of the opposite sign below it, downwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import MAX_LEVEL
from sci_interp.source import FeatureSource

__all__ = ["N_RANKS", "RANK_ABSENT", "cut_ranks", "join_signs", "opposite_signs"]

Ints = NDArray[np.int64]

N_RANKS = 2 * MAX_LEVEL + 1
#: Rank of tokens at which neither sign is active.
RANK_ABSENT = MAX_LEVEL


def opposite_signs(source: FeatureSource) -> Ints:
    """Return the number of ``"x -"`` for ``"x +"`` and the reverse, -1 where there is none."""
    number = {name: at for at, name in enumerate(source.names)}
    sign = {"+": "-", "-": "+"}
    found = [
        number.get(name[:-1] + sign[name[-1]], -1) if name.endswith((" +", " -")) else -1
        for name in source.names
    ]
    return np.array(found or [-1] * source.n_features, np.int64)


def join_signs(levels: Ints, opposite: Ints, total: int) -> Ints:
    """Return the weight at every rank ``(n_covariates, 511)``.

    Parameters
    ----------
    levels : (n_covariates, 255) int64
        Weight of the tokens at levels 1 to 255.
    opposite : (n_covariates,) int64
        The covariate of the opposite sign, which is never active at the same token, or -1.
    total
        Weight of all tokens.
    """
    below = np.where(opposite[:, None] >= 0, levels[opposite, ::-1], 0)
    absent = total - levels.sum(-1, keepdims=True) - below.sum(-1, keepdims=True)
    return np.concatenate([below, absent, levels], axis=1)


def cut_ranks(counts: Ints, n_bins: int) -> NDArray[np.uint8]:
    """Return the bin of every rank ``(511,)``, so that bins hold equal weights where they can.

    A rank goes to the bin in which its lightest share lies: below it are ``bin / n_bins`` of the
    tokens, or more.

    Parameters
    ----------
    counts : (511,) int64
        Weight of the known tokens at every rank.
    n_bins
        Number of bins.
    """
    below = np.cumsum(counts) - counts
    bins = n_bins * below // max(int(counts.sum()), 1)
    found: NDArray[np.uint8] = np.minimum(bins, n_bins - 1).astype(np.uint8)
    return found
