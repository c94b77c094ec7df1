"""Swap null for labels of whole records: families of a stratum exchange their shares of the label.

It keeps how often a label occurs among records of a length and destroys which families have it.
There is no local null: inside a record there is nothing to shift.

A draw moves few numbers. In every stratum either the families with the feature or those with the
label, whichever are fewer, are given distinct random partners; the others are all alike, so that
their part of the sums does not depend on the draw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .family_means import active_shares, centre_in_strata, labelled_shares, rank_in_strata
from .kernel import compiled, next_below
from .local_null import TIE, studentise
from .positions import active_positions
from .tracks import Entries, Runs
from .units import Units

__all__ = ["family_exceedances", "family_statistics"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Partners by draw and place, see :mod:`sci_interp.enrichment.family_wise`.
Deck = NDArray[np.uint8]


class _Exchange(NamedTuple):
    """What the sums of a draw are made of.

    Attributes
    ----------
    place : (n_rows,) int64
        Place, inside its stratum, of each family that is given a partner.
    gain, square : (n_rows,) float64
        What multiplies the partner's value in sum U, and its square in sum U^2.
    bounds : (n_strata + 1,) int64
        First row of every stratum.
    other : (n_families,) float64
        Centred values of the partners, by stratum and place.
    by_feature : (n_strata,) bool
        Whether the rows are families with the feature.
    fixed : float
        Part of sum U^2 that no draw changes.
    """

    place: Ints
    gain: Floats
    square: Floats
    bounds: Ints
    other: Floats
    by_feature: NDArray[np.bool_]
    fixed: float


@compiled
def _prepare(position: Ints, units: Units, runs: Runs, label: int) -> _Exchange:
    active, labelled = active_shares(position, units), labelled_shares(runs, label, units)
    x, x_base = rank_in_strata(active, units)
    y, y_base = centre_in_strata(labelled, units)
    n_families, n_strata = len(units.member), len(units.stratum) - 1
    place = np.empty(n_families, np.int64)
    gain, square = np.empty(n_families), np.empty(n_families)
    other = np.zeros(n_families)
    bounds = np.zeros(n_strata + 1, np.int64)
    by_feature = np.zeros(n_strata, np.bool_)
    n_rows, fixed = 0, 0.0
    for stratum in range(n_strata):
        begin = units.stratum[stratum]
        members = units.member[begin : units.stratum[stratum + 1]]
        if not (np.isnan(x_base[stratum]) or np.isnan(y_base[stratum])):
            by_feature[stratum] = np.sum(active[members] > 0) <= np.sum(labelled[members] > 0)
            rare, base = (x, x_base[stratum]) if by_feature[stratum] else (y, y_base[stratum])
            common = y if by_feature[stratum] else x
            raw = active if by_feature[stratum] else labelled
            fixed += base * base * np.sum(common[members] ** 2)
            for at in range(len(members)):
                family = members[at]
                other[begin + at] = common[family]
                if raw[family] > 0:
                    place[n_rows] = at
                    gain[n_rows] = rare[family] - base
                    square[n_rows] = rare[family] ** 2 - base * base
                    n_rows += 1
        bounds[stratum + 1] = n_rows
    return _Exchange(
        place[:n_rows], gain[:n_rows], square[:n_rows], bounds, other, by_feature, fixed
    )


@compiled
def _observe(exchange: _Exchange, units: Units) -> float:
    total, squares = 0.0, exchange.fixed
    for stratum in range(len(exchange.bounds) - 1):
        begin = units.stratum[stratum]
        for row in range(exchange.bounds[stratum], exchange.bounds[stratum + 1]):
            value = exchange.other[begin + exchange.place[row]]
            total += exchange.gain[row] * value
            squares += exchange.square[row] * value * value
    return studentise(total, squares)


@compiled
def family_exceedances(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    settings: tuple[int, int, int],
    state: NDArray[np.uint64],
) -> tuple[int, int]:
    """Exchange the families' labels until enough exchanges reach the observed statistic.

    Parameters and results are those of the other nulls; the number of shifts is not used.
    """
    _, n_draws, enough = settings
    position = active_positions(entries, pair[0], pair[1])
    exchange = _prepare(position, units, runs, pair[2])
    observed = _observe(exchange, units)
    deck = exchange.other.copy()  # partly shuffled per draw, stratum by stratum
    n_exceed = 0
    for draw in range(n_draws):
        total, squares = 0.0, exchange.fixed
        for stratum in range(len(exchange.bounds) - 1):
            at, end = units.stratum[stratum], units.stratum[stratum + 1]
            for row in range(exchange.bounds[stratum], exchange.bounds[stratum + 1]):
                chosen = at + next_below(state, end - at)
                deck[at], deck[chosen] = deck[chosen], deck[at]
                total += exchange.gain[row] * deck[at]
                squares += exchange.square[row] * deck[at] * deck[at]
                at += 1
        n_exceed += studentise(total, squares) >= observed - TIE * max(1.0, abs(observed))
        if n_exceed >= enough:
            return n_exceed, draw + 1
    return n_exceed, n_draws


@compiled
def family_statistics(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    decks: tuple[Deck, Deck],
    out: Floats,
) -> None:
    """Write T as observed and in every draw ``(1 + n_draws,)``, one permutation a draw."""
    position = active_positions(entries, pair[0], pair[1])
    exchange = _prepare(position, units, runs, pair[2])
    out[0] = _observe(exchange, units)
    for draw in range(len(out) - 1):
        total, squares = 0.0, exchange.fixed
        for stratum in range(len(exchange.bounds) - 1):
            begin = units.stratum[stratum]
            # A feature's family looks up whose labels it gets, a label's who gets its.
            deck = decks[0] if exchange.by_feature[stratum] else decks[1]
            for row in range(exchange.bounds[stratum], exchange.bounds[stratum + 1]):
                value = exchange.other[begin + deck[draw, begin + exchange.place[row]]]
                total += exchange.gain[row] * value
                squares += exchange.square[row] * value * value
        out[draw + 1] = studentise(total, squares)
