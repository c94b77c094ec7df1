"""Joint null: label tracks exchanged among the families that have the label.

The local null excludes "merely in the same records", the swap null "merely at the same place"; a
feature at the label's end of the chain, in the label's families alone, rejects both although it
does not follow the label there. This null keeps both at once, which families have the label and
where in the record it lies, and destroys whose track is whose. Rejecting it says that a link is
more than the same region of the same families.

It is a test conditional on the families (a permutation inside the strata that confounders define:
Rosenbaum, J. Am. Stat. Assoc. 79:565, 1984). Owners of a label are few, so strata of neighbouring
lengths are joined until each has enough of them; groups that a dataset defines stay apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled, next_below
from .local_null import studentise
from .positions import active_positions
from .swap_null import exchange_table, prepare_exchange, swap_exceedances
from .tracks import Entries, Runs
from .units import Units

__all__ = ["joint_exceedances", "joint_statistics", "restrict_to_owners"]


@compiled
def restrict_to_owners(units: Units, runs: Runs, label: int) -> Units:
    """Return units of which only the families with a label take part in exchanges."""
    pointer = runs.record[label]
    n_families = len(units.first) - 1
    member = np.empty(n_families, np.int64)
    bounds = np.zeros(n_families + 2, np.int64)
    n_members, n_strata = 0, 0
    for stratum in range(len(units.stratum) - 1):
        for place in range(units.stratum[stratum], units.stratum[stratum + 1]):
            family = units.member[place]
            if pointer[units.first[family + 1]] > pointer[units.first[family]]:
                member[n_members] = family
                n_members += 1
        if n_members - bounds[n_strata] >= units.fewest_owners:
            n_strata += 1
            bounds[n_strata] = n_members
    if n_members > bounds[n_strata]:  # What is left joins the last stratum.
        n_strata = max(n_strata, 1)
        bounds[n_strata] = n_members
    return Units(
        units.start,
        units.weight,
        units.first,
        member[:n_members].copy(),
        bounds[: n_strata + 1].copy(),
        units.row_weight,
        units.row_before,
        units.fewest_owners,
    )


@compiled
def _is_whole(owners: Units, units: Units) -> bool:
    """Whether the owners are all families, in the strata that these have."""
    same_members = len(owners.member) == len(units.member)
    return same_members and len(owners.stratum) == len(units.stratum)


@compiled
def joint_exceedances(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    settings: tuple[int, int, int],
    state: NDArray[np.uint64],
) -> tuple[int, int]:
    """Exchange the owners' label tracks until enough exchanges reach the observed statistic.

    Parameters and results are those of the other nulls. No draws are made where all families own
    the label in the strata of the swap null: both nulls are then one.
    """
    owners = restrict_to_owners(units, runs, pair[2])
    if _is_whole(owners, units):
        return 0, 0
    return swap_exceedances(entries, owners, runs, pair, settings, state)


@compiled
def joint_statistics(
    entries: Entries,
    units: Units,
    runs: Runs,
    pair: tuple[int, int, int],
    seed: np.uint64,
    out: NDArray[np.float64],
) -> bool:
    """Write T as observed and in every draw ``(1 + n_draws,)``, one permutation a label and draw.

    Returns
    -------
    bool
        False, and nothing is written, where this null and the swap null are one.
    """
    owners = restrict_to_owners(units, runs, pair[2])
    if _is_whole(owners, units):
        return False
    position = active_positions(entries, pair[0], pair[1])
    exchange = prepare_exchange(position, owners, runs, pair[2])
    scores = exchange_table(exchange, owners, runs, pair[2])
    cells, bounds, own = exchange.cells, exchange.bounds, exchange.own
    out[0] = studentise(np.sum(scores[own]), np.sum(scores[own] ** 2))
    deck = np.empty(len(owners.member), np.int64)
    state = np.empty(1, np.uint64)
    for draw in range(len(out) - 1):
        # A function of draw and label alone: all features of a label share the permutation.
        state[0] = seed + np.uint64(draw) * np.uint64(0xD1342543DE82EF95)
        total, squares = 0.0, 0.0
        for stratum in range(len(bounds) - 1):
            begin, end = owners.stratum[stratum], owners.stratum[stratum + 1]
            for place in range(begin, end):
                other = begin + next_below(state, place - begin + 1)
                deck[place] = deck[other]
                deck[other] = place - begin
            for row in range(bounds[stratum], bounds[stratum + 1]):
                place = begin + own[row] - cells[row]
                score = scores[cells[row] + deck[place]]
                total += score
                squares += score * score
        out[draw + 1] = studentise(total, squares)
    return True
