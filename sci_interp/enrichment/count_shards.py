"""Counting in shards: parts beside the result, made by whoever is asked, and added up by one.

Parts lie beside the folder of the result, under the digest of the codes, the annotations and the
plan. What no worker counted is counted by who adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from sci_interp.annotations import AnnotationStore
from sci_interp.errors import InputError
from sci_interp.executors import Shard, Workers, spans
from sci_interp.feature_store import FeatureStore
from sci_interp.feature_subsets import FeatureSubset
from sci_interp.parts import Parts
from sci_interp.progress import track
from sci_interp.recipes import Last
from sci_interp.schema import Split
from sci_interp.source import FeatureSource

from .count_parts import COUNTS_GROUP, add_counts, write_counts
from .count_plan import CountCell, CountPlan
from .counts import Counts, count_records
from .inputs import KnownSource
from .kernel import default_threads
from .universes import SharedUniverses

__all__ = ["SourceCounts", "make_share", "share_out"]

KIND: Final = "counts"
#: Threads of a worker: the others are for its neighbours.
WORKER_THREADS: Final = 1


@dataclass(frozen=True, eq=False)
class SourceCounts:
    """The counts of one source, cell by cell.

    Attributes
    ----------
    features, known
        Codes and annotations on the same axis.
    plan : CountPlan
        What is counted at once.
    out : Path or None
        Folder of the result, beside which parts lie; None where there are none.
    n_threads : int
        Threads of this process; no number depends on it.
    """

    features: FeatureSource
    known: KnownSource
    plan: CountPlan
    out: Path | None = None
    n_threads: int = field(default_factory=default_threads)

    @cached_property
    def parts(self) -> Parts | None:
        """Cells that were counted before, or by others."""
        if self.out is None:
            return None
        inputs = {"features": self.features.digest, "annotations": self.known.digest}
        return Parts(self.out, KIND, inputs=inputs, settings=self.plan.describe())

    def count(self, block: int, split: Split) -> Counts:
        """Return the counts of a block of labels in a split.

        Raises
        ------
        StoreError
            If a part cannot be read.
        """
        labels = np.arange(*_bounds(self.plan.blocks[block]), dtype=np.int64)
        counts = Counts.of(self.features, self.known, labels=labels, floors=self.plan.floors)
        numbers = self.plan.numbers(block, split)
        present = [number for number in numbers if self._has(number)]
        for number in present:
            assert self.parts is not None
            add_counts(self.parts.read_file(number, COUNTS_GROUP), counts, active=block == 0)
        # What is missing is counted in one pass where it is consecutive.
        for missing in spans(set(numbers).difference(present), 1):
            ends = (self.plan.cell(number).records for number in (missing[0], missing[-1]))
            records = range(next(ends).start, next(ends).stop)
            self._add(counts, records, active=block == 0, n_threads=self.n_threads)
        return counts

    def absent(self) -> list[int]:
        """Return the numbers of the cells that no part has."""
        return [number for number in range(self.plan.n_cells) if not self._has(number)]

    def make_parts(self, numbers: Iterable[int]) -> None:
        """Count cells and write each as a part, unless it is there."""
        assert self.parts is not None, "there is no folder"
        for number in numbers:
            if not self.parts.has(number):
                self.parts.make(number, partial(self._write, self.plan.cell(number)))

    def discard(self) -> None:
        """Remove all parts."""
        if self.parts is not None:
            self.parts.discard()

    def task(self, numbers: range, workers: Workers) -> Callable[[], None]:
        """Return what counts some cells, here or in a worker.

        Raises
        ------
        InputError
            If other processes cannot open the source or the annotations.
        """
        if not workers.are_others:
            return partial(self.make_parts, numbers)
        assert self.out is not None and self.parts is not None
        openers = _feature_opener(self.features), _known_opener(self.known)
        return _CountTask(*openers, self.plan, self.out.absolute(), self.parts.key, numbers)

    def _has(self, number: int) -> bool:
        return self.parts is not None and self.parts.has(number)

    def _write(self, cell: CountCell, folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
        labels = np.arange(*_bounds(cell.labels), dtype=np.int64)
        counts = Counts.of(self.features, self.known, labels=labels, floors=self.plan.floors)
        self._add(counts, cell.records, active=cell.active, n_threads=WORKER_THREADS)
        return write_counts(folder, counts, active=cell.active), {}

    def _add(self, counts: Counts, records: range, *, active: bool, n_threads: int) -> None:
        count_records(
            counts, self.features, self.known, records,
            floors=self.plan.floors, n_threads=n_threads, active=active,
        )  # fmt: skip


def share_out(sources: Sequence[SourceCounts], workers: Workers, *, progress: bool) -> None:
    """Let workers count all cells that are not there.

    Raises
    ------
    InputError
        If the workers are other processes, and cannot open what is counted.
    """
    absent = [source.absent() for source in sources]
    total = sum(map(len, absent))
    tasks = [
        source.task(numbers, workers)
        for source, wanted in zip(sources, absent, strict=True)
        if wanted
        for numbers in spans(wanted, -(-workers.n_tasks * len(wanted) // total))
    ]
    for _ in track(workers.run(tasks), "enrich: counts", total=len(tasks), show=progress):
        pass


def make_share(sources: Sequence[SourceCounts], shard: Shard, *, progress: bool) -> int:
    """Count the cells of one task of an array, and return how many are its own."""
    everything = [(source, number) for source in sources for number in range(source.plan.n_cells)]
    # Cells of a source take alike long, and those of another source longer.
    own = everything[shard[0] :: shard[1]]
    for source, number in track(own, "enrich: counts", show=progress):
        source.make_parts([number])
    return len(own)


@dataclass(frozen=True)
class _CountTask:
    """Opens a source and annotations in a worker, and counts some cells."""

    open_features: Callable[[], FeatureSource]
    open_known: Callable[[], KnownSource]
    plan: CountPlan
    out: Path
    key: str
    numbers: range

    def __call__(self) -> None:
        counts = _last.get(f"{self.out} {self.key}", self._open)
        assert counts.parts is not None
        counts.parts.require_key(self.key)
        counts.make_parts(self.numbers)

    def _open(self) -> SourceCounts:
        return SourceCounts(self.open_features(), self.open_known(), self.plan, self.out)


_last: Last[SourceCounts] = Last()


def _feature_opener(source: FeatureSource) -> Callable[[], FeatureSource]:
    if isinstance(source, FeatureStore):
        return partial(FeatureStore.open, source.path.absolute())
    if isinstance(source, FeatureSubset):
        return partial(_open_subset, source.store.path.absolute(), source.chosen.tolist())
    raise _cannot_open(source, "a feature store, which encode makes")


def _known_opener(known: KnownSource) -> Callable[[], KnownSource]:
    if isinstance(known, SharedUniverses):
        opener = _known_opener(known.annotations)
        return partial(_open_universes, opener, known.representative.tolist())
    if isinstance(known, AnnotationStore):
        return partial(AnnotationStore.open, known.path.absolute())
    raise _cannot_open(known, "an annotation store, which annotate makes")


def _cannot_open(source: object, allowed: str) -> InputError:
    return InputError(
        f"workers open what they count, and cannot open a {type(source).__name__} in memory",
        allowed=allowed,
        todo="Give the store, or neither workers nor an executor",
    )


def _open_subset(path: Path, chosen: Sequence[int]) -> FeatureSubset:
    return FeatureSubset(FeatureStore.open(path), np.array(chosen, np.int64))


def _open_universes(
    opener: Callable[[], KnownSource], representative: Sequence[int]
) -> SharedUniverses:
    return SharedUniverses(opener(), representative=representative)


def _bounds(numbers: range) -> tuple[int, int]:
    return numbers.start, numbers.stop
