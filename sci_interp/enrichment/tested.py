"""All pairs that were tested by permutation, linked or not: what a volcano plot is drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .chunks import Study
from .linking import Links
from .selection import DIRECTIONS

__all__ = ["TESTED_COLUMNS", "list_tested"]

TESTED_COLUMNS = (
    "feature", "label", "nuisance", "direction", "log_odds", "hybrid_f1", "p_local", "p_swap",
    "p_joint", "p", "q", "q_class", "class",
)  # fmt: skip


def list_tested(study: Study, links: Links) -> pd.DataFrame:
    """Return one row per tested pair; columns as in the enrichment table, on the testing half."""
    table = links.table
    feature, label = table["feature"].to_numpy(np.int64), table["label"].to_numpy(np.int64)
    measures = np.full((2, len(table)), np.nan)
    for way in DIRECTIONS:
        mine = np.flatnonzero(table["direction"] == way.number)
        counts = study.selection.confusion(way.number, way.testing, feature[mine], label[mine])
        measures[:, mine] = counts.log_odds, counts.hybrid_f1
    labels = study.known.labels
    names = np.array([way.name for way in DIRECTIONS], object)
    listed = table.assign(
        label=[labels[at].name for at in label],
        nuisance=np.array([labels[at].nuisance for at in label], bool),
        direction=names[table["direction"].to_numpy(np.int64)],
        log_odds=measures[0],
        hybrid_f1=measures[1],
    )
    return listed[list(TESTED_COLUMNS)].reset_index(drop=True)
