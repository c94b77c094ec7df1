"""Swap null for labels of whole records: families of a stratum exchange their shares of the label.

It keeps how often a label occurs among records of a length and destroys which families have it.
There is no local null: inside a record there is nothing to shift.

A draw moves few numbers. In every stratum either the families with the feature or those with the
label, whichever are fewer, are given distinct random partners; the others are all alike, so that
their part of the sums does not depend on the draw.
"""

from __future__ import annotations

import numpy as np

from .draws import ScoreTable
from .family_means import active_shares, centre_in_strata, labelled_shares, rank_in_strata
from .kernel import compiled
from .positions import Activity
from .tracks import Runs
from .units import Units

__all__ = ["family_table"]


@compiled
def family_table(activity: Activity, units: Units, runs: Runs, label: int) -> ScoreTable:
    """Return what families score with the values of others of their stratum.

    Rows of the deck are those of the exchange of tracks; the values are the centred ones of the
    partners.
    """
    active, labelled = active_shares(activity, units), labelled_shares(runs, label, units)
    x, x_base = rank_in_strata(active, units)
    y, y_base = centre_in_strata(labelled, units)
    n_members = len(units.member)
    deck, first, own = np.empty((3, n_members), np.int64)
    gain, square = np.empty((2, n_members))
    value = np.zeros(n_members)
    n_rows, fixed = 0, 0.0
    for stratum in range(len(units.stratum) - 1):
        begin, end = units.stratum[stratum], units.stratum[stratum + 1]
        members = units.member[begin:end]
        if np.isnan(x_base[stratum]) or np.isnan(y_base[stratum]):
            continue
        by_feature = np.sum(active[members] > 0) <= np.sum(labelled[members] > 0)
        rare, base = (x, x_base[stratum]) if by_feature else (y, y_base[stratum])
        common = y if by_feature else x
        raw = active if by_feature else labelled
        fixed += base * base * np.sum(common[members] ** 2)
        for place in range(begin, end):
            family = units.member[place]
            value[place] = common[family]
            if raw[family] > 0:
                deck[n_rows] = place if by_feature else n_members + place
                first[n_rows], own[n_rows] = begin, place
                gain[n_rows] = rare[family] - base
                square[n_rows] = rare[family] ** 2 - base * base
                n_rows += 1
    return ScoreTable(
        value, first[:n_rows], own[:n_rows], deck[:n_rows], gain[:n_rows], square[:n_rows], fixed
    )
