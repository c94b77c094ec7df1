"""Exact counts of feature activity inside labels at every threshold, additive over slices.

Codes are compressed rows of (feature, bin); annotations are runs sorted by label. For every label
alone, its runs are walked: each positive token adds to a histogram (feature, bin), each instance
adds its largest bin per feature. Reverse cumulative sums over bins then answer "at or above" for
every threshold, and false positives follow from the marginals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.schema import BIN_FLOORS, Split
from sci_interp.source import FeatureSource

from .inputs import KnownSource, RunSlice, bin_of_level, iterate_slices, known_mask
from .kernel import compiled, default_threads, run_ranges

__all__ = ["Counts", "at_or_above", "count_split"]

Ints = NDArray[np.int64]


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
    tokens : (n_labels, n_features, n_bins) int64
        Known positive tokens at which a feature's activity falls into a bin.
    instances : (n_labels, n_features, n_bins) int64
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
    tokens: Ints
    instances: Ints
    active: Ints
    entries: Ints
    n_positive: Ints
    n_instances: Ints
    n_known: Ints

    @classmethod
    def zero(
        cls, labels: Ints, group: Ints, *, n_groups: int, n_features: int, n_bins: int
    ) -> Counts:
        """Return the neutral element of ``+``."""
        shape = (len(labels), n_features, n_bins)
        return cls(
            labels=labels,
            group=group,
            tokens=np.zeros(shape, np.int64),
            instances=np.zeros(shape, np.int64),
            active=np.zeros((n_groups, *shape[1:]), np.int64),
            entries=np.zeros((n_groups, *shape[1:]), np.int64),
            n_positive=np.zeros(len(labels), np.int64),
            n_instances=np.zeros(len(labels), np.int64),
            n_known=np.zeros(n_groups, np.int64),
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
        indptr: Ints,
        feature: NDArray[np.unsignedinteger],
        bins: NDArray[np.uint8],
        *,
        runs: RunSlice,
        axis: TokenAxis,
        start: int,
        n_threads: int = 1,
    ) -> None:
        """Add the counts of one token range in place.

        Parameters
        ----------
        indptr : (n_tokens + 1,) int64
            Rows of the codes.
        feature : (n_entries,) unsigned
            Feature of every entry.
        bins : (n_entries,) uint8
            Bin of every entry.
        runs
            Annotations of the same tokens, in positions of the common axis.
        axis
            The common axis.
        start
            Position of the first token.
        n_threads
            Labels are counted on this many threads.
        """
        mask = known_mask(runs, start, len(indptr) - 1, len(self.n_known))
        known = mask * axis.token_weights(start, start + mask.shape[1])
        moved = _moved(mask, axis, start)
        order, bounds = order_runs(runs, self.labels)
        first = np.asarray(runs.start, np.int64)[order] - start
        last = np.asarray(runs.stop, np.int64)[order] - start
        instance = np.asarray(runs.instance, np.int64)[order]

        def count_groups(begin: int, end: int) -> None:
            for group in range(begin, end):
                self.n_known[group] += known[group].sum()
                counts = (self.active[group], self.entries[group])
                _add_active(indptr, feature, bins, known[group], moved[group], *counts)

        def count_labels(begin: int, end: int) -> None:
            for at in range(begin, end):
                part = slice(bounds[at], bounds[at + 1])
                mask = known[self.group[at]]
                walk = (first[part], last[part], instance[part], mask)
                positive, events = _add_label(
                    indptr, feature, bins, *walk, self.tokens[at], self.instances[at]
                )
                self.n_positive[at] += positive
                self.n_instances[at] += events

        run_ranges(count_groups, len(self.n_known), size=1, n_threads=n_threads)
        run_ranges(count_labels, len(self.labels), size=1, n_threads=n_threads)


def at_or_above(histogram: Ints) -> Ints:
    """Return counts at or above every bin from a histogram whose last axis is the bin."""
    return np.flip(np.flip(histogram, -1).cumsum(-1), -1)


def order_runs(runs: RunSlice, labels: Ints) -> tuple[Ints, Ints]:
    """Return runs of the chosen labels by label, instance and start, and each label's bounds."""
    order = np.lexsort((runs.start, runs.instance, runs.label))
    sorted_label = np.asarray(runs.label, np.int64)[order]
    left = np.searchsorted(sorted_label, labels, side="left")
    right = np.searchsorted(sorted_label, labels, side="right")
    kept = np.concatenate([order[a:b] for a, b in zip(left, right, strict=True)] or [order[:0]])
    return kept.astype(np.int64), np.append(0, np.cumsum(right - left)).astype(np.int64)


