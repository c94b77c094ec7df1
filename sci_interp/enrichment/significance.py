"""Permutation p-values by three nulls with sequential stopping, false discovery rates, classes.

A pair's p is the largest of the nulls' p: all must be rejected. A label of whole records has the
swap null alone. Draws stop once enough of them reach the observed statistic (Besag & Clifford 1991,
Biometrika 78:301), so time is spent on the pairs that may be links; and the joint null is not drawn
where one of the others already stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import LinkClass

from .family_swap import family_exceedances
from .joint_null import joint_exceedances
from .kernel import pair_seeds, run_ranges
from .local_null import local_exceedances
from .scores import PairList
from .swap_null import swap_exceedances
from .tracks import Entries, LabelTracks

__all__ = ["Dependence", "NullP", "PermutationTest", "adjust_p", "classify_links", "permute_pairs"]

Floats = NDArray[np.float64]
#: Draws from one null: exceedances and draws of a pair.
Null = Callable[..., tuple[int, int]]
Dependence = Literal["bh", "by", "maxt"]

#: Exceedances at which a pair's draws stop: its p is then known to about a fifth.
ENOUGH = 20
#: Largest number of shifts of a family under the local null.
N_SHIFTS = 256
#: Random streams of a pair and direction, one a null.
N_STREAMS = 3


@dataclass(frozen=True)
class PermutationTest:
    """Settings of the permutation test.

    Attributes
    ----------
    n_permutations : int
        Draws at most.
    seed : int
        Seed; each pair has its own stream.
    direction : int
        0 or 1, separates the streams of the two directions.
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


def permute_pairs(
    entries: Entries,
    tracks: LabelTracks,
    pairs: PairList,
    *,
    feature: NDArray[np.int64],
    test: PermutationTest,
) -> NullP:
    """Return the p of pairs under the nulls.

    Parameters
    ----------
    entries, tracks, pairs
        Tracks of one split and the pairs among them.
    feature : (n_pairs,) int64
        The features' own numbers, from which the random streams follow.
    test
        Settings.
    """
    data = (entries, tracks, pairs)
    every = np.arange(len(pairs.label))
    none = np.full(len(every), np.nan)
    if tracks.by_family:
        return NullP(none, _draw(family_exceedances, 1, every, data, feature, test), none.copy())
    local = _draw(local_exceedances, 0, every, data, feature, test)
    swap = _draw(swap_exceedances, 1, every, data, feature, test)
    open_ = np.flatnonzero(np.maximum(local, swap) <= test.level)
    drawn = _draw(joint_exceedances, 2, open_, data, feature, test)
    joint = none
    joint[open_] = np.where(np.isnan(drawn), swap[open_], drawn)
    return NullP(local, swap, joint)


def _draw(
    null: Null,
    number: int,
    at: NDArray[np.int64],
    data: tuple[Entries, LabelTracks, PairList],
    feature: NDArray[np.int64],
    test: PermutationTest,
) -> Floats:
    """Return the p of some of the pairs under one null; NaN where it made no draws."""
    entries, tracks, pairs = data
    chosen = PairList(*(column[at] for column in pairs))
    label = tracks.labels[chosen.label]
    seeds = pair_seeds(test.seed, feature[at], label, salt=N_STREAMS * test.direction + number)
    drawn = np.zeros((len(label), 2), np.int64)
    work = partial(_draw_range, null, (entries, tracks, chosen), test, seeds, drawn)
    run_ranges(work, len(label), size=8, n_threads=test.n_threads)
    return np.where(drawn[:, 1] > 0, (1.0 + drawn[:, 0]) / (1.0 + drawn[:, 1]), np.nan)


def _draw_range(
    null: Null,
    data: tuple[Entries, LabelTracks, PairList],
    test: PermutationTest,
    seeds: NDArray[np.uint64],
    drawn: NDArray[np.int64],
    start: int,
    stop: int,
) -> None:
    """Write exceedances and draws of the pairs ``start:stop`` into ``drawn``."""
    entries, tracks, pairs = data
    settings = (N_SHIFTS, test.n_permutations, ENOUGH)
    for at in range(start, stop):
        pair = (int(pairs.row[at]), int(pairs.bin[at]), int(pairs.label[at]))
        state = seeds[at : at + 1].copy()
        drawn[at] = null(entries, tracks.units, tracks.runs, pair, settings, state)


def adjust_p(p: Floats, dependence: Dependence = "bh") -> Floats:
    """Return p adjusted for the false discovery rate; NaN stays NaN and is not counted.

    Benjamini & Hochberg (1995), or Benjamini & Yekutieli (2001) under any dependence. ``"maxt"``
    needs the draws and is done by :mod:`sci_interp.enrichment.family_wise`.
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if len(tested) == 0:
        return adjusted
    order = tested[np.argsort(p[tested], kind="stable")]
    rank = np.arange(1, len(order) + 1)
    scaled = p[order] * len(order) / rank
    if dependence == "by":
        scaled = scaled * (1.0 / rank).sum()
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def classify_links(
    q_all: Floats, q_region: Floats, q_swap: Floats, q_local: Floats, level: float
) -> NDArray[np.object_]:
    """Return the class of every pair from its false discovery rates.

    ``site`` where all three nulls are rejected together, ``regional`` where the local and the swap
    null are, ``record`` where only the swap null is, ``positional`` where only the local null is,
    else ``none``. A pair that rejects each of these two alone but not both at once takes the class
    of the null it rejects more clearly.
    """
    classes = np.full(len(q_all), "none", object)
    local, swap = np.nan_to_num(q_local, nan=1.0), np.nan_to_num(q_swap, nan=1.0)
    one: LinkClass = "positional"
    classes[local <= level] = one
    one = "record"
    classes[(swap <= level) & ((local > level) | (swap <= local))] = one
    one = "regional"
    classes[q_region <= level] = one
    one = "site"
    classes[q_all <= level] = one
    return classes
