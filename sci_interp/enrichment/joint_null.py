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

from .kernel import compiled
from .tracks import Runs
from .units import Units

__all__ = ["is_whole", "restrict_to_owners"]


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
def is_whole(owners: Units, units: Units) -> bool:
    """Whether the owners are all families, in the strata that these have."""
    same_members = len(owners.member) == len(units.member)
    return same_members and len(owners.stratum) == len(units.stratum)
