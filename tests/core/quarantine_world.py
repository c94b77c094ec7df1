"""What the tests of quarantine share: an adapter with bad records, and the data without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from batch_world import FakeRecipe
from fake_adapter import FakeAdapter, FakeDataset, make_dataset
from numpy.typing import NDArray

from sci_interp.activations import extract, extract_share
from sci_interp.adapter import RecordActivations, RecordAnnotations
from sci_interp.errors import InputError

LAYER = "layers.1"
#: How a record can be bad; the first five are found in its activations.
WAYS = ("nan", "inf", "-inf", "overflow", "late", "refused", "coordinates")
VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "overflow": 1e6, "late": np.nan}
SMALL = {"unit_tokens": 150, "shard_tokens": 128, "progress": False}


class BadAdapter(FakeAdapter):
    """Records that are bad in one of :data:`WAYS`, in the last of the layers that are asked for.

    Parameters
    ----------
    ways
        How, by record.
    only
        The layer whose activations are bad; any without it.
    everyone
        The whole dataset: what is known of a record follows from its place there.
    """

    def __init__(
        self, ways: Mapping[str, str], only: str = "", everyone: FakeDataset | None = None
    ) -> None:
        super().__init__()
        self.ways, self.only, self.everyone = ways, only, everyone

    def annotate(self, dataset: FakeDataset, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        return super().annotate(self.everyone or dataset, records)

    def activations(
        self, dataset: FakeDataset, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        for found in super().activations(dataset, records, layers):
            way = self.ways.get(found.record, "")
            if way == "refused":
                raise InputError(f"{found.record} has a hole")
            if way in VALUES and (layer := self.only or layers[-1]) in layers:
                values = found.values[layer].copy()
                values[-1 if way == "late" else 0, 3] = VALUES[way]
                found = RecordActivations(found.record, {**found.values, layer: values})
            yield found

    def token_coordinates(
        self, dataset: FakeDataset, record: str
    ) -> Mapping[str, NDArray[np.float64]]:
        if self.ways.get(record) == "coordinates":
            raise InputError(f"{record} lies nowhere")
        return super().token_coordinates(dataset, record)


def ways_of(places: Collection[int]) -> dict[str, str]:
    """Return how the records at some places of the dataset are bad, each in its turn."""
    return {
        f"record{place:04d}": WAYS[number % len(WAYS)]
        for number, place in enumerate(sorted(places))
    }


def without(data: FakeDataset, names: Collection[str]) -> FakeDataset:
    """Return the dataset that never had some of its records."""
    return FakeDataset({n: text for n, text in data.texts.items() if n not in names}, data.blocks)


BAD = ways_of([0, 1, 2, 11, 20, 21, 39])


@dataclass(frozen=True)
class BadRecipe(FakeRecipe):
    """Opens the adapter with bad records, in this process or another."""

    ways: Mapping[str, str] = field(default_factory=lambda: dict(BAD))

    def open(self) -> tuple[BadAdapter, FakeDataset]:
        return BadAdapter(self.ways), make_dataset(n_records=self.n_records)


QUARANTINE = {"on_error": "quarantine", "most_quarantined": 0.5}


def extract_bad(out: Path, ways: Mapping[str, str] = BAD, **options):
    """Extract one layer and leave bad records out."""
    recipe = BadRecipe(ways=dict(ways))
    given = {"layer": LAYER, "out": out, "recipe": recipe, **SMALL, **QUARANTINE, **options}
    return extract(*recipe.open(), **given)


def share_bad(out: Path, index: int, of: int, **options) -> int:
    """Make one task's part of the same."""
    given = {"layer": LAYER, "out": out, **SMALL, **QUARANTINE, **options}
    return extract_share(BadRecipe(), shard=(index, of), **given)


def extract_for_kills(out: Path) -> None:
    """Extract alone; run in a process that is killed."""
    extract_bad(out)


def share_for_kills(out: Path) -> None:
    """Make an array's parts and take them in; run in a process that is killed."""
    for index in range(2):
        share_bad(out, index, 2)
    extract_bad(out)
