"""Input fields of planted weather: every kind of storm stamps its own pattern where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from planted_data import Ints

from sci_interp.adapter import Nuisances
from sci_interp.axis import TokenAxis

if TYPE_CHECKING:
    from weather_worlds import Storms

__all__ = ["Maps", "draw_maps"]

#: Cells on each side of a token that describe its window, and that a storm's pattern covers.
REACH = 2
#: Height of the patterns in standard deviations of the field.
HEIGHT = 1.5
#: Bands of latitude that are explanations by themselves.
N_BANDS = 5


@dataclass(frozen=True, eq=False)
class Maps:
    """A field of every record.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    field : (n_records, n_columns, n_rows) float64
        The field; columns are a circle.
    """

    axis: TokenAxis
    field: NDArray[np.float64]

    def describe_windows(self, record: int, tokens: Ints) -> NDArray[np.float32]:
        """Return the field around cells; beyond the first and last row it is 0."""
        n_columns, n_rows = self.field.shape[1:]
        padded = np.pad(self.field[record], ((0, 0), (REACH, REACH)))
        column, row = np.divmod(np.asarray(tokens), n_rows)
        around = np.arange(-REACH, REACH + 1)
        columns = (column[:, None, None] + around[:, None]) % n_columns
        rows = row[:, None, None] + REACH + around
        found: NDArray[np.float32] = padded[columns, rows].reshape(len(row), -1).astype(np.float32)
        return found

    def nuisances(self) -> Nuisances:
        """Return bands of latitude, in winter and in summer."""
        names = [
            f"band {band}, {season}" for season in ("winter", "summer") for band in range(N_BANDS)
        ]
        return Nuisances(tuple(names), ("latitude and season",) * len(names))

    def nuisance_codes(self, record: int) -> tuple[Ints, Ints]:
        """Return (token, explanation) pairs of a record, sorted."""
        n_columns, n_rows = self.field.shape[1:]
        token = np.arange(n_columns * n_rows)
        summer = str(self.axis.records["exchange"].iloc[record]).endswith("summer")
        return token, token % n_rows * N_BANDS // n_rows + N_BANDS * summer


def draw_maps(
    random: np.random.Generator, axis: TokenAxis, kinds: list[Storms], n_rows: int
) -> Maps:
    """Draw fields of noise, with the pattern of its kind at the centre of every storm."""
    n_columns = int(axis.record_starts[1]) // n_rows
    field = random.standard_normal((axis.n_records, n_columns, n_rows))
    for storms in kinds:
        pattern = HEIGHT * random.standard_normal((2 * REACH + 1, 2 * REACH + 1))
        order = np.lexsort((-storms.closeness, storms.record, storms.storm))
        fresh = np.diff(storms.storm[order], prepend=-1) != 0
        fresh |= np.diff(storms.record[order], prepend=-1) != 0
        centre = order[fresh]
        column, row = np.divmod(storms.cell[centre], n_rows)
        for east in range(-REACH, REACH + 1):
            for north in range(-REACH, REACH + 1):
                inside = (row + north >= 0) & (row + north < n_rows)
                place = (
                    storms.record[centre][inside],
                    (column[inside] + east) % n_columns,
                    row[inside] + north,
                )
                np.add.at(field, place, pattern[east + REACH, north + REACH])
    return Maps(axis, field)
