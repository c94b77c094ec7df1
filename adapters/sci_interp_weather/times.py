"""Times of fields in any calendar: labels, parts of the date, holes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from xarray import CFTimeIndex

from sci_interp.errors import InputError

__all__ = [
    "STANDARD_CALENDARS",
    "Times",
    "day_of_year",
    "decode_times",
    "hour_of",
    "hours_since",
    "join_times",
    "month_of",
    "most_common_step",
    "runs_of",
    "time_labels",
    "year_of",
]

#: A time axis: the Gregorian calendar, or another one through cftime.
Times: TypeAlias = "pd.DatetimeIndex | CFTimeIndex"

#: Calendars that agree with the Gregorian one after 1582.
STANDARD_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian"})
_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86400}
_EPOCH = "1970-01-01"
_UNITS = "'hours since 1900-01-01' or 'days since 2000-01-01 00:00:00', with a calendar"
#: Two times further apart than this many steps have a hole between them.
_HOLE = 1.5


def year_of(times: Times) -> NDArray[np.int64]:
    """Return the years ``(n,)``."""
    return np.asarray(times.year, dtype=np.int64)


def month_of(times: Times) -> NDArray[np.int64]:
    """Return the months ``(n,)``, 1 to 12."""
    return np.asarray(times.month, dtype=np.int64)


def day_of_year(times: Times) -> NDArray[np.int64]:
    """Return the days of the year ``(n,)``, 1 to 366 (360 in a calendar of 360 days)."""
    if isinstance(times, pd.DatetimeIndex):
        return np.asarray(times.day_of_year, dtype=np.int64)
    return np.asarray(times.dayofyear, dtype=np.int64)


def hour_of(times: Times) -> NDArray[np.float64]:
    """Return the hours of the day ``(n,)`` with minutes as fractions."""
    hours = np.asarray(times.hour, dtype=np.float64)
    minutes = np.asarray(times.minute, dtype=np.float64)
    return hours + minutes / 60.0


def join_times(axes: Sequence[Times]) -> Times:
    """Return the times of several axes in one calendar, one after the other."""
    if len(axes) == 1:
        return axes[0]
    values = np.concatenate([axis.values for axis in axes])
    if isinstance(axes[0], pd.DatetimeIndex):
        return pd.DatetimeIndex(values)
    return CFTimeIndex(values)  # type: ignore[no-untyped-call]  # of xarray


def hours_since(times: Times) -> NDArray[np.float64]:
    """Return hours since 1970-01-01 00:00 ``(n,)``, counted in the times' own calendar."""
    if isinstance(times, pd.DatetimeIndex):
        return np.asarray((times - pd.Timestamp(_EPOCH)) / pd.Timedelta(hours=1), dtype=np.float64)
    import cftime

    numbers = cftime.date2num(times.values, f"hours since {_EPOCH}", calendar=times.calendar)
    return np.asarray(numbers, dtype=np.float64)


def time_labels(times: Times) -> tuple[str, ...]:
    """Return ISO labels such as ``2009-12-17T00``, with minutes where any time has them."""
    minutes = bool(np.any(np.asarray(times.minute) != 0))
    return tuple(
        str(label) for label in times.strftime("%Y-%m-%dT%H:%M" if minutes else "%Y-%m-%dT%H")
    )


def most_common_step(times: Times) -> pd.Timedelta:
    """Return the most common spacing of ascending times, the shorter of equals; 0 for one time."""
    if len(times) < 2:
        return pd.Timedelta(0)
    steps, counts = np.unique(np.diff(hours_since(times)), return_counts=True)
    return pd.Timedelta(hours=float(steps[np.argmax(counts)]))


def runs_of(times: Times) -> list[tuple[int, int]]:
    """Return half-open index ranges without a hole.

    A hole is a spacing above 1.5 times the most common one: months of 28 to 31 days follow each
    other, a missing day does not go unseen.
    """
    if len(times) == 0:
        return []
    longest = _HOLE * (most_common_step(times) / pd.Timedelta(hours=1))
    after = np.flatnonzero(np.diff(hours_since(times)) > longest) + 1
    bounds = [0, *after.tolist(), len(times)]
    return list(pairwise(bounds))


def decode_times(values: ArrayLike, units: str, calendar: str, *, where: str) -> Times:
    """Return the times that CF numbers stand for.

    Parameters
    ----------
    values
        Numbers ``(n,)``.
    units
        ``"hours since 1900-01-01"``.
    calendar
        A CF calendar; the Gregorian ones give a :class:`pandas.DatetimeIndex`.
    where
        File and variable, for the message.

    Raises
    ------
    InputError
        If units or calendar are absent or cannot be read, or a time is missing.
    """
    import cftime

    numbers = np.atleast_1d(np.asarray(values))
    if not np.issubdtype(numbers.dtype, np.number) or " since " not in units:
        raise InputError(
            f"{where} is not a time axis: its units are {units!r}"
            if units
            else f"{where} is not a time axis: it has no units",
            allowed=_UNITS,
            todo="Add the attribute, or give time_units='hours since YYYY-MM-DD'",
        )
    if not np.isfinite(numbers).all():
        raise InputError(f"{where} has a missing time", todo="Leave out fields without a time")
    try:
        ends = np.array([numbers.min(), numbers.max()])
        first, last = cftime.num2date(ends, units, calendar, only_use_cftime_datetimes=True)
        if calendar.lower() in STANDARD_CALENDARS:
            plain = _gregorian(numbers, units, first, last)
            if plain is not None:
                return plain
        dates = cftime.num2date(numbers, units, calendar, only_use_cftime_datetimes=True)
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(
            f"{where} cannot be read as {units!r} in the calendar {calendar!r} ({error})",
            allowed=_UNITS,
            todo="Correct the attributes of the time axis, or give time_units=",
        ) from None
    return CFTimeIndex(np.asarray(dates))  # type: ignore[no-untyped-call]  # of xarray


def _gregorian(numbers: NDArray[Any], units: str, first: Any, last: Any) -> pd.DatetimeIndex | None:
    """Return Gregorian times by plain arithmetic; None where a calendar's rules are needed."""
    seconds = _SECONDS.get(units.split(maxsplit=1)[0].lower().rstrip("s"))
    if seconds is None or first.year <= 1582 or last.year > 9999:
        return None
    offsets = np.round((numbers - numbers.min()).astype(np.float64) * seconds).astype(np.int64)
    start = np.datetime64(first.isoformat(), "s")
    return pd.DatetimeIndex(start + offsets.astype("timedelta64[s]"))
