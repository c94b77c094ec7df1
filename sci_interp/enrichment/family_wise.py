"""No false link at all: single-step maxT over all pairs tested (Westfall & Young 1993).

Every draw moves the labels of all pairs alike: a family has one shift under the local null, one
permutation of the families under the swap null serves all pairs, and one of its owners under the
joint null all features of a label. The largest statistic of a draw is what the best of so many
pairs reaches by chance, whatever depends on what. A pair's adjusted p is the share of draws whose
maximum reaches its own statistic.

Label groups that were assessed at different tokens have draws of their own. Three nulls and two
directions are six such families of hypotheses; Bonferroni unites them. Labels of whole records have
the swap null alone: their maxima under it are in one family with the others' under all.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .chunks import Chunk, Study, each_chunk
from .draws import TIE, draw_statistics, observe, seed_decks
from .joint_null import is_whole, restrict_to_owners
from .kernel import mix_seeds, run_ranges
from .permutations import (
    RegionDecks,
    each_activity,
    each_region_window,
    owner_windows,
    region_draws,
    split_by_label,
)
from .selection import Direction
from .swap_null import exchange_table

__all__ = ["adjust_by_maxima"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Pairs, or labels, whose draws are held at once.
ITEMS_AT_ONCE = 32
#: Swap, local, joint.
N_NULLS = 3


def adjust_by_maxima(study: Study, way: Direction, pairs: pd.DataFrame) -> dict[str, Floats]:
    """Return each p that a class rests on, adjusted for the family-wise error of a whole run.

    Parameters
    ----------
    study
        The codes, annotations and settings.
    way
        The direction; its testing half is drawn from.
    pairs : DataFrame
        Columns ``feature, label, bin, p``. Pairs without p take no part and get 1. Nuisance
        labels have maxima of their own. Labels of whole records get no local p (NaN).
    """
    rows = np.flatnonzero(pairs["p"].notna())
    listed = pairs.iloc[rows][["feature", "label", "bin"]].assign(row=rows)
    n_draws = study.settings.n_permutations
    nuisance = np.array([label.nuisance for label in study.known.labels], bool)
    of_pair = nuisance[pairs["label"].to_numpy(np.int64)].astype(np.int64)
    observed = np.full((N_NULLS, len(pairs)), -np.inf)
    maxima = np.full((N_NULLS, 2, n_draws), -np.inf)
    for chunk in each_chunk(study, way.testing, listed):
        group = int(study.selection.group[chunk.tracks.labels[0]])
        seeds = seed_decks(study.settings.seed, way.number, group)
        _draw_region(study, chunk, seeds, of_pair, observed, maxima)
        if not chunk.tracks.by_family:
            _draw_joint(study, chunk, seeds, of_pair, observed, maxima)
    adjusted = []
    for null in range(N_NULLS):
        n_reach = np.zeros(len(pairs))
        for kind in range(2):
            mine = np.flatnonzero(of_pair == kind)
            sorted_maxima = np.sort(maxima[null, kind])
            least = observed[null, mine] - TIE * np.maximum(1.0, np.abs(observed[null, mine]))
            n_reach[mine] = n_draws - np.searchsorted(sorted_maxima, least, side="left")
        adjusted.append(np.minimum(2 * N_NULLS * (1.0 + n_reach) / (1.0 + n_draws), 1.0))
    whole = study.by_family[pairs["label"].to_numpy(np.int64)]
    adjusted[1][whole] = adjusted[2][whole] = np.nan
    swap, local, joint = adjusted
    region = np.fmax(local, swap)
    return {"p": np.fmax(region, joint), "p_region": region, "p_local": local, "p_swap": swap}


def _draw_region(
    study: Study,
    chunk: Chunk,
    seeds: NDArray[np.uint64],
    of_pair: Ints,
    observed: Floats,
    maxima: Floats,
) -> None:
    """Write the statistics of a chunk's pairs under two nulls and raise the maxima of the draws."""
    row = chunk.piece["row"].to_numpy(np.int64)
    nulls = 1 if chunk.tracks.by_family else 2
    for decks in each_region_window(chunk.tracks, seeds, maxima.shape[2]):
        for first in range(0, len(row), ITEMS_AT_ONCE):
            part = np.arange(first, min(first + ITEMS_AT_ONCE, len(row)))
            drawn = np.empty((nulls, len(part), 1 + decks.last - decks.first))
            work = partial(_draw_pairs, chunk, decks, part, drawn)
            run_ranges(work, len(part), size=1, n_threads=study.n_threads)
            for at, pair in enumerate(row[part]):
                observed[:nulls, pair] = drawn[:, at, 0]
                mine = maxima[:nulls, of_pair[pair], decks.first : decks.last]
                np.maximum(mine, drawn[:, at, 1:], out=mine)


def _draw_pairs(
    chunk: Chunk, decks: RegionDecks, part: Ints, drawn: Floats, start: int, stop: int
) -> None:
    tracks, entries, pairs, _ = chunk
    for at, label, activity in each_activity(entries, tracks.units, pairs, part[start:stop]):
        for null, (table, deck) in enumerate(region_draws(activity, tracks, label, decks)):
            out = drawn[null, at - part[0]]
            out[0] = observe(table)
            draw_statistics(table, deck, 0, deck.shape[1], out[1:])


def _draw_joint(
    study: Study,
    chunk: Chunk,
    seeds: NDArray[np.uint64],
    of_pair: Ints,
    observed: Floats,
    maxima: Floats,
) -> None:
    """The same under the joint null, label by label: its features share the exchanges."""
    row = chunk.piece["row"].to_numpy(np.int64)
    by_label = split_by_label(chunk.pairs.label, np.arange(len(row)))
    of_label = mix_seeds(seeds[2], chunk.tracks.labels)
    for first in range(0, len(by_label), ITEMS_AT_ONCE):
        part = by_label[first : first + ITEMS_AT_ONCE]
        drawn = np.full((len(part), maxima.shape[2]), -np.inf)
        work = partial(_draw_labels, chunk, (seeds[1], of_label), part, row, observed, drawn)
        run_ranges(work, len(part), size=1, n_threads=study.n_threads)
        for mine, best in zip(part, drawn, strict=True):
            of_kind = maxima[2, of_pair[row[mine[0]]]]
            np.maximum(of_kind, best, out=of_kind)


def _draw_labels(
    chunk: Chunk,
    seeds: tuple[np.uint64, NDArray[np.uint64]],
    part: list[Ints],
    row: Ints,
    observed: Floats,
    drawn: Floats,
    start: int,
    stop: int,
) -> None:
    """Write every pair's statistic and every label's maxima in the draws."""
    tracks, entries, pairs, _ = chunk
    for number in range(start, stop):
        mine, best = part[number], drawn[number]
        label = int(pairs.label[mine[0]])
        owners = restrict_to_owners(tracks.units, tracks.runs, label)
        # Where all families own the label the swap null is this one, with the same draws.
        seed = seeds[0] if is_whole(owners, tracks.units) else seeds[1][label]
        for first, last, deck in owner_windows(owners, seed, len(best)):
            out = np.empty(last - first)
            for at, _, activity in each_activity(entries, tracks.units, pairs, mine):
                table = exchange_table(activity, owners, tracks.runs, label)
                observed[2, row[at]] = observe(table)
                draw_statistics(table, deck, 0, last - first, out)
                np.maximum(best[first:last], out, out=best[first:last])
