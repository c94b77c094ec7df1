"""Times of any calendar: decoding, parts, holes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sci_interp.errors import InputError
from sci_interp_weather.times import (
    day_of_year,
    decode_times,
    hour_of,
    hours_since,
    month_of,
    most_common_step,
    runs_of,
    time_labels,
    year_of,
)


def decode(values, units="days since 2001-02-27", calendar="standard"):
    return decode_times(values, units, calendar, where="file: time")


def test_gregorian_times_are_pandas_times():
    times = decode([0, 24, 60], "hours since 1900-02-27 00:00:00.0", "gregorian")
    assert isinstance(times, pd.DatetimeIndex)
    assert time_labels(times) == ("1900-02-27T00", "1900-02-28T00", "1900-03-01T12")
    assert hour_of(times).tolist() == [0, 0, 12]
    assert year_of(times).tolist() == [1900] * 3 and month_of(times).tolist() == [2, 2, 3]


def test_arithmetic_agrees_with_the_calendar_rules():
    values = np.arange(0, 300_000, 777.25)
    times = decode(values, "hours since 1990-01-01 06:30", "proleptic_gregorian")
    ours = pd.Timestamp("1990-01-01 06:30") + pd.to_timedelta(values, unit="h")
    assert (times == ours.round("s")).all()
    julian = decode([17415870.0], "hours since 1-1-1 0:0:0", "standard")
    assert time_labels(julian) == ("1987-10-16T06",)


def test_before_the_gregorian_reform_the_calendar_is_kept():
    times = decode([0, 400 * 365.25], "days since 1500-01-01", "standard")
    assert isinstance(times, xr.CFTimeIndex)


@pytest.mark.parametrize(
    ("calendar", "labels", "days"),
    [
        ("noleap", ("2004-02-28T00", "2004-03-01T00"), [59, 60]),
        ("360_day", ("2004-02-28T00", "2004-02-29T00"), [58, 59]),
        ("standard", ("2004-02-28T00", "2004-02-29T00"), [59, 60]),
    ],
)
def test_other_calendars_are_kept(calendar, labels, days):
    times = decode([0, 1], "days since 2004-02-28", calendar)
    assert time_labels(times) == labels
    assert day_of_year(times).tolist() == days
    assert np.diff(hours_since(times)).tolist() == [24.0]
    assert runs_of(times) == [(0, 2)]


def test_hours_count_from_1970():
    assert hours_since(decode([0, 0.5], "days since 1970-01-02")).tolist() == [24.0, 36.0]


def test_minutes_are_in_the_labels_where_there_are_any():
    assert time_labels(decode([0, 0.75], "hours since 2001-01-01"))[1] == "2001-01-01T00:45"


def test_a_missing_day_is_a_hole():
    times = decode([0, 1, 2, 4, 5, 9])
    assert most_common_step(times) == pd.Timedelta(days=1)
    assert runs_of(times) == [(0, 3), (3, 5), (5, 6)]


def test_months_of_different_length_follow_each_other():
    times = pd.date_range("2001-01-01", periods=24, freq="MS")
    assert runs_of(times) == [(0, 24)]


def test_one_time_and_none_have_no_step():
    assert most_common_step(decode([0])) == pd.Timedelta(0)
    assert runs_of(decode([0])) == [(0, 1)]
    assert runs_of(pd.DatetimeIndex([])) == []


@pytest.mark.parametrize(
    ("values", "units", "calendar", "message"),
    [
        ([1, 2], "", "standard", "it has no units"),
        ([1, 2], "text_time", "standard", "its units are 'text_time'"),
        (["a"], "hours since 2001-01-01", "standard", "not a time axis"),
        ([1, np.nan], "hours since 2001-01-01", "standard", "missing time"),
        ([1], "fortnights since 2001-01-01", "standard", "cannot be read as 'fortnights"),
        ([1], "hours since yesterday", "standard", "cannot be read"),
        ([1], "hours since 2001-01-01", "martian", "cannot be read"),
        ([1e30], "hours since 2001-01-01", "standard", "cannot be read"),
    ],
)
def test_times_that_cannot_be_understood_are_refused(values, units, calendar, message):
    with pytest.raises(InputError, match=message) as caught:
        decode(values, units, calendar)
    assert "file: time" in str(caught.value)
