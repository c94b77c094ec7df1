"""Lows and highs at one time and through time."""

import numpy as np
import pandas as pd
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.pressure_systems import (
    PressureFinder,
    PressureSettings,
    bergerons,
    pressure_labels,
)
from sci_interp_weather.pressure_tracks import DeepeningDetector, PressureTracker

GRID = Grid.regular(np.arange(70.0, 19.0, -2.5), np.arange(-80.0, 21.0, 2.5))


def bell(latitude, longitude, size_km=500.0, grid=GRID):
    return np.exp(-((grid.distance_km(latitude, longitude) / size_km) ** 2) / 2)


def pressure(*systems):
    """Return pressure with systems (latitude, longitude, hPa relative to 1013)."""
    total = sum((100.0 * strength * bell(lat, lon) for lat, lon, strength in systems), 0.0)
    return (101300.0 + total).astype(np.float32)


def test_lows_and_highs_are_found_with_pressure_and_depth() -> None:
    found = PressureFinder(GRID).find(pressure((50, -30, -40.0), (40, 0, 20.0)))
    (low,), (high,) = found.of_kind("low"), found.of_kind("high")
    assert (low.latitude, low.longitude) == (50.0, -30.0)
    assert (high.latitude, high.longitude) == (40.0, 0.0)
    assert low.pressure == pytest.approx(97300.0, abs=20.0)
    assert low.depth == pytest.approx(4000.0, rel=0.1) and low.prominence >= low.depth
    assert high.pressure == pytest.approx(103300.0, abs=20.0) and high.depth > 1500.0


def test_nothing_counts_where_the_ground_is_high() -> None:
    ground = np.zeros(GRID.shape, np.float32)
    ground[GRID.nearest(50, -30)] = 1600.0
    field = pressure((50, -30, -40.0), (40, 0, -20.0))
    found = PressureFinder(GRID, orography=ground).find(field)
    assert [(s.latitude, s.longitude) for s in found.of_kind("low")] == [(40.0, 0.0)]
    assert found.unknown[GRID.nearest(50, -30)] and found.unknown.sum() == 1
    with pytest.raises(InputError, match=r"the orography has shape \(2, 2\)"):
        PressureFinder(GRID, orography=np.zeros((2, 2), np.float32))


def test_only_what_the_edge_cuts_is_unknown() -> None:
    found = PressureFinder(GRID).find(pressure((70, -30, -40.0), (45, -30, -30.0)))
    assert [(s.latitude, s.longitude) for s in found.of_kind("low")] == [(45.0, -30.0)]
    assert found.unknown[GRID.nearest(70, -30)] and not found.unknown[GRID.nearest(45, -30)]
    assert 0 < found.unknown.mean() < 0.1


def test_missing_values_are_unknown() -> None:
    field = pressure((45, -30, -30.0))
    field[:, -3:] = np.nan
    found = PressureFinder(GRID).find(field)
    assert found.unknown[:, -3:].all() and len(found.of_kind("low")) == 1


def test_coarse_grids_ask_for_two_steps() -> None:
    coarse = Grid.regular(np.arange(60.0, -61.0, -10.0), np.arange(0.0, 360.0, 10.0))
    assert PressureSettings().within(coarse, "low") == 20.0
    assert PressureSettings().within(GRID, "low") == 5.5
    (label, *_) = pressure_labels(PressureSettings(), coarse)
    assert "2 hPa within 20 degrees" in label.definition


@pytest.mark.parametrize("name", ["rise_hpa", "reach_km", "deepening_bergerons"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_parameters_are_positive(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"{name} of the pressure systems"):
        PressureSettings(**{name: value})


def test_bergerons() -> None:
    assert bergerons(2400.0, 60.0) == pytest.approx(1.0)
    assert bergerons(2400.0, -60.0) == pytest.approx(1.0)
    assert bergerons(1200.0, 60.0, 12.0) == pytest.approx(1.0)
    assert bergerons(2400.0, 30.0) == pytest.approx(np.sqrt(3.0))
    assert np.isfinite(bergerons(2400.0, 0.0))


def storm_fields(times, strengths, longitudes=None) -> Fields:
    """Return fields of one low that changes its strength, hPa, and moves."""
    at = longitudes or [-40.0 + 5.0 * i for i in range(len(strengths))]
    stack = [pressure((50, lon, -s)) for lon, s in zip(at, strengths, strict=True)]
    return Fields.from_arrays(GRID, times, {"msl": np.stack(stack)})


def test_a_low_is_followed_and_its_deepening_measured() -> None:
    times = pd.date_range("2001-01-01", periods=4, freq="24h")
    tracker = PressureTracker(storm_fields(times, [10.0, 30.0, 32.0, 20.0]))
    lows = [tracker.tracked(i)[0] for i in range(4)]
    assert {low.event for low in lows} == {"low 2001-01-01T00 #1"}
    expected = [bergerons(100.0 * change, 50.0) for change in (20.0, 2.0, -12.0)]
    measured = [low.deepening for low in lows]
    assert measured[:3] == pytest.approx(expected, abs=0.02) and np.isnan(measured[3])


def test_deepening_needs_24_hours_of_track() -> None:
    times = pd.date_range("2001-01-01", periods=6, freq="6h")
    fields = storm_fields(times, [10.0, 15.0, 20.0, 25.0, 30.0, 35.0])
    tracker = PressureTracker(fields)
    detector = DeepeningDetector(tracker)
    first, last = detector.find(0), detector.find(3)
    (instance,) = first.instances
    assert instance.label == "deepening_low" and instance.event == "low 2001-01-01T00 #1"
    assert not first.unknown.reshape(-1)[instance.cells].any()
    assert last.instances == ()
    (low,) = tracker.systems(3).of_kind("low")
    assert last.unknown.reshape(-1)[low.cells].all() and last.unknown.mean() < 0.4


def test_lows_are_not_followed_across_a_hole() -> None:
    times = pd.DatetimeIndex(["2001-01-01", "2001-01-02", "2001-01-04", "2001-01-05"])
    tracker = PressureTracker(storm_fields(times, [10.0, 30.0, 32.0, 20.0]))
    events = [tracker.tracked(i)[0].event for i in range(4)]
    assert events == ["low 2001-01-01T00 #1"] * 2 + ["low 2001-01-04T00 #1"] * 2
    assert np.isnan(tracker.tracked(1)[0].deepening)


def test_times_may_be_asked_for_in_any_order() -> None:
    times = pd.date_range("2001-01-01", periods=4, freq="24h")
    fields = storm_fields(times, [10.0, 30.0, 32.0, 20.0])
    forward, backward = PressureTracker(fields), PressureTracker(fields)
    expected = [[t.event for t in forward.tracked(i)] for i in range(4)]
    assert [[t.event for t in backward.tracked(i)] for i in (3, 2, 1, 0)] == expected[::-1]
