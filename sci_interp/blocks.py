"""Blocks and splits: where a block lies, and which split that is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .schema import SPLITS, Split

__all__ = ["DEFAULT_FRACTIONS", "assign_splits", "block_position"]

#: Shares of the blocks: a fifth to train on; 40 / 40 / 20 % of the rest to link on.
DEFAULT_FRACTIONS: Mapping[Split, float] = {
    "train": 0.20,
    "discovery": 0.32,
    "test": 0.32,
    "vault": 0.16,
}


def block_position(block: str) -> float:
    """Return the place of a block in [0, 1), a hash of its id."""
    digest = hashlib.sha256(f"sci_interp/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def assign_splits(place: NDArray[np.float64], fractions: Mapping[Split, float]) -> list[Split]:
    """Return the split of every block position: consecutive intervals of [0, 1).

    Raises
    ------
    InputError
        If the shares are negative, do not add up to 1, or name no known split.
    """
    shares = [float(fractions.get(split, 0.0)) for split in SPLITS]
    if set(fractions) - set(SPLITS) or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-9:
        raise InputError(
            f"the split shares {dict(fractions)} are not usable",
            allowed=f"shares of {', '.join(SPLITS)} that add up to 1",
        )
    edges = np.cumsum(shares)[:-1]
    return [SPLITS[index] for index in np.searchsorted(edges, place, side="right")]
