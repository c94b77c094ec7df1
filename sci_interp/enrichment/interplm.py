"""InterPLM's rule, for comparison: hybrid F1 above 0.5 on two halves, without a null.

Simon & Zou, Nature Methods 2025: activation over 0, 0.15, 0.5, 0.6 or 0.8 of the feature's
maximum, precision by token, recall by domain, the threshold picked on one half. Here it is frozen
for the other half and blocks never straddle the halves; still nothing says how many of its links
chance would give.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from .linking import Links

__all__ = ["INTERPLM_FLOORS", "untested_links"]

#: Lowest levels above 0, 0.15, 0.5, 0.6 and 0.8 of a feature's scale.
INTERPLM_FLOORS: Final = (1, 168, 224, 232, 245)


def untested_links() -> Links:
    """Return the outcome of a protocol that tests nothing."""
    columns: dict[str, np.dtype[np.generic] | str] = {
        "feature": "int64",
        "label": "int64",
        "direction": "int64",
        "p_local": "float64",
        "p_swap": "float64",
        "p_joint": "float64",
        "p": "float64",
        "q": "float64",
        "q_class": "float64",
        "class": "object",
    }
    table = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    return Links(table, table[["feature", "label", "direction"]], 0, 0, {})
