"""Family scores for labels of whole records: U = (x - mean x) (y - mean y), one for each family.

A label that covers whole records (a GO term, an EC number) does not vary inside a record, so that
shifts inside records say nothing of it. What can be compared is families of one exchange stratum,
which are alike in length: x is a family's rank among them by its mean share of active tokens, y its
mean share of records with the label, both with the records' weights. T = sum U / sqrt(sum U^2), as
for labels inside records (:mod:`sci_interp.enrichment.scores`); a family in whose stratum x or y is
constant takes no part. Ranks, since shares are skewed: of sixteen families with a label the five
most active would decide. Summed over strata it is van Elteren's (1960) stratified rank test, with
the variance of the scores as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .entries import Entries
from .kernel import compiled
from .positions import Activity, read_activity
from .tracks import Runs
from .units import Units

if TYPE_CHECKING:
    from .scores import PairList

__all__ = [
    "active_shares",
    "centre_in_strata",
    "labelled_shares",
    "rank_in_strata",
    "score_family_means",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Shares are rounded to this part of 1, so that weights that add up to 1 are 1 in every family.
EXACT = 1e12


@compiled
def active_shares(activity: Activity, units: Units) -> Floats:
    """Return the mean share of active tokens of each family ``(n_families,)``."""
    first = activity.first
    shares = np.zeros(len(units.first) - 1)
    for family in range(len(shares)):
        for record in range(units.first[family], units.first[family + 1]):
            n_tokens = units.start[record + 1] - units.start[record]
            share = (first[record + 1] - first[record]) / n_tokens
            shares[family] += units.weight[record] * share
    return np.rint(shares * EXACT) / EXACT


@compiled
def labelled_shares(runs: Runs, label: int, units: Units) -> Floats:
    """Return the mean share of records with a label, of each family ``(n_families,)``."""
    pointer = runs.record[label]
    shares = np.zeros(len(units.first) - 1)
    for family in range(len(shares)):
        for record in range(units.first[family], units.first[family + 1]):
            if pointer[record + 1] > pointer[record]:
                shares[family] += units.weight[record]
    return np.rint(shares * EXACT) / EXACT


@compiled
def rank_in_strata(shares: Floats, units: Units) -> tuple[Floats, Floats]:
    """Return the rank of every family among those of its stratum, equal shares in the middle.

    Returns
    -------
    centred : (n_families,) float64
        (rank - mean rank) / families of the stratum: from -1/2 to 1/2; 0 where all are equal.
    base : (n_strata,) float64
        That of the families without any share; 0 where every family has some, and NaN where all
        shares are equal.
    """
    centred = np.zeros(len(shares))
    base = np.full(len(units.stratum) - 1, np.nan)
    for stratum in range(len(base)):
        members = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
        n = len(members)
        order = np.argsort(shares[members])
        if n == 0 or shares[members[order[0]]] == shares[members[order[-1]]]:
            continue
        base[stratum] = 0.0
        begin = 0
        while begin < n:
            share = shares[members[order[begin]]]
            end = begin
            while end < n and shares[members[order[end]]] == share:
                end += 1
            rank = ((begin + end) - n) / (2 * n)
            for at in range(begin, end):
                centred[members[order[at]]] = rank
            if share == 0.0:
                base[stratum] = rank
            begin = end
    return centred, base


@compiled
def centre_in_strata(shares: Floats, units: Units) -> tuple[Floats, Floats]:
    """Return shares less their stratum's mean; results as for :func:`rank_in_strata`."""
    centred = np.zeros(len(shares))
    base = np.full(len(units.stratum) - 1, np.nan)
    for stratum in range(len(base)):
        members = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
        if len(members) == 0 or np.max(shares[members]) == np.min(shares[members]):
            continue
        mean = np.sum(shares[members]) / len(members)
        centred[members] = shares[members] - mean
        base[stratum] = -mean if np.min(shares[members]) == 0.0 else 0.0
    return centred, base


@compiled
def score_family_means(
    entries: Entries, units: Units, runs: Runs, pairs: PairList, sums: Floats
) -> None:
    """Add U, its square and fourth power and 1 for every informative family, pair by pair.

    Parameters
    ----------
    entries, units, runs
        The tracks.
    pairs
        Neighbours of the same row and bin share their activity.
    sums : (n_pairs, 4) float64
        Changed in place.
    """
    activity = read_activity(entries, pairs.row[0], pairs.bin[0], units)
    active, _ = rank_in_strata(active_shares(activity, units), units)
    for pair in range(len(pairs.row)):
        if pair > 0 and (
            pairs.row[pair] != pairs.row[pair - 1] or pairs.bin[pair] != pairs.bin[pair - 1]
        ):
            activity = read_activity(entries, pairs.row[pair], pairs.bin[pair], units)
            active, _ = rank_in_strata(active_shares(activity, units), units)
        labelled, _ = centre_in_strata(labelled_shares(runs, pairs.label[pair], units), units)
        for family in range(len(active)):
            score = active[family] * labelled[family]
            if score != 0.0:
                sums[pair, 0] += score
                sums[pair, 1] += score * score
                sums[pair, 2] += score**4
                sums[pair, 3] += 1
