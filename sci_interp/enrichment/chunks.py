"""One source of features under test, and its pairs in pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.allocator import release_free_memory
from sci_interp.schema import MAX_ENTRIES, Split
from sci_interp.source import FeatureSource

from .entries import ENTRY_BYTES, Entries, read_entries
from .held import Held, HeldRows
from .inputs import KnownSource
from .kernel import default_threads
from .lanes import Allowance
from .scores import PairList
from .selection import Selection
from .significance import Dependence
from .tracks import LabelTracks, read_labels

__all__ = ["Chunk", "LinkSettings", "Study", "each_chunk"]

Ints = NDArray[np.int64]

#: Entries for one integer that the tracks of a block of labels may take while they are read.
ENTRIES_PER_NUMBER = 4
#: More memory for counts makes nothing faster.
MOST_COUNT_BYTES = 2**29
#: Integers that an instance takes at that time.
NUMBERS_PER_INSTANCE = 16


@dataclass(frozen=True)
class LinkSettings:
    """Settings of the test.

    Attributes
    ----------
    q : float
        False discovery rate.
    seed : int
        Seed of every random draw.
    n_permutations, max_permutations : int
        Draws of a pair; and where few pairs are left, draws that resolve their p.
    dependence : "bh", "by" or "maxt"
        Which adjustment.
    n_threads : int
        Threads; nothing depends on it.
    max_entries : int
        Activity entries held at once: memory, of label tracks and counts as well; nothing depends
        on it.
    n_per_label : int
        Features of a label that go on to the permutation test, by the screen's T; 0 for all.
    """

    q: float = 0.05
    seed: int = 0
    n_permutations: int = 4_000
    max_permutations: int = 100_000
    dependence: Dependence = "bh"
    n_threads: int = field(default_factory=default_threads)
    max_entries: int = MAX_ENTRIES
    n_per_label: int = 0

    @property
    def most_numbers(self) -> int:
        """Integers that the tracks of a block of labels may take."""
        return self.max_entries // ENTRIES_PER_NUMBER

    @property
    def count_bytes(self) -> int:
        """Memory for counts of a block of labels: three times what the entries take."""
        return min(16 * self.max_entries, MOST_COUNT_BYTES)


@dataclass(frozen=True, eq=False)
class Study:
    """One source of features under test, and what is held of it and of the annotations.

    Attributes
    ----------
    features, known
        The codes, and the annotations.
    selection : Selection
        Thresholds and counts.
    settings : LinkSettings
        Settings of the test.
    held : Held
        What all sources share.
    allowance : Allowance
        Entries that all sources under work may hold.
    rows : HeldRows
        What the lane holds that works on this source.
    """

    features: FeatureSource
    known: KnownSource
    selection: Selection
    settings: LinkSettings
    held: Held
    allowance: Allowance
    rows: HeldRows

    @classmethod
    def alone(
        cls,
        features: FeatureSource,
        known: KnownSource,
        selection: Selection,
        settings: LinkSettings,
    ) -> Study:
        """Return a study of a source that shares nothing with others."""
        held = Held(known, most_numbers=settings.most_numbers)
        allowance = Allowance(settings.max_entries)
        rows = HeldRows(allowance)
        return cls(features, known, selection, settings, held, allowance, rows)

    @property
    def n_threads(self) -> int:
        """Threads that are this source's while others are under work."""
        return self.allowance.share(self.settings.n_threads)

    @property
    def by_family(self) -> NDArray[np.bool_]:
        """Labels of whole records, of which only families are compared ``(n_labels,)``."""
        has_steps = len(self.features.axis.step_weights) > 1
        extents = [label.extent for label in self.known.labels]
        return np.array([extent == "records" and not has_steps for extent in extents], bool)


class Chunk(NamedTuple):
    """Some pairs with all that is needed to score them.

    Attributes
    ----------
    tracks : LabelTracks
        Their labels; the same object for all chunks of a block of labels.
    entries : Entries
        Activity of their features.
    pairs : PairList
        Rows of ``entries``, bins and places in ``tracks.labels``.
    piece : DataFrame
        The rows given, in the order of ``pairs``.
    """

    tracks: LabelTracks
    entries: Entries
    pairs: PairList
    piece: pd.DataFrame


