"""Codes and annotations in memory, read like stores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.annotations import AnnotationSlice
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.source import FeatureSource

from .inputs import KnownSource, iterate_slices

__all__ = [
    "MemoryAnnotations",
    "MemoryFeatures",
    "load_annotations",
    "load_features",
    "without_nuisances",
]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MemoryFeatures:
    """Codes of every token.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    codes : Codes
        The codes, with uint8 levels.
    n_features : int
        Number of features.
    names : tuple of str
        Their names, or nothing.
    """

    axis: TokenAxis
    codes: Codes
    n_features: int
    names: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the codes and of the axis."""
        state = hashlib.sha256(self.axis.digest.encode())
        for column in (self.codes.indptr, self.codes.feature, self.codes.value):
            state.update(np.ascontiguousarray(column).tobytes())
        return state.hexdigest()

    def read(self, start: int, stop: int) -> Codes:
        """Return the codes of a token range."""
        return self.codes.rows(start, stop)


@dataclass(frozen=True, eq=False)
class MemoryAnnotations:
    """Annotations of every token; columns as in an annotation slice, runs in any order.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    labels : sequence of Label
        The labels.
    everything : AnnotationSlice
        All runs and known ranges.
    events : (2, n) int64
        Instance and event of the instances that share one, by instance.
    """

    axis: TokenAxis
    labels: Sequence[Label]
    everything: AnnotationSlice
    events: Ints = field(default_factory=lambda: np.zeros((2, 0), np.int64))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Label groups in order of first use."""
        return tuple(dict.fromkeys(label.group for label in self.labels))

    @cached_property
    def group_of_label(self) -> Ints:
        """Group of every label ``(n_labels,)``."""
        return np.array([self.groups.index(label.group) for label in self.labels], np.int64)

    @cached_property
    def _by_start(self) -> tuple[Ints, Ints]:
        """Runs by their start, and those starts."""
        order = np.argsort(self.everything.start, kind="stable")
        return order, np.asarray(self.everything.start)[order]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the annotations and of the axis."""
        state = hashlib.sha256((self.axis.digest + repr(tuple(self.labels))).encode())
        for column in vars(self.everything).values():
            state.update(np.ascontiguousarray(column, np.int64).tobytes())
        return state.hexdigest()

    def read(self, start: int, stop: int) -> AnnotationSlice:
        """Return the annotations of a token range that begins and ends with records."""
        all_ = self.everything
        order, starts = self._by_start
        runs = order[np.searchsorted(starts, start) : np.searchsorted(starts, stop)]
        runs = runs[np.lexsort((all_.start[runs], all_.label[runs]))]
        ranges = np.flatnonzero((all_.known_start < stop) & (all_.known_stop > start))
        return AnnotationSlice(
            all_.label[runs],
            all_.instance[runs],
            all_.start[runs],
            all_.stop[runs],
            all_.known_group[ranges],
            np.maximum(all_.known_start[ranges], start),
            np.minimum(all_.known_stop[ranges], stop),
        )


def load_features(features: FeatureSource, chosen: Ints) -> MemoryFeatures:
    """Read the codes of some features of the linking splits into memory.

    Parameters
    ----------
    features
        The codes.
    chosen : (n_chosen,) int64
        Features to keep, ascending; they are renumbered from 0.
    """
    place = np.full(features.n_features, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    row_size = np.zeros(features.axis.n_tokens + 1, np.int64)
    columns: tuple[list[NDArray[np.uint32]], list[NDArray[np.uint8]]] = ([], [])
    for split in ("discovery", "test", "vault"):
        for start, stop in iterate_slices(features.axis, split):
            codes = features.read(start, stop)
            at = place[codes.feature]
            kept = at >= 0
            row = np.repeat(np.arange(start, stop), np.diff(codes.indptr))[kept]
            row_size[start + 1 : stop + 1] = np.bincount(row - start, minlength=stop - start)
            columns[0].append(at[kept].astype(np.uint32))
            columns[1].append(codes.value[kept].astype(np.uint8))
    codes = Codes(
        np.cumsum(row_size),
        np.concatenate([np.zeros(0, np.uint32), *columns[0]]),
        np.concatenate([np.zeros(0, np.uint8), *columns[1]]),
    )
    return MemoryFeatures(features.axis, codes, len(chosen))


def load_annotations(known: KnownSource) -> MemoryAnnotations:
    """Read the annotations of the linking splits into memory."""
    parts = [
        known.read(start, stop)
        for split in ("discovery", "test", "vault")
        for start, stop in iterate_slices(known.axis, split)
    ]
    names = ("label", "instance", "start", "stop", "known_group", "known_start", "known_stop")
    columns = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
        for name in names
    )
    return MemoryAnnotations(known.axis, known.labels, AnnotationSlice(*columns), known.events)


def without_nuisances(known: MemoryAnnotations) -> MemoryAnnotations:
    """Return the labels that can be findings, and the groups they belong to."""
    labels = [label for label in known.labels if not label.nuisance]
    kept = np.array([not label.nuisance for label in known.labels], bool)
    groups = list(dict.fromkeys(label.group for label in labels))
    of_label = np.cumsum(kept) - 1
    of_group = np.array(
        [groups.index(name) if name in groups else -1 for name in known.groups], np.int64
    )
    all_ = known.everything
    runs = kept[all_.label]
    ranges = of_group[all_.known_group] >= 0
    columns = AnnotationSlice(
        of_label[all_.label[runs]],
        all_.instance[runs],
        all_.start[runs],
        all_.stop[runs],
        of_group[all_.known_group[ranges]].astype(np.int32),
        all_.known_start[ranges],
        all_.known_stop[ranges],
    )
    return MemoryAnnotations(known.axis, tuple(labels), columns, known.events)
