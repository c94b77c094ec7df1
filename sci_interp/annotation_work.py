"""Annotating: an adapter over records, in one process, or in parts that others made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from .adapter import Adapter, Dataset, Label, RecordAnnotations
from .axis import DEFAULT_FRACTIONS, TokenAxis
from .disk import digest_file
from .errors import InputError
from .executors import Shard, Workers, share, spans
from .manifest import begin_artefact, digest_json, read_json, write_atomically
from .parts import Parts
from .progress import track
from .quarantine import Quarantined
from .recipes import Last, Recipe
from .schema import RECORD, SHARD_TOKENS, Split
from .token_layout import work_units

__all__ = ["AnnotationWork"]

KIND: Final = "annotations"
PART_FILE: Final = "annotations.json"


class AnnotationWork:
    """What an adapter knows of a dataset, and the store that it goes to.

    Parameters
    ----------
    adapter, dataset
        Whose annotations are stored.
    out
        Folder of the artefact.
    fractions
        Shares of the splits.
    left_out
        Records that are left out.

    Attributes
    ----------
    out : Path
        As given.
    labels : tuple of Label
        The adapter's labels.
    axis : TokenAxis
        The records.

    Raises
    ------
    InputError
        If the adapter has no labels, or lists them wrongly.
    """

    def __init__(
        self,
        adapter: Adapter,
        dataset: Dataset,
        out: Path,
        fractions: Mapping[Split, float] | None,
        left_out: Sequence[Quarantined] = (),
    ) -> None:
        self._adapter = adapter
        self._dataset = dataset
        self._fractions = fractions
        self.out = out
        self.labels: tuple[Label, ...] = tuple(adapter.labels(dataset))
        _require_labels(self.labels)
        self.axis = TokenAxis.of(dataset, fractions, left_out=left_out)

    @cached_property
    def _request(self) -> tuple[dict[str, str], dict[str, Any]]:
        inputs = {"dataset": self._dataset.digest}
        # What reaches the network may stay while its annotations change; a dataset that can tell
        # does.
        if annotation_digest := getattr(self._dataset, "annotation_digest", None):
            inputs["annotations"] = str(annotation_digest)
        settings = {
            "adapter": self._adapter.name,
            "axis": self.axis.digest,
            "fractions": dict(self._fractions or DEFAULT_FRACTIONS),
            "labels": [
                [label.name, label.group, label.nuisance, label.extent] for label in self.labels
            ],
            "definitions": digest_json([label.definition for label in self.labels]),
        }
        return inputs, settings

    @cached_property
    def parts(self) -> Parts:
        """Annotations of consecutive records that other processes made."""
        inputs, settings = self._request
        return Parts(self.out, KIND, inputs=inputs, settings=settings)

    @cached_property
    def _units(self) -> list[Sequence[str]]:
        """Records of every part."""
        records = self.axis.records[RECORD].tolist()
        units = work_units(self.axis, SHARD_TOKENS).tolist()
        return [records[first:last] for first, last in units]

    def claim(self) -> bool:
        """Claim the folder, and return whether the store is finished."""
        inputs, settings = self._request
        return begin_artefact(self.out, KIND, inputs=inputs, settings=settings)

    def read(
        self, workers: Workers, recipe: Recipe | None, *, progress: bool
    ) -> Iterator[RecordAnnotations]:
        """Return what is known of every record, in the order of the axis.

        Raises
        ------
        InputError
            If the workers are other processes, and there is no recipe for them.
        """
        if workers.are_others:
            absent = [unit for unit in range(len(self._units)) if not self.parts.has(unit)]
            wanted = spans(absent, workers.n_tasks)
            tasks = [self._task(units, recipe) for units in wanted]
            for _ in track(workers.run(tasks), "annotate", total=len(tasks), show=progress):
                pass
        elif not self.parts.names():
            return iter(self._adapter.annotate(self._dataset, self.axis.records[RECORD].tolist()))
        return self._from_parts()

    def make_share(self, shard: Shard, *, progress: bool) -> int:
        """Make the parts of one task of an array, and return how many are its own."""
        if not self.parts.is_needed():
            return 0
        own = share(len(self._units), shard)
        self.make_parts(own, progress=progress)
        return len(own)

    def make_parts(self, units: range, *, progress: bool = False) -> None:
        """Annotate consecutive units, and write each as a part, unless it is there."""
        for unit in track(units, "annotate", show=progress):
            if not self.parts.has(unit):
                self.parts.make(unit, partial(self._write_part, unit))

    def _task(self, units: range, recipe: Recipe | None) -> Callable[[], None]:
        if recipe is None:
            raise InputError(
                "workers open the model and the data for themselves, and have no recipe for it",
                todo="recipe = si.Recipe(...); adapter, dataset = recipe.open(); and recipe=recipe",
            )
        shares = None if self._fractions is None else dict(self._fractions)
        opened = (recipe, self.out.absolute(), shares, self.axis.quarantine)
        return _AnnotateTask(*opened, self.parts.key, units)

    def _write_part(self, unit: int, folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
        found = [
            {
                "record": each.record,
                "runs": list(each.runs),
                "known": list(each.known),
                "events": [[*key, event] for key, event in each.events.items()],
            }
            for each in self._adapter.annotate(self._dataset, self._units[unit])
        ]
        path = folder / PART_FILE
        write_atomically(path, json.dumps({"records": found}, default=_to_int))
        return {PART_FILE: digest_file(path)}, {}

    def _from_parts(self) -> Iterator[RecordAnnotations]:
        for unit, records in enumerate(self._units):
            if not self.parts.has(unit):
                yield from self._adapter.annotate(self._dataset, records)
                continue
            for each in read_json(self.parts.read_file(unit, PART_FILE))["records"]:
                yield RecordAnnotations(
                    each["record"],
                    [tuple(run) for run in each["runs"]],
                    [tuple(span) for span in each["known"]],
                    {(label, key): event for label, key, event in each["events"]},
                )


@dataclass(frozen=True)
class _AnnotateTask:
    """Opens model and data in a worker, and annotates consecutive units."""

    recipe: Recipe
    out: Path
    fractions: Mapping[Split, float] | None
    left_out: tuple[Quarantined, ...]
    key: str
    units: range

    def __call__(self) -> None:
        work = _last.get(f"{self.recipe.key} {self.key}", self._open)
        work.parts.require_key(self.key)
        work.make_parts(self.units)

    def _open(self) -> AnnotationWork:
        return AnnotationWork(*self.recipe.open_once(), self.out, self.fractions, self.left_out)


_last: Last[AnnotationWork] = Last()


def _to_int(value: Any) -> int:
    """Return a NumPy integer as JSON knows it."""
    return int(value)


def _require_labels(labels: Sequence[Label]) -> None:
    if not labels:
        raise InputError("the adapter has no label for this dataset")
    names = [label.name for label in labels]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the adapter lists the label {name!r} more than once")
    extent = {label.group: label.extent for label in labels}
    for label in labels:
        if label.extent != extent[label.group]:
            raise InputError(
                f"the label {label.name!r} covers {label.extent}, and others of its group "
                f"{label.group!r} cover {extent[label.group]}",
                allowed="one extent for all labels of a group",
            )
