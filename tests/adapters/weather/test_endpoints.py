from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sci_interp_weather.datasets import Needs
from sci_interp_weather.endpoints import (
    list_endpoints,
    measure_forecast,
    refine_minimum,
    unwrap_longitude,
)
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid

GRID = Grid.regular(np.arange(70.0, 29.0, -2.5), np.arange(-70.0, 11.0, 2.5))

LOW = ("central_pressure", "low_latitude", "low_longitude")


def low_at(latitude, longitude, depth=3000.0):
    distance = GRID.distance_km(latitude, longitude)
    return (101_000 - depth * np.exp(-((distance / 600) ** 2))).astype(np.float32)


@pytest.fixture(scope="module")
def storm(make_records):
    """Two lows on every day but the last; the deeper one stands at 50N 30W."""
    times = pd.date_range("2001-01-01", periods=45)
    values = np.stack([np.minimum(low_at(50.0, -30.0), low_at(55.0, 0.0, 1500))] * 45)
    values[-1] = 101_000
    fields = Fields.from_arrays(GRID, times, {"msl": values})
    return make_records(fields, block="month", gap_days=0)


def test_depth_and_place_of_the_forecast_low(storm):
    moved = np.minimum(low_at(52.0, -26.0, 3500), low_at(55.0, 2.0, 6000))
    found = measure_forecast(storm, "2001-01-05T00", moved[None])
    assert list(found) == list(list_endpoints(storm))
    assert found["central_pressure"] == pytest.approx(975.5, abs=1.0)
    assert found["low_latitude"] == pytest.approx(52.0, abs=0.3)
    assert found["low_longitude"] == pytest.approx(-26.0, abs=0.3)
    assert found["regional_minimum"] < 960
    assert found["regional_maximum"] == pytest.approx(1010, abs=0.1)
    weights = np.broadcast_to(GRID.row_weights()[:, None], GRID.shape)
    assert found["regional_mean"] == pytest.approx(np.average(moved / 100, weights=weights))


def test_without_a_low_there_is_nothing_to_follow(storm):
    found = measure_forecast(storm, "2001-02-14T00", low_at(50.0, -30.0)[None])
    assert np.isnan([found[name] for name in ("central_pressure", "low_latitude")]).all()
    assert np.isfinite(found["regional_mean"])


def test_networks_without_pressure_have_the_region_alone(make_waves, make_records):
    fields = make_waves(n=100, names=("t850",))
    data = make_records(fields, needs=Needs(("t850",), (0,), 24, ("t850",)))
    found = measure_forecast(data, "2001-01-05T00", fields.read("t850", [5]))
    assert (
        list(found)
        == list(list_endpoints(data))
        == [
            "regional_mean",
            "regional_minimum",
            "regional_maximum",
        ]
    )
    assert found["regional_minimum"] == fields.read("t850", [5]).min()


def test_minima_between_cells():
    rows, columns = np.meshgrid(np.arange(17.0), np.arange(33.0), indexing="ij")
    bowl = (rows - 8.3) ** 2 + (columns - 12.4) ** 2
    latitude, longitude = refine_minimum(bowl, GRID, 8, 12)
    assert latitude == pytest.approx(70 - 2.5 * 8.3)
    assert longitude == pytest.approx(-70 + 2.5 * 12.4)
    assert refine_minimum(bowl, GRID, 0, 0) == (70.0, -70.0)
    assert refine_minimum(rows + columns, GRID, 3, 3) == (62.5, -62.5)
    globe = Grid.regular(np.arange(80.0, -81, -20.0), np.arange(-180.0, 180.0, 20.0))
    around = np.cos(np.radians(globe.longitude - 5))[None] * np.ones((9, 1))
    assert refine_minimum(around, globe, 4, 0)[1] == pytest.approx(-175, abs=0.5)
    bowl[9] = np.nan
    assert refine_minimum(bowl, GRID, 8, 12) == (50.0, pytest.approx(-70 + 2.5 * 12.4))


def test_cells_without_forecast_do_not_count(storm):
    whole = np.minimum(low_at(52.0, -26.0, 3500), low_at(55.0, 2.0, 6000))
    left_over = whole.copy()
    left_over[-2:] = np.nan
    found = measure_forecast(storm, "2001-01-05T00", left_over[None])
    weights = np.broadcast_to(GRID.row_weights()[:, None], GRID.shape)[:-2]
    assert found["regional_mean"] == pytest.approx(np.average(whole[:-2] / 100, weights=weights))
    whole_found = measure_forecast(storm, "2001-01-05T00", whole[None])
    for name in whole_found.keys() - {"regional_mean", "regional_maximum"}:
        assert found[name] == whole_found[name]
    assert found["regional_maximum"] == left_over[:-2].max() / np.float32(100)
    around = whole.copy()
    around[GRID.distance_km(50.0, -30.0) < 1500] = np.nan
    found = measure_forecast(storm, "2001-01-05T00", around[None])
    assert np.isnan([found[name] for name in LOW]).all() and found["regional_minimum"] < 960


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_forecast_without_numbers_has_no_endpoint(storm, value):
    forecast = low_at(50.0, -30.0)
    forecast[() if np.isnan(value) else (3, 3)] = value
    found = measure_forecast(storm, "2001-01-05T00", forecast[None])
    assert list(found) == list(list_endpoints(storm)) and np.isnan(list(found.values())).all()


def test_longitudes_do_not_jump_at_the_date_line(make_records):
    globe = Grid.regular(np.arange(90.0, -91.0, -5.0), np.arange(0.0, 360.0, 5.0))

    def low(longitude):
        distance = globe.distance_km(50.0, longitude)
        return (101_000 - 4000 * np.exp(-((distance / 900) ** 2))).astype(np.float32)

    times = pd.date_range("2001-01-01", periods=45)
    for start in (178.0, -178.0):
        fields = Fields.from_arrays(globe, times, {"msl": np.stack([low(start)] * 45)})
        data = make_records(fields, block="month", gap_days=0)
        west, east = (
            measure_forecast(data, "2001-01-05T00", low(place)[None])["low_longitude"]
            for place in (176.0, 181.0)
        )
        assert east - west == pytest.approx(5.0, abs=0.3)
        assert west % 360 == pytest.approx(176.0, abs=0.3)
    assert "within 180 degrees of that low's longitude" in list_endpoints(data)["low_longitude"]
    assert unwrap_longitude(-179.0, 176.0) == 181.0
    assert unwrap_longitude(20.0, 20.0) == 20.0
