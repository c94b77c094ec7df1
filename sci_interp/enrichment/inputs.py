"""What enrichment reads: feature codes and annotations on one token axis, slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.schema import MAX_LEVEL, Split
from sci_interp.source import FeatureSource

__all__ = [
    "KnownSource",
    "RunSlice",
    "bin_of_level",
    "cut_records",
    "iterate_slices",
    "known_mask",
    "read_ahead",
    "slice_records",
]

#: Tokens that are held at once.
SLICE_TOKENS = 65_536


class RunSlice(Protocol):
    """Annotations of a token range in positions of the common axis.

    Runs are sorted by label, then start, and never cross a record; known ranges are clipped.
    """

    @property
    def label(self) -> NDArray[np.integer]:
        """Label of every run ``(n_runs,)``."""

    @property
    def instance(self) -> NDArray[np.integer]:
        """Instance of every run ``(n_runs,)``."""

    @property
    def start(self) -> NDArray[np.integer]:
        """First token of every run ``(n_runs,)``."""

    @property
    def stop(self) -> NDArray[np.integer]:
        """Token after every run ``(n_runs,)``."""

    @property
    def known_group(self) -> NDArray[np.integer]:
        """Label group of every known range ``(n_ranges,)``."""

    @property
    def known_start(self) -> NDArray[np.integer]:
        """First token of every known range ``(n_ranges,)``."""

    @property
    def known_stop(self) -> NDArray[np.integer]:
        """Token after every known range ``(n_ranges,)``."""


class KnownSource(Protocol):
    """Annotations along a token axis: an annotation store, or shifted annotations."""

    @property
    def axis(self) -> TokenAxis:
        """The records."""

    @property
    def labels(self) -> Sequence[Label]:
        """The labels."""

    @property
    def groups(self) -> Sequence[str]:
        """The label groups."""

    @property
    def group_of_label(self) -> NDArray[np.integer]:
        """Group of every label ``(n_labels,)``."""

    @property
    def digest(self) -> str:
        """Identity of the annotations."""

    @property
    def events(self) -> NDArray[np.int64]:
        """Instance and event of the instances that share one, by instance ``(2, n)``."""

    def read(self, start: int, stop: int) -> RunSlice:
        """Return the annotations of a token range that begins and ends with records."""


def iterate_slices(
    axis: TokenAxis, split: Split, *, n_tokens: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield token ranges of whole records that cover a split, of about ``n_tokens`` each."""
    yield from slice_records(axis, range(*axis.record_range([split])), n_tokens=n_tokens)


def read_ahead(
    features: FeatureSource, slices: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int, Codes]]:
    """Yield slices with their codes; the next is read while one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        waiting: tuple[int, int, Future[Codes]] | None = None
        for start, stop in slices:
            coming = (start, stop, reader.submit(features.read, start, stop))
            if waiting is not None:
                yield waiting[0], waiting[1], waiting[2].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1], waiting[2].result()


def slice_records(
    axis: TokenAxis, records: range, *, n_tokens: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield token ranges that cover consecutive records, of about ``n_tokens`` each."""
    starts = axis.record_starts
    for piece in cut_records(axis, records, n_tokens=n_tokens or SLICE_TOKENS):
        yield int(starts[piece.start]), int(starts[piece.stop])


def cut_records(axis: TokenAxis, records: range, *, n_tokens: int) -> Iterator[range]:
    """Yield pieces of consecutive records with at most ``n_tokens`` each, or one record."""
    starts, first = axis.record_starts, records.start
    while first < records.stop:
        stop = int(np.searchsorted(starts, starts[first] + n_tokens, side="right")) - 1
        stop = min(max(stop, first + 1), records.stop)
        yield range(first, stop)
        first = stop


def bin_of_level(floors: Sequence[int]) -> NDArray[np.uint8]:
    """Return the bin of every level ``(256,)``; ``floors`` are the bins' lowest levels."""
    assert floors[0] == 1, "the lowest bin takes any activity"
    levels = np.arange(MAX_LEVEL + 1)
    return np.maximum(np.searchsorted(floors, levels, side="right") - 1, 0).astype(np.uint8)


def known_mask(runs: RunSlice, start: int, n_tokens: int, n_groups: int) -> NDArray[np.bool_]:
    """Return which tokens of a slice are known, per group ``(n_groups, n_tokens)``."""
    known = np.zeros((n_groups, n_tokens), np.bool_)
    ranges = zip(runs.known_group, runs.known_start, runs.known_stop, strict=True)
    for group, first, last in ranges:
        known[group, first - start : last - start] = True
    return known
