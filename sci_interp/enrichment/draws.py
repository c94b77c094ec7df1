"""Draws from a null that all pairs share, and the statistics of a pair in them.

A draw is one choice for every family: a shift, or the family whose label track it gets. Decks hold
the choices; they are a function of the seed, the draw and the family alone, so nothing depends on
the pairs that are drawn of together, on windows or on threads. A pair brings a table of what each
choice would score, and its statistic in many draws is a sum of looked-up numbers, family by family.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled, next_below
from .units import Units

__all__ = [
    "N_SHIFTS",
    "TIE",
    "Deck",
    "ScoreTable",
    "count_exceedances",
    "draw_shifts",
    "draw_statistics",
    "each_window",
    "observe",
    "seed_decks",
    "shuffle_strata",
    "studentise",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: What every row chooses in every draw; no family has more than 256 choices.
Deck = NDArray[np.uint8]

#: Ties are exceedances; this absorbs the rounding of sums in another order.
TIE = 1e-9
#: Draws after which a pair may stop for the first time, and again.
FIRST_DRAWS, DRAWS_AT_ONCE = 128, 2048
#: Largest number of shifts of a family under the local null.
N_SHIFTS = 256


class ScoreTable(NamedTuple):
    """What every choice of a draw adds to a pair's statistic T = sum U / sqrt(sum U^2).

    Attributes
    ----------
    value : (n_values,) float64
        What rows choose from.
    first : (n_rows,) int64
        First value of each row.
    own : (n_rows,) int64
        The value as observed.
    deck : (n_rows,) int64
        Row of the deck that chooses.
    gain, square : (n_rows,) float64
        What multiplies the value in sum U, and its square in sum U^2.
    fixed : float
        Part of sum U^2 that no draw changes.
    """

    value: Floats
    first: Ints
    own: Ints
    deck: Ints
    gain: Floats
    square: Floats
    fixed: float


def seed_decks(seed: int, direction: int, group: int) -> NDArray[np.uint64]:
    """Return seeds of the local, the swap and the joint null's decks ``(3,)``."""
    words = np.random.SeedSequence([seed, 8, direction, group])
    return words.generate_state(3, np.uint64).astype(np.uint64)


def each_window(n_draws: int, n_rows: int, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield first and last draw of windows whose decks of ``n_rows`` rows fit in memory."""
    size = max(FIRST_DRAWS, most_bytes // max(n_rows, 1))
    for first in range(0, n_draws, size):
        yield first, min(first + size, n_draws)


@compiled
def draw_shifts(n_shifts: Ints, seed: np.uint64, first: int, last: int) -> Deck:
    """Return every family's shift in the draws ``first:last``, ``(n_families, n_draws)``."""
    n_families = len(n_shifts)
    deck = np.empty((n_families, last - first), np.uint8)
    state = np.empty(1, np.uint64)
    for draw in range(first, last):
        _enter(state, seed, draw * n_families)
        for family in range(n_families):
            deck[family, draw - first] = next_below(state, n_shifts[family])
    return deck


@compiled
def shuffle_strata(units: Units, seed: np.uint64, first: int, last: int) -> Deck:
    """Return every family's partner in the draws ``first:last``, ``(2 n_members, n_draws)``.

    Families are in the order of ``units.member``, partners places inside their stratum. The second
    half says whose partner each is.
    """
    n_members = len(units.member)
    deck = np.empty((2 * n_members, last - first), np.uint8)
    partner = np.empty(n_members, np.uint8)
    state = np.empty(1, np.uint64)
    for draw in range(first, last):
        _enter(state, seed, draw * n_members)
        for stratum in range(len(units.stratum) - 1):
            begin, end = units.stratum[stratum], units.stratum[stratum + 1]
            for place in range(end - begin):
                other = next_below(state, place + 1)
                partner[place] = partner[other]
                partner[other] = place
            for place in range(end - begin):
                deck[begin + place, draw - first] = partner[place]
                deck[n_members + begin + partner[place], draw - first] = place
    return deck


@compiled
def _enter(state: NDArray[np.uint64], seed: np.uint64, at: int) -> None:
    """Set a stream to what it is after ``at`` numbers (SplitMix64 counts)."""
    state[0] = seed + np.uint64(at) * np.uint64(0x9E3779B97F4A7C15)


@compiled
def studentise(total: float, squares: float) -> float:
    """Return sum U / sqrt(sum U^2), 0 where all scores are 0."""
    return total / np.sqrt(squares) if squares > 0 else 0.0


@compiled
def observe(table: ScoreTable) -> float:
    """Return T as observed."""
    total, squares = 0.0, table.fixed
    for row in range(len(table.own)):
        value = table.value[table.own[row]]
        total += table.gain[row] * value
        squares += table.square[row] * value * value
    return studentise(total, squares)


@compiled
def draw_statistics(table: ScoreTable, deck: Deck, first: int, last: int, out: Floats) -> None:
    """Write T in the draws ``first:last`` of a deck ``(n_draws,)``."""
    n_draws = last - first
    total, squares = np.zeros(n_draws), np.full(n_draws, table.fixed)
    for row in range(len(table.first)):
        value = table.value[table.first[row] :]
        chosen = deck[table.deck[row], first:last]
        gain, square = table.gain[row], table.square[row]
        for draw in range(n_draws):
            drawn = value[chosen[draw]]
            total[draw] += gain * drawn
            squares[draw] += square * drawn * drawn
    for draw in range(n_draws):
        out[draw] = studentise(total[draw], squares[draw])


@compiled
def count_exceedances(table: ScoreTable, deck: Deck, enough: int, counts: Ints) -> None:
    """Count draws that reach the observed statistic until there are enough of them.

    Parameters
    ----------
    table, deck
        What draws score, and the draws of a window.
    enough
        Exceedances at which to stop.
    counts : (2,) int64
        Exceedances and draws of earlier windows; this window's are added.
    """
    observed = observe(table)
    least = observed - TIE * max(1.0, abs(observed))
    n_draws = deck.shape[1]
    drawn = np.empty(min(n_draws, DRAWS_AT_ONCE))
    first = 0
    while first < n_draws and counts[0] < enough:
        last = min(first + (DRAWS_AT_ONCE if first else FIRST_DRAWS), n_draws)
        draw_statistics(table, deck, first, last, drawn)
        for draw in range(last - first):
            counts[1] += 1
            counts[0] += drawn[draw] >= least
            if counts[0] >= enough:
                break
        first = last
