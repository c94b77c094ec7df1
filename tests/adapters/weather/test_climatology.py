from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sci_interp_weather import climatology as module
from sci_interp_weather.climatology import fit_climatology
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid

GRID = Grid.regular([50.0, 40.0, 30.0], [0.0, 10.0, 20.0, 30.0])


def fields_of(values, times):
    return Fields.from_arrays(GRID, times, {"msl": values})


def seasonal(times, noise, seed=0):
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * (times.day_of_year.to_numpy() - 1) / 365.25
    course = 500 * np.cos(turn) - 200 * np.sin(2 * turn)
    place = np.arange(12.0).reshape(GRID.shape)
    values = 101_000 + 50 * place + course[:, None, None]
    return course, values + noise * rng.standard_normal((len(times), *GRID.shape))


def test_the_year_is_found_and_the_spread_around_it():
    times = pd.date_range("2001-01-01", "2008-12-31")
    course, values = seasonal(times, 300.0)
    found = fit_climatology(fields_of(values, times), ["msl"])
    normal = found.normal("msl", times)
    np.testing.assert_allclose(normal[:, 1, 2], 101_000 + 300 + course, atol=40)
    np.testing.assert_allclose(found.variables["msl"].deviation, 300.0, rtol=0.05)
    anomalies = found.standardise("msl", values.astype(np.float32), times)
    assert abs(anomalies.mean()) < 1e-3
    assert anomalies.std() == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_allclose(found.restore("msl", anomalies, times), values, atol=0.02)
    assert "3 harmonics" in found.note


def test_reading_in_parts_changes_nothing(monkeypatch):
    times = pd.date_range("2001-01-01", "2004-12-31")
    fields = fields_of(seasonal(times, 300.0)[1], times)
    whole = fit_climatology(fields, ["msl"]).variables["msl"]
    monkeypatch.setattr(module, "_CHUNK", 100 * 12)
    parts = fit_climatology(fields, ["msl"]).variables["msl"]
    np.testing.assert_allclose(parts.coefficients, whole.coefficients, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(parts.deviation, whole.deviation, rtol=1e-6)


def test_less_than_two_years_give_the_plain_mean():
    times = pd.date_range("2001-01-01", "2002-06-30")
    values = seasonal(times, 300.0)[1]
    found = fit_climatology(fields_of(values, times), ["msl"])
    np.testing.assert_allclose(found.normal("msl", times[:1])[0], values.mean(axis=0), rtol=1e-6)
    assert "the plain mean per cell, for 1.49 years" in found.note


def test_one_time_has_no_departure():
    times = pd.date_range("2001-01-01", periods=1)
    values = seasonal(times, 300.0)[1]
    found = fit_climatology(fields_of(values, times), ["msl"])
    np.testing.assert_array_equal(found.variables["msl"].deviation, 1.0)
    np.testing.assert_allclose(found.standardise("msl", values.astype("f4"), times), 0, atol=0.01)


def test_cells_that_never_change_can_be_divided_by():
    times = pd.date_range("2001-01-01", "2004-12-31")
    values = seasonal(times, 300.0)[1]
    values[:, 0, 0] = 100_000.0
    found = fit_climatology(fields_of(values, times), ["msl"]).variables["msl"].deviation
    assert found[0, 0] == pytest.approx(found.max() / 1000)
