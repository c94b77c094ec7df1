"""What a source of features is worth: labels and features linked, by each rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import Split

from .chunks import Study
from .linking import MIN_EVENT_FAMILIES, Links
from .selection import Selection
from .table import STRONG_F1

__all__ = ["ALWAYS_ON", "always_on_f1", "build_summary", "summarise", "summarise_always_on"]

#: Name of the reference that is active at every known token.
ALWAYS_ON = "always on"
HALVES: tuple[Split, Split] = ("discovery", "test")


class _Strong(NamedTuple):
    """Which features of a label are strong on both halves."""

    any: NDArray[np.bool_]
    beating: NDArray[np.bool_]
    chosen: int
    on_test: float


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
        ``n_labels_f1``: labels whose *chosen* feature, the best by hybrid F1 on the discovery half,
        has hybrid F1 above 0.5 and above the feature that is always on, on both halves at the
        discovery half's threshold. ``n_features_f1``: features of which that holds with some label.
        ``n_labels_f1_any, n_features_f1_any``: labels and features in any pair above 0.5 on both
        halves, the published count, which prevalence alone can fill. ``mean_best_hybrid_f1``: over
        labels, the test half's hybrid F1 of the chosen feature. ``n_nuisance_f1``: nuisance labels
        counted like ``n_labels_f1``. ``n_labels_both``: labels of ``n_labels_f1`` whose chosen
        feature is a site-level link (a record-level one where the label covers whole records,
        which can be no more). ``n_labels_identifiable``: labels in enough families of both halves
        to be linked at all, the most that ``n_labels_site``, ``n_labels_regional`` and
        ``n_labels_record`` can be together. ``n_labels_site, n_features_site, n_pairs_site``: in
        site-level links. ``n_labels_regional``: in regional links and in no site-level one;
        ``n_labels_record``: in record-level links and in none of these. ``n_candidates, n_tested,
        n_not_identifiable``: pairs, over both directions.
    """
    selection, nuisance = study.selection, _nuisance(study)
    found = [_strong(selection, label) for label in range(selection.n_labels)]
    passing = np.array([strong.beating[strong.chosen] for strong in found], bool)
    finding = [strong for strong, left_out in zip(found, nuisance, strict=True) if not left_out]
    best = [found[label].on_test for label in _measured(study)]
    row: dict[str, Any] = {
        "source": name,
        "n_features": selection.n_features,
        "n_labels": int((~nuisance).sum()),
        "n_labels_f1": int((passing & ~nuisance).sum()),
        "n_features_f1": _n_features([strong.beating for strong in finding]),
        "n_labels_f1_any": sum(bool(strong.any.any()) for strong in finding),
        "n_features_f1_any": _n_features([strong.any for strong in finding]),
        "mean_best_hybrid_f1": float(np.mean(best)) if best else np.nan,
        "n_nuisance_f1": int((passing & nuisance).sum()),
    }
    if links is None:
        return row
    chosen = {(strong.chosen, label) for label, strong in enumerate(found) if passing[label]}
    families = np.min([selection.n_families[half] for half in HALVES], axis=0)
    identifiable = int(((families >= MIN_EVENT_FAMILIES) & ~nuisance).sum())
    return row | {"n_labels_identifiable": identifiable} | _tested(links, study, chosen)


def summarise_always_on(study: Study) -> dict[str, Any]:
    """Return the row of one feature that is active at every known token.

    Its precision is the prevalence p and its instance recall 1, so its hybrid F1 is 2p / (1 + p).
    What it gets is what a count of F1 above 0.5 gives away. It beats itself nowhere, so
    ``n_labels_f1`` is 0, and it was not tested.
    """
    nuisance = _nuisance(study)
    scores = np.array([always_on_f1(study.selection, half) for half in HALVES])
    strong = (scores > STRONG_F1).all(axis=0)
    best = scores[1, _measured(study)]
    n_strong = int((strong & ~nuisance).sum())
    return {
        "source": ALWAYS_ON,
        "n_features": 1,
        "n_labels": int((~nuisance).sum()),
        "n_labels_f1": 0,
        "n_features_f1": 0,
        "n_labels_f1_any": n_strong,
        "n_features_f1_any": min(n_strong, 1),
        "mean_best_hybrid_f1": float(best.mean()) if len(best) else np.nan,
        "n_nuisance_f1": 0,
    }


def build_summary(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table; counts that a row does not have are missing."""
    table = pd.DataFrame(list(rows))
    counts = [name for name in table.columns if str(name).startswith("n_")]
    return table.astype(dict.fromkeys(counts, "Int64"))


def always_on_f1(selection: Selection, split: Split) -> NDArray[np.float64]:
    """Return the hybrid F1 of a feature active at every known token, per label ``(n_labels,)``."""
    positive = selection.n_positive[split].astype(np.float64)
    total = positive + selection.n_known[split][selection.group]
    return np.divide(2 * positive, total, out=np.zeros(len(total)), where=total > 0)


def _strong(selection: Selection, label: int) -> _Strong:
    scores = [selection.confusion(0, half, slice(None), label).hybrid_f1 for half in HALVES]
    floors = [always_on_f1(selection, half)[label] for half in HALVES]
    above = [(score > STRONG_F1) for score in scores]
    beats = [score > floor for score, floor in zip(scores, floors, strict=True)]
    both = above[0] & above[1]
    chosen = int(scores[0].argmax())
    return _Strong(both, both & beats[0] & beats[1], chosen, float(scores[1][chosen]))


def _nuisance(study: Study) -> NDArray[np.bool_]:
    return np.array([label.nuisance for label in study.known.labels], bool)


def _measured(study: Study) -> NDArray[np.int64]:
    """Return the labels that are no nuisance and occur in both halves."""
    occurs = np.min([study.selection.n_instances[half] for half in HALVES], axis=0) > 0
    return np.flatnonzero(occurs & ~_nuisance(study)).astype(np.int64)


def _n_features(found: Sequence[NDArray[np.bool_]]) -> int:
    return int(np.any(found, axis=0).sum()) if found else 0


def _tested(links: Links, study: Study, chosen: set[tuple[int, int]]) -> dict[str, int]:
    table: pd.DataFrame = links.table[~_nuisance(study)[links.table["label"].to_numpy(np.int64)]]
    whole = study.by_family[table["label"].to_numpy(np.int64)]
    site, record = table[table["class"] == "site"], table["class"] == "record"
    of_site = set(site["label"])
    regional = set(table.loc[table["class"] == "regional", "label"]) - of_site
    strongest = pd.concat([site, table[record & whole]])
    pairs = set(zip(strongest["feature"].tolist(), strongest["label"].tolist(), strict=True))
    return {
        "n_labels_both": len(pairs & chosen),
        "n_labels_site": int(site["label"].nunique()),
        "n_labels_regional": len(regional),
        "n_labels_record": len(set(table.loc[record, "label"]) - of_site - regional),
        "n_features_site": int(site["feature"].nunique()),
        "n_pairs_site": len(site),
        "n_candidates": links.n_candidates,
        "n_tested": links.n_tested,
        "n_not_identifiable": sum(links.not_identifiable.values()),
    }
