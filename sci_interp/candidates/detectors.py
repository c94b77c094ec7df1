"""Detectors: the site-level links that are precise enough to look for missing annotations.

They are chosen on the discovery half alone: threshold, precision and rank. Test blocks only told
whether the link is significant; vault blocks told nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sci_interp.enrichment.counts import Counts, at_or_above, count_split
from sci_interp.enrichment.measures import Confusion
from sci_interp.schema import BIN_FLOORS
from sci_interp.source import FeatureSource

from .runs import Detector

if TYPE_CHECKING:
    from sci_interp.enrichment import EnrichmentResult
    from sci_interp.enrichment.inputs import KnownSource

__all__ = ["choose_detectors", "select_detectors"]

#: Bytes of the counts that are held at once.
_COUNT_BYTES = 128 * 2**20
#: Instances that a threshold must hit: the precision of one lucky token is 1.
_MIN_HIT = 5


def choose_detectors(
    table: EnrichmentResult,
    features: FeatureSource,
    known: KnownSource,
    *,
    min_precision: float = 0.5,
    n_per_label: int = 3,
) -> list[Detector]:
    """Choose the detectors of every label that is no nuisance, among its site-level links.

    Parameters
    ----------
    table
        The enrichment. Of its links, those whose threshold discovery chose and test tested.
    features, known
        The codes and annotations that it was made with.
    min_precision, n_per_label
        As for :func:`select_detectors`.

    Returns
    -------
    list of Detector
        By label, best first.
    """
    links = table.links
    good = (links["class"] == "site") & (links["direction"] == "discovery to test")
    of_label = links[good].groupby("label")["feature"]
    linked = {str(name): np.sort(group.to_numpy(np.int64)) for name, group in of_label}
    allowed: dict[int, NDArray[np.int64] | None] = {
        index: linked[label.name]
        for index, label in enumerate(known.labels)
        if label.name in linked and not label.nuisance
    }
    return select_detectors(
        features, known, allowed, min_precision=min_precision, n_per_label=n_per_label
    )


def select_detectors(
    features: FeatureSource,
    known: KnownSource,
    allowed: Mapping[int, NDArray[np.int64] | None],
    *,
    min_precision: float = 0.5,
    n_per_label: int = 3,
) -> list[Detector]:
    """Select features and thresholds by their hybrid F1 on the discovery half, without a test.

    Of a feature's thresholds, those are compared that are precise enough, and hit enough instances
    to tell; a feature that has none is no detector.

    Parameters
    ----------
    features, known
        Codes and annotations on one axis.
    allowed
        Features to select from, for every label sought; None for all.
    min_precision
        Precision on discovery tokens that a detector needs: a firing outside its label is then
        the exception, and an unannotated record in which it fires is worth a look.
    n_per_label
        Detectors of a label, those with the highest hybrid F1.
    """
    labels = np.array(sorted(allowed), np.int64)
    size = max(1, _COUNT_BYTES // (16 * features.n_features * len(BIN_FLOORS)))
    found = []
    for first in range(0, len(labels), size):
        counts = count_split(features, known, "discovery", labels=labels[first : first + size])
        active = at_or_above(counts.active)
        for at, label in enumerate(counts.labels.tolist()):
            level, precision, score = _at_best_threshold(counts, active, at, min_precision)
            chosen = allowed[label]
            chosen = np.arange(features.n_features) if chosen is None else chosen
            chosen = chosen[score[chosen] > 0]
            best = chosen[np.argsort(-score[chosen], kind="stable")][:n_per_label]
            found += [Detector(int(x), label, int(level[x]), float(precision[x])) for x in best]
    return found


def _at_best_threshold(
    counts: Counts, active: NDArray[np.int64], at: int, min_precision: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return level, precision and hybrid F1 of each feature where the latter is best.

    Thresholds below the precision asked, or with too few instances hit, have a hybrid F1 of 0. Of
    equal thresholds the highest counts, as in the enrichment.
    """
    group = counts.group[at]
    table = Confusion(
        true_positive=at_or_above(counts.tokens[at]).astype(np.float64),
        active=active[group].astype(np.float64),
        positive=np.asarray(counts.n_positive[at], np.float64),
        known=np.asarray(counts.n_known[group], np.float64),
        hit=at_or_above(counts.instances[at]).astype(np.float64),
        instances=np.asarray(counts.n_instances[at], np.float64),
    )
    fit = (table.precision >= min_precision) & (table.hit >= _MIN_HIT)
    score = np.where(fit, table.hybrid_f1, 0.0)
    best = score.shape[1] - 1 - np.argmax(score[:, ::-1], axis=1)
    every = np.arange(len(best))
    return np.array(BIN_FLOORS)[best], table.precision[every, best], score[every, best]
