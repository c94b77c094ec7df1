"""Times of fields as records, with their blocks, their climatology, and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError, UnknownNameError
from sci_interp.schema import BLOCK, EXCHANGE, N_TOKENS, RECORD

from .blocks import BlockRule, Blocks, Persistence, assign_blocks, measure_persistence
from .climatology import Climatology, fit_climatology
from .fields import Fields
from .grids import Grid
from .times import hour_of, hours_since
from .tokens import CellMeans, token_coordinates

if TYPE_CHECKING:
    from .annotations import WeatherAnnotations

__all__ = ["Needs", "WeatherDataset", "build_dataset", "shift_times"]

#: Places, and times in a row, from which the memory of the weather is estimated.
_PROBE_PLACES: Final = 200
_PROBE_TIMES: Final = 4000
_PROBE_STEP: Final = 64
#: Anomaly fields that are kept.
_KEPT: Final = 32
#: Hours within which two times are the same.
_SAME: Final = 1e-3


@dataclass(frozen=True)
class Needs:
    """What a network asks of the data.

    Attributes
    ----------
    variables : tuple of str
        Canonical names, in the order the network reads them.
    offsets : tuple of int
        Hours of the input times relative to the record's.
    lead : int
        Hours from the record's time to the forecast's; 0 where nothing is forecast.
    targets : tuple of str
        What is forecast.
    """

    variables: tuple[str, ...]
    offsets: tuple[int, ...]
    lead: int
    targets: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WeatherDataset:
    """Records of one network's view of some fields; :func:`build_dataset` makes them.

    Attributes
    ----------
    fields : Fields
        The fields.
    grid : Grid
        Cells of the tokens.
    n_levels : int
        Tokens that share a cell.
    needs : Needs
        What the network reads and forecasts.
    rule : BlockRule
        What a block is.
    blocks : Blocks
        The block of every time of the fields.
    variables : tuple of str
        Fields that serve as covariates.
    units : mapping of str to str
        Their units.
    annotations : WeatherAnnotations or None
        What is known; None for decoys.
    climatology_of : WeatherDataset or None
        The dataset whose climatology holds here too: that of a decoy is its original's.
    """

    fields: Fields
    grid: Grid
    n_levels: int
    needs: Needs
    rule: BlockRule
    blocks: Blocks
    variables: tuple[str, ...]
    units: Mapping[str, str]
    annotations: WeatherAnnotations | None = None
    climatology_of: WeatherDataset | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens of a record."""
        return self.n_levels * self.grid.shape[0] * self.grid.shape[1]

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Places of the records among the times of the fields ``(n_records,)``, ascending."""
        return np.flatnonzero(self.blocks.name != "").astype(np.int64)

    @cached_property
    def records(self) -> Mapping[str, int]:
        """Place of every record among the times of the fields."""
        labels = self.fields.time_labels
        return {labels[at]: at for at in self.positions.tolist()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the fields, the blocks and the cells of the tokens."""
        state = hashlib.sha256(f"{self.fields.digest} {self.grid.digest} {self.n_levels}".encode())
        state.update(f"{self.needs}".encode())
        for record, at in self.records.items():
            state.update(f"{record}\t{self.blocks.name[at]}\t{self.blocks.exchange[at]}\n".encode())
        return state.hexdigest()

    @property
    def annotation_digest(self) -> str:
        """SHA-256 of what is known of the records; empty where nothing is."""
        return "" if self.annotations is None else self.annotations.digest

    @cached_property
    def table(self) -> pd.DataFrame:
        """Columns ``record, block, n_tokens, exchange``, in order of time."""
        return pd.DataFrame(
            {
                RECORD: list(self.records),
                BLOCK: self.blocks.name[self.positions].tolist(),
                N_TOKENS: np.full(len(self.positions), self.n_tokens, dtype=np.int64),
                EXCHANGE: self.blocks.exchange[self.positions].tolist(),
            }
        )

    @cached_property
    def step_weights(self) -> tuple[int, ...]:
        """Areas of the cells of one column of tokens, as whole numbers."""
        return tuple(self.grid.step_weights()) * self.n_levels

    @cached_property
    def climatology(self) -> Climatology:
        """Climatology of everything that is read, fitted when it is first needed."""
        if self.climatology_of is not None:
            return self.climatology_of.climatology
        names = dict.fromkeys((*self.variables, *self.needs.variables, *self.needs.targets))
        return fit_climatology(self.fields, [name for name in names if self.fields.has(name)])

    @cached_property
    def cell_means(self) -> CellMeans:
        """Means of the fields over the cells of the tokens."""
        return CellMeans.between(self.fields.grid, self.grid)

    @cached_property
    def coordinates(self) -> Mapping[str, NDArray[np.float64]]:
        """``latitude``, ``longitude``, ``level`` of the tokens of any record."""
        return token_coordinates(self.grid, self.n_levels)

    @cached_property
    def hours_vary(self) -> bool:
        """Whether records lie at different hours of the day."""
        return len(np.unique(hour_of(self.fields.times))) > 1

    @cached_property
    def design(self) -> str:
        """What blocks are, how long the weather remembers, and what was fitted."""
        name = "msl" if "msl" in self.variables else self.variables[0]
        holes = self.fields.holes
        crossing = "".join(
            f"Holes in time: {len(holes)}, the first after {last}; no record crosses one."
            for last, _ in holes[:1]
        )
        parts = (
            self.blocks.note,
            self._measure_persistence(name).describe(name, self.rule),
            self.climatology.note,
            crossing,
        )
        return " ".join(part for part in parts if part)

    def _measure_persistence(self, name: str) -> Persistence:
        """Estimate how long one variable remembers, from places spread over the grid."""
        rows, columns = self.fields.grid.shape
        stride = max(1, int(np.ceil(np.sqrt(rows * columns / _PROBE_PLACES))))
        n_times = min(len(self.fields.times), _PROBE_TIMES)
        parts = []
        for start in range(0, n_times, _PROBE_STEP):
            part = slice(start, min(start + _PROBE_STEP, n_times))
            normal = self.climatology.normal(name, self.fields.times[part])
            values = self.fields.read(name, part, allow_missing=True) - normal
            # A missing value is taken for the normal one.
            values = np.where(np.isfinite(values), values, np.float32(0.0))
            parts.append(values[:, ::stride, ::stride].reshape(len(values), -1))
        area = np.broadcast_to(self.fields.grid.row_weights()[:, None], (rows, columns))
        runs = [(a, min(b, n_times)) for a, b in self.fields.runs() if a < n_times]
        return measure_persistence(
            np.concatenate(parts),
            area[::stride, ::stride].reshape(-1),
            runs,
            step_days=self.step_days,
        )

    @property
    def step_days(self) -> float:
        """Distance of the times; one day for a single time."""
        return self.fields.step / pd.Timedelta(days=1) or 1.0

    def index_of(self, record: str) -> int:
        """Return the place of a record among the times of the fields.

        Raises
        ------
        UnknownNameError
            If the dataset has no such record.
        """
        try:
            return self.records[record]
        except KeyError:
            raise UnknownNameError("record", record, self.records) from None

    def inputs(self, records: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return what the network reads, and when.

        Returns
        -------
        fields : (n, n_offsets, n_variables, n_rows, n_columns) float32
            In physical units.
        hours : (n,) float64
            Hours of the records since 1970.

        Raises
        ------
        UnknownNameError
            If there is no such record.
        """
        at = np.array([self.index_of(record) for record in records], dtype=np.int64)
        places = np.stack([self._shifted[offset][at] for offset in self.needs.offsets])
        values = [
            [self.fields.read(name, place) for name in self.needs.variables] for place in places
        ]
        return np.stack([np.stack(each, axis=1) for each in values], axis=1), self._hours[at]

    def truth(self, record: str) -> int | None:
        """Return the place of the time that a record's forecast is for, or None without one."""
        place = int(self._shifted[self.needs.lead][self.index_of(record)])
        return place if place >= 0 else None

    def anomaly(self, name: str, at: int) -> NDArray[np.float32]:
        """Return standardised departures at one time on the cells of the tokens."""
        return self._anomaly(name, at)

    @cached_property
    def _anomaly(self) -> Callable[[str, int], NDArray[np.float32]]:
        # The same record is asked for again and again, a few tokens at a time.
        @lru_cache(maxsize=_KEPT)
        def read(name: str, at: int) -> NDArray[np.float32]:
            times = self.fields.times[at : at + 1]
            field = self.fields.read(name, slice(at, at + 1))
            return self.cell_means.of(self.climatology.standardise(name, field, times)[0])

        return read

    @cached_property
    def _hours(self) -> NDArray[np.float64]:
        return hours_since(self.fields.times)

    @cached_property
    def _shifted(self) -> Mapping[int, NDArray[np.int64]]:
        """Place of the time so many hours away from every time; -1 across a hole or the end."""
        wanted = {*self.needs.offsets, self.needs.lead}
        return {hours: shift_times(self.fields, hours) for hours in wanted}

    def with_fields(self, fields: Fields) -> WeatherDataset:
        """Return the same records of other fields, of which nothing is known."""
        return replace(self, fields=fields, annotations=None, climatology_of=self)


def build_dataset(
    fields: Fields,
    needs: Needs,
    grid: Grid,
    n_levels: int,
    *,
    rule: BlockRule,
    units: Mapping[str, str],
) -> WeatherDataset:
    """Return the records of some fields, not annotated yet.

    Parameters
    ----------
    fields
        The fields.
    needs
        What the network reads and forecasts.
    grid, n_levels
        Cells of the tokens, and tokens in a cell.
    rule
        What a block is.
    units
        Units of the fields that become covariates, in their order.

    Raises
    ------
    InputError
        If the fields lack a variable or no time has all its input times.
    """
    missing = [name for name in needs.variables if not fields.has(name)]
    if missing:
        raise InputError(
            f"the data lack {', '.join(missing)}, which the network reads; they hold "
            f"{', '.join(fields.variables)}",
            allowed=f"fields with {', '.join(needs.variables)}",
            todo="Add the variables to the data, or choose another network",
        )
    places = [shift_times(fields, hours) for hours in needs.offsets]
    usable = np.all([place >= 0 for place in places], axis=0)
    if not usable.any():
        raise InputError(
            f"no time of the data has all its input times: the network reads {needs.offsets} "
            f"hours from the record's time, the data are {fields.step} apart",
            allowed="fields at all of these times, without a hole between them",
            todo="Give longer data, or data whose step divides these hours",
        )
    step_days = fields.step / pd.Timedelta(days=1) or 1.0
    blocks = assign_blocks(fields.times, rule, step_days=step_days, usable=usable)
    return WeatherDataset(fields, grid, n_levels, needs, rule, blocks, tuple(units), units)


def shift_times(fields: Fields, hours: int) -> NDArray[np.int64]:
    """Return the place of the time ``hours`` after every time; -1 where a hole or end is between.

    Parameters
    ----------
    fields
        Fields with ascending times.
    hours
        Distance, negative for earlier times.
    """
    at = hours_since(fields.times)
    found = np.searchsorted(at, at + hours - _SAME)
    near = np.minimum(found, len(at) - 1)
    exact = np.abs(at[near] - (at + hours)) <= 2 * _SAME
    run = np.zeros(len(at), dtype=np.int64)
    for number, (start, stop) in enumerate(fields.runs()):
        run[start:stop] = number
    return np.where(exact & (run[near] == run), near, -1).astype(np.int64)
