"""Exact counts of feature activity inside labels at every threshold, additive over slices.

Codes are compressed rows of (feature, bin); annotations are runs sorted by label. For every label
alone, its runs are walked: each positive token adds to a histogram (feature, bin), each instance
adds its largest bin per feature. Reverse cumulative sums over bins then answer "at or above" for
every threshold, and false positives follow from the marginals.

The histograms of many labels are larger than any cache. So slices are long, and a label's counts in
a slice are made in one histogram that all labels of a thread share, and then added to the label's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.allocator import release_free_memory
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.schema import BIN_FLOORS, Split
from sci_interp.source import FeatureSource

from .count_kernels import Activity, Spans, add_active, add_labels
from .inputs import (
    SLICE_TOKENS,
    KnownSource,
    RunSlice,
    bin_of_level,
    known_mask,
    read_ahead,
    slice_records,
)
from .kernel import compiled, default_threads, run_ranges

__all__ = ["Counts", "at_or_above", "count_records", "count_split"]

Ints = NDArray[np.int64]
Narrow = NDArray[np.signedinteger]

#: Activity entries, and tokens, that are counted at once.
COUNT_ENTRIES = 2**23
COUNT_TOKENS = 2**18
#: Pieces of the labels for every thread: labels differ in size.
PIECES = 8


@dataclass(frozen=True, eq=False)
class Counts:
    """Additive counts of a range of labels; bins are exact, not cumulated.

    Tokens count with their integer weights, so that every sum is exact; instances count 1 each.

    Attributes
    ----------
    labels : (n_labels,) int64
        The labels that were counted, ascending.
    group : (n_labels,) int64
        Group of each of them.
    tokens : (n_labels, n_features, n_bins) int32 or int64
        Known positive tokens at which a feature's activity falls into a bin.
    instances : (n_labels, n_features, n_bins) int32 or int64
        Instances inside which a feature's largest activity falls into a bin.
    active : (n_groups, n_features, n_bins) int64
        Known tokens, positive or not, at which a feature's activity falls into a bin.
    entries : (n_groups, n_features, n_bins) int64
        The same without weights, over all tokens that the tests move: those of records of steps
        with a known token, else the known tokens.
    n_positive : (n_labels,) int64
        Known tokens in the union of a label's runs.
    n_instances : (n_labels,) int64
        Instances with a known token.
    n_known : (n_groups,) int64
        Known tokens.
    """

    labels: Ints
    group: Ints
    tokens: Narrow
    instances: Narrow
    active: Ints
    entries: Ints
    n_positive: Ints
    n_instances: Ints
    n_known: Ints

    @classmethod
    def zero(
        cls,
        labels: Ints,
        group: Ints,
        *,
        n_groups: int,
        n_features: int,
        n_bins: int,
        narrow: bool = False,
    ) -> Counts:
        """Return the neutral element of ``+``; ``narrow`` where no sum reaches 2**31."""
        dtype = np.int32 if narrow else np.int64
        shape = (len(labels), n_features, n_bins)
        return cls(
            labels=labels,
            group=group,
            tokens=np.zeros(shape, dtype),
            instances=np.zeros(shape, dtype),
            active=np.zeros((n_groups, *shape[1:]), np.int64),
            entries=np.zeros((n_groups, *shape[1:]), np.int64),
            n_positive=np.zeros(len(labels), np.int64),
            n_instances=np.zeros(len(labels), np.int64),
            n_known=np.zeros(n_groups, np.int64),
        )

    @classmethod
    def of(
        cls,
        features: FeatureSource,
        known: KnownSource,
        *,
        labels: Ints | None = None,
        floors: Sequence[int] = BIN_FLOORS,
    ) -> Counts:
        """Return no counts yet of labels of a source; parameters are :func:`count_split`'s."""
        if labels is None:
            labels = np.arange(len(known.labels), dtype=np.int64)
        return cls.zero(
            labels,
            np.asarray(known.group_of_label, np.int64)[labels],
            n_groups=len(known.groups),
            n_features=features.n_features,
            n_bins=len(floors),
            narrow=features.axis.n_tokens * max(features.axis.step_weights) < 2**31,
        )

    def __add__(self, other: Counts) -> Counts:
        assert np.array_equal(self.labels, other.labels), "counts of different labels"
        return Counts(
            labels=self.labels,
            group=self.group,
            tokens=self.tokens + other.tokens,
            instances=self.instances + other.instances,
            active=self.active + other.active,
            entries=self.entries + other.entries,
            n_positive=self.n_positive + other.n_positive,
            n_instances=self.n_instances + other.n_instances,
            n_known=self.n_known + other.n_known,
        )

    def add_slice(
        self,
        codes: Codes,
        bin_of: NDArray[np.uint8],
        *,
        runs: RunSlice,
        axis: TokenAxis,
        start: int,
        n_threads: int = 1,
        active: bool = True,
    ) -> None:
        """Add the counts of one token range in place.

        Parameters
        ----------
        codes
            Activity in the range, as levels.
        bin_of : (256,) uint8
            Bin of every level.
        runs
            Annotations of the same tokens, in positions of the common axis.
        axis
            The common axis.
        start
            Position of the first token.
        n_threads
            Labels are counted on this many threads.
        active
            Whether to add to ``active`` and ``entries``, which are the same for all labels.
        """
        mask = known_mask(runs, start, codes.n_tokens, len(self.n_known))
        weight = axis.token_weights(start, start + codes.n_tokens).astype(self.tokens.dtype)
        known = mask * weight
        activity = Activity(
            codes.indptr, codes.feature, codes.value.astype(np.uint8, copy=False), bin_of, known
        )
        has_steps = len(axis.step_weights) > 1
        moved = _moved(mask, axis, start)
        order, bounds = order_runs(runs, self.labels)
        spans = Spans(
            bounds,
            np.asarray(runs.start, np.int64)[order] - start,
            np.asarray(runs.stop, np.int64)[order] - start,
            np.asarray(runs.instance, np.int64)[order],
        )
        n_groups = len(self.n_known) if active else 0
        size = max(1, -(-len(self.labels) // (PIECES * n_threads)))
        if active:
            self.n_known[:] += known.sum(axis=1, dtype=np.int64)

        def count(begin: int, end: int) -> None:
            for item in range(begin, end):
                if item < n_groups:
                    counts = (self.active[item], self.entries[item])
                    add_active(activity, item, moved[item], *counts, has_steps)
                    continue
                first = (item - n_groups) * size
                add_labels(
                    activity, spans, self.group, (first, min(first + size, len(self.labels))),
                    self.tokens, self.instances, self.n_positive, self.n_instances,
                )  # fmt: skip

        n_pieces = -(-len(self.labels) // size)
        run_ranges(count, n_groups + n_pieces, size=1, n_threads=n_threads)
        if active and not has_steps:  # Every token weighs 1, and the known ones are moved.
            np.copyto(self.entries, self.active)


def at_or_above(histogram: NDArray[np.integer]) -> Ints:
    """Return counts at or above every bin from a histogram whose last axis is the bin."""
    result = np.empty(histogram.shape, np.int64)
    n_bins = histogram.shape[-1]
    if result.size:
        _cumulate(histogram.reshape(-1, n_bins), result.reshape(-1, n_bins))
    return result


def order_runs(runs: RunSlice, labels: Ints) -> tuple[Ints, Ints]:
    """Return runs of the chosen labels by label, instance and start, and each label's bounds."""
    label, instance = np.asarray(runs.label), np.asarray(runs.instance)
    left = np.searchsorted(label, labels, side="left")
    right = np.searchsorted(label, labels, side="right")
    bounds = np.append(0, np.cumsum(right - left)).astype(np.int64)
    kept = np.arange(bounds[-1]) + np.repeat(left - bounds[:-1], right - left)
    # Most labels have one run an instance, and their instances are in order already.
    falls = np.flatnonzero((np.diff(instance) < 0) & (np.diff(label) == 0))
    for at in np.unique(np.searchsorted(labels, label[falls])):
        if at < len(labels) and right[at] > left[at]:
            part = slice(bounds[at], bounds[at + 1])
            kept[part] = kept[part][np.argsort(instance[kept[part]], kind="stable")]
    return kept, bounds


def count_split(
    features: FeatureSource,
    known: KnownSource,
    split: Split,
    *,
    labels: Ints | None = None,
    floors: Sequence[int] = BIN_FLOORS,
    n_threads: int | None = None,
    active: bool = True,
) -> Counts:
    """Count one split in one streamed pass.

    Parameters
    ----------
    features, known
        Codes and annotations on the same axis.
    split
        The split to count.
    labels : (n_labels,) int64, optional
        Labels to count; all where omitted. Memory is
        ``8 * n_labels * n_features * n_bins`` bytes, twice that where sums may reach 2**31.
    floors
        Lowest level of each bin, ascending from 1.
    n_threads
        Number of threads; the counts do not depend on it.
    active
        Whether to count ``active``, ``entries`` and ``n_known``, which are the same for all labels.
    """
    counts = Counts.of(features, known, labels=labels, floors=floors)
    records = range(*features.axis.record_range([split]))
    count_records(
        counts, features, known, records, floors=floors, n_threads=n_threads, active=active
    )
    return counts


def count_records(
    counts: Counts,
    features: FeatureSource,
    known: KnownSource,
    records: range,
    *,
    floors: Sequence[int] = BIN_FLOORS,
    n_threads: int | None = None,
    active: bool = True,
) -> None:
    """Add the counts of consecutive records of the axis, in one streamed pass.

    Parameters
    ----------
    counts
        Whose labels are counted; changed in place.
    records
        The records; all else is as for :func:`count_split`.
    """
    axis, table = features.axis, bin_of_level(floors)
    n_tokens = _slice_tokens(features, records)
    slices = slice_records(axis, records, n_tokens=n_tokens)
    for start, stop, codes in read_ahead(features, slices):
        counts.add_slice(
            codes,
            table,
            runs=known.read(start, stop),
            axis=axis,
            start=start,
            n_threads=n_threads or default_threads(),
            active=active,
        )
        release_free_memory()


def _slice_tokens(features: FeatureSource, records: range) -> int:
    """Return how many tokens are counted at once, by how active the first of them are."""
    first = next(slice_records(features.axis, records, n_tokens=SLICE_TOKENS // 16), None)
    if first is None:
        return SLICE_TOKENS
    n_entries = max(len(features.read(*first).feature), 1)
    fits = COUNT_ENTRIES * (first[1] - first[0]) // n_entries
    return min(max(fits, SLICE_TOKENS // 16), COUNT_TOKENS)


def _moved(mask: NDArray[np.bool_], axis: TokenAxis, start: int) -> NDArray[np.bool_]:
    """Return the tokens that the tests move: whole records of steps, else known tokens."""
    if len(axis.step_weights) == 1:
        return mask
    first, last = np.searchsorted(axis.record_starts, (start, start + mask.shape[1]))
    edges = axis.record_starts[first : last + 1] - start
    touched = np.logical_or.reduceat(mask, edges[:-1], axis=1)
    return np.repeat(touched, np.diff(edges), axis=1)


@compiled
def _cumulate(histogram: NDArray[np.integer], result: Ints) -> None:
    for row in range(len(histogram)):
        total = 0
        for at in range(histogram.shape[1] - 1, -1, -1):
            total += histogram[row, at]
            result[row, at] = total
