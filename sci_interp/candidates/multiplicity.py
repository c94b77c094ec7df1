"""Many tests at once: Benjamini-Hochberg, and the share of a control among what passes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["adjust_p", "control_cut"]


def adjust_p(p: NDArray[np.float64], n_tested: int | None = None) -> NDArray[np.float64]:
    """Return Benjamini-Hochberg q-values.

    Parameters
    ----------
    p : (n,)
        P-values.
    n_tested
        Number of tests, where large p-values were left out.
    """
    order = np.argsort(p, kind="stable")
    raised = p[order] * (n_tested or len(p)) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return q


def control_cut(here: NDArray[np.float64], control: NDArray[np.float64], q: float) -> float:
    """Return the lowest score at and above which the control is at most a share ``q``.

    The share is (1 + control) / here, the estimate of knockoffs and of target-decoy searches
    (Barber and Candes, 2015): a list that is cut by its own scores must pay for the choice.

    Parameters
    ----------
    here, control
        Scores of what passes here, and in the control.
    q
        Largest share.

    Returns
    -------
    float
        The cut; infinity where there is none.
    """
    cuts = np.sort(here)[::-1]
    n_here = np.searchsorted(-cuts, -cuts, "right")
    n_control = len(control) - np.searchsorted(np.sort(control), cuts, "left")
    good = np.flatnonzero((1 + n_control) / np.maximum(n_here, 1) <= q)
    return float(cuts[good[-1]]) if len(good) else float("inf")
