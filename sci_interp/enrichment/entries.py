"""Activity of some features in a split, held in memory while their pairs are looked at.

Features that are rarely active are lists of known positions. Where features are often active, rows
with one byte for every token of the split are smaller, and serve all groups of labels: whatever
tokens a group knows, they are read from the codes once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import Split
from sci_interp.source import FeatureSource

from .inputs import bin_of_level, iterate_slices, read_ahead
from .kernel import compiled
from .tracks import LabelTracks
from .units import known_coordinate

__all__ = ["ENTRY_BYTES", "Entries", "Rows", "read_entries", "read_rows", "row_bytes"]

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

#: Bytes of an entry of a list.
ENTRY_BYTES = 5
#: Rows are as long as a multiple of this.
WORD = 64
#: Tokens of a tile.
TILE = 128


class Entries(NamedTuple):
    """Activity of features at known tokens: rows, or lists.

    Attributes
    ----------
    row : (n_chosen,) int64
        Row of every feature; empty where features are lists.
    level : (n_rows, n_tokens) uint8
        Level of the activity at every token of the split, 0 where a feature is inactive and behind
        the last token.
    floor : (n_bins,) uint8
        Lowest level of each bin.
    start, stop : (n_ranges,) int64
        The known tokens, from the split's first.
    first : (n_chosen + 1,) int64
        First entry of every feature's list; empty where features are rows.
    position : (n_entries,) int32 or int64
        Known coordinates, ascending in a list.
    bin : (n_entries,) uint8
        Bin of the activity.
    """

    row: Ints
    level: Bytes
    floor: Bytes
    start: Ints
    stop: Ints
    first: Ints
    position: NDArray[np.signedinteger]
    bin: Bytes


@dataclass(frozen=True, eq=False)
class Rows:
    """Activity of features at every token of a split.

    Attributes
    ----------
    split : str
        The split.
    chosen : (n_rows,) int64
        Features, ascending.
    level : (n_rows, n_tokens) uint8
        Level of the activity, 0 where a feature is inactive and behind the last token.
    floor : (n_bins,) uint8
        Lowest level of each bin.
    origin : int
        First token of the split on the common axis.
    """

    split: Split
    chosen: Ints
    level: Bytes
    floor: Bytes
    origin: int

    def holds(self, split: Split, chosen: Ints) -> bool:
        """Whether these are rows of a split, of all features of a choice."""
        return split == self.split and bool(np.isin(chosen, self.chosen).all())

    def at(self, tracks: LabelTracks, chosen: Ints) -> Entries:
        """Return some of the features at the known tokens of ``tracks``."""
        return Entries(
            np.searchsorted(self.chosen, chosen).astype(np.int64),
            self.level,
            self.floor,
            tracks.universe.start - self.origin,
            tracks.universe.stop - self.origin,
            np.zeros(0, np.int64),
            np.zeros(0, np.int32),
            np.zeros(0, np.uint8),
        )


def row_bytes(features: FeatureSource, split: Split) -> int:
    """Return how long the rows of a split are."""
    origin, end = features.axis.token_range([split])
    return -(-(end - origin) // WORD) * WORD


def read_rows(
    features: FeatureSource,
    split: Split,
    chosen: Ints,
    floors: Sequence[int],
    buffer: Bytes,
) -> Rows:
    """Read the activity of some features at every token of a split, slice by slice.

    Parameters
    ----------
    features, split
        The codes, and which of them.
    chosen : (n_chosen,) int64
        Features, ascending.
    floors
        Lowest level of each bin.
    buffer : (n_chosen * row_bytes,) uint8
        Memory of the rows.
    """
    origin, end = features.axis.token_range([split])
    shape = (len(chosen), row_bytes(features, split))
    level = buffer.reshape(shape)
    level[:, end - origin :] = 0
    place = _places(features.n_features, chosen)
    for start, _, codes in read_ahead(features, iterate_slices(features.axis, split)):
        values = codes.value.astype(np.uint8, copy=False)
        _fill_rows(codes.indptr, codes.feature, values, place, start - origin, level)
    return Rows(split, chosen, level, np.array(floors, np.uint8), origin)


def read_entries(
    features: FeatureSource,
    tracks: LabelTracks,
    *,
    chosen: Ints,
    lowest_bin: Bytes,
    n_entries: Ints,
    floors: Sequence[int],
) -> Entries:
    """Read lists of the activity of some features at the known tokens of ``tracks``.

    Parameters
    ----------
    features
        The codes.
    tracks
        Split, group and known tokens.
    chosen : (n_chosen,) int64
        Features, ascending.
    lowest_bin : (n_chosen,) uint8
        Lowest bin to keep of each of them.
    n_entries : (n_chosen,) int64
        How many entries that leaves in the units, from the counts.
    floors
        Lowest level of each bin.
    """
    first = np.append(0, np.cumsum(n_entries)).astype(np.int64)
    narrow = np.int32 if tracks.units.start[-1] < 2**31 else np.int64
    position = np.empty(first[-1], narrow)
    bins = np.empty(first[-1], np.uint8)
    place = _places(features.n_features, chosen)
    cursor = first[:-1].copy()
    table = bin_of_level(floors)
    for start, stop, codes in read_ahead(features, iterate_slices(features.axis, tracks.split)):
        rank = known_coordinate(np.arange(start, stop + 1), tracks.universe)
        activity = (codes.indptr, codes.feature, codes.value.astype(np.uint8, copy=False))
        _fill_lists(*activity, table, rank, place, lowest_bin, cursor, position, bins)
    assert np.array_equal(cursor, first[1:]), "the counts belong to other codes"
    nothing = np.zeros(0, np.int64)
    level, floor = np.zeros((0, 0), np.uint8), np.array(floors, np.uint8)
    return Entries(nothing, level, floor, nothing, nothing, first, position, bins)


def _places(n_features: int, chosen: Ints) -> NDArray[np.int32]:
    place = np.full(n_features, -1, np.int32)
    place[chosen] = np.arange(len(chosen))
    return place


@compiled
def _fill_rows(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    value: Bytes,
    place: NDArray[np.int32],
    offset: int,
    level: Bytes,
) -> None:
    # A tile of tokens at a time: rows lie far apart, and are then written a stretch at once.
    n_rows, n_tokens = len(level), len(indptr) - 1
    tile = np.zeros((n_rows + 1) * TILE, np.uint8)
    # Features that were not chosen share the last row; unsigned indices need no check.
    row_of = np.where(place < 0, n_rows, place).astype(np.uint32) * np.uint32(TILE)
    for first in range(0, n_tokens, TILE):
        last = min(first + TILE, n_tokens)
        for token in range(first, last):
            here = np.uint32(token - first)
            for entry in range(np.uint64(indptr[token]), np.uint64(indptr[token + 1])):
                tile[row_of[feature[entry]] + here] = value[entry]
        for at in range(n_rows):
            part = tile[at * TILE : at * TILE + last - first]
            level[at, offset + first : offset + last] = part
        tile[:] = 0


@compiled
def _fill_lists(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    value: Bytes,
    table: Bytes,
    rank: Ints,
    place: NDArray[np.int32],
    lowest_bin: Bytes,
    cursor: Ints,
    position: NDArray[np.signedinteger],
    kept: Bytes,
) -> None:
    for token in range(len(indptr) - 1):
        if rank[token + 1] == rank[token]:
            continue
        for entry in range(indptr[token], indptr[token + 1]):
            at = place[feature[entry]]
            if at >= 0 and table[value[entry]] >= lowest_bin[at]:
                position[cursor[at]] = rank[token]
                kept[cursor[at]] = table[value[entry]]
                cursor[at] += 1
