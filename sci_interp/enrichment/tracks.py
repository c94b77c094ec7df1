"""Label runs of one split and one label group, in known coordinates.

Known coordinates are explained in :mod:`sci_interp.enrichment.units`. Records without a known token
are left out; the weights of the others add up to 1 in every family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError
from sci_interp.ranges import merge_ranges
from sci_interp.schema import RECORD, Split

from .inputs import KnownSource, iterate_slices, known_mask
from .units import KnownRanges, Units, Universe, known_coordinate, read_units

__all__ = [
    "LabelTracks",
    "Runs",
    "count_event_families",
    "read_labels",
]

Ints = NDArray[np.int64]


class Runs(NamedTuple):
    """Runs of the group's labels in known coordinates, sorted by label, then start.

    Attributes
    ----------
    start, stop : (n_runs,) int64
        The runs. Those of a label are disjoint.
    record : (n_labels, n_records + 1) int32 or int64
        First run of a label in every record, and the place after its last run.
    """

    start: Ints
    stop: Ints
    record: NDArray[np.signedinteger]


class Instances(NamedTuple):
    """Instances of the group's labels, sorted by label; an instance may have several runs.

    Attributes
    ----------
    first : (n_labels + 1,) int64
        First instance of every label.
    run : (n_instances + 1,) int64
        First run of every instance.
    family : (n_instances,) int64
        Family it lies in.
    number : (n_instances,) int64
        Its number in the annotations.
    start, stop : (n_runs,) int64
        The runs in known coordinates.
    """

    first: Ints
    run: Ints
    family: Ints
    number: Ints
    start: Ints
    stop: Ints


@dataclass(frozen=True, eq=False)
class LabelTracks:
    """The label side of one split, for some labels of one group.

    Attributes
    ----------
    split : str
        The split.
    labels : (n_labels,) int64
        The labels read, ascending.
    universe : Universe
        Known tokens on the common axis.
    units : Units
        Records and families.
    known : KnownRanges
        Tokens of the units that are known; all, but where units hold whole records.
    runs : Runs
        Union of every label's runs.
    instances : Instances
        The runs as annotated.
    by_family : bool
        Whether the labels cover whole records that are no steps of a longer track: only families
        are compared.
    """

    split: Split
    labels: Ints
    universe: Universe
    units: Units
    known: KnownRanges
    runs: Runs
    instances: Instances
    by_family: bool = False


def read_labels(
    axis: TokenAxis, known: KnownSource, split: Split, group: int, labels: Ints | None = None
) -> LabelTracks:
    """Read the annotations of one split and group, slice by slice.

    Parameters
    ----------
    axis, known
        The records and their annotations.
    split, group
        The split, and the label group.
    labels : (n_labels,) int64, optional
        Labels of the group, ascending; all of them where omitted.
    """
    if labels is None:
        labels = np.flatnonzero(np.asarray(known.group_of_label) == group).astype(np.int64)
    runs: list[list[NDArray[np.signedinteger]]] = []
    ranges: list[list[NDArray[np.signedinteger]]] = []
    # A label of many short runs is the largest array here.
    narrow = np.int32 if axis.n_tokens * len(known.labels) < 2**31 else np.int64
    for start, stop in iterate_slices(axis, split):
        piece = known.read(start, stop)
        mine = np.isin(piece.label, labels)
        runs.append(_rows(mine, narrow, piece.label, piece.instance, piece.start, piece.stop))
        mine = np.asarray(piece.known_group) == group
        columns = (piece.known_group, piece.known_start, piece.known_stop)
        ranges.append(_rows(mine, np.int64, *columns))
    covers_records = any(known.labels[at].extent == "records" for at in labels)
    # Records of steps follow each other in time; other records of a block have no order.
    joins_records = covers_records and len(axis.step_weights) > 1
    _, known_start, known_stop = merge_ranges(*_join(ranges, 3))
    universe = Universe.of(axis, known_start, known_stop, joins_records=joins_records)
    label, instance, first, last = _join(runs, 4)
    runs.clear()
    by_family = covers_records and not joins_records
    if by_family:
        _require_whole_records(axis, known, label, first, last)
    first = known_coordinate(first, universe).astype(narrow)
    last = known_coordinate(last, universe).astype(narrow)
    label = np.searchsorted(labels, label).astype(narrow)
    inside = last > first
    if not inside.all():
        label, instance, first, last = (x[inside] for x in (label, instance, first, last))
    units = read_units(axis, split, universe)
    return LabelTracks(
        split,
        labels,
        universe,
        units,
        KnownRanges(
            known_coordinate(known_start, universe), known_coordinate(known_stop, universe)
        ),
        _union(label, first, last, units, len(labels)),
        _instances(label, instance, first, last, units, len(labels)),
        by_family=by_family,
    )


def _require_whole_records(
    axis: TokenAxis, known: KnownSource, label: Ints, start: Ints, stop: Ints
) -> None:
    """Refuse a run of a label of whole records that is not one record."""
    at = np.searchsorted(axis.record_starts, start, side="right") - 1
    wrong = np.flatnonzero((axis.record_starts[at] != start) | (axis.record_starts[at + 1] != stop))
    if len(wrong):
        first = int(wrong[0])
        record = int(at[first])
        raise InputError(
            f"the label {known.labels[int(label[first])].name!r} covers "
            f"{int(stop[first] - start[first])} of the {np.diff(axis.record_starts)[record]} "
            f"tokens of the record {axis.records[RECORD].iloc[record]!r}",
            allowed="whole records, for labels whose extent is 'records'",
        )


def count_event_families(axis: TokenAxis, known: KnownSource, split: Split) -> Ints:
    """Return in how many families each label has a known token ``(n_labels,)``, slice by slice."""
    group = np.asarray(known.group_of_label, np.int64)
    n_families = np.zeros(len(group), np.int64)
    latest = np.full(len(group), -1, np.int64)  # a family may go on in the next slice
    for start, stop in iterate_slices(axis, split):
        piece = known.read(start, stop)
        n_known = np.zeros((len(known.groups), stop - start + 1), np.int32)
        n_known[:, 1:] = np.cumsum(known_mask(piece, start, stop - start, len(known.groups)), 1)
        label, first = np.asarray(piece.label, np.int64), np.asarray(piece.start, np.int64)
        row = group[label]
        inside = n_known[row, piece.stop - start] > n_known[row, first - start]
        record = np.searchsorted(axis.record_starts, first[inside], side="right") - 1
        family = np.searchsorted(axis.block_starts, record, side="right")
        # Runs are sorted by label, then start, and so are these pairs.
        pairs = np.stack([label[inside], family])
        pairs = pairs[:, np.append(True, (np.diff(pairs) != 0).any(axis=0))[: pairs.shape[1]]]
        fresh = pairs[:, pairs[1] > latest[pairs[0]]]
        n_families += np.bincount(fresh[0], minlength=len(group))
        np.maximum.at(latest, pairs[0], pairs[1])
    return n_families


def _rows(
    chosen: NDArray[np.bool_], dtype: type[np.signedinteger], *columns: NDArray[np.integer]
) -> list[NDArray[np.signedinteger]]:
    return [np.asarray(column)[chosen].astype(dtype) for column in columns]


def _join(parts: list[list[NDArray[np.signedinteger]]], n_columns: int) -> list[Ints]:
    if not parts:
        return [np.zeros(0, np.int64)] * n_columns
    return [np.concatenate([part[column] for part in parts]) for column in range(n_columns)]


def _union(label: Ints, start: Ints, stop: Ints, units: Units, n_labels: int) -> Runs:
    # Runs of neighbouring records may touch in known coordinates: merged record by record.
    n_records = len(units.start) - 1
    record = np.searchsorted(units.start, start, side="right") - 1
    key, start, stop = merge_ranges(label * max(n_records, 1) + record, start, stop)
    # Labels x records can be the largest array of a study: narrow, and filled label by label.
    narrow = np.int32 if len(start) < 2**31 else np.int64
    first = np.empty((n_labels, n_records + 1), narrow)
    edge = np.arange(n_records + 1)
    for at in range(n_labels):
        first[at] = np.searchsorted(key, at * n_records + edge)
    return Runs(start, stop, first)


def _instances(
    label: Ints, instance: Ints, start: Ints, stop: Ints, units: Units, n_labels: int
) -> Instances:
    order = np.lexsort((start, instance, label))
    label, instance, start, stop = (x[order] for x in (label, instance, start, stop))
    del order
    new = (label[1:] != label[:-1]) | (instance[1:] != instance[:-1])
    run = np.flatnonzero(np.append(True, new)) if len(label) else np.zeros(0, np.int64)
    record = np.searchsorted(units.start, start[run], side="right") - 1
    family = np.searchsorted(units.first, record, side="right") - 1
    first = np.searchsorted(label[run], np.arange(n_labels + 1))
    ends = np.append(run, len(label)).astype(np.int64)
    columns = (family, instance[run], start, stop)
    return Instances(first.astype(np.int64), ends, *(x.astype(np.int64) for x in columns))
