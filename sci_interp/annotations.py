"""annotate: Adapter x Dataset -> AnnotationStore.

An annotation store holds, on the common token axis::

    records.parquet    the axis
    labels.parquet     name, group, nuisance, definition of every label
    runs.parquet       label, instance, start, stop: ordered by start
    known.parquet      group, start, stop: where a label group was assessed, ordered by start
    events.parquet     instance, event: instances of several records that are one event

A token that is positive for a label is known for the label's group, whether the adapter says so or
not. Ranges are half-open, and none crosses a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .adapter import Adapter, Dataset, Label, RecordAnnotations
from .annotation_reader import RecordReader, label_groups
from .annotation_work import AnnotationWork
from .axis import OnAxis, TokenAxis, quarantine_of
from .disk import read_parquet, reading
from .errors import InputError, StoreError
from .executors import Shard, Workers
from .manifest import (
    Manifest,
    clear_on_mistake,
    finish_artefact,
    read_manifest,
    write_atomically,
)
from .mirrors import open_folder
from .progress import track
from .ranges import RangeReader, RangeWriter, merge_ranges
from .recipes import Recipe
from .schema import (
    EVENT,
    EVENT_COLUMNS,
    GROUP,
    INSTANCE,
    KNOWN_COLUMNS,
    LABEL,
    LABEL_COLUMNS,
    RECORD,
    RECORDS_FILE,
    RUN_COLUMNS,
    START,
    STOP,
    Split,
)
from .shards import verify_file

__all__ = ["AnnotationSlice", "AnnotationStore", "annotate", "annotate_share"]

LABELS_FILE = "labels.parquet"
RUNS_FILE = "runs.parquet"
KNOWN_FILE = "known.parquet"
EVENTS_FILE = "events.parquet"


@dataclass(frozen=True, eq=False)
class AnnotationSlice:
    """What is known of a token range, in global token positions.

    Attributes
    ----------
    label : (n_runs,) int32
        Label of every run that begins in the range. Runs are whole, and sorted by label, then
        start.
    instance : (n_runs,) int64
        Instance of every run; no two labels share an instance.
    start, stop : (n_runs,) int64
        Tokens of every run. Runs of different instances of a label may overlap: the label's
        positive tokens are their union (:meth:`union`).
    known_group : (n_known,) int32
        Group of every known range, clipped to the token range; sorted by group, then start.
    known_start, known_stop : (n_known,) int64
        Tokens of every known range; those of a group are disjoint.
    """

    label: NDArray[np.int32]
    instance: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    known_group: NDArray[np.int32]
    known_start: NDArray[np.int64]
    known_stop: NDArray[np.int64]

    def union(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Return ``label, start, stop`` of the disjoint ranges that hold each label's tokens."""
        label, start, stop = merge_ranges(self.label, self.start, self.stop)
        return label.astype(np.int32), start, stop


