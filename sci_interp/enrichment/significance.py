"""False discovery rates, and the class of a link.

A pair's p is the largest of the nulls' p: all must be rejected. A label of whole records has the
swap null alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import LinkClass

__all__ = ["Dependence", "adjust_p", "classify_links"]

Floats = NDArray[np.float64]
Dependence = Literal["bh", "by", "maxt"]


def adjust_p(p: Floats, dependence: Dependence = "bh") -> Floats:
    """Return p adjusted for the false discovery rate; NaN stays NaN and is not counted.

    Benjamini & Hochberg (1995), or Benjamini & Yekutieli (2001) under any dependence. ``"maxt"``
    needs the draws and is done by :mod:`sci_interp.enrichment.family_wise`.
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if len(tested) == 0:
        return adjusted
    order = tested[np.argsort(p[tested], kind="stable")]
    rank = np.arange(1, len(order) + 1)
    scaled = p[order] * len(order) / rank
    if dependence == "by":
        scaled = scaled * (1.0 / rank).sum()
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def classify_links(
    q_all: Floats, q_region: Floats, q_swap: Floats, q_local: Floats, level: float
) -> NDArray[np.object_]:
    """Return the class of every pair from its false discovery rates.

    ``site`` where all three nulls are rejected together, ``regional`` where the local and the swap
    null are, ``record`` where only the swap null is, ``positional`` where only the local null is,
    else ``none``. A pair that rejects each of these two alone but not both at once takes the class
    of the null it rejects more clearly.
    """
    classes = np.full(len(q_all), "none", object)
    local, swap = np.nan_to_num(q_local, nan=1.0), np.nan_to_num(q_swap, nan=1.0)
    one: LinkClass = "positional"
    classes[local <= level] = one
    one = "record"
    classes[(swap <= level) & ((local > level) | (swap <= local))] = one
    one = "regional"
    classes[q_region <= level] = one
    one = "site"
    classes[q_all <= level] = one
    return classes
