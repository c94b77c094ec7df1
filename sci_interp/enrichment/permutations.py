"""Permutation p-values by three nulls, with sequential stopping.

Draws of a pair stop once enough of them reach the observed statistic (Besag & Clifford 1991,
Biometrika 78:301), so time is spent on the pairs that may be links; and the joint null is not drawn
where one of the others already stands. All pairs share the draws, as they do in Westfall & Young's
procedures: each pair's p is as valid as with draws of its own, and a draw is made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .draws import (
    Deck,
    ScoreTable,
    count_exceedances,
    draw_shifts,
    each_window,
    seed_decks,
    shuffle_strata,
)
from .entries import Entries
from .family_swap import family_table
from .joint_null import is_whole, restrict_to_owners
from .kernel import mix_seeds, run_ranges
from .local_null import count_shifts, shift_table
from .positions import Activity, read_activity
from .scores import PairList
from .swap_null import exchange_table
from .tracks import LabelTracks
from .units import Units

__all__ = [
    "DECK_BYTES",
    "ENOUGH",
    "NullP",
    "PermutationTest",
    "RegionDecks",
    "each_activity",
    "each_region_window",
    "owner_windows",
    "permute_pairs",
    "region_draws",
    "split_by_label",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Exceedances at which a pair's draws stop: its p is then known to about a fifth.
ENOUGH = 20
#: Memory of the decks of a window of draws.
DECK_BYTES = 64 * 2**20
#: Pairs that a thread takes at once.
PAIRS_AT_ONCE = 8


@dataclass(frozen=True)
class PermutationTest:
    """Settings of the permutation test.

    Attributes
    ----------
    n_permutations : int
        Draws at most.
    seed : int
        Seed of the draws.
    direction : int
        0 or 1, separates the draws of the two directions.
    level : float
        p above which a pair can be no link, whatever the joint null says.
    n_threads : int
        Threads; the result does not depend on it.
    """

    n_permutations: int
    seed: int
    direction: int
    level: float
    n_threads: int


class NullP(NamedTuple):
    """The p of pairs under each null, ``(n_pairs,)``; NaN where there is none.

    Attributes
    ----------
    local, swap, joint : array
        Labels of whole records have the swap null alone. The joint null is drawn of pairs that
        reject both others at the level asked for.
    """

    local: Floats
    swap: Floats
    joint: Floats


class RegionDecks(NamedTuple):
    """A window of the draws that all pairs share.

    Attributes
    ----------
    first, last : int
        The draws.
    swap, local : (n_rows, n_draws) uint8
        Their decks; there is no local one where labels cover whole records.
    n_shifts : (n_families,) int64
        Numbers of shifts.
    """

    first: int
    last: int
    swap: Deck
    local: Deck | None
    n_shifts: Ints


def permute_pairs(
    entries: Entries, tracks: LabelTracks, pairs: PairList, *, group: int, test: PermutationTest
) -> NullP:
    """Return the p of pairs under the nulls.

    Parameters
    ----------
    entries, tracks, pairs
        Tracks of one split and the pairs among them.
    group
        The labels' group; groups have draws of their own.
    test
        Settings.
    """
    seeds = seed_decks(test.seed, test.direction, group)
    counts = np.zeros((3, len(pairs.label), 2), np.int64)
    for decks in each_region_window(tracks, seeds, test.n_permutations):
        closed = (counts[:2, :, 0] >= ENOUGH).all(axis=0)
        listed = np.flatnonzero(~closed)
        work = partial(_count_region, entries, tracks, pairs, decks, counts, listed)
        run_ranges(work, len(listed), size=PAIRS_AT_ONCE, n_threads=test.n_threads)
    swap, local = _to_p(counts[0]), _to_p(counts[1])
    if tracks.by_family:
        return NullP(local, swap, local.copy())
    open_ = np.flatnonzero(np.maximum(local, swap) <= test.level)
    by_label = split_by_label(pairs.label[open_], open_)
    of_label = mix_seeds(seeds[2], tracks.labels)

    def count_owners(start: int, stop: int) -> None:
        for mine in by_label[start:stop]:
            seed = of_label[pairs.label[mine[0]]]
            _count_joint(entries, tracks, pairs, mine, (seed, test.n_permutations), counts[2])

    run_ranges(count_owners, len(by_label), size=1, n_threads=test.n_threads)
    joint = _to_p(counts[2])
    joint[open_] = np.where(np.isnan(joint[open_]), swap[open_], joint[open_])
    return NullP(local, swap, joint)


def each_region_window(
    tracks: LabelTracks, seeds: NDArray[np.uint64], n_draws: int
) -> Iterator[RegionDecks]:
    """Yield the draws of the swap and the local null, window by window.

    Parameters
    ----------
    tracks
        Records and families.
    seeds
        Seeds of the decks.
    n_draws
        Draws in all.
    """
    units = tracks.units
    n_rows = 2 * len(units.member) + len(units.first) - 1
    n_shifts = count_shifts(units)
    for first, last in each_window(n_draws, n_rows, DECK_BYTES):
        swap = shuffle_strata(units, seeds[1], first, last)
        local = None if tracks.by_family else draw_shifts(n_shifts, seeds[0], first, last)
        yield RegionDecks(first, last, swap, local, n_shifts)


def owner_windows(owners: Units, seed: np.uint64, n_draws: int) -> Iterator[tuple[int, int, Deck]]:
    """Yield first and last draw, and the deck, of exchanges among the owners of a label."""
    for first, last in each_window(n_draws, 2 * len(owners.member), DECK_BYTES):
        yield first, last, shuffle_strata(owners, seed, first, last)


def each_activity(
    entries: Entries, units: Units, pairs: PairList, listed: Ints
) -> Iterator[tuple[int, int, Activity]]:
    """Yield pair, label and activity of some pairs; neighbours share the activity."""
    key: tuple[int, int] | None = None
    for at in listed:
        row, lowest = int(pairs.row[at]), int(pairs.bin[at])
        if key != (row, lowest):
            key, activity = (row, lowest), read_activity(entries, row, lowest, units)
        yield int(at), int(pairs.label[at]), activity


def region_draws(
    activity: Activity, tracks: LabelTracks, label: int, decks: RegionDecks
) -> list[tuple[ScoreTable, Deck]]:
    """Return what exchanges score and what shifts do, if there are any, each with its deck."""
    units, runs = tracks.units, tracks.runs
    if decks.local is None:
        return [(family_table(activity, units, runs, label), decks.swap)]
    return [
        (exchange_table(activity, units, runs, label), decks.swap),
        (shift_table(activity, units, runs, label, decks.n_shifts), decks.local),
    ]


def _count_region(
    entries: Entries,
    tracks: LabelTracks,
    pairs: PairList,
    decks: RegionDecks,
    counts: Ints,
    listed: Ints,
    start: int,
    stop: int,
) -> None:
    for at, label, activity in each_activity(entries, tracks.units, pairs, listed[start:stop]):
        for null, (table, deck) in enumerate(region_draws(activity, tracks, label, decks)):
            count_exceedances(table, deck, ENOUGH, counts[null, at])


def _count_joint(
    entries: Entries,
    tracks: LabelTracks,
    pairs: PairList,
    mine: Ints,
    draws: tuple[np.uint64, int],
    counts: Ints,
) -> None:
    """Count for the pairs of one label; nothing where the joint and the swap null are one."""
    label = int(pairs.label[mine[0]])
    owners = restrict_to_owners(tracks.units, tracks.runs, label)
    if is_whole(owners, tracks.units):
        return
    for _, _, deck in owner_windows(owners, *draws):
        listed = mine[counts[mine, 0] < ENOUGH]
        for at, _, activity in each_activity(entries, tracks.units, pairs, listed):
            table = exchange_table(activity, owners, tracks.runs, label)
            count_exceedances(table, deck, ENOUGH, counts[at])


def split_by_label(label: Ints, at: Ints) -> list[Ints]:
    """Return the members of every label, in their order."""
    order = np.argsort(label, kind="stable")
    bounds = np.flatnonzero(np.diff(label[order])) + 1
    return [part for part in np.split(at[order], bounds) if len(part)]


def _to_p(counts: Ints) -> Floats:
    """Return p of exceedances and draws; NaN where no draws were made."""
    return np.where(counts[:, 1] > 0, (1.0 + counts[:, 0]) / (1.0 + counts[:, 1]), np.nan)
