"""Records of blocks that exchange their labels lie at the same places of the season.

Tracks are exchanged record by record. Were the tracks of one block shifted against the season of
another, a shared annual cycle would fit a block's own track better than those of others, and pass
for a link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["align_blocks"]


def align_blocks(
    kept: NDArray[np.bool_],
    number: NDArray[np.int64],
    place: NDArray[np.float64],
    exchanges: Callable[[int], str],
) -> tuple[NDArray[np.bool_], dict[int, str]]:
    """Return which times stay, and the exchange texts of blocks that are left alone.

    The usual places are those that most blocks of a text have. What a block has beyond them (a leap
    day) is left out; a block that lacks some (cut off by the data's end, or with a hole) exchanges
    with no other.

    Parameters
    ----------
    kept : (n_times,) bool
        Times that can be records.
    number : (n_times,) int64
        Number of every time's block.
    place : (n_times,) float64
        Where in its block every time lies.
    exchanges
        Exchange text of a block's number.
    """
    held = {
        int(key): frozenset(place[kept & (number == key)].tolist())
        for key in np.unique(number[kept])
    }
    counts: dict[str, Counter[frozenset[float]]] = {}
    for key, places in held.items():
        counts.setdefault(exchanges(key), Counter())[places] += 1
    usual = {text: found.most_common(1)[0][0] for text, found in counts.items()}
    stays, alone = kept.copy(), {}
    for key, places in held.items():
        text = exchanges(key)
        if places > usual[text]:
            mine = number == key
            stays[mine] &= np.isin(place[mine], list(usual[text]))
        elif places != usual[text]:
            alone[key] = f"{text} in part, block {key}".strip()
    return stays, alone
