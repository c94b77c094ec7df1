"""Planted worlds as data: records, labels, features and the truth, whatever laid them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import sci_interp as si
from sci_interp.adapter import Adapter, Label, ModelIdentity, Nuisances, RecordAnnotations
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes, quantise
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.schema import Split

__all__ = [
    "FRACTIONS",
    "LINKED_KINDS",
    "Activity",
    "Dataset",
    "Describer",
    "PlantedAdapter",
    "Runs",
    "World",
    "build_codes",
    "tokens_of",
]

Ints = NDArray[np.int64]

#: Nothing is trained where features are planted, so no block is kept for it.
FRACTIONS: Mapping[Split, float] = {"train": 0.0, "discovery": 0.4, "test": 0.4, "vault": 0.2}
#: Features of these kinds are linked to their label, those of all other kinds to none.
LINKED_KINDS = ("clear", "sub-concept")


@dataclass(frozen=True, eq=False)
class Runs:
    """Where the labels are, in tokens of the axis, and where they were assessed.

    Attributes
    ----------
    label, instance, start, stop : (n_runs,) int64
        Runs inside records, half-open.
    event : (n_runs,) int64
        Storm of a run; -1 where an instance is an event of its own.
    known : (n_groups, n_records) bool
        Records in which each label group was assessed, as a whole.
    """

    label: Ints
    instance: Ints
    start: Ints
    stop: Ints
    event: Ints
    known: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Activity:
    """One feature: the tokens at which it fires, ascending, and how strongly (scale 1)."""

    token: Ints
    value: NDArray[np.float32]


class Describer(Protocol):
    """Describes inputs without a network."""

    def describe_windows(self, record: int, tokens: Ints) -> NDArray[np.float32]:
        """Return descriptors ``(n, n_numbers)`` around the tokens of a record."""

    def nuisances(self) -> Nuisances:
        """Return the cheap explanations that there are."""

    def nuisance_codes(self, record: int) -> tuple[Ints, Ints]:
        """Return (token, explanation) pairs of a record, sorted."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The records of a world.

    Attributes
    ----------
    axis : TokenAxis
        The records, in the order of the axis.
    """

    axis: TokenAxis

    @property
    def step_weights(self) -> tuple[int, ...]:
        """Weights of the tokens of a step."""
        return self.axis.step_weights

    @property
    def digest(self) -> str:
        """Identity of the records."""
        return self.axis.digest

    @property
    def table(self) -> pd.DataFrame:
        """Columns ``record, block, n_tokens, stratum``, and ``exchange`` where there is any."""
        records = self.axis.records
        columns = ["record", "block", "stratum"]
        columns += ["exchange"] if (records["exchange"] != "").any() else []
        return records[columns].assign(n_tokens=records["stop"] - records["start"])


@dataclass(frozen=True, eq=False)
class World:
    """One draw of a planted world.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    labels : tuple of Label
        The labels.
    runs : Runs
        Where they are annotated.
    features : MemoryFeatures
        Codes of the features.
    kind : tuple of str
        What each feature is: of ``LINKED_KINDS``, ``"hidden..."`` (a coherent concept that no
        label names), or one of the world's traps and nulls.
    target : (n_features,) int64
        Label that a feature is linked to, or that its trap imitates; -1 for none.
    describer : Describer or None
        Who describes windows; None where candidates are not asked for.
    """

    axis: TokenAxis
    labels: tuple[Label, ...]
    runs: Runs
    features: MemoryFeatures
    kind: tuple[str, ...]
    target: Ints
    describer: Describer | None = None
    #: Kinds whose pairs are associated, but not by what was planted: neither true nor false.
    unjudged: tuple[str, ...] = ()
    #: Shares of the splits that the axis was built with.
    fractions: Mapping[Split, float] = field(default_factory=lambda: FRACTIONS)

    @cached_property
    def linked(self) -> NDArray[np.bool_]:
        """Which pairs are linked ``(n_labels, n_features)``."""
        return self.of_kind(*LINKED_KINDS)

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """Which pairs are known to be linked or not ``(n_labels, n_features)``."""
        fine = ~np.isin(self.kind, self.unjudged)
        judged: NDArray[np.bool_] = np.broadcast_to(fine, (len(self.labels), len(fine)))
        return judged

    def of_kind(self, *kinds: str) -> NDArray[np.bool_]:
        """Return the pairs of features of some kinds with their own label."""
        found = np.zeros((len(self.labels), len(self.kind)), np.bool_)
        chosen = np.flatnonzero(np.isin(self.kind, kinds) & (self.target >= 0))
        found[self.target[chosen], chosen] = True
        return found

    def annotate(self, folder: Path) -> si.AnnotationStore:
        """Return the annotations as a store, written by the library."""
        adapter = cast("Adapter", PlantedAdapter(self))  # there is no network behind it
        return si.annotate(
            adapter, Dataset(self.axis), out=folder, fractions=self.fractions, progress=False
        )


@dataclass(frozen=True, eq=False)
class PlantedAdapter:
    """What ``annotate`` and ``surface`` ask of an adapter; a planted world has no network."""

    world: World
    name: str = "planted"
    coordinates: tuple[str, ...] = ("token",)
    default_layer: str = "none"
    model: ModelIdentity = field(default=ModelIdentity("planted", "0" * 64, "float32"))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.world.axis.records["record"])}

    def labels(self, dataset: Dataset) -> Sequence[Label]:  # noqa: ARG002 - an adapter's signature
        """Return the labels."""
        return self.world.labels

    def annotate(
        self,
        dataset: Dataset,  # noqa: ARG002
        records: Sequence[str],
    ) -> Iterator[RecordAnnotations]:
        """Yield runs and assessed ranges of every record."""
        runs, starts = self.world.runs, self.world.axis.record_starts
        groups = list(dict.fromkeys(label.group for label in self.world.labels))
        names = [label.name for label in self.world.labels]
        order = np.argsort(runs.start, kind="stable")
        first = np.searchsorted(runs.start[order], starts)
        for record in records:
            at = self._place[record]
            mine = order[first[at] : first[at + 1]]
            begin, size = int(starts[at]), int(starts[at + 1] - starts[at])
            found = [
                (names[runs.label[run]], str(runs.instance[run]), start, stop)
                for run, start, stop in zip(
                    mine,
                    (runs.start[mine] - begin).tolist(),
                    (runs.stop[mine] - begin).tolist(),
                    strict=True,
                )
            ]
            events = {
                (names[runs.label[run]], str(runs.instance[run])): f"storm {runs.event[run]}"
                for run in mine
                if runs.event[run] >= 0
            }
            known = [
                (group, 0, size)
                for group, where in zip(groups, runs.known, strict=True)
                if where[at]
            ]
            yield RecordAnnotations(record, found, known, events)

    def nuisances(self) -> Nuisances:
        """Return the cheap explanations."""
        return self._describer.nuisances()

    def nuisance_codes(self, dataset: Dataset, record: str) -> tuple[Ints, Ints]:  # noqa: ARG002
        """Return the cheap explanations of one record's tokens."""
        return self._describer.nuisance_codes(self._place[record])

    def describe_windows(
        self,
        dataset: Dataset,  # noqa: ARG002
        record: str,
        tokens: Ints,
    ) -> NDArray[np.float32]:
        """Describe the inputs around tokens."""
        return self._describer.describe_windows(self._place[record], tokens)

    def token_coordinates(
        self,
        dataset: Dataset,  # noqa: ARG002
        record: str,
    ) -> Mapping[str, NDArray[np.float64]]:
        """Return the number of every token in its record, from 1."""
        size = int(np.diff(self.world.axis.record_starts)[self._place[record]])
        return {"token": np.arange(1.0, size + 1)}

    @property
    def _describer(self) -> Describer:
        assert self.world.describer is not None, "candidates are asked of worlds with inputs"
        return self.world.describer


def tokens_of(start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """Return the number of the run and the token, of every token of half-open runs."""
    length = stop - start
    run = np.repeat(np.arange(len(start)), length)
    return run, np.arange(len(run)) - np.repeat(np.cumsum(length) - length, length) + start[run]


def build_codes(axis: TokenAxis, activities: Sequence[Activity]) -> MemoryFeatures:
    """Return codes of features; where a feature fires twice at a token the stronger counts."""
    n = len(activities)
    token = np.concatenate([activity.token for activity in activities])
    feature = np.repeat(np.arange(n), [len(one.token) for one in activities])
    value = np.concatenate([activity.value for activity in activities])
    place = token * n + feature
    order = np.argsort(place, kind="stable")  # quick: every feature's tokens ascend already
    fresh = np.flatnonzero(np.diff(place[order], prepend=-1))
    value = np.maximum.reduceat(value[order], fresh)
    token = token[order][fresh]
    kept: NDArray[np.uint16] = feature[order][fresh].astype(np.uint16)
    indptr = np.searchsorted(token, np.arange(axis.n_tokens + 1)).astype(np.int64)
    level = quantise(value, kept, np.ones(n, np.float32))
    return MemoryFeatures(axis, Codes(indptr, kept, level), n)
