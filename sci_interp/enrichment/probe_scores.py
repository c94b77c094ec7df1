"""How well probes tell their labels' tokens, counted exactly in one pass over a split.

A probe's score of a token is a sum of whole points, one per active feature of the probe: weight
times activation, rounded so that all its scores lie in ``SCORE_LEVELS`` levels. Scores are then
integers, and the counts of tokens at every level are additive and exact whatever the slices and
threads; ranking measures and every threshold follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.codes import Codes
from sci_interp.schema import MAX_LEVEL, Split

from .counts import at_or_above, order_runs
from .inputs import RunSlice
from .kernel import compiled, run_ranges
from .probe_fit import Probe
from .probe_sums import LEVEL_VALUES, ProbeUniverse

__all__ = ["SCORE_LEVELS", "ProbeCounts", "Scorecard", "count_scores", "freeze_thresholds"]

Ints = NDArray[np.int64]

#: Levels of a score, from the least to the largest that a probe can give.
SCORE_LEVELS = 2**14


@dataclass(frozen=True, eq=False)
class Scorecard:
    """A probe whose scores are levels ``0 <= score < SCORE_LEVELS``.

    Attributes
    ----------
    probe : Probe
        What it rounds.
    silent : int
        Score of a token at which no feature of the probe is active.
    points : (n_chosen, 256) int64
        What an active feature adds to it, by its level.
    unit : float
        What one point is worth in the probe's weights.
    """

    probe: Probe
    silent: int
    points: Ints
    unit: float

    @classmethod
    def of(cls, probe: Probe) -> Scorecard:
        """Round a probe's weighted activations."""
        size = float(np.abs(probe.weights).sum())
        # Every feature may round up by half a point.
        unit = (size or 1.0) / (SCORE_LEVELS - 1 - len(probe.weights))
        points = np.rint(probe.weights[:, None] * LEVEL_VALUES / unit).astype(np.int64)
        silent = -int(np.minimum(points[:, MAX_LEVEL], 0).sum())
        return cls(probe, silent, points, unit)

    def value(self, score: int) -> float:
        """Return the weighted sum of activations that a score stands for."""
        return (score - self.silent) * self.unit


@dataclass(frozen=True, eq=False)
class ProbeCounts:
    """Counts of some probes in one split.

    Attributes
    ----------
    positive, known : (n_probes, SCORE_LEVELS) int64
        Known tokens with the probe's label, and all known tokens, at every score.
    hit, instances : (n_probes,) int64
        Instances with a known token at or above the threshold, and all with a known token.
    """

    positive: Ints
    known: Ints
    hit: Ints
    instances: Ints


def count_scores(
    universe: ProbeUniverse, cards: Sequence[Scorecard], thresholds: Ints, split: Split
) -> ProbeCounts:
    """Count the scores of probes in one split, in one pass.

    Parameters
    ----------
    universe
        Codes, annotations and label group.
    cards
        The probes. Memory is ``16 * n_probes * SCORE_LEVELS`` bytes.
    thresholds : (n_probes,) int64
        Scores from which an instance counts as hit.
    split
        The split.
    """
    shape = (len(cards), SCORE_LEVELS)
    counts = ProbeCounts(
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(len(cards), np.int64),
        np.zeros(len(cards), np.int64),
    )
    used = np.unique(np.concatenate([card.probe.features for card in cards]))
    labels = np.array([card.probe.label for card in cards], np.int64)
    place = np.full(universe.features.n_features, -1, np.int64)
    place[used] = np.arange(len(used))
    for start, codes, runs, known in universe.slices(split):
        columns = _by_feature(codes, place, len(used))
        walks = _walks(runs, labels, start)
        work = _SliceWork(counts, cards, thresholds, place, columns, walks, known)
        run_ranges(work.count_probes, len(cards), size=1, n_threads=universe.n_threads)
    return counts


def freeze_thresholds(counts: ProbeCounts) -> Ints:
    """Return the score with the best F1 of tokens of every probe, the highest of equals."""
    best = np.zeros(len(counts.known), np.int64)
    for at, (positive, known) in enumerate(zip(counts.positive, counts.known, strict=True)):
        below = at_or_above(known) + positive.sum()
        f1 = 2 * at_or_above(positive) / np.maximum(below, 1)
        best[at] = SCORE_LEVELS - 1 - np.argmax(f1[::-1])
    return best


