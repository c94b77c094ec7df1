from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.datasets import Needs, shift_times
from sci_interp_weather.fields import Fields


def without(fields, *places):
    """Return the fields without some times."""
    kept = np.setdiff1d(np.arange(len(fields.times)), places)
    return Fields.from_arrays(fields.grid, fields.times[kept], {"msl": fields.read("msl", kept)})


def test_a_record_is_a_time_with_all_its_inputs(make_waves, make_records):
    fields = make_waves(n=365)
    data = make_records(fields)
    table = data.table
    assert table.columns.tolist() == ["record", "block", "n_tokens", "exchange"]
    # The first time lacks the day before it.
    assert table["record"].iloc[0] == "2001-01-02T00"
    assert set(table["block"]) == {"2001-DJF", "2001-MAM", "2001-JJA", "2001-SON", "2002-DJF"}
    assert set(table["n_tokens"]) == {63}
    TokenAxis.of(data)
    inputs, hours = data.inputs(["2001-03-05T00", "2001-01-02T00"])
    assert inputs.shape == (2, 2, 1, 7, 9)
    np.testing.assert_array_equal(inputs[0, :, 0], fields.read("msl", [62, 63]))
    assert hours.tolist() == [
        (pd.Timestamp("2001-03-05") - pd.Timestamp(0)) / pd.Timedelta("1h"),
        hours[1],
    ]


def test_records_do_not_reach_across_a_hole(make_waves, make_records):
    data = make_records(without(make_waves(n=365), 40, 41))
    assert not {"2001-02-09T00", "2001-02-10T00", "2001-02-11T00", "2001-02-12T00"} & (
        set(data.records) - {"2001-02-09T00"}
    )
    assert "2001-02-13T00" in data.records
    assert data.truth("2001-02-09T00") is None
    assert data.truth("2001-02-08T00") == 39
    assert "Holes in time: 1, the first after 2001-02-09T00" in data.design


def test_the_last_record_has_no_truth(make_waves, make_records):
    data = make_records(make_waves(n=40), block="20", gap_days=0)
    assert data.truth("2001-02-09T00") is None
    assert data.truth("2001-02-08T00") == 39


def test_steps_that_do_not_divide_the_offsets_are_refused(make_waves, make_records):
    with pytest.raises(InputError, match=r"reads \(-24, 0\) hours .* the data are 0 days 10:00:00"):
        make_records(make_waves(n=10, freq="10h"))


def test_missing_variables_are_named(make_waves, make_records):
    needs = Needs(("msl", "z500"), (0,), 24, ("msl",))
    with pytest.raises(
        InputError, match="the data lack z500, which the network reads; they hold msl"
    ):
        make_records(make_waves(n=100), needs=needs)


def test_shifts_follow_the_clock(make_waves):
    fields = make_waves(n=9, freq="6h")
    assert shift_times(fields, -24).tolist() == [-1] * 4 + [0, 1, 2, 3, 4]
    assert shift_times(fields, 6).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, -1]
    assert shift_times(fields, 3).tolist() == [-1] * 9
    assert shift_times(without(fields, 4), -6).tolist() == [-1, 0, 1, 2, -1, 4, 5, 6]


def test_the_digest_follows_content_blocks_and_cells(make_waves, make_records):
    fields = make_waves(n=100)
    first = make_records(fields).digest
    assert first == make_records(make_waves(n=100)).digest
    changed = fields.read("msl", slice(None)) + 1
    other = Fields.from_arrays(fields.grid, fields.times, {"msl": changed})
    assert len({first, make_records(other).digest, make_records(fields, block="month").digest}) == 3
    assert make_records(fields, levels=2).digest != first


def test_weights_are_the_areas_on_every_level(make_waves, make_records):
    data = make_records(make_waves(n=100), levels=2)
    assert data.step_weights == tuple(data.grid.step_weights()) * 2
    assert len(data.step_weights) * 9 == data.n_tokens == 126


def test_anomalies_lie_on_the_cells_of_the_tokens(make_waves, make_records):
    data = make_records(make_waves(n=800), patch=3)
    assert data.anomaly("msl", 5).shape == data.grid.shape == (2, 3)
    assert data.anomaly("msl", 5) is data.anomaly("msl", 5)


def test_the_design_tells_blocks_and_memory(make_waves, make_records):
    text = make_records(make_waves(n=800)).design
    for part in ("season-years, 10 days left out", "autocorrelation 0.", "a block holds about"):
        assert part in text
    assert "Holes" not in text
    assert (
        "cannot be estimated"
        in make_records(make_waves(n=1), needs=Needs(("msl",), (0,), 0, ())).design
    )


def test_unknown_records_are_refused(make_waves, make_records):
    with pytest.raises(UnknownNameError, match="no record '2001-01-01T00'"):
        make_records(make_waves(n=100)).index_of("2001-01-01T00")
