"""Where features fire, and some of these places drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.source import FeatureSource

from .stretches import Stretch, entries, split_stretches, windows_per_block
from .windows import HALVES, TopWindows

__all__ = ["Firing", "FiringWindows", "rank_in", "shuffle_keys"]


@dataclass(frozen=True, eq=False)
class Firing:
    """Which features fire where: the features tested, and the level that counts.

    Attributes
    ----------
    features
        Quantised codes.
    chosen : (n,) int64
        Features tested, ascending.
    level : (n,) int64
        Lowest level that counts as firing.
    """

    features: FeatureSource
    chosen: NDArray[np.int64]
    level: NDArray[np.int64]

    def read(self, stretch: Stretch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return token in the stretch, and place in ``chosen``, of all firing."""
        return self.read_levels(stretch)[:2]

    def read_levels(
        self, stretch: Stretch
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return token in the stretch, place in ``chosen`` and level of all firing."""
        token, feature, level = entries(self.features.read(stretch.start, stretch.stop))
        place = np.full(self.features.n_features, -1, np.int64)
        place[self.chosen] = np.arange(len(self.chosen))
        column = place[feature]
        fires = column >= 0
        fires[fires] = level[fires] >= self.level[column[fires]]
        return token[fires], column[fires], level[fires].astype(np.int64)


@dataclass(frozen=True, eq=False)
class FiringWindows:
    """Places where features fire, drawn at random, each of another family, or few of a block.

    The strongest places would not stand for the firing: what fires at all tokens of a letter, and
    more so in some context, is strongest there. Where a claim is about gate 2's windows, the
    strongest are taken.

    Attributes
    ----------
    column : (n_windows,) int64
        Place of the feature in ``Firing.chosen``, ascending.
    token, block : (n_windows,) int64
        A token, if drawn the strongest of a run of firing tokens, and its family.
    """

    column: NDArray[np.int64]
    token: NDArray[np.int64]
    block: NDArray[np.int64]

    @classmethod
    def draw(cls, firing: Firing, *, n_top: int, seed: int) -> FiringWindows:
        """Draw windows from discovery and test tokens.

        Parameters
        ----------
        firing
            Features, and the level at which they fire.
        n_top
            Windows of a feature: one a family or, of gridded records, a few a block.
        seed
            Who draws; a token's chance depends on it and on the token alone.
        """
        found = np.zeros((3, 0), np.int64)
        most = windows_per_block(firing.features.axis, n_top)
        for stretch in split_stretches(firing.features.axis, HALVES):
            column, token = _peaks(firing, stretch)
            new = np.stack([column, token + stretch.start, stretch.block[token]])
            found = _keep(np.concatenate([found, new], axis=1), n_top, most, seed)
        return cls(*found)

    def with_strongest(
        self, windows: TopWindows, chosen: NDArray[np.int64], strongest: NDArray[np.bool_]
    ) -> FiringWindows:
        """Return the windows with those of some features replaced by their strongest.

        Parameters
        ----------
        windows
            Strongest windows of all features.
        chosen : (n,)
            The features.
        strongest : (n,)
            Whose windows are replaced.
        """
        kept = ~strongest[self.column]
        parts = [np.stack([self.column, self.token, self.block])[:, kept]]
        for column in np.flatnonzero(strongest).tolist():
            here = windows.of(int(chosen[column]))
            token, block = windows.token[here], windows.block[here]
            parts.append(np.stack([np.full(len(token), column), token, block]))
        found = np.concatenate(parts, axis=1)
        return FiringWindows(*found[:, np.argsort(found[0], kind="stable")])

    def of(self, column: int) -> slice:
        """Return where the windows of one feature stand."""
        first, last = np.searchsorted(self.column, [column, column + 1])
        return slice(int(first), int(last))


def shuffle_keys(values: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a number for every value, as good as random, that does not depend on the others.

    The finaliser of SplitMix64 (Steele, Lea & Flood, 2014).
    """
    word = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    word = word ^ np.uint64(np.random.SeedSequence([seed, 6]).generate_state(1, np.uint64)[0])
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
    key: NDArray[np.int64] = ((word ^ (word >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
    return key


def _peaks(firing: Firing, stretch: Stretch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return feature and token, in the stretch, of the strongest token of every firing run."""
    token, column, level = firing.read_levels(stretch)
    order = np.lexsort((token, column))
    token, column, level = token[order], column[order], level[order]
    same = (np.diff(column, prepend=-1) == 0) & (np.diff(token, prepend=-2) == 1)
    same &= np.diff(stretch.record[token], prepend=-1) == 0
    run = np.cumsum(~same)
    order = np.lexsort((token, -level, run))
    first = order[np.flatnonzero(np.diff(run[order], prepend=0))]
    return column[first], token[first]


def _keep(windows: NDArray[np.int64], n_top: int, most: int, seed: int) -> NDArray[np.int64]:
    """Keep ``most`` windows of each feature and family, and ``n_top`` of a feature."""
    column, token, block = windows
    order = np.lexsort((shuffle_keys(token, seed), block, column))
    windows = windows[:, order]
    fresh = (np.diff(windows[0], prepend=-1) != 0) | (np.diff(windows[2], prepend=-1) != 0)
    windows = windows[:, rank_in(np.cumsum(fresh)) < most]
    column, token, block = windows
    key = shuffle_keys(shuffle_keys(block, seed) // 2 + column, seed)
    windows = windows[:, np.lexsort((token, key, column))]
    kept: NDArray[np.int64] = windows[:, rank_in(windows[0]) < n_top]
    return kept


def rank_in(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many entries of the same group stand before each ``(n,)``."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(group)))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, lengths)
    return rank
