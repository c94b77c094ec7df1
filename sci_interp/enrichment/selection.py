"""Thresholds: for every feature-label pair, the bin with the best hybrid F1 on the selecting half.

Counts at all thresholds exist for one block of labels at a time; what is kept per pair is the
chosen bin and the counts at it in every split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import BIN_FLOORS, LEVELS_PER_OCTAVE, MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .counts import Counts, at_or_above, count_split
from .inputs import KnownSource
from .measures import Confusion
from .tracks import count_event_families

__all__ = ["DIRECTIONS", "Direction", "Selection", "select_thresholds", "share_of_scale"]

Ints = NDArray[np.int64]

#: Splits that are counted.
COUNTED: tuple[Split, ...] = ("discovery", "test", "vault")
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
    n_labels, n_features = len(known.labels), features.n_features
    unit = max(features.axis.step_weights)
    small = np.int32 if features.axis.n_tokens * unit < 2**31 else np.int64
    group = np.asarray(known.group_of_label, np.int64)
    shape = (n_labels, n_features)
    by_group = (len(known.groups), n_features, len(floors))
    selection = Selection(
        tuple(floors),
        group,
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
    bytes_per_label = 16 * n_features * len(floors) * len(COUNTED)
    block = max(1, count_bytes // bytes_per_label)
    for first in range(0, n_labels, block):
        labels = np.arange(first, min(first + block, n_labels))
        counts = {
            split: count_split(
                features, known, split, labels=labels, floors=floors, n_threads=n_threads
            )
            for split in COUNTED
        }
        _take_block(selection, counts)
        del counts  # before those of the next block are made
    return selection


def _take_block(selection: Selection, counts: Mapping[Split, Counts]) -> None:
    for split, count in counts.items():
        selection.active[split][:] = at_or_above(count.active)
        selection.entries[split][:] = at_or_above(count.entries)
        selection.n_known[split][:] = count.n_known
        selection.n_positive[split][count.labels] = count.n_positive
        selection.n_instances[split][count.labels] = count.n_instances
    labels = counts["discovery"].labels
    everything = np.arange(selection.n_features)
    for at, label in enumerate(labels):
        above = {
            split: (at_or_above(count.tokens[at]), at_or_above(count.instances[at]))
            for split, count in counts.items()
        }
        for way in DIRECTIONS:
            chosen = _best_bin(counts[way.selecting], above[way.selecting], selection, way, at)
            selection.bin[way.number][label] = chosen
            for split, (tokens, hits) in above.items():
                selection.true_positive[way.number, split][label] = tokens[everything, chosen]
                selection.hit[way.number, split][label] = hits[everything, chosen]


def _best_bin(
    count: Counts, above: tuple[Ints, Ints], selection: Selection, way: Direction, at: int
) -> NDArray[np.uint8]:
    """Return the bin with the best hybrid F1 of every feature, the higher one of equals."""
    table = Confusion(
        true_positive=above[0] / selection.unit,
        active=selection.active[way.selecting][count.group[at]] / selection.unit,
        positive=np.asarray(count.n_positive[at] / selection.unit),
        known=np.asarray(count.n_known[count.group[at]] / selection.unit),
        hit=above[1].astype(np.float64),
        instances=np.asarray(count.n_instances[at], np.float64),
    )
    score = table.hybrid_f1
    best: NDArray[np.uint8] = (score.shape[1] - 1 - np.argmax(score[:, ::-1], axis=1)).astype(
        np.uint8
    )
    return best
