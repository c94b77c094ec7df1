"""Detectors: the site-level links that are precise enough to look for missing annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sci_interp.annotations import AnnotationStore
from sci_interp.schema import LEVELS_PER_OCTAVE, MAX_LEVEL

from .runs import Detector

if TYPE_CHECKING:
    from sci_interp.enrichment import EnrichmentResult

__all__ = ["choose_detectors"]


def choose_detectors(
    table: EnrichmentResult,
    known: AnnotationStore,
    *,
    min_precision: float = 0.5,
    n_per_label: int = 3,
) -> list[Detector]:
    """Choose the detectors of every label that is no nuisance.

    Parameters
    ----------
    table
        The enrichment.
    known
        The annotations that it was made with.
    min_precision
        Precision on the test half that a link needs: a firing outside its label is then the
        exception, and an unannotated record in which it fires is worth a look.
    n_per_label
        Links for each label, those with the highest hybrid F1.

    Returns
    -------
    list of Detector
        By label, best first.
    """
    place = {label.name: index for index, label in enumerate(known.labels)}
    finding = {label.name for label in known.labels if not label.nuisance}
    links = table.links
    good = (links["class"] == "site") & (links["precision"] >= min_precision)
    links = links[good & links["label"].isin(finding)]
    links = links.assign(place=links["label"].map(place))
    links = links.sort_values(["place", "hybrid_f1", "feature"], ascending=[True, False, True])
    links = links.groupby("place", sort=False).head(n_per_label)
    columns = links[["feature", "place", "threshold", "precision"]].itertuples(index=False)
    return [
        Detector(int(feature), int(label), level_of(float(share)), float(precision))
        for feature, label, share, precision in columns
    ]


def level_of(share: float) -> int:
    """Return the level of a threshold that is given as a share of the scale; 0 is any activity."""
    if share <= 0:
        return 1
    level = np.rint(LEVELS_PER_OCTAVE * np.log2(share)) + MAX_LEVEL
    return int(np.clip(level, 1, MAX_LEVEL))
