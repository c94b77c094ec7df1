"""Some features of a store, read like a store of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .axis import TokenAxis
from .codes import Codes
from .feature_store import FeatureStore
from .manifest import digest_json

__all__ = ["FeatureSubset", "split_families"]


@dataclass(frozen=True, eq=False)
class FeatureSubset:
    """The features ``chosen`` of a store, numbered anew.

    Attributes
    ----------
    store : FeatureStore
        All features.
    chosen : (n_features,) int64
        Those that are kept, ascending.
    """

    store: FeatureStore
    chosen: NDArray[np.int64]

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self.store.axis

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(self.store.names[index] for index in self.chosen) if self.store.names else ()

    @cached_property
    def digest(self) -> str:
        """Identity of the codes."""
        return digest_json([self.store.digest, self.chosen.tolist()])

    @cached_property
    def _number(self) -> NDArray[np.int64]:
        number = np.full(self.store.n_features, -1, np.int64)
        number[self.chosen] = np.arange(len(self.chosen))
        return number

    def read(self, start: int, stop: int) -> Codes:
        """Return the codes of a token range; values are uint8 levels."""
        codes = self.store.read(start, stop)
        number = self._number[codes.feature]
        kept = number >= 0
        before = np.append(0, kept.cumsum())
        feature = number[kept].astype(codes.feature.dtype)
        return Codes(before[codes.indptr], feature, codes.value[kept])


def split_families(store: FeatureStore) -> dict[str, FeatureSubset]:
    """Return one subset per family of baseline features (token identity, position), by its name."""
    column = np.array(store.families, dtype=object)
    return {
        family: FeatureSubset(store, np.flatnonzero(column == family))
        for family in dict.fromkeys(store.families)
    }