class _Columns(NamedTuple):
    """Codes of a slice by feature: first entry of each, and token and level of every entry."""

    first: Ints
    token: NDArray[np.int32]
    level: NDArray[np.uint8]


class _SliceWork(NamedTuple):
    """One slice and what it is counted into."""

    counts: ProbeCounts
    cards: Sequence[Scorecard]
    thresholds: Ints
    place: Ints
    columns: _Columns
    walks: Sequence[tuple[Ints, Ints, Ints]]
    known: NDArray[np.bool_]

    def count_probes(self, low: int, high: int) -> None:
        """Add a range of the probes."""
        counts = self.counts
        for at in range(low, high):
            card = self.cards[at]
            score = np.full(len(self.known), card.silent, np.int64)
            _add_points(*self.columns, self.place[card.probe.features], card.points, score)
            walk = (*self.walks[at], int(self.thresholds[at]))
            n_hit, n_instances = _count_tokens(
                score, self.known, *walk, counts.positive[at], counts.known[at]
            )
            counts.hit[at] += n_hit
            counts.instances[at] += n_instances


def _by_feature(codes: Codes, place: Ints, n_used: int) -> _Columns:
    at = place[codes.feature]
    kept = np.flatnonzero(at >= 0)
    first = np.append(0, np.cumsum(np.bincount(at[kept], minlength=n_used))).astype(np.int64)
    token = np.empty(len(kept), np.int32)
    level = np.empty(len(kept), np.uint8)
    _transpose(codes.indptr, at, np.asarray(codes.value, np.uint8), first[:-1].copy(), token, level)
    return _Columns(first, token, level)


def _walks(runs: RunSlice, labels: Ints, start: int) -> list[tuple[Ints, Ints, Ints]]:
    """Return first and last tokens and instances of each probe's label, by instance."""
    distinct, which = np.unique(labels, return_inverse=True)
    order, bounds = order_runs(runs, distinct)
    first = np.asarray(runs.start, np.int64)[order] - start
    last = np.asarray(runs.stop, np.int64)[order] - start
    instance = np.asarray(runs.instance, np.int64)[order]
    parts = [slice(bounds[at], bounds[at + 1]) for at in which]
    return [(first[part], last[part], instance[part]) for part in parts]


@compiled
def _transpose(
    indptr: Ints,
    place: Ints,
    level: NDArray[np.uint8],
    cursor: Ints,
    token: NDArray[np.int32],
    kept: NDArray[np.uint8],
) -> None:
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            at = place[entry]
            if at >= 0:
                token[cursor[at]] = row
                kept[cursor[at]] = level[entry]
                cursor[at] += 1


@compiled
def _add_points(
    first: Ints,
    token: NDArray[np.int32],
    level: NDArray[np.uint8],
    columns: Ints,
    points: Ints,
    score: Ints,
) -> None:
    for at in range(len(columns)):
        for entry in range(first[columns[at]], first[columns[at] + 1]):
            score[token[entry]] += points[at, level[entry]]


@compiled
def _count_tokens(
    score: Ints,
    known: NDArray[np.bool_],
    first: Ints,
    last: Ints,
    instance: Ints,
    threshold: int,
    positive: Ints,
    every: Ints,
) -> tuple[int, int]:
    """Count one probe's scores; return instances hit and instances with a known token."""
    for token in range(len(score)):
        if known[token]:
            every[score[token]] += 1
    seen = np.zeros(len(score), np.bool_)
    n_hit = n_instances = 0
    is_hit = is_known = False
    for run in range(len(first)):
        for token in range(first[run], last[run]):
            if not known[token]:
                continue
            is_known = True
            is_hit = is_hit or score[token] >= threshold
            if not seen[token]:
                seen[token] = True
                positive[score[token]] += 1
        if run + 1 == len(first) or instance[run + 1] != instance[run]:
            n_hit += is_hit
            n_instances += is_known
            is_hit = is_known = False
    return n_hit, n_instances
