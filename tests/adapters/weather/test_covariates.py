from __future__ import annotations

import numpy as np
import pytest

from sci_interp_weather.covariates import covariate_values, list_covariates
from sci_interp_weather.tokens import from_tokens


def by_name(data, record):
    names = [item.name for item in list_covariates(data)]
    values = covariate_values(data, record)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.shape == (data.n_tokens, len(names))
    return dict(zip(names, values.T, strict=True))


def test_places_times_and_fields(make_waves, make_records):
    fields = make_waves(n=800)
    data = make_records(fields)
    found = by_name(data, "2002-04-02T00")
    assert list(found) == [
        *("|latitude|", "latitude", "longitude"),
        *("sine of the day of year", "cosine of the day of year"),
        *("msl anomaly", "msl"),
    ]
    np.testing.assert_allclose(found["latitude"][:7], fields.grid.latitude)
    assert found["sine of the day of year"][0] == pytest.approx(1.0, abs=1e-4)
    at = data.index_of("2002-04-02T00")
    field = from_tokens(found["msl"], fields.grid.shape)[0]
    np.testing.assert_array_equal(field, fields.read("msl", [at])[0])
    anomaly = from_tokens(found["msl anomaly"], fields.grid.shape)[0]
    np.testing.assert_array_equal(anomaly, data.anomaly("msl", at))


def test_hours_surface_and_levels(make_waves, make_records):
    shape = (7, 9)
    static = {"lsm": np.tile(np.arange(9) < 4, (7, 1)), "orography": np.full(shape, 250.0)}
    fields = make_waves(n=200, freq="6h", names=("msl", "t850"), static=static)
    data = make_records(fields, levels=2)
    found = by_name(data, "2001-01-05T06")
    assert found["sine of the hour"][0] == pytest.approx(1.0)
    assert set(found["orography"].tolist()) == {250.0}
    assert found["land"].reshape(9, 2, 7).mean(axis=(1, 2)).tolist() == [1.0] * 4 + [0.0] * 5
    assert {"t850", "t850 anomaly"} <= set(found)
    units = {item.name: item.unit for item in list_covariates(data)}
    assert units["t850 anomaly"] == "standard deviations"


def test_southern_rows_have_a_positive_distance(make_waves, make_records):
    data = make_records(make_waves(n=100, globe=True))
    found = by_name(data, "2001-01-05T00")
    np.testing.assert_array_equal(found["|latitude|"], np.abs(found["latitude"]))
    assert found["latitude"].min() < -80
