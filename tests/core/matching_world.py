"""Sparse codes with known partners, and encoders that are planted or simply pass codes through."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.source import ArraySource


@dataclass(frozen=True, eq=False)
class PassThrough:
    """An encoder whose features are the channels themselves; positive ones are active."""

    width: int
    parent: dict[str, str] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        return self.width

    @property
    def scale(self) -> np.ndarray:
        return np.ones(self.width, np.float32)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(f"pass {self.width}".encode()).hexdigest()

    def encode(self, values: np.ndarray) -> Codes:
        token, feature = np.nonzero(values > 0)
        indptr = np.searchsorted(token, np.arange(len(values) + 1)).astype(np.int64)
        return Codes(indptr, feature.astype(np.uint16), values[token, feature])


def make_axis(
    *,
    n_records: int = 120,
    n_tokens: int = 20,
    per_block: int = 1,
    exchange: int = 0,
    steps: tuple[int, ...] = (1,),
    spread: int = 0,
    seed: int = 0,
) -> TokenAxis:
    """Return records that are all in the test split; ``spread`` varies their length."""
    rng = np.random.default_rng(seed)
    length = n_tokens + rng.integers(0, spread + 1, n_records)
    table = pd.DataFrame(
        {
            "record": [f"record{at:04d}" for at in range(n_records)],
            "block": [f"block{at // per_block:04d}" for at in range(n_records)],
            "n_tokens": length * len(steps),
        }
    )
    if exchange:
        table["exchange"] = [f"season{(at // per_block) % exchange}" for at in range(n_records)]
    return TokenAxis.build(table, {"test": 1.0}, step_weights=steps)


def sparse_values(axis: TokenAxis, n_features: int, *, rate: float = 0.1, seed: int = 0):
    """Return independent activity ``(n_tokens, n_features)``, zero where a feature is silent."""
    rng = np.random.default_rng(seed)
    fires = rng.random((axis.n_tokens, n_features)) < rate
    return (fires * rng.uniform(0.5, 1.5, fires.shape)).astype(np.float32)


def source_of(axis: TokenAxis, values: np.ndarray) -> ArraySource:
    return ArraySource(axis, values.astype(np.float32))
