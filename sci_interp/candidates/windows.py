"""The strongest windows of every feature, one a family, and the level at which it fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .stretches import Stretch, entries, split_stretches

__all__ = ["FIRING_FLOORS", "HALVES", "TopWindows", "find_windows"]

#: A feature fires at the highest of these levels that enough families reach: 1/2, 1/4, 1/8 and
#: 1/16 of its scale, or any activity. The choice sees no label.
FIRING_FLOORS = (224, 192, 160, 128, 1)
HALVES: tuple[Split, Split] = ("discovery", "test")


@dataclass(frozen=True, eq=False)
class TopWindows:
    """Strongest tokens of all features, and how many families each feature fires in.

    Attributes
    ----------
    feature, token, level, block : (n_windows,) int64
        At most ``n_top`` windows a feature, each of another family; by feature, then falling
        level.
    n_families : (2, n_floors, n_features) int64
        Families of the discovery and of the test half that reach each of ``FIRING_FLOORS``.
    """

    feature: NDArray[np.int64]
    token: NDArray[np.int64]
    level: NDArray[np.int64]
    block: NDArray[np.int64]
    n_families: NDArray[np.int64]

    def firing_levels(self, min_families: int) -> NDArray[np.int64]:
        """Return the level at which every feature counts as firing, 0 where it rarely does.

        Parameters
        ----------
        min_families
            Families needed in both halves together; half as many in each.
        """
        enough = (self.n_families.sum(axis=0) >= min_families) & (
            self.n_families.min(axis=0) >= (min_families + 1) // 2
        )
        floors = np.array(FIRING_FLOORS)[np.argmax(enough, axis=0)]
        return np.where(enough.any(axis=0), floors, 0)

    def reached(self, level: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the families of both halves in which each feature reaches its level, 0 for 0."""
        floor = np.argmax(np.array(FIRING_FLOORS)[:, None] == level, axis=0)
        n = self.n_families.sum(axis=0)[floor, np.arange(len(level))]
        return np.where(level > 0, n, 0)

    def of(self, feature: int) -> slice:
        """Return where the windows of one feature stand."""
        first, last = np.searchsorted(self.feature, [feature, feature + 1])
        return slice(int(first), int(last))


def find_windows(features: FeatureSource, *, n_top: int = 16) -> TopWindows:
    """Find the strongest token of the ``n_top`` families in which each feature is strongest.

    One pass over discovery and test tokens; ties go to the earlier token, whose order is a hash.

    Parameters
    ----------
    features
        Quantised codes.
    n_top
        Families kept for each feature.
    """
    best = np.empty((4, 0), np.int64)
    counts = []
    for split in HALVES:
        families = _FamilyCounts(features.n_features)
        for stretch in split_stretches(features.axis, [split]):
            found = _strongest(features, stretch)
            best = _keep_top(np.concatenate([best, found], axis=1), n_top)
            families.add(found, int(stretch.block[0]), int(stretch.block[-1]))
        counts.append(families.close())
    feature, token, level, block = best
    return TopWindows(feature, token, level, block, np.stack(counts))


class _FamilyCounts:
    """Families that reach each floor, where a family may continue in the next stretch."""

    def __init__(self, n_features: int) -> None:
        self.counts = np.zeros((len(FIRING_FLOORS), n_features), np.int64)
        self.open_block = -1
        self.open_level = np.zeros(n_features, np.int64)

    def add(self, found: NDArray[np.int64], first_block: int, last_block: int) -> None:
        """Add a stretch that covers ``first_block`` to ``last_block``; the last stays open."""
        feature, _, level, block = found
        for edge in dict.fromkeys((first_block, last_block)):
            if edge != self.open_block:
                self.close()
                self.open_block = edge
            inside = block == edge
            np.maximum.at(self.open_level, feature[inside], level[inside])
        closed = (block != first_block) & (block != last_block)
        self._count(feature[closed], level[closed])

    def close(self) -> NDArray[np.int64]:
        """Count the open family and return the counts ``(n_floors, n_features)``."""
        self._count(np.arange(len(self.open_level)), self.open_level)
        self.open_level = np.zeros_like(self.open_level)
        return self.counts

    def _count(self, feature: NDArray[np.int64], level: NDArray[np.int64]) -> None:
        for row, floor in enumerate(FIRING_FLOORS):
            np.add.at(self.counts[row], feature[level >= floor], 1)


def _strongest(features: FeatureSource, stretch: Stretch) -> NDArray[np.int64]:
    """Return (feature, token, level, block) of the strongest token of each feature and block."""
    token, feature, level = entries(features.read(stretch.start, stretch.stop))
    block = stretch.block[token] - stretch.block[0]
    n_blocks = int(stretch.block[-1] - stretch.block[0]) + 1
    group = feature * n_blocks + block
    # One sort of a packed key: group, then falling level, then token.
    fall = MAX_LEVEL - level.astype(np.int64)
    key = np.sort((group * (MAX_LEVEL + 1) + fall) * stretch.n_tokens + token)
    group = key // (stretch.n_tokens * (MAX_LEVEL + 1))
    first = np.flatnonzero(np.diff(group, prepend=-1))
    key, group = key[first], group[first]
    fall = key // stretch.n_tokens % (MAX_LEVEL + 1)
    return np.stack(
        [
            group // n_blocks,
            key % stretch.n_tokens + stretch.start,
            MAX_LEVEL - fall,
            group % n_blocks + stretch.block[0],
        ]
    )


def _keep_top(windows: NDArray[np.int64], n_top: int) -> NDArray[np.int64]:
    """Keep the strongest window of each feature and block, and ``n_top`` of them a feature."""
    feature, token, level, block = windows
    order = np.lexsort((token, -level, block, feature))
    windows = windows[:, order]
    same = (np.diff(windows[0], prepend=-1) == 0) & (np.diff(windows[3], prepend=-1) == 0)
    windows = windows[:, ~same]
    windows = windows[:, np.lexsort((windows[1], -windows[2], windows[0]))]
    starts = np.flatnonzero(np.diff(windows[0], prepend=-1))
    lengths = np.diff(np.append(starts, windows.shape[1]))
    rank = np.arange(windows.shape[1]) - np.repeat(starts, lengths)
    kept: NDArray[np.int64] = windows[:, rank < n_top]
    return kept
