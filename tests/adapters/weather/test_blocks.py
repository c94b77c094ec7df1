from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sci_interp.errors import InputError
from sci_interp_weather.blocks import BlockRule, assign_blocks, measure_persistence


def assign(times, block="season", gap=10.0, usable=None):
    rule = BlockRule.parse(block, gap)
    usable = np.ones(len(times), bool) if usable is None else usable
    return assign_blocks(times, rule, step_days=1.0, usable=usable)


def by_time(times, blocks):
    return dict(zip(times.strftime("%Y-%m-%d"), blocks.name.tolist(), strict=True))


def test_december_belongs_to_the_next_winter():
    times = pd.date_range("2001-01-01", "2004-12-31")
    blocks = assign(times)
    found = by_time(times, blocks)
    assert found["2001-12-01"] == found["2002-02-15"] == "2002-DJF"
    assert found["2002-03-01"] == "2002-MAM"
    assert dict(zip(blocks.name, blocks.exchange, strict=True))["2002-SON"] == "SON"


def test_the_last_days_of_a_block_are_left_out():
    times = pd.date_range("2001-01-01", "2004-12-25")
    blocks = assign(times)
    found = by_time(times, blocks)
    assert found["2003-02-18"] == "2003-DJF"
    assert {found[f"2003-02-{day}"] for day in range(19, 29)} == {""}
    # The winter of 2005 has 25 of 90 days: too short.
    assert found["2004-12-10"] == ""
    kept = pd.Series(times[blocks.name != ""], index=blocks.name[blocks.name != ""])
    ends = kept.groupby(level=0).agg(["min", "max"]).sort_values("min")
    gaps = (ends["min"].iloc[1:].to_numpy() - ends["max"].iloc[:-1].to_numpy()).astype("m8[D]")
    assert gaps.min() >= np.timedelta64(11, "D")


def test_the_middle_of_a_gap_parts_neighbours():
    times = pd.date_range("2001-01-01", "2003-12-31")
    blocks = assign(times, gap=10)
    whole = dict(zip(times.strftime("%Y-%m-%d"), blocks.whole.tolist(), strict=True))
    assert whole["2002-02-23"] == whole["2002-02-10"]
    assert whole["2002-02-24"] == whole["2002-03-01"]


@pytest.mark.parametrize(
    ("block", "gap", "name", "exchange"),
    [
        ("year", 10, "2002", ""),
        ("month", 5, "2002-07", "Jul"),
        ("30", 5, "from 2002-06-25T00", "JJA"),
        ("45.5", 5, "from 2002-07-01T00", "JJA"),
    ],
)
def test_other_blocks(block, gap, name, exchange):
    times = pd.date_range("2001-01-01", "2003-12-31")
    blocks = assign(times, block, gap)
    at = int(np.flatnonzero(times == "2002-07-03")[0])
    assert (blocks.name[at], blocks.exchange[at]) == (name, exchange)


def test_seasons_of_a_calendar_of_360_days():
    times = xr.date_range("1850-01-01", periods=1080, calendar="360_day", use_cftime=True)
    found = by_time(times, assign(times))
    assert found["1850-12-30"] == found["1851-02-20"] == "1851-DJF"
    assert found["1851-02-21"] == ""


def test_short_data_are_kept_and_said_to_be_short():
    times = pd.date_range("2011-10-11", periods=3, freq="6h")
    blocks = assign_blocks(
        times, BlockRule.parse("season", 10), step_days=0.25, usable=np.array([False, True, True])
    )
    assert blocks.name.tolist() == ["", "2011-SON", "2011-SON"]
    assert "Too little for statistics" in blocks.note


def test_few_or_short_blocks_are_said_to_be_so():
    few = assign(pd.date_range("2001-01-01", "2002-12-31")).note
    assert "Few blocks: a label needs 8" in few
    assert "Few" not in assign(pd.date_range("2001-01-01", "2010-12-31")).note
    assert "shorter than the years" in assign(pd.date_range("2001-01-01", "2010-12-31"), "30").note


@pytest.mark.parametrize(
    ("block", "gap", "message"),
    [
        ("week", 1, r"block is 'week'. Allowed: season, year, month, or a number of days"),
        ("0", 0, "blocks of 0 days"),
        ("30", -1, "gap_days is -1"),
        ("12", 10, "leaves less than a third"),
    ],
)
def test_rules_that_cannot_be(block, gap, message):
    with pytest.raises(InputError, match=message):
        BlockRule.parse(block, gap)


def test_memory_of_a_first_order_process():
    rng = np.random.default_rng(0)
    values = np.zeros((6000, 30))
    for at in range(1, len(values)):
        values[at] = 0.8 * values[at - 1] + rng.standard_normal(30)
    found = measure_persistence(
        values.astype(np.float32), np.ones(30), [(0, 2500), (2500, 6000)], step_days=0.5
    )
    assert found.lag_one == pytest.approx(0.8, abs=0.01)
    assert found.decorrelation_days == pytest.approx(0.5 * 1.8 / 0.2, rel=0.15)
    text = found.describe("msl", BlockRule.parse("season", 10))
    assert "autocorrelation 0.80 over 0.5 days" in text
    assert "a block holds about" in text


def test_memory_of_one_time_cannot_be_told():
    found = measure_persistence(np.zeros((1, 3), np.float32), np.ones(3), [(0, 1)], step_days=1)
    assert "cannot be estimated" in found.describe("msl", BlockRule.parse("year", 10))


def test_every_other_time_of_a_block_is_a_record():
    times = pd.date_range("2001-01-01", "2002-12-31", freq="D")
    usable = np.ones(len(times), dtype=bool)
    every, third = (
        assign_blocks(times, BlockRule.parse("season", 10, n), step_days=1.0, usable=usable)
        for n in (1, 3)
    )
    for name in set(every.name) - {""}:
        assert (np.flatnonzero(every.name == name)[::3] == np.flatnonzero(third.name == name)).all()
    assert "One time in 3" in third.note and "One time" not in every.note
    with pytest.raises(InputError, match="every is 0"):
        BlockRule.parse("season", 10, 0)


def test_blocks_that_exchange_have_their_records_at_the_same_days():
    times = pd.date_range("2001-01-01", "2008-12-31")
    usable = np.ones(len(times), bool)
    usable[np.flatnonzero(times == "2003-07-10")[0]] = False
    for block in ("season", "year", "month"):
        blocks = assign(times, block, 5.0, usable)
        days: dict = {}
        for name in dict.fromkeys(blocks.name):
            mine = blocks.name == name
            if name:
                days.setdefault(blocks.exchange[mine][0], []).append(times[mine].strftime("%m-%d"))
        for text, held in days.items():
            assert len({tuple(each) for each in held}) == 1, (block, text)
        alone = [text for text in days if "in part" in text]
        assert len(alone) == {"season": 3, "year": 1, "month": 1}[block], alone
    assert (assign(times).name[times == "2004-02-29"] == "").all()
