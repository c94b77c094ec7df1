"""Two dictionaries on shared tokens: partners, and what chance gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.codes import Encoder
from sci_interp.enrichment.significance import adjust_p
from sci_interp.progress import track
from sci_interp.sae import SparseAutoencoder
from sci_interp.source import ActivationSource

from .assignment import MATRIX_BYTES, assign
from .coding import ByFeature, ByToken, encode_shared
from .correlation import Correlator, moments_of
from .result import MIN_BLOCKS
from .rotation import rotate_autoencoder
from .shared import SharedTokens

__all__ = ["Comparison", "compare"]

#: Share of the features whose best match may exceed the level by chance.
NULL_RATE = 0.01
#: False discovery rate of the share that is printed.
Q = 0.05


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is compared, and how often chance is drawn.

    Attributes
    ----------
    sae_a, sae_b : Encoder
        The dictionaries.
    acts_a, acts_b : ActivationSource
        Activations of each.
    shared : SharedTokens
        The tokens.
    n_permutations, seed : int
        Draws of the null, and their seed.
    n_threads : int
        Threads; without influence on the result.
    progress : bool
        Tell on standard error how far the work is.
    """

    sae_a: Encoder
    sae_b: Encoder
    acts_a: ActivationSource
    acts_b: ActivationSource
    shared: SharedTokens
    n_permutations: int
    seed: int
    n_threads: int
    progress: bool

    def encode(self) -> tuple[ByToken, ByToken, ByToken | None]:
        """Return the codes of A, of B, and of B's random directions where it has any."""
        encoders: list[Encoder] = [self.sae_b]
        if isinstance(self.sae_b, SparseAutoencoder):
            encoders.append(rotate_autoencoder(self.sae_b, self.acts_b, self.shared, self.seed))
        if self.acts_a is self.acts_b:
            a, b, *more = self._encode([self.sae_a, *encoders], self.acts_b)
        else:
            (a,) = self._encode([self.sae_a], self.acts_a)
            b, *more = self._encode(encoders, self.acts_b)
        return a, b, more[0] if more else None

    def _encode(self, encoders: list[Encoder], source: ActivationSource) -> list[ByToken]:
        return encode_shared(encoders, source, self.shared, progress=self.progress)


