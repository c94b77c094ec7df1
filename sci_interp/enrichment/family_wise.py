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
from .family_swap import family_statistics
from .joint_null import joint_statistics
from .kernel import compiled, next_below, run_ranges
from .local_null import TIE, shift_scores, studentise
from .positions import active_positions
from .scores import PairList
from .selection import Direction
from .significance import N_SHIFTS
from .swap_null import exchange_table, prepare_exchange
from .tracks import Entries, Runs
from .units import Units

__all__ = ["adjust_by_maxima"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Places inside strata, by draw and family; strata have at most 256 families.
Deck = NDArray[np.uint8]

#: Pairs whose draws are held at once.
PAIRS_AT_ONCE = 32
#: Local, swap, joint.
N_NULLS = 3
#: Between the seeds of labels under the joint null.
LABEL_STEP = 0x9E3779B97F4A7C15


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
    draws: tuple[int, Deck, Deck] | None = None
    for chunk in each_chunk(study, way.testing, listed):
        group = int(study.selection.group[chunk.tracks.labels[0]])
        if draws is None or draws[0] != group:
            draws = (group, *_shuffle(chunk.tracks.units, n_draws, _seed(study, way, group)))
        _draw_chunk(study, chunk, draws[1:], _seed(study, way, group), of_pair, observed, maxima)
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
    adjusted[0][whole] = adjusted[2][whole] = np.nan
    local, swap, joint = adjusted
    region = np.fmax(local, swap)
    return {"p": np.fmax(region, joint), "p_region": region, "p_local": local, "p_swap": swap}


def _seed(study: Study, way: Direction, group: int) -> np.uint64:
    words = np.random.SeedSequence([study.settings.seed, 8, way.number, group])
    return np.uint64(words.generate_state(1, np.uint64)[0])


def _shuffle(units: Units, n_draws: int, seed: np.uint64) -> tuple[Deck, Deck]:
    """Return each family's partner in every draw, and whose partner it is, ``(n_draws, n)``.

    Both by place: families in the order of ``units.member``, partners inside their stratum.
    """
    random = np.random.default_rng(seed)
    deck = np.zeros((n_draws, len(units.member)), np.uint8)
    back = np.zeros_like(deck)
    for first, last in zip(units.stratum[:-1], units.stratum[1:], strict=True):
        assert last - first <= 256, "a stratum is too large for its places"
        places = np.broadcast_to(np.arange(last - first, dtype=np.uint8), (n_draws, last - first))
        deck[:, first:last] = random.permuted(places, axis=1)
        back[:, first:last] = np.argsort(deck[:, first:last], axis=1)
    return deck, back


def _draw_chunk(
    study: Study,
    chunk: Chunk,
    decks: tuple[Deck, Deck],
    seed: np.uint64,
    of_pair: Ints,
    observed: Floats,
    maxima: Floats,
) -> None:
    """Write the statistics of a chunk's pairs and raise the maxima of the draws."""
    tracks, entries, pairs, piece = chunk
    row = piece["row"].to_numpy(np.int64)
    kind = of_pair[row]
    for first in range(0, len(row), PAIRS_AT_ONCE):
        part = pairs.part(first, first + PAIRS_AT_ONCE)
        drawn = np.empty((N_NULLS, len(part.row), maxima.shape[2] + 1))
        labels = (tracks.units, tracks.runs)
        draw = _draw_families if tracks.by_family else _draw_range
        work = partial(draw, entries, labels, part, decks, seed, drawn)
        run_ranges(work, len(part.row), size=1, n_threads=study.settings.n_threads)
        for at in range(len(part.row)):
            observed[:, row[first + at]] = drawn[:, at, 0]
            mine = maxima[:, kind[first + at]]
            np.maximum(mine, drawn[:, at, 1:], out=mine)


def _draw_range(
    entries: Entries,
    labels: tuple[Units, Runs],
    pairs: PairList,
    decks: tuple[Deck, Deck],
    seed: np.uint64,
    drawn: Floats,
    start: int,
    stop: int,
) -> None:
    for at in range(start, stop):
        pair = (int(pairs.row[at]), int(pairs.bin[at]), int(pairs.label[at]))
        local_statistics(entries, *labels, pair, seed, drawn[0, at])
        swap_statistics(entries, *labels, pair, decks, drawn[1, at])
        of_label = np.uint64((int(seed) + (pair[2] + 1) * LABEL_STEP) % 2**64)
        if not joint_statistics(entries, *labels, pair, of_label, drawn[2, at]):
            drawn[2, at] = drawn[1, at]


def _draw_families(
    entries: Entries,
    labels: tuple[Units, Runs],
    pairs: PairList,
    decks: tuple[Deck, Deck],
    _: np.uint64,
    drawn: Floats,
    start: int,
    stop: int,
) -> None:
    for at in range(start, stop):
        pair = (int(pairs.row[at]), int(pairs.bin[at]), int(pairs.label[at]))
        drawn[0, at] = drawn[2, at] = -np.inf  # There is no such null.
        family_statistics(entries, *labels, pair, decks, drawn[1, at])


@compiled
def local_statistics(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    seed: np.uint64,
    out: Floats,
) -> None:
    """Write T as observed and in every draw ``(1 + n_draws,)``, one shift a family and draw."""
    position = active_positions(entries, pair[0], pair[1])
    scores, n_of_family, family = shift_scores(position, units, runs, pair[2], N_SHIFTS)
    out[0] = studentise(np.sum(scores[:, 0]), np.sum(scores[:, 0] ** 2))
    state = np.empty(1, np.uint64)
    for draw in range(len(out) - 1):
        total, squares = 0.0, 0.0
        for row in range(len(scores)):
            # The shift is a function of draw and family alone, so that all pairs share it.
            state[0] = seed + np.uint64(draw * (len(units.first) - 1) + family[row]) * np.uint64(
                0xD1342543DE82EF95
            )
            score = scores[row, next_below(state, n_of_family[row])]
            total += score
            squares += score * score
        out[draw + 1] = studentise(total, squares)


@compiled
def swap_statistics(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    decks: tuple[Deck, Deck],
    out: Floats,
) -> None:
    """Write T as observed and in every draw ``(1 + n_draws,)``, one permutation a draw."""
    position = active_positions(entries, pair[0], pair[1])
    exchange = prepare_exchange(position, units, runs, pair[2])
    scores = exchange_table(exchange, units, runs, pair[2])
    cells, bounds, own, by_feature = (
        exchange.cells, exchange.bounds, exchange.own, exchange.by_feature
    )  # fmt: skip
    out[0] = studentise(np.sum(scores[own]), np.sum(scores[own] ** 2))
    for draw in range(len(out) - 1):
        total, squares = 0.0, 0.0
        for stratum in range(len(bounds) - 1):
            for row in range(bounds[stratum], bounds[stratum + 1]):
                place = units.stratum[stratum] + own[row] - cells[row]
                # A feature's family looks up whose labels it gets, a label's who gets its.
                deck = decks[0] if by_feature[stratum] else decks[1]
                score = scores[cells[row] + deck[draw, place]]
                total += score
                squares += score * score
        out[draw + 1] = studentise(total, squares)
