"""Gridded records with planted blobs, for the tests of maps: 40 times in 4 blocks, 6 x 8 cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.adapter import (
    Label,
    ModelIdentity,
    Nuisances,
    Plane,
    Polyline,
    RecordAnnotations,
    RecordView,
)
from sci_interp.axis import TokenAxis, block_position

N_ROWS, N_COLUMNS, N_LEVELS = 6, 8, 2
N_TOKENS = N_ROWS * N_COLUMNS * N_LEVELS
LATITUDE = np.arange(60.0, 34.0, -5.0)
LONGITUDE = np.arange(-40.0, -4.0, 5.0)
#: Two blocks of the test split, so that a composite has a choice, and one of the others used.
WANTED_SPLITS = (("a", 0.20, 0.52), ("b", 0.52, 0.84), ("c", 0.52, 0.84), ("d", 0.84, 1.0))
LOW, HIGH, RARE = range(3)  # features: where the field is low, where it is high, in one record
N_FEATURES = 4  # the last never fires


def block_names() -> list[str]:
    """Return names whose places lie in the splits wanted."""
    return [
        next(n for n in (f"{letter}{i}" for i in range(99)) if low <= block_position(n) < high)
        for letter, low, high in WANTED_SPLITS
    ]


@dataclass(frozen=True, eq=False)
class GridWorld:
    """Fields with one low and one high each; tokens are columns of cells, level by level."""

    seed: int = 0
    digest: str = "grid world"
    exchange: bool = True
    fields: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        y, x = np.mgrid[:N_ROWS, :N_COLUMNS]
        for block in block_names():
            for number in range(10):
                values = 1010.0 + 0.5 * x
                for depth in (-34.0, 15.0):
                    row, column = rng.uniform(1, N_ROWS - 2), rng.uniform(1, N_COLUMNS - 2)
                    values = values + depth * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 3)
                self.fields[f"{block}-{number}"] = values.astype(np.float32)

    @cached_property
    def table(self) -> pd.DataFrame:
        names = list(self.fields)
        table = pd.DataFrame(
            {"record": names, "block": [n.split("-")[0] for n in names], "n_tokens": N_TOKENS}
        )
        if self.exchange:
            table["exchange"] = ["winter" if n[-1] in "01234" else "summer" for n in names]
        return table

    @cached_property
    def axis(self) -> TokenAxis:
        return TokenAxis.build(self.table)

    @cached_property
    def cell(self) -> NDArray[np.int64]:
        token = np.arange(N_TOKENS)
        return token % N_ROWS * N_COLUMNS + token // (N_ROWS * N_LEVELS)

    def levels(self) -> NDArray[np.int64]:
        """Return levels ``(n_tokens, N_FEATURES)``; the second latent level is 32 lower."""
        levels = np.zeros((self.axis.n_tokens, N_FEATURES), np.int64)
        records = self.axis.records["record"]
        for record, start in zip(records, self.axis.record_starts, strict=False):
            values = self.fields[record].ravel()[self.cell].astype(np.float64)
            low = np.where(values < 1003, np.clip(200 + 2 * (1003 - values), 0, 255), 0)
            high = np.where(values > 1021, np.clip(150 + 6 * (values - 1021), 0, 255), 0)
            second = np.arange(N_TOKENS) // N_ROWS % N_LEVELS == 1
            for feature, strength in ((LOW, low), (HIGH, high)):
                strength = np.where(second, np.maximum(strength - 32, 0), strength)
                levels[start : start + N_TOKENS, feature] = strength.astype(np.int64)
        levels[self.axis.token_range(["test"])[0] + 3, RARE] = 255
        return levels


class GridAdapter:
    """Knows where the field is low; half of the domain was not assessed in some records."""

    name = "grid"
    model = ModelIdentity("grid", "0" * 64, "float32")
    coordinates = ("latitude", "longitude")
    default_layer = "none"
    label = "low_area"
    title = "{record}"
    field_name = "sea-level pressure"

    def labels(self, dataset: GridWorld) -> Sequence[Label]:
        return [Label(self.label, "pressure", "where the field is below 1003")]

    def annotate(self, dataset: GridWorld, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        for record in records:
            low = dataset.fields[record].ravel()[dataset.cell] < 1003
            half = N_TOKENS // 2
            runs = [(self.label, "low", int(t), int(t) + 1) for t in np.flatnonzero(low)]
            known = half if record.endswith("3") else N_TOKENS
            yield RecordAnnotations(record, runs, [("pressure", 0, known)])

    def nuisances(self) -> Nuisances:
        return Nuisances((), ())

    def token_coordinates(self, dataset: GridWorld, record: str) -> Mapping[str, NDArray[Any]]:
        row, column = np.divmod(dataset.cell, N_COLUMNS)
        return {"latitude": LATITUDE[row], "longitude": LONGITUDE[column]}

    def view(self, dataset: GridWorld, record: str) -> RecordView:
        plane = Plane(
            x_name="longitude", y_name="latitude", x=LONGITUDE, y=LATITUDE, cell=dataset.cell,
            period=360.0, field_x=LONGITUDE, field_y=LATITUDE, field=dataset.fields[record],
            field_name=self.field_name, field_unit="hPa", contour_step=4.0,
            outlines=(Polyline(np.array([-45.0, -20.0, 0.0]), np.array([40.0, 55.0, 45.0])),),
        )  # fmt: skip
        return RecordView(self.title.format(record=record), (), "https://example.org/x", plane)


def plane_of(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    values: NDArray[np.floating],
    *,
    period: float = 360.0,
    step: float = 1.0,
    outlines: tuple[Polyline, ...] = (),
) -> Plane:
    """Return a plane whose tokens and field share a grid."""
    return Plane(
        x_name="longitude", y_name="latitude", x=x, y=y, cell=np.arange(len(x) * len(y)),
        period=period, field_x=x, field_y=y, field=np.asarray(values, np.float32),
        field_name="field", field_unit="", contour_step=step, outlines=outlines,
    )  # fmt: skip