def each_chunk(study: Study, split: Split, pairs: pd.DataFrame) -> Iterator[Chunk]:
    """Yield pairs with their tracks in one split: labels in blocks, features in chunks.

    A chunk may be used until the next is asked for.

    Parameters
    ----------
    study
        The codes and settings.
    split
        Where the pairs are looked at.
    pairs : DataFrame
        Columns ``feature, label, bin``.
    """
    pairs = pairs.sort_values(["feature", "bin", "label"], kind="stable")
    if not _fills_rows(study, split, pairs):
        for tracks, listed in _each_block(study, split, pairs):
            yield from _each_list_chunk(study, tracks, listed)
        return
    first, last = study.features.axis.token_range([split])
    size = max(1, ENTRY_BYTES * study.settings.max_entries // (last - first))
    chosen = np.unique(pairs["feature"].to_numpy(np.int64))
    if study.features.n_features <= size:  # Then they serve whatever is asked next, too.
        chosen = np.arange(study.features.n_features)
    for begin in range(0, len(chosen), size):
        part = chosen[begin : begin + size]
        rows = study.rows.read(study.features, split, part, study.selection.floors)
        for tracks, listed in _each_block(study, split, pairs[pairs["feature"].isin(part)]):
            yield _chunk(tracks, rows.at(tracks, part), part, listed)
            release_free_memory()


def _fills_rows(study: Study, split: Split, pairs: pd.DataFrame) -> bool:
    """Whether rows take less memory than lists, half of it at least used."""
    chosen = np.unique(pairs["feature"].to_numpy(np.int64))
    n_entries = study.selection.entries[split][:, chosen, 0].max(axis=0).sum()
    first, last = study.features.axis.token_range([split])
    return bool(2 * ENTRY_BYTES * n_entries > len(chosen) * (last - first))


def _each_block(
    study: Study, split: Split, pairs: pd.DataFrame
) -> Iterator[tuple[LabelTracks, pd.DataFrame]]:
    """Yield the tracks of blocks of labels, and the pairs of each.

    Where the tracks of a whole group fit beside those held, they are read for all sources together.
    """
    group = study.selection.group[pairs["label"].to_numpy(np.int64)]
    for of_group in np.unique(group).tolist():
        mine = pairs[group == of_group]
        every = np.flatnonzero(study.selection.group == of_group)
        n_numbers = int(_track_numbers(study, split, every).sum())
        held = study.held.tracks(split, of_group, every, n_numbers)
        if held is not None:
            yield held, mine
            continue
        for labels in _label_blocks(study, split, np.unique(mine["label"].to_numpy(np.int64))):
            tracks = read_labels(study.features.axis, study.known, split, of_group, labels)
            release_free_memory()
            yield tracks, mine[mine["label"].isin(labels)]


def _track_numbers(study: Study, split: Split, labels: Ints) -> Ints:
    """Return the integers that the tracks of labels take, at most."""
    first, last = study.features.axis.record_range([split])
    n_instances = study.selection.n_instances[split][labels]
    found: Ints = NUMBERS_PER_INSTANCE * n_instances + (last - first)
    return found


def _label_blocks(study: Study, split: Split, labels: Ints) -> Iterator[Ints]:
    """Yield consecutive labels whose tracks fit in memory; one at least."""
    size = np.cumsum(_track_numbers(study, split, labels))
    begin = 0
    while begin < len(labels):
        most = (size[begin - 1] if begin else 0) + study.settings.most_numbers
        end = max(begin + 1, int(np.searchsorted(size, most, side="right")))
        yield labels[begin:end]
        begin = end


def _each_list_chunk(study: Study, tracks: LabelTracks, pairs: pd.DataFrame) -> Iterator[Chunk]:
    group = int(study.selection.group[tracks.labels[0]])
    entries_of = study.selection.entries[tracks.split][group]
    chosen, begin = np.unique(pairs["feature"].to_numpy(np.int64), return_index=True)
    lowest = pairs["bin"].to_numpy(np.uint8)[begin]
    n_entries = entries_of[chosen, lowest]
    bounds = np.append(begin, len(pairs))
    most = study.settings.max_entries
    n_held = min(int(n_entries.sum()), most)
    if n_entries.sum() > most:  # The chunk before is let go of after the next is read.
        most //= 2
    taken = study.allowance.take(n_held, study.rows.drop)
    try:
        first = 0
        while first < len(chosen):
            fits = np.searchsorted(np.cumsum(n_entries[first:]), most, side="right")
            last = first + max(1, int(fits))
            part = slice(first, last)
            entries = read_entries(
                study.features,
                tracks,
                chosen=chosen[part],
                lowest_bin=lowest[part],
                n_entries=n_entries[part],
                floors=study.selection.floors,
            )
            release_free_memory()
            yield _chunk(tracks, entries, chosen[part], pairs.iloc[bounds[first] : bounds[last]])
            del entries
            release_free_memory()
            first = last
    finally:
        study.allowance.give(taken)


def _chunk(tracks: LabelTracks, entries: Entries, chosen: Ints, pairs: pd.DataFrame) -> Chunk:
    listed = PairList(
        np.searchsorted(chosen, pairs["feature"].to_numpy()).astype(np.int64),
        pairs["bin"].to_numpy(np.int64),
        np.searchsorted(tracks.labels, pairs["label"].to_numpy()).astype(np.int64),
    )
    return Chunk(tracks, entries, listed, pairs)