def count_split(
    features: FeatureSource,
    known: KnownSource,
    split: Split,
    *,
    labels: Ints | None = None,
    floors: Sequence[int] = BIN_FLOORS,
    n_threads: int | None = None,
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
        ``16 * n_labels * n_features * n_bins`` bytes.
    floors
        Lowest level of each bin, ascending from 1.
    n_threads
        Number of threads; the counts do not depend on it.
    """
    if labels is None:
        labels = np.arange(len(known.labels), dtype=np.int64)
    group = np.asarray(known.group_of_label, np.int64)[labels]
    counts = Counts.zero(
        labels,
        group,
        n_groups=len(known.groups),
        n_features=features.n_features,
        n_bins=len(floors),
    )
    table = bin_of_level(floors)
    for start, stop in iterate_slices(features.axis, split):
        codes = features.read(start, stop)
        counts.add_slice(
            codes.indptr,
            codes.feature,
            table[codes.value],
            runs=known.read(start, stop),
            axis=features.axis,
            start=start,
            n_threads=n_threads or default_threads(),
        )
    return counts


def _moved(mask: NDArray[np.bool_], axis: TokenAxis, start: int) -> NDArray[np.bool_]:
    """Return the tokens that the tests move: whole records of steps, else known tokens."""
    if len(axis.step_weights) == 1:
        return mask
    first, last = np.searchsorted(axis.record_starts, (start, start + mask.shape[1]))
    edges = axis.record_starts[first : last + 1] - start
    touched = np.logical_or.reduceat(mask, edges[:-1], axis=1)
    return np.repeat(touched, np.diff(edges), axis=1)


@compiled
def _add_active(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    bins: NDArray[np.uint8],
    known: Ints,
    moved: NDArray[np.bool_],
    active: Ints,
    entries: Ints,
) -> None:
    """Add the activity of a slice, weighted at known tokens and bare at all that are moved."""
    for token in range(len(known)):
        if moved[token]:  # so is every known token
            for entry in range(indptr[token], indptr[token + 1]):
                active[feature[entry], bins[entry]] += known[token]
                entries[feature[entry], bins[entry]] += 1


@compiled
def _add_label(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    bins: NDArray[np.uint8],
    first: Ints,
    last: Ints,
    instance: Ints,
    known: Ints,
    tokens: Ints,
    instances: Ints,
) -> tuple[int, int]:
    """Walk one label's runs, sorted by instance; return weight of its tokens, and instances.

    ``known`` is the weight of every token, 0 where it is unknown.
    """
    seen = np.zeros(len(known), np.bool_)
    largest = np.zeros(tokens.shape[0], np.uint8)  # largest bin + 1 inside the instance
    touched = np.empty(tokens.shape[0], np.int64)
    n_touched = n_positive = n_instances = 0
    any_known = False
    for run in range(len(first)):
        for token in range(first[run], last[run]):
            if not known[token]:
                continue
            any_known = True
            fresh = 0 if seen[token] else known[token]
            seen[token] = True
            n_positive += fresh
            for entry in range(indptr[token], indptr[token + 1]):
                at, level = feature[entry], bins[entry]
                tokens[at, level] += fresh
                if largest[at] == 0:
                    touched[n_touched] = at
                    n_touched += 1
                largest[at] = max(largest[at], level + 1)
        if run + 1 == len(first) or instance[run + 1] != instance[run]:
            for index in range(n_touched):
                at = touched[index]
                instances[at, largest[at] - 1] += 1
                largest[at] = 0
            n_instances += any_known
            n_touched = 0
            any_known = False
    return n_positive, n_instances
