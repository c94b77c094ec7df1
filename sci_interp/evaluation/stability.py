"""Whether features return in autoencoders that were trained from other seeds.

Two scores for every feature, each beside its null: the cosine of decoder directions beside rotated
dictionaries of the same second moment, and the correlation of activations beside exchanged records
and random directions. Partners are one-to-one (Hungarian), which is stricter than best of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError
from sci_interp.matching import match
from sci_interp.matching.assignment import MATRIX_BYTES, assign
from sci_interp.matching.rotation import rotate_rows
from sci_interp.sae import SparseAutoencoder
from sci_interp.schema import Split
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

from .activity import unit_rows

__all__ = ["Stability", "measure_stability", "require_others"]

#: Rotated dictionaries that are drawn; their features are pooled.
N_ROTATIONS = 5
NULL_RATE = 0.01
#: Cosine above which two features are commonly called the same (Paulo & Belrose 2025).
SAME = 0.7


@dataclass(frozen=True, eq=False)
class Stability:
    """Features against those of every other seed.

    Attributes
    ----------
    table : DataFrame
        One row per other autoencoder and feature: ``other``: its number, ``feature``;
        ``cosine, cosine_partner``: one-to-one; ``cosine_best``: of many; ``cosine_null``: mean of
        the best in rotated dictionaries; ``correlation, correlation_partner, correlation_best``;
        ``correlation_null, p, q``: of exchanged records; ``correlation_random``: best of random
        directions. Features that never vary on these tokens have no correlation.
    seeds : DataFrame
        One row per other autoencoder, in numbers that hold for the features that vary:
        ``other, seed, independent, cosine, cosine_level, cosine_above, same, correlation,
        correlation_above, beyond_random``.
    """

    table: pd.DataFrame
    seeds: pd.DataFrame

    def scores(self) -> pd.DataFrame:
        """Return every feature's means over the others: ``feature, stability_cosine, ...``."""
        mean = self.table.groupby("feature", as_index=False)[["cosine", "correlation"]].mean()
        names = {"cosine": "stability_cosine", "correlation": "stability_correlation"}
        return mean.rename(columns=names)


def require_others(sae: SparseAutoencoder, others: Sequence[SparseAutoencoder]) -> None:
    """Refuse other autoencoders that are this one, or each other, or of another width.

    Raises
    ------
    InputError
        Naming the number of the other.
    """
    seen = {sae.digest}
    for number, other in enumerate(others):
        if other.digest in seen:
            raise InputError(
                f"autoencoder {number} of the others is given twice, or is the one evaluated",
                todo="Give autoencoders that were trained from other seeds",
            )
        if other.width != sae.width:
            raise InputError(
                f"autoencoder {number} of the others reads {other.width} channels",
                allowed=f"{sae.width}, as the one evaluated",
            )
        seen.add(other.digest)


def measure_stability(
    sae: SparseAutoencoder,
    others: Sequence[SparseAutoencoder],
    source: ActivationSource,
    *,
    splits: Sequence[Split],
    n_tokens: int,
    n_permutations: int,
    seed: int,
    n_threads: int | None,
    progress: bool,
) -> Stability:
    """Match an autoencoder's features with those of every other; see :func:`~sci_interp.match`."""
    tables, rows = [], []
    for number, other in enumerate(others):
        found = match(
            sae,
            other,
            source,
            splits=splits,
            n_tokens=n_tokens,
            n_permutations=n_permutations,
            seed=seed,
            n_threads=n_threads,
            progress=progress,
        )
        cosines, level = _compare_directions(sae.dictionary, other.dictionary, seed)
        matched = found.table
        table = pd.DataFrame(
            {
                "other": number,
                "feature": matched["feature"],
                **cosines,
                "correlation": matched["one_to_one_correlation"],
                "correlation_partner": matched["one_to_one"],
                "correlation_best": matched["correlation"],
                "correlation_null": matched["null_high"],
                "p": matched["p"],
                "q": matched["q"],
                "correlation_random": matched["random_correlation"],
            }
        )
        alive = table[matched["partner"] >= 0]
        rows.append(
            {
                "other": number,
                "seed": other.training.get("seed"),
                "independent": _is_independent(sae, other),
                **_summarise(alive, level),
                "correlation_above": found.summary["matched_one_to_one"],
                "beyond_random": found.summary["beyond_random"],
            }
        )
        tables.append(table)
    seeds = pd.DataFrame(rows).astype({"seed": "Int64", "independent": "boolean"})
    return Stability(pd.concat(tables, ignore_index=True), seeds)


def _is_independent(sae: SparseAutoencoder, other: SparseAutoencoder) -> bool | None:
    """Return whether initialisation and data order differ; None where a seed is not recorded."""
    seeds = [each.training.get("seed") for each in (sae, other)]
    return None if None in seeds else seeds[0] != seeds[1]


@one_blas_thread()
def _compare_directions(
    mine: NDArray[np.float32], theirs: NDArray[np.float32], seed: int
) -> tuple[dict[str, NDArray[Any]], float]:
    """Return the columns of cosines, and the level that 1 % of the rotated ones exceed."""
    units, other = unit_rows(mine), unit_rows(theirs)
    score, partner = np.full(len(units), np.nan), np.full(len(units), -1, np.int64)
    if 4 * len(units) * len(other) <= MATRIX_BYTES:
        everyone = [np.ones(len(each), np.bool_) for each in (units, other)]
        score, partner = assign(units @ other.T, *everyone)
    null = np.stack(
        [
            _best_cosine(units, unit_rows(rotate_rows(theirs, np.random.default_rng([seed, draw]))))
            for draw in range(N_ROTATIONS)
        ]
    )
    columns = {
        "cosine": score,
        "cosine_partner": partner,
        "cosine_best": _best_cosine(units, other).astype(np.float64),
        "cosine_null": null.mean(axis=0, dtype=np.float64),
    }
    return columns, float(np.quantile(null, 1 - NULL_RATE))


def _best_cosine(
    units: NDArray[np.float32], other: NDArray[np.float32], n_rows: int = 1_024
) -> NDArray[np.float32]:
    parts = [(units[at : at + n_rows] @ other.T).max(axis=1) for at in range(0, len(units), n_rows)]
    return np.concatenate(parts)


def _summarise(alive: pd.DataFrame, level: float) -> dict[str, float]:
    return {
        "cosine": float(alive["cosine"].median()),
        "cosine_level": level,
        "cosine_above": float((alive["cosine"] > level).mean()),
        "same": float((alive["cosine"] >= SAME).mean()),
        "correlation": float(alive["correlation"].median()),
    }
