"""How often every feature fires, and how alike the directions are that features write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.sae import SparseAutoencoder
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

__all__ = ["DENSE", "REDUNDANT", "Activity", "density_table", "measure_activity", "nearest_cosine"]

#: A feature that fires on more than this share of the tokens is dense.
DENSE = 0.1
#: Features whose decoder directions have a higher cosine than this are redundant.
REDUNDANT = 0.9
#: Edges of the density histogram, log10 of the share of tokens; a feature below falls into the
#: first bin.
EDGES = np.arange(-6.0, 0.5, 0.5)
_ROWS = 1_024


class Activity(NamedTuple):
    """How often features fire.

    Attributes
    ----------
    n_fired : (n_features,) int64
        Tokens on which each fires.
    n_tokens : int
        Tokens.
    """

    n_fired: NDArray[np.int64]
    n_tokens: int

    @property
    def rate(self) -> NDArray[np.float64]:
        """Share of the tokens on which each feature fires."""
        return np.asarray(self.n_fired / max(self.n_tokens, 1), np.float64)


def measure_activity(
    sae: SparseAutoencoder, source: ActivationSource, ranges: Sequence[tuple[int, int]]
) -> Activity:
    """Count the tokens of the ranges on which each feature fires."""
    fired = np.zeros(sae.n_features, np.int64)
    for start, stop in ranges:
        codes = sae.encode(sae.pairs(source.read(start, stop))[0])
        fired += np.bincount(codes.feature, minlength=sae.n_features)
    return Activity(fired, sum(stop - start for start, stop in ranges))


def density_table(activity: Activity) -> pd.DataFrame:
    """Return the histogram of firing rates: ``log10_low, log10_high, n_features``.

    Features that never fire are in a first row without bounds; a rate on an edge is in the bin
    above it, and rate 1 in the last.
    """
    alive = np.log10(activity.rate[activity.n_fired > 0])
    inside = np.clip(alive, EDGES[0], EDGES[-1])
    counts = np.histogram(inside, EDGES)[0]
    return pd.DataFrame(
        {
            "log10_low": [np.nan, *EDGES[:-1]],
            "log10_high": [np.nan, *EDGES[1:]],
            "n_features": [int((activity.n_fired == 0).sum()), *counts.tolist()],
        }
    )


@one_blas_thread()
def nearest_cosine(
    directions: NDArray[np.floating], alive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return every alive feature's highest cosine with another alive one, and which that is.

    Parameters
    ----------
    directions : (n_features, width)
        What one unit of every feature adds to the activations.
    alive : (n_features,) bool
        Which features count; the others have NaN and -1.
    """
    cosine = np.full(len(directions), np.nan)
    nearest = np.full(len(directions), -1, np.int64)
    kept = np.flatnonzero(alive)
    if len(kept) < 2:
        return cosine, nearest
    units = unit_rows(directions[kept])
    for first in range(0, len(kept), _ROWS):
        scores = units[first : first + _ROWS] @ units.T
        here = np.arange(len(scores))
        scores[here, first + here] = -np.inf
        best = scores.argmax(axis=1)
        cosine[kept[first + here]] = scores[here, best]
        nearest[kept[first + here]] = kept[best]
    return cosine, nearest


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-30), np.float32)
