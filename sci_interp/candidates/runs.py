"""Firing runs: where a feature stays active inside one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.source import FeatureSource

from .stretches import Stretch, entries

__all__ = ["MAX_GAP", "Detector", "Runs", "find_runs"]

#: Inactive tokens that do not end a run.
MAX_GAP = 2
#: Scores are whole numbers: strongest level, then the mass of the run on this many steps.
MASS_STEPS = 16


@dataclass(frozen=True)
class Detector:
    """A feature with the level from which on it speaks for a label.

    Attributes
    ----------
    feature : int
        The feature.
    label : int
        Index of the label in the annotation store.
    level : int
        Lowest level that counts as active.
    precision : float
        Precision of the link on the test half.
    """

    feature: int
    label: int
    level: int
    precision: float = float("nan")


@dataclass(frozen=True, eq=False)
class Runs:
    """Firing runs of detectors.

    Attributes
    ----------
    detector, record, start, stop : (n_runs,) int64
        Whose run, in which record, and its half-open token range.
    score : (n_runs,) int64
        ``level * 16 + mass``: strongest level, ties broken by the sum of the run's levels.
    """

    detector: NDArray[np.int64]
    record: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    score: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Runs:
        """Return some of the runs."""
        return Runs(
            self.detector[rows],
            self.record[rows],
            self.start[rows],
            self.stop[rows],
            self.score[rows],
        )

    @staticmethod
    def concatenate(parts: Sequence[Runs]) -> Runs:
        """Join runs; of nothing, return no run."""
        names = ("detector", "record", "start", "stop", "score")
        empty = np.zeros(0, np.int64)
        return Runs(
            *(np.concatenate([empty, *(getattr(x, name) for x in parts)]) for name in names)
        )


def find_runs(features: FeatureSource, detectors: Sequence[Detector], stretch: Stretch) -> Runs:
    """Return the firing runs of all detectors in a stretch, by detector, then start.

    Tokens at most ``MAX_GAP`` inactive tokens apart belong to one run; none crosses a record.

    Parameters
    ----------
    features
        Quantised codes.
    detectors
        Features and levels.
    stretch
        Where to look.
    """
    token, feature, level = entries(features.read(stretch.start, stretch.stop))
    owner, token, level = _fire(feature, token, level.astype(np.int64), detectors)
    record = stretch.record[token]
    same = (np.diff(owner, prepend=-1) == 0) & (np.diff(record, prepend=-1) == 0)
    same[1:] &= np.diff(token) <= MAX_GAP + 1
    first = np.flatnonzero(~same)
    if len(first) == 0:
        return Runs.concatenate([])
    last = np.append(first[1:], len(token)) - 1
    strongest = np.maximum.reduceat(level, first)
    mass = np.add.reduceat(level / 255.0, first)
    step = np.minimum(MASS_STEPS - 1, 2 * np.log2(1 + mass)).astype(np.int64)
    return Runs(
        owner[first],
        record[first],
        token[first] + stretch.start,
        token[last] + 1 + stretch.start,
        strongest * MASS_STEPS + step,
    )


def _fire(
    feature: NDArray[np.int64],
    token: NDArray[np.int64],
    level: NDArray[np.int64],
    detectors: Sequence[Detector],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return detector, token and level of all firing, by detector, then token."""
    wanted = np.array([detector.feature for detector in detectors], np.int64)
    used = np.unique(wanted)
    kept = np.isin(feature, used)
    feature, token, level = feature[kept], token[kept], level[kept]
    order = np.argsort(feature, kind="stable")
    feature, token, level = feature[order], token[order], level[order]
    low, high = np.searchsorted(feature, wanted), np.searchsorted(feature, wanted, "right")
    parts = []
    for index, (detector, begin, end) in enumerate(zip(detectors, low, high, strict=True)):
        fires = begin + np.flatnonzero(level[begin:end] >= detector.level)
        parts.append(np.stack([np.full(len(fires), index), token[fires], level[fires]]))
    owner, token, level = np.concatenate([np.zeros((3, 0), np.int64), *parts], axis=1)
    return owner, token, level
