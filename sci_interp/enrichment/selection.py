"""Thresholds: for every feature-label pair, the bin with the best hybrid F1 on the selecting half.

Counts at all thresholds exist for one block of labels at a time; what is kept per pair is the
chosen bin and the counts at it in every split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import BIN_FLOORS, LEVELS_PER_OCTAVE, MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .count_plan import COUNTED, CountPlan
from .count_shards import SourceCounts
from .counts import Counts, at_or_above
from .inputs import KnownSource
from .kernel import compiled, default_threads, run_ranges
from .measures import Confusion
from .tracks import count_event_families

__all__ = [
    "COUNTED",
    "DIRECTIONS",
    "Direction",
    "Selection",
    "choose_thresholds",
    "select_thresholds",
    "share_of_scale",
]

Ints = NDArray[np.int64]
Narrow = NDArray[np.signedinteger]

#: Bytes that the counts of one block of labels may take.
COUNT_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Direction:
    """One direction of the cross-fit: thresholds and screen on one half, test on the other."""

    number: int
    selecting: Split
    testing: Split

    @property
    def name(self) -> str:
        """``"discovery to test"`` or the reverse."""
        return f"{self.selecting} to {self.testing}"


DIRECTIONS = (Direction(0, "discovery", "test"), Direction(1, "test", "discovery"))


@dataclass(frozen=True, eq=False)
class Selection:
    """Chosen bins and the counts at them.

    Attributes
    ----------
    floors : tuple of int
        Lowest level of each bin.
    group : (n_labels,) int64
        Group of every label.
    bin : mapping of direction number to (n_labels, n_features) uint8
        The chosen bin.
    true_positive, hit : mapping of (direction number, split) to (n_labels, n_features) int64
        Tokens with both, instances hit, at the chosen bin.
    active : mapping of split to (n_groups, n_features, n_bins) int64
        Known tokens at or above every bin.
    entries : mapping of split to (n_groups, n_features, n_bins) int64
        The same without weights, over all tokens that the tests move.
    n_positive, n_instances : mapping of split to (n_labels,) int64
        Known positive tokens, instances.
    n_known : mapping of split to (n_groups,) int64
        Known tokens.
    n_families : mapping of split to (n_labels,) int64
        Families in which a label has a known token.
    unit : int
        Weight of the heaviest token. Tokens above are sums of weights; :meth:`confusion` divides
        by it.
    """

    floors: tuple[int, ...]
    group: Ints
    bin: Mapping[int, NDArray[np.uint8]]
    true_positive: Mapping[tuple[int, Split], Ints]
    hit: Mapping[tuple[int, Split], Ints]
    active: Mapping[Split, Ints]
    entries: Mapping[Split, Ints]
    n_positive: Mapping[Split, Ints]
    n_instances: Mapping[Split, Ints]
    n_known: Mapping[Split, Ints]
    n_families: Mapping[Split, Ints]
    unit: int = 1

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return len(self.group)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.bin[0].shape[1])

    def confusion(
        self, direction: int, split: Split, feature: Ints | slice, label: Ints | int
    ) -> Confusion:
        """Return the counts of pairs at their chosen bins in a split.

        Parameters
        ----------
        direction
            Whose thresholds.
        split
            Where to count.
        feature, label
            The pairs; a slice of features goes with a single label.
        """
        group = self.group[label]
        level = self.bin[direction][label, feature]
        features = np.arange(self.n_features)[feature]
        return Confusion(
            true_positive=self.true_positive[direction, split][label, feature] / self.unit,
            active=self.active[split][group, features, level] / self.unit,
            positive=np.asarray(self.n_positive[split][label] / self.unit),
            known=np.asarray(self.n_known[split][group] / self.unit),
            hit=self.hit[direction, split][label, feature].astype(np.float64),
            instances=np.asarray(self.n_instances[split][label], np.float64),
        )


def share_of_scale(floors: Sequence[int], bins: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the thresholds that bins stand for, as shares of a feature's scale; 0 is any."""
    level = np.asarray(floors)[bins]
    return np.where(level <= 1, 0.0, np.exp2((level - MAX_LEVEL) / LEVELS_PER_OCTAVE))


def select_thresholds(
    features: FeatureSource,
    known: KnownSource,
    *,
    floors: Sequence[int] = BIN_FLOORS,
    n_threads: int | None = None,
    count_bytes: int = COUNT_BYTES,
) -> Selection:
    """Count every split and choose the thresholds of both directions.

    Parameters
    ----------
    features, known
        Codes and annotations on the same axis.
    floors
        Lowest level of each bin, ascending from 1.
    n_threads
        Number of threads; the result does not depend on it.
    count_bytes
        Memory for counts; fewer bytes mean more passes over the codes, and the same result.
    """
    plan = CountPlan.of(features, known, floors=floors, count_bytes=count_bytes)
    n_threads = n_threads or default_threads()
    return choose_thresholds(SourceCounts(features, known, plan, n_threads=n_threads))