class AnnotationStore:
    """Label instances and known-masks of every record.

    Attributes
    ----------
    path : Path
        The artefact's folder.
    manifest : Manifest
        Its provenance.
    axis : TokenAxis
        The records.
    labels : tuple of Label
        The labels; a run names one by its index.
    groups : tuple of str
        The label groups, in the order in which the labels name them.
    group_of_label : (n_labels,) int64
        Group of every label.
    """

    def __init__(
        self, path: Path, *, manifest: Manifest, axis: TokenAxis, labels: Sequence[Label]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.axis = axis
        self.labels = tuple(labels)
        self.groups = label_groups(self.labels)
        place = {group: index for index, group in enumerate(self.groups)}
        self.group_of_label = np.array([place[label.group] for label in labels], np.int64)
        self._runs = RangeReader(path / RUNS_FILE, RUN_COLUMNS)
        self._known = RangeReader(path / KNOWN_FILE, KNOWN_COLUMNS)

    @classmethod
    def open(cls, path: Path | str) -> AnnotationStore:
        """Open a finished store; its files are checked against their digests.

        Raises
        ------
        StoreError
            If the folder is no annotation store, is unfinished, or one of its files is damaged.
        """
        path = open_folder(path)
        manifest = read_manifest(path, "annotations")
        for name in (RECORDS_FILE, LABELS_FILE, RUNS_FILE, KNOWN_FILE, EVENTS_FILE):
            verify_file(path, name, manifest.files)
        table = read_parquet(path / LABELS_FILE)
        with reading(path / LABELS_FILE):
            columns = table[list(LABEL_COLUMNS)].to_numpy()
            labels = [
                Label(str(name), str(group), str(definition), bool(nuisance), extent)
                for name, group, nuisance, definition, extent in columns
            ]
        return cls(path, manifest=manifest, axis=TokenAxis.read(path), labels=labels)

    @property
    def digest(self) -> str:
        """Identity of the annotations."""
        return self.manifest.digest

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return self._runs.n_rows

    @cached_property
    def events(self) -> NDArray[np.int64]:
        """Instance and event of the instances that share one, by instance: ``(2, n)``."""
        table = read_parquet(self.path / EVENTS_FILE)
        with reading(self.path / EVENTS_FILE):
            found: NDArray[np.int64] = table[[INSTANCE, EVENT]].to_numpy(np.int64).T.copy()
        return found

    def read(self, start: int, stop: int) -> AnnotationSlice:
        """Return the runs that begin in a token range, and the known ranges clipped to it.

        Take ranges that begin and end with records: a run that begins before the range is not
        returned, and one that begins in it is returned whole.
        """
        if not 0 <= start <= stop <= self.axis.n_tokens:
            raise InputError(
                f"the token range {start}:{stop} is not in {self.path}",
                allowed=f"0 <= start <= stop <= {self.axis.n_tokens}",
            )
        runs = self._runs.read(start, stop)
        self._require_inside(runs, LABEL, len(self.labels))
        order = np.lexsort((runs[INSTANCE], runs[STOP], runs[START], runs[LABEL]))
        # Known ranges end with their record, so those that reach in begin in the record at start.
        starts = self.axis.record_starts
        before = int(starts[max(int(np.searchsorted(starts, start, side="right")) - 1, 0)])
        known = self._known.read(before, stop)
        self._require_inside(known, GROUP, len(self.groups))
        reaches = np.flatnonzero(known[STOP] > start)
        reaches = reaches[np.lexsort((known[START][reaches], known[GROUP][reaches]))]
        return AnnotationSlice(
            label=runs[LABEL][order].astype(np.int32),
            instance=runs[INSTANCE][order],
            start=runs[START][order],
            stop=runs[STOP][order],
            known_group=known[GROUP][reaches].astype(np.int32),
            known_start=np.maximum(known[START][reaches], start),
            known_stop=np.minimum(known[STOP][reaches], stop),
        )

    def _require_inside(self, rows: Mapping[str, NDArray[np.int64]], name: str, n: int) -> None:
        """Refuse ranges off the axis, or of a label or group that there is not."""
        inside = (rows[name] >= 0) & (rows[name] < n) & (rows[START] >= 0)
        inside &= (rows[START] < rows[STOP]) & (rows[STOP] <= self.axis.n_tokens)
        if not inside.all():
            raise StoreError(
                f"{self.path} holds a range that is not on its axis",
                todo="Make the annotations again",
            )


def annotate(
    adapter: Adapter,
    dataset: Dataset,
    *,
    out: Path | str,
    fractions: Mapping[Split, float] | None = None,
    progress: bool = True,
    workers: int | None = None,
    executor: Executor | None = None,
    recipe: Recipe | None = None,
    like: OnAxis | None = None,
) -> AnnotationStore:
    """Store what an adapter knows of every record.

    Records are streamed; the same adapter and dataset give the same bytes. Runs of one instance
    that overlap or touch are joined, runs of different instances are kept apart.

    Parameters
    ----------
    adapter, dataset
        Whose annotations are stored.
    out
        Folder of the artefact.
    fractions
        Shares of the splits, as given to ``extract``.
    progress
        Show progress.
    workers
        Processes that share the records; the bytes are the same with any number.
    executor
        In place of ``workers``: whose workers share the records, for example those of Dask.
    recipe
        How workers open the same model and data for themselves; only they need it.
    like
        A store or stream whose records in quarantine are left out here too.

    Raises
    ------
    InputError
        If a run or a known range leaves its record, or the adapter yields other records than
        those asked for.
    UnknownNameError
        If a run names no label of the adapter, or a known range no group.
    """
    work = AnnotationWork(adapter, dataset, Path(out), fractions, quarantine_of(like))
    makers = Workers(workers, executor)
    if not work.claim():
        with clear_on_mistake(work.out):
            work.axis.write(work.out)
            write_atomically(work.out / LABELS_FILE, _label_table(work.labels))
            found = work.read(makers, recipe, progress=progress)
            _write_ranges(found, work, progress=progress)
            finish_artefact(work.out)
            work.parts.discard()
    return AnnotationStore.open(work.out)


def annotate_share(
    recipe: Recipe,
    *,
    out: Path | str,
    shard: Shard,
    fractions: Mapping[Split, float] | None = None,
    progress: bool = True,
    like: OnAxis | None = None,
) -> int:
    """Make one task's part of an array; :func:`annotate` with the same settings takes it in.

    Parameters
    ----------
    recipe
        Opens model and data.
    out, fractions, progress, like
        As for :func:`annotate`.
    shard
        ``(i, n)``: which task of how many.

    Returns
    -------
    int
        Number of units of records that are this task's; 0 where the store is finished.
    """
    work = AnnotationWork(*recipe.open_once(), Path(out), fractions, quarantine_of(like))
    return work.make_share(shard, progress=progress)


def _write_ranges(
    found: Iterator[RecordAnnotations], work: AnnotationWork, *, progress: bool
) -> None:
    axis, out, reader = work.axis, work.out, RecordReader(work.labels)
    records = axis.records[RECORD].tolist()
    with (
        RangeWriter(out / RUNS_FILE, RUN_COLUMNS) as runs,
        RangeWriter(out / KNOWN_FILE, KNOWN_COLUMNS) as known,
        RangeWriter(out / EVENTS_FILE, EVENT_COLUMNS) as events,
    ):
        for index, record in enumerate(track(records, "annotate", show=progress)):
            annotations = next(found, None)
            if annotations is None or annotations.record != record:
                got = "nothing" if annotations is None else repr(annotations.record)
                raise InputError(
                    f"the adapter yielded {got} in place of the annotations of record {record!r}",
                    allowed="every record once, in the order asked for",
                )
            first, last = axis.record_starts[index : index + 2].tolist()
            span = (first, last - first)
            reader.read(annotations, *span, runs=runs, known=known, events=events)
    extra = next(found, None)
    if extra is not None:
        raise InputError(
            f"the adapter yielded annotations of {extra.record!r} beyond the last record"
        )


def _label_table(labels: Sequence[Label]) -> bytes:
    rows = [
        (label.name, label.group, label.nuisance, label.definition, label.extent)
        for label in labels
    ]
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
    data: bytes = table.to_parquet(index=False, compression="zstd")
    return data
