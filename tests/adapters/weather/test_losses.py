from __future__ import annotations

import numpy as np
import pytest

from sci_interp.errors import InputError, NotFiniteError
from sci_interp_weather.datasets import Needs
from sci_interp_weather.losses import forecast_loss, require_forecast


def test_climatology_has_a_loss_of_one(make_waves, make_records):
    data = make_records(make_waves(n=800), block="year", gap_days=0)
    records = list(data.records)

    def climatology(batch):
        at = np.array([data.truth(record) for record in batch])
        return data.climatology.normal("msl", data.fields.times[at])[:, None]

    found = forecast_loss(data, records, climatology, batch_size=100)
    assert found.n_tokens == 63 * len(records)
    assert found.total / found.n_tokens == pytest.approx(1.0, abs=0.02)


def test_a_perfect_forecast_has_none(make_waves, make_records):
    data = make_records(make_waves(n=100), patch=3)

    def truth(batch):
        return data.fields.read("msl", [data.truth(record) for record in batch])[:, None]

    found = forecast_loss(data, list(data.records), truth, batch_size=7)
    assert found.total == 0.0
    assert found.n_tokens == 6 * (len(data.records) - 1)


def test_large_cells_count_more(make_waves, make_records):
    data = make_records(make_waves(n=800))
    record = "2001-03-05T00"
    deviation = data.climatology.variables["msl"].deviation

    def wrong_in(row):
        def forecast(batch):
            found = data.fields.read("msl", [data.truth(each) for each in batch])
            found[:, row] += deviation[row]
            return found[:, None]

        return forecast_loss(data, [record], forecast, batch_size=1).total

    areas = data.grid.row_weights()
    assert wrong_in(6) / wrong_in(0) == pytest.approx(areas[6] / areas[0], rel=1e-3)


def test_records_without_truth_are_not_scored(make_waves, make_records):
    data = make_records(make_waves(n=100))
    found = forecast_loss(data, ["2001-04-10T00"], lambda _: pytest.fail("asked"), batch_size=4)
    assert (found.total, found.n_tokens) == (0.0, 0)


def test_networks_without_forecast_are_refused():
    require_forecast("net", 24)
    with pytest.raises(InputError, match="net makes no forecast, so it has no forecast error"):
        require_forecast("net", 0)


def test_cells_without_forecast_are_not_scored(make_waves, make_records):
    data = make_records(make_waves(n=100), patch=3)
    records = ["2001-03-05T00", "2001-03-06T00"]

    def southern_rows_left_over(batch):
        found = data.fields.read("msl", [data.truth(each) for each in batch])[:, None]
        found[:, :, -2:] = np.nan
        return found

    found = forecast_loss(data, records, southern_rows_left_over, batch_size=2)
    assert (found.total, found.n_tokens) == (0.0, 2 * (6 - 3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_forecast_that_is_not_finite_is_an_error(make_waves, make_records, value):
    data = make_records(make_waves(n=100))
    nothing = np.full((2, 1, *data.fields.grid.shape), value)
    with pytest.raises(NotFiniteError, match="2001-03-05T00 to 2001-03-06T00 is not finite"):
        forecast_loss(data, ["2001-03-05T00", "2001-03-06T00"], lambda _: nothing, batch_size=2)


def test_data_without_what_is_forecast_are_refused(make_waves, make_records):
    data = make_records(make_waves(n=100), needs=Needs(("msl",), (0,), 24, ("msl", "t850", "z500")))
    message = r"the data lack t850, z500, which the network forecasts; they hold msl.*'t850': 'NAME"
    with pytest.raises(InputError, match=message):
        forecast_loss(data, list(data.records)[:2], lambda _: pytest.fail("asked"), batch_size=2)
