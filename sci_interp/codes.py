"""Sparse feature codes: compressed rows of (feature, value), and their 8-bit quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import NotFiniteError
from .schema import LEVELS_PER_OCTAVE, MAX_LEVEL

__all__ = ["Codes", "Encoder", "dequantise", "quantise"]


@dataclass(frozen=True, eq=False)
class Codes:
    """Active features of consecutive tokens in compressed sparse rows.

    Attributes
    ----------
    indptr : (n_tokens + 1,) int64
        Row t holds the entries ``indptr[t]:indptr[t + 1]``.
    feature : (n_entries,) uint16 or uint32
        Feature of every entry, ascending inside a row.
    value : (n_entries,) float32, or uint8 levels where quantised
        Positive activation of every entry.
    """

    indptr: NDArray[np.int64]
    feature: NDArray[np.unsignedinteger]
    value: NDArray[np.float32] | NDArray[np.uint8]

    @property
    def n_tokens(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def rows(self, start: int, stop: int) -> Codes:
        """Return the rows ``start:stop``."""
        first, last = self.indptr[start], self.indptr[stop]
        return Codes(
            self.indptr[start : stop + 1] - first, self.feature[first:last], self.value[first:last]
        )

    @staticmethod
    def concatenate(parts: Sequence[Codes]) -> Codes:
        """Join codes of consecutive token ranges."""
        if len(parts) == 1:
            return parts[0]
        offsets = np.cumsum([0] + [len(part.feature) for part in parts])
        pieces = [part.indptr[1:] + at for part, at in zip(parts, offsets, strict=False)]
        return Codes(
            np.concatenate([np.zeros(1, np.int64), *pieces]),
            np.concatenate([part.feature for part in parts]),
            np.concatenate([part.value for part in parts]),
        )


class Encoder(Protocol):
    """Whatever turns activations into sparse codes: an SAE, raw channels, a projection."""

    @property
    def n_features(self) -> int:
        """Number of features."""

    @property
    def width(self) -> int:
        """Number of channels it reads."""

    @property
    def scale(self) -> NDArray[np.float32]:
        """Largest activation of every feature on training tokens ``(n_features,)``."""

    @property
    def digest(self) -> str:
        """Identity of the weights."""

    def encode(self, values: NDArray[np.float32]) -> Codes:
        """Return float codes of activations ``(n_tokens, width)``."""


def feature_dtype(n_features: int) -> type[np.uint16] | type[np.uint32]:
    """Return the smallest index dtype for ``n_features``."""
    return np.uint16 if n_features <= 2**16 else np.uint32


def quantise(
    value: NDArray[np.float32], feature: NDArray[np.unsignedinteger], scale: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return log-spaced levels 1..255 of positive values; 255 is the feature's scale or more."""
    if not np.isfinite(value).all():
        raise NotFiniteError("feature activations hold NaN or infinity")
    ratio = value / np.maximum(scale[feature], np.finfo(np.float32).tiny)
    level = np.rint(LEVELS_PER_OCTAVE * np.log2(np.maximum(ratio, 1e-30))) + MAX_LEVEL
    clipped: NDArray[np.uint8] = np.clip(level, 1, MAX_LEVEL).astype(np.uint8)
    return clipped


def dequantise(
    level: NDArray[np.uint8], feature: NDArray[np.unsignedinteger], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the values that levels stand for."""
    ratio = np.exp2((level.astype(np.float32) - MAX_LEVEL) / LEVELS_PER_OCTAVE)
    values: NDArray[np.float32] = (ratio * scale[feature]).astype(np.float32)
    return values
