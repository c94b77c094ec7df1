"""What a source of features is worth: labels and features linked, by each rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .linking import Links, Study
from .table import STRONG_F1

__all__ = ["summarise"]


def summarise(name: str, study: Study, links: Links | None) -> dict[str, Any]:
    """Return one row of the summary; nuisance labels are counted apart.

    Parameters
    ----------
    name
        The source: ``"features"`` or a baseline's name.
    study
        The source and its thresholds.
    links
        Outcome of the test; omitted where none was made.

    Returns
    -------
    dict
        ``n_labels_f1, n_features_f1``: labels and features in a pair with hybrid F1 above 0.5 on
        both halves at the discovery half's threshold. ``n_labels_site, n_features_site``: in a
        site-level link. ``mean_best_hybrid_f1``: over labels, the test half's hybrid F1 of the
        feature that is best on the discovery half. ``n_nuisance_f1``: nuisance labels in a pair
        above 0.5. ``n_candidates, n_tested, n_not_identifiable``: pairs, over both directions.
    """
    selection = study.selection
    nuisance = np.array([label.nuisance for label in study.known.labels], bool)
    strong_labels, n_nuisance, best = 0, 0, []
    strong_features = np.zeros(selection.n_features, bool)
    for label in range(selection.n_labels):
        here = selection.confusion(0, "discovery", slice(None), label).hybrid_f1
        there = selection.confusion(0, "test", slice(None), label).hybrid_f1
        both = (here > STRONG_F1) & (there > STRONG_F1)
        if nuisance[label]:
            n_nuisance += bool(both.any())
            continue
        strong_labels += bool(both.any())
        strong_features |= both
        if selection.n_instances["test"][label] and selection.n_instances["discovery"][label]:
            best.append(float(there[here.argmax()]))
    row: dict[str, Any] = {
        "source": name,
        "n_features": selection.n_features,
        "n_labels": int((~nuisance).sum()),
        "n_labels_f1": strong_labels,
        "n_features_f1": int(strong_features.sum()),
        "mean_best_hybrid_f1": float(np.mean(best)) if best else np.nan,
        "n_nuisance_f1": n_nuisance,
    }
    return row | (_tested(links, nuisance) if links is not None else {})


def _tested(links: Links, nuisance: np.ndarray) -> dict[str, int]:
    table: pd.DataFrame = links.table
    site = table[(table["class"] == "site") & ~nuisance[table["label"].to_numpy(np.int64)]]
    return {
        "n_labels_site": int(site["label"].nunique()),
        "n_features_site": int(site["feature"].nunique()),
        "n_pairs_site": len(site),
        "n_candidates": links.n_candidates,
        "n_tested": links.n_tested,
        "n_not_identifiable": sum(links.not_identifiable.values()),
    }
