"""Annotations of one record after the other: checked, numbered, and laid out on the token axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .adapter import Label, RecordAnnotations
from .errors import InputError, UnknownNameError
from .ranges import RangeWriter, merge_ranges

__all__ = ["RecordReader", "label_groups"]


def label_groups(labels: Sequence[Label]) -> tuple[str, ...]:
    """Return the groups in the order in which labels name them."""
    return tuple(dict.fromkeys(label.group for label in labels))


class RecordReader:
    """Validates the annotations of one record after the other and numbers the instances."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = {label.name: index for index, label in enumerate(labels)}
        self._groups = {group: index for index, group in enumerate(label_groups(labels))}
        self._group_of_label = np.array([self._groups[label.group] for label in labels], np.int64)
        self._n_instances = 0
        self._events: dict[tuple[int, str], int] = {}

    def read(
        self,
        annotations: RecordAnnotations,
        first: int,
        n_tokens: int,
        *,
        runs: RangeWriter,
        known: RangeWriter,
        events: RangeWriter,
    ) -> None:
        """Append the ranges of a record whose tokens begin at ``first``, and its events.

        Raises
        ------
        InputError
            If a range leaves the record, or an event has no run.
        UnknownNameError
            If a run names no label, or a known range no group.
        """
        record = annotations.record
        places: dict[tuple[str, str], int] = {}
        for name, key, begin, end in annotations.runs:
            if name not in self._labels:
                raise UnknownNameError("label", name, self._labels)
            _require_inside(record, f"a run of {name!r}", begin, end, n_tokens)
            places.setdefault((name, key), len(places))
        for name, begin, end in annotations.known:
            if name not in self._groups:
                raise UnknownNameError("label group", name, self._groups)
            _require_inside(record, f"a known range of {name!r}", begin, end, n_tokens)
        instance, start, stop = merge_ranges(
            np.array([places[name, key] for name, key, _, _ in annotations.runs], np.int64),
            np.array([begin for _, _, begin, _ in annotations.runs], np.int64),
            np.array([end for _, _, _, end in annotations.runs], np.int64),
        )
        label = np.array([self._labels[name] for name, _ in places], np.int64)[instance]
        number = self._append_runs(runs, label, instance, first + start, first + stop)
        self._append_events(events, annotations, places, number)
        assessed = np.array([self._groups[name] for name, _, _ in annotations.known], np.int64)
        group, start, stop = merge_ranges(
            np.append(self._group_of_label[label], assessed),
            np.append(start, np.array([begin for _, begin, _ in annotations.known], np.int64)),
            np.append(stop, np.array([end for _, _, end in annotations.known], np.int64)),
        )
        order = np.lexsort((group, start))
        known.append(group[order], first + start[order], first + stop[order])

    def _append_runs(
        self,
        runs: RangeWriter,
        label: NDArray[np.int64],
        instance: NDArray[np.int64],
        start: NDArray[np.int64],
        stop: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Append runs; return the number of every instance ``(n_instances,)``."""
        # Instances are numbered by their first run, whatever order the adapter lists them in.
        order = np.lexsort((instance, stop, label, start))
        label, instance, start, stop = label[order], instance[order], start[order], stop[order]
        _, at, inverse = np.unique(instance, return_index=True, return_inverse=True)
        number = np.empty(len(at), np.int64)
        number[np.argsort(at)] = self._n_instances + np.arange(len(at))
        runs.append(label, number[inverse], start, stop)
        self._n_instances += len(at)
        return number

    def _append_events(
        self,
        events: RangeWriter,
        annotations: RecordAnnotations,
        places: Mapping[tuple[str, str], int],
        number: NDArray[np.int64],
    ) -> None:
        """Append instance and event number of the instances that belong to an event."""
        rows = []
        for (name, key), event in annotations.events.items():
            if (name, key) not in places:
                raise InputError(
                    f"record {annotations.record!r} has an event {event!r} of the label {name!r} "
                    f"and its instance {key!r} has no run"
                )
            of_label = (self._labels[name], event)
            rows.append(
                (
                    int(number[places[name, key]]),
                    self._events.setdefault(of_label, len(self._events)),
                )
            )
        if rows:
            events.append(*np.array(sorted(rows), np.int64).T.copy())


def _require_inside(record: str, what: str, start: int, stop: int, n_tokens: int) -> None:
    if not 0 <= start < stop <= n_tokens:
        raise InputError(
            f"{what} in record {record!r} covers the tokens {start}:{stop}",
            allowed=f"0 <= start < stop <= {n_tokens}, the record's length",
        )