def choose_thresholds(counted: SourceCounts) -> Selection:
    """Choose the thresholds of both directions; counts of one block of labels are held at once.

    Parameters
    ----------
    counted
        The counts of a source, which parts may hold already.
    """
    selection = _empty(counted)
    for block in range(len(counted.plan.blocks)):
        counts = {split: counted.count(block, split) for split in COUNTED}
        if block == 0:
            _take_active(selection, counts)
        _take_block(selection, counts, counted.n_threads)
        del counts  # before those of the next block are made
    return selection


def _empty(counted: SourceCounts) -> Selection:
    """Return a selection whose numbers are to be filled in."""
    features, known, floors = counted.features, counted.known, counted.plan.floors
    unit = max(features.axis.step_weights)
    small = np.int32 if features.axis.n_tokens * unit < 2**31 else np.int64
    n_labels = len(known.labels)
    shape = (n_labels, features.n_features)
    by_group = (len(known.groups), features.n_features, len(floors))
    return Selection(
        floors,
        np.asarray(known.group_of_label, np.int64),
        bin={way.number: np.zeros(shape, np.uint8) for way in DIRECTIONS},
        true_positive={(w.number, s): np.zeros(shape, small) for w in DIRECTIONS for s in COUNTED},
        hit={(w.number, s): np.zeros(shape, small) for w in DIRECTIONS for s in COUNTED},
        active={split: np.zeros(by_group, np.int64) for split in COUNTED},
        entries={split: np.zeros(by_group, np.int64) for split in COUNTED},
        n_positive={split: np.zeros(n_labels, np.int64) for split in COUNTED},
        n_instances={split: np.zeros(n_labels, np.int64) for split in COUNTED},
        n_known={split: np.zeros(len(known.groups), np.int64) for split in COUNTED},
        n_families={split: count_event_families(features.axis, known, split) for split in COUNTED},
        unit=unit,
    )


def _take_active(selection: Selection, counts: Mapping[Split, Counts]) -> None:
    for split, count in counts.items():
        selection.active[split][:] = at_or_above(count.active)
        selection.entries[split][:] = at_or_above(count.entries)
        selection.n_known[split][:] = count.n_known


def _take_block(selection: Selection, counts: Mapping[Split, Counts], n_threads: int) -> None:
    """Choose the bins of a block of labels, and keep the counts at them."""
    for split, count in counts.items():
        selection.n_positive[split][count.labels] = count.n_positive
        selection.n_instances[split][count.labels] = count.n_instances
    labels = counts["discovery"].labels
    rows = slice(int(labels[0]), int(labels[-1]) + 1)
    for way in DIRECTIONS:
        chosen = selection.bin[way.number][rows]
        choose = partial(_choose_range, selection, counts[way.selecting], way.selecting, chosen)
        run_ranges(choose, len(labels), size=1, n_threads=n_threads)
        for split in COUNTED:
            found = (selection.true_positive[way.number, split], selection.hit[way.number, split])
            _take_above(counts[split].tokens, chosen, found[0][rows])
            _take_above(counts[split].instances, chosen, found[1][rows])


def _choose_range(
    selection: Selection,
    count: Counts,
    split: Split,
    chosen: NDArray[np.uint8],
    first: int,
    last: int,
) -> None:
    part = slice(first, last)
    of_pairs = (count.tokens[part], count.instances[part])
    totals = (count.n_instances[part], float(selection.unit))
    _choose_bins(*of_pairs, selection.active[split], count.group[part], *totals, chosen[part])


@compiled
def _choose_bins(
    tokens: Narrow,
    instances: Narrow,
    active: Ints,
    group: Ints,
    n_instances: Ints,
    unit: float,
    chosen: NDArray[np.uint8],
) -> None:
    """Write the bin with the best hybrid F1 of every pair, the higher one of equals.

    The arithmetic is that of :class:`~sci_interp.enrichment.measures.Confusion`.
    """
    n_labels, n_features, n_bins = tokens.shape
    for label in range(n_labels):
        for feature in range(n_features):
            positive, hit, best = 0, 0, -1.0
            for at in range(n_bins - 1, -1, -1):
                positive += tokens[label, feature, at]
                hit += instances[label, feature, at]
                fired = active[group[label], feature, at] / unit
                precision = (positive / unit) / fired if fired else 0.0
                recall = hit / n_instances[label] if n_instances[label] else 0.0
                both = precision + recall
                score = 2 * precision * recall / both if both else 0.0
                if score > best:
                    best = score
                    chosen[label, feature] = at


@compiled
def _take_above(histogram: Narrow, chosen: NDArray[np.uint8], found: Narrow) -> None:
    """Write the counts at or above the chosen bins."""
    for label in range(histogram.shape[0]):
        for feature in range(histogram.shape[1]):
            total = 0
            for at in range(chosen[label, feature], histogram.shape[2]):
                total += histogram[label, feature, at]
            found[label, feature] = total