def compare(given: Comparison) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Match every feature of A, and every one of them against chance.

    Correlations are weighted: every token with its weight inside its block. The null exchanges B's
    records between blocks (:meth:`SharedTokens.exchanged_places`) and takes the highest correlation
    over all of B, as the match does.

    Returns
    -------
    table : DataFrame
        ``feature``; ``firing_rate``: share of these tokens on which it fires; ``partner,
        correlation``: the best of all B's features; ``mutual``: whether the partner's best is this
        feature; ``null_mean, null_high``: mean and 99 % quantile of its draws; ``p``: share of
        draws that reach the correlation, (1 + b) / (1 + draws); ``q``: Benjamini-Hochberg;
        ``random_correlation``: the best of B's random directions, missing where B has none;
        ``one_to_one, one_to_one_correlation``: the partner under the best one-to-one assignment.
        Features that never vary have partner -1 and no numbers.
    summary : dict
        See :class:`~sci_interp.matching.result.FeatureMatch`.
    """
    a, b, random = given.encode()
    shared, n_b = given.shared, given.sae_b.n_features
    side_a = _correlator(a, given.sae_a.n_features, given)
    side_b = _correlator(b, n_b, given)
    here = shared.same_places()
    correlation, partner = side_a.best(b, n_b, here)
    _, back = side_b.best(a, side_a.n_features, here)
    alive, alive_b = partner >= 0, back >= 0
    null = _draw_null(side_a, b, n_b, given)
    table = pd.DataFrame(
        {
            "feature": np.arange(side_a.n_features),
            "firing_rate": np.diff(side_a.codes.first) / shared.n_tokens,
            "partner": partner,
            "correlation": np.where(alive, correlation.astype(np.float64), np.nan),
            "mutual": alive & (back[partner] == np.arange(len(partner))),
            **_chance_columns(correlation, null, alive, shared.n_blocks),
            "random_correlation": np.full(len(partner), np.nan),
        }
    )
    if random is not None:
        found, _ = side_a.best(random, n_b, here)
        table["random_correlation"] = np.where(alive, found.astype(np.float64), np.nan)
    score, to = np.full(len(table), np.nan), np.full(len(table), -1, np.int64)
    fits = 4 * len(table) * n_b <= MATRIX_BYTES
    if fits:
        score, to = assign(side_a.matrix(b, n_b), alive, alive_b)
    table = table.assign(one_to_one=to, one_to_one_correlation=score)
    counts = {
        "n_features_a": len(table),
        "n_alive_a": int(alive.sum()),
        "n_features_b": n_b,
        "n_alive_b": int(alive_b.sum()),
    }
    pooled = null[:, alive] if shared.n_blocks >= MIN_BLOCKS else null[:, :0]
    return table, {**_sizes(shared), **counts, **_shares(table, pooled, assigned=fits)}


def _correlator(codes: ByToken, n_features: int, given: Comparison) -> Correlator:
    weight = given.shared.weight
    moments = moments_of(codes, weight, n_features)
    return Correlator(ByFeature.of(codes, n_features), moments, weight, given.n_threads)


def _draw_null(
    side: Correlator, other: ByToken, n_other: int, given: Comparison
) -> NDArray[np.float32]:
    """Return every feature's highest correlation in each draw ``(n_draws, n_features)``."""
    null = np.zeros((given.n_permutations, side.n_features), np.float32)
    for draw in track(range(len(null)), "match: null", show=given.progress):
        rng = np.random.default_rng([given.seed, draw])
        null[draw], _ = side.best(other, n_other, given.shared.exchanged_places(rng))
    return null


def _chance_columns(
    correlation: NDArray[np.float32],
    null: NDArray[np.float32],
    alive: NDArray[np.bool_],
    n_blocks: int,
) -> dict[str, NDArray[np.float64]]:
    reached = (null >= correlation).sum(axis=0)
    judged = alive & (n_blocks >= MIN_BLOCKS)
    p = np.where(judged, (1 + reached) / (1 + len(null)), np.nan)
    high = np.quantile(null, 1 - NULL_RATE, axis=0)
    return {
        "null_mean": np.where(alive, null.mean(axis=0, dtype=np.float64), np.nan),
        "null_high": np.where(alive, high, np.nan),
        "p": p,
        "q": adjust_p(p),
    }


def _sizes(shared: SharedTokens) -> dict[str, int]:
    return {
        "n_tokens": shared.n_tokens,
        "n_records": len(shared.record),
        "n_blocks": shared.n_blocks,
        "n_lonely": shared.n_lonely,
    }


def _shares(
    table: pd.DataFrame, null: NDArray[np.float32], *, assigned: bool
) -> dict[str, float | None]:
    """Return levels and shares; those that rest on the null are None where it holds no draw."""
    alive = table[table["partner"] >= 0]
    random = alive["random_correlation"].dropna()
    level = float(np.quantile(null, 1 - NULL_RATE)) if null.size else None
    random_level = float(random.quantile(1 - NULL_RATE)) if len(random) else None

    def share(column: str, above: Any) -> float | None:
        known = above is not None and len(alive) > 0
        return float((alive[column] > above).mean()) if known else None

    own = alive["null_high"] if null.size else None
    return {
        "level": level,
        "random_level": random_level,
        "matched": share("correlation", own),
        "matched_pooled": share("correlation", level),
        "matched_one_to_one": share("one_to_one_correlation", own) if assigned else None,
        "beyond_random": share("correlation", random_level),
        "significant": float((alive["q"] <= Q).mean()) if null.size else None,
        "mutual": share("mutual", 0),
    }
