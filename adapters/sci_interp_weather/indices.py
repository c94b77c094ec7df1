"""Daily indices of the circulation (AO, NAO, PNA) and regimes as labels of whole times.

A regime is a day on which an index is at least one standard deviation above (below) zero, the
standard deviation being that of the whole table: daily indices are normalised over months of some
base period, and the same number is rare in one table and common in another.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.errors import InputError

from .detection import EVERYTHING_UNKNOWN, Found
from .fields import Fields
from .times import STANDARD_CALENDARS, hours_since

__all__ = ["IndexDetector", "IndexTable", "load_indices"]

#: Index names looked for in file names.
KNOWN_INDICES: Final = ("ao", "nao", "pna", "aao", "sam", "epo", "wpo", "scand", "ea", "oni", "soi")
_MAX_LINE: Final = 10_000
_DAY: Final = 24.0
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, eq=False)
class IndexTable:
    """An index by day.

    Attributes
    ----------
    name : str
        Lower case, ``"ao"``.
    source : str
        The file.
    day : (n_days,) int64
        Days since 1970-01-01, ascending.
    value : (n_days,) float64
        The index; NaN where the table has none.
    """

    name: str
    source: str
    day: NDArray[np.int64]
    value: NDArray[np.float64]

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the whole table."""
        return float(np.nanstd(self.value))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of name, days and values."""
        state = hashlib.sha256(self.name.encode())
        state.update(self.day.tobytes())
        state.update(self.value.tobytes())
        return state.hexdigest()

    def on(self, day: int) -> float:
        """Return the index of a day; NaN where there is none."""
        at = int(np.searchsorted(self.day, day))
        return float(self.value[at]) if at < len(self.day) and self.day[at] == day else np.nan


def load_indices(
    source: Path | str | Sequence[Path | str] | Mapping[str, Path | str],
) -> tuple[IndexTable, ...]:
    """Return the tables of a file, of several, or of the ``*.csv`` files of a folder.

    A file has the columns ``date`` (``2001-01-31``) and one of values, and may begin with lines
    of ``#``. The index is called after the key of a mapping; else after its column; else, where
    the column is called ``value``, after the part of the file name that is a known index.

    Raises
    ------
    InputError
        If a file cannot be read or used, or two tables have one name.
    """
    if isinstance(source, Mapping):
        pairs = [(str(name).lower(), Path(path)) for name, path in source.items()]
    else:
        given = [source] if isinstance(source, str | Path) else list(source)
        pairs = [("", file) for path in given for file in _files(Path(path))]
    tables: dict[str, IndexTable] = {}
    for name, path in pairs:
        table = _read_table(path, name)
        if table.name in tables:
            raise InputError(
                f"{path} and {tables[table.name].source} are both index {table.name!r}",
                todo="Give a mapping of names to files",
            )
        tables[table.name] = table
    return tuple(tables.values())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.csv"))
    if not found:
        raise InputError(f"there is no index table in {path}", allowed="files *.csv")
    return found


def _read_table(path: Path, name: str) -> IndexTable:
    days, values, column, width = [], [], "", 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            pieces = iter(lambda: file.readline(_MAX_LINE + 1), "")
            for number, line in enumerate(pieces, start=1):
                if len(line) > _MAX_LINE or "\0" in line:
                    raise InputError(f"{path} line {number} is no line of an index table")
                if not line.strip() or line.startswith("#"):
                    continue
                cells = [cell.strip() for cell in next(csv.reader([line]))]
                if not width:
                    column, width = _value_column(cells, path), len(cells)
                    continue
                day, value = _row(cells, width, path, number)
                days.append(day)
                values.append(value)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as text ({type(error).__name__})", allowed="a CSV file"
        ) from None
    table_name = name or _name_of(column, path)
    day_array, value_array = np.array(days, np.int64), np.array(values, np.float64)
    order = np.argsort(day_array, kind="stable")
    day_array, value_array = day_array[order], value_array[order]
    if np.isfinite(value_array).sum() < 2 or (np.diff(day_array) == 0).any():
        raise InputError(f"{path} has fewer than two days, or one twice", allowed="one row a day")
    return IndexTable(table_name, path.name, day_array, value_array)


def _value_column(header: list[str], path: Path) -> str:
    names = [name.lower() for name in header]
    if len(names) != 2 or names[0] not in ("date", "time", "day"):
        raise InputError(
            f"{path} has the columns {', '.join(names)[:200]}", allowed="date and one of values"
        )
    return names[1]


def _name_of(column: str, path: Path) -> str:
    if column not in ("value", "index"):
        return column
    parts = path.name.lower().replace("_", ".").replace("-", ".").split(".")
    return next((part for part in parts if part in KNOWN_INDICES), path.stem.lower())


def _row(cells: list[str], width: int, path: Path, number: int) -> tuple[int, float]:
    try:
        if len(cells) != width:
            raise ValueError
        day = (date.fromisoformat(cells[0][:10]) - _EPOCH).days
        value = float(cells[1]) if cells[1] else np.nan
    except ValueError:
        raise InputError(
            f"{path} line {number}: {','.join(cells)[:80]!r} is no day with a value",
            allowed="2001-01-31,0.5",
        ) from None
    if np.isinf(value):
        raise InputError(f"{path} line {number} holds infinity", allowed="finite values, or none")
    return day, value


class IndexDetector:
    """The two regimes of an index; every token of a time has the time's regime.

    Neighbouring times in the same regime are one event. Days without the index are unknown.

    Parameters
    ----------
    fields
        Gives the times.
    table
        The index.

    Raises
    ------
    InputError
        If the table has no day of the fields, or their calendar is not real.
    """

    def __init__(self, fields: Fields, table: IndexTable) -> None:
        calendar = getattr(fields.times, "calendar", "standard")
        days = np.floor(hours_since(fields.times) / _DAY).astype(np.int64)
        value = np.array([table.on(day) for day in days.tolist()])
        if calendar not in STANDARD_CALENDARS or np.isnan(value).all():
            first, last = (str(np.datetime64(int(day), "D")) for day in table.day[[0, -1]])
            raise InputError(
                f"index {table.name!r} of {table.source} runs from {first} to {last}, the fields "
                f"from {fields.time_labels[0]} to {fields.time_labels[-1]} in the calendar "
                f"{calendar!r}",
                allowed="an index of the fields' days, in the Gregorian calendar",
                todo="Leave the index out, or give the table of these years",
            )
        self.group = f"{table.name} regime"
        self.state = f"{table.digest}"
        self._phase = np.where(np.isnan(value), 0, np.sign(value)).astype(np.int64)
        self._phase[np.abs(np.nan_to_num(value)) < table.deviation] = 0
        self._missing = np.isnan(value)
        self._names = (f"{table.name}_negative", "", f"{table.name}_positive")
        self._first = self._first_of_event(fields)
        self._times = fields.time_labels
        self.labels = tuple(
            Label(
                f"{table.name}_{phase}",
                self.group,
                f"days on which {table.name.upper()} is at {limit}{table.deviation:.3g}, one "
                f"standard deviation of the daily table {table.source}",
                extent="records",
            )
            for phase, limit in (("positive", "least "), ("negative", "most -"))
        )

    def _first_of_event(self, fields: Fields) -> NDArray[np.int64]:
        """Return, for every time, the first time of its stretch in one phase."""
        fresh = np.ones(len(self._phase), np.bool_)
        fresh[1:] = np.diff(self._phase) != 0
        fresh[[start for start, _ in fields.runs()]] = True
        return np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))

    def find(self, index: int) -> Found:
        """Return the regime of one time."""
        if self._missing[index]:
            return EVERYTHING_UNKNOWN
        if self._phase[index] == 0:
            return Found()
        name = self._names[int(self._phase[index]) + 1]
        event = f"{name} {self._times[int(self._first[index])]}"
        return Found(everywhere=((name, event),))
