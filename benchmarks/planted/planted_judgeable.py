"""Which planted links the protocol can judge at all, and which of these it calls.

A label in fewer than eight families of a half, or a link that fewer than five families of either
half can show, is not identifiable whatever its strength; so is one that the result says so of: its
effective number of families is below five where it was tested. Power among all planted links counts
these as missed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from planted_counts import Half
from planted_data import LINKED_KINDS, World
from planted_scores import record_counts

__all__ = ["FEWEST_SHOWING", "FEWEST_WITH_LABEL", "count_judgeable"]

#: Families that the protocol asks for: with the label in both halves, with both in one of them.
FEWEST_WITH_LABEL, FEWEST_SHOWING = 8, 5


def count_judgeable(
    world: World, tested: pd.DataFrame, called: np.ndarray, halves: Mapping[str, Half]
) -> dict[str, list[int]]:
    """Return the planted links of each kind that can be judged, and those of them called.

    Parameters
    ----------
    world, tested
        The truth, and all pairs that ``enrich`` tested.
    called : (n_labels, n_features) bool
        What it called.
    halves
        Discovery and test.
    """
    unknown = tested[tested["p"].isna()]
    refused = set(zip(unknown["label"], unknown["feature"].tolist(), strict=True))
    found = {}
    for kind in LINKED_KINDS:
        counts = [0, 0]
        for label, feature in np.argwhere(world.of_kind(kind)):
            name = world.labels[label].name
            shown = [_families(half, int(feature), int(label)) for half in halves.values()]
            n_both, n_label = np.array(shown).T
            can_be = n_label.min() >= FEWEST_WITH_LABEL and n_both.max() >= FEWEST_SHOWING
            if called[label, feature] or (can_be and (name, int(feature)) not in refused):
                counts[0] += 1
                counts[1] += bool(called[label, feature])
        found[kind] = counts
    return found


def _families(half: Half, feature: int, label: int) -> tuple[int, int]:
    """Return the families with both, and with the label."""
    both, _, positive = record_counts(half, feature, label, 1)
    first, last = half.records
    starts = half.world.axis.block_starts
    starts = starts[(starts >= first) & (starts < last)] - first
    n_both, n_label = (np.add.reduceat(one, starts) > 0 for one in (both, positive))
    return int(n_both.sum()), int(n_label.sum())
