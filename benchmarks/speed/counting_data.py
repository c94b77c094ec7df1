"""Codes and labels to count: sparse features, and labels that differ much in frequency.

The sizes are those of proteins: records of 300 tokens, 32 active features of 10,240 at a token,
runs of 20 tokens. A label covers 0.3 % of the tokens in the mean and the frequent ones some per
cent, as the 225 labels of a Swiss-Prot set do (0.7 labels at a token in sum, so 3 for 1,000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.annotations import AnnotationSlice
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.enrichment.memory import MemoryAnnotations, MemoryFeatures

__all__ = ["FLOORS", "SHARES", "Task", "level_values", "make_task"]

#: InterPLM's thresholds, as shares of a feature's largest value: active is *above*.
SHARES = (0.0, 0.15, 0.5, 0.6, 0.8)
#: The same as lowest levels of the quantised codes.
FLOORS = (1, 168, 224, 232, 245)

RECORD_TOKENS = 300
RUN_TOKENS = 20
MEAN_COVER = 0.003
#: Standard deviation of the logarithm of a label's share of the tokens.
SPREAD = 1.5
ALL_DISCOVERY = {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0}
#: Tokens whose features are drawn at once.
BATCH = 2**18


@dataclass(frozen=True, eq=False)
class Task:
    """What is counted.

    Attributes
    ----------
    features
        The codes.
    known
        The labels; the runs of a label are disjoint, and each is an instance.
    """

    features: MemoryFeatures
    known: MemoryAnnotations


def level_values() -> NDArray[np.float64]:
    """Return the activity of every level as a share of the feature's scale ``(256,)``."""
    values = np.exp2((np.arange(256) - 255) / 32)
    values[0] = 0.0
    return values


def make_task(n_tokens: int, n_features: int, n_labels: int, *, k: int = 32, seed: int = 0) -> Task:
    """Return codes and labels of a size; the same arguments give the same data."""
    n_records = -(-n_tokens // RECORD_TOKENS)
    length = np.full(n_records, RECORD_TOKENS)
    length[-1] = n_tokens - RECORD_TOKENS * (n_records - 1)
    name = [f"r{at}" for at in range(n_records)]
    table = pd.DataFrame({"record": name, "block": name, "n_tokens": length})
    axis = TokenAxis.build(table, ALL_DISCOVERY)
    rng = np.random.default_rng([seed, 0])
    codes = _draw_codes(rng, n_tokens, n_features, k)
    runs = _draw_runs(np.random.default_rng([seed, 1]), axis, n_labels)
    labels = [Label(f"L{at}", "g", "") for at in range(n_labels)]
    whole = (np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, n_tokens))
    known = MemoryAnnotations(axis, labels, AnnotationSlice(*runs, *whole))
    return Task(MemoryFeatures(axis, codes, n_features), known)


def _draw_codes(rng: np.random.Generator, n_tokens: int, n_features: int, k: int) -> Codes:
    """Draw about ``k`` features a token, popular ones more often; levels up to the highest."""
    popular = rng.permutation(n_features)
    sizes, features = [], []
    for first in range(0, n_tokens, BATCH):
        n = min(BATCH, n_tokens - first)
        # A power law: the square of a uniform number prefers small ranks.
        rank = (rng.random((n, k), np.float32) ** 2 * n_features).astype(np.int32)
        drawn = np.sort(popular[np.minimum(rank, n_features - 1)].astype(np.uint16), axis=1)
        fresh = np.ones((n, k), np.bool_)
        fresh[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
        sizes.append(fresh.sum(axis=1))
        features.append(drawn[fresh])
    feature = np.concatenate(features)
    indptr = np.append(0, np.cumsum(np.concatenate(sizes))).astype(np.int64)
    level = (255 - np.minimum(rng.exponential(40, len(feature)), 254)).astype(np.uint8)
    return Codes(indptr, feature, level)


def _draw_runs(
    rng: np.random.Generator, axis: TokenAxis, n_labels: int
) -> tuple[NDArray[np.int64], ...]:
    """Return label, instance, start and stop of disjoint runs that stay inside records."""
    n_tokens = axis.n_tokens
    share = np.exp(rng.normal(0.0, SPREAD, n_labels))
    share *= MEAN_COVER * n_labels / share.sum()
    columns: list[tuple[NDArray[np.int64], ...]] = []
    for at in range(n_labels):
        n_runs = max(1, int(min(share[at], 0.4) * n_tokens / RUN_TOKENS))
        start = np.sort(rng.choice(n_tokens, n_runs, replace=False))
        size = rng.geometric(1 / RUN_TOKENS, n_runs)
        record = np.searchsorted(axis.record_starts, start, side="right")
        stop = np.minimum(start + size, axis.record_starts[record])
        stop[:-1] = np.minimum(stop[:-1], start[1:])
        columns.append((np.full(n_runs, at), start, stop))
    label, start, stop = (np.concatenate([column[at] for column in columns]) for at in range(3))
    return label, np.arange(len(label)), start, stop
