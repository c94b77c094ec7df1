"""Fronts."""

import numpy as np
import pandas as pd
import pytest

from sci_interp_weather.fields import Fields
from sci_interp_weather.fronts import FrontDetector, thermal_front_parameter
from sci_interp_weather.grids import Grid

GRID = Grid.regular(np.arange(70.0, 29.0, -1.0), np.arange(-40.0, 1.0, 1.0))


def zone(grid, latitude=50.0, width=3.0, change=15.0):
    """Return temperature with a zone of strong gradient along a parallel, warm in the south."""
    profile = 280.0 - change / 2 * np.tanh((grid.latitude - latitude) / width)
    return np.repeat(profile[:, None], grid.shape[1], axis=1).astype(np.float32)


def find(temperature, grid=GRID):
    times = pd.DatetimeIndex(["2001-01-01"])
    return FrontDetector(Fields.from_arrays(grid, times, {"t850": temperature[None]})).find(0)


def test_the_front_is_on_the_warm_side_of_the_zone() -> None:
    found = find(zone(GRID))
    (front,) = found.instances
    latitude = GRID.latitude[front.cells // GRID.shape[1]]
    assert latitude.min() >= 44.0 and latitude.max() < 50.0
    assert len(np.unique(front.cells % GRID.shape[1])) == GRID.shape[1] - 2
    assert (
        found.unknown[0].all() and found.unknown[:, 0].all() and not found.unknown[1:-1, 1:-1].any()
    )


def test_weak_zones_and_uniform_air_have_no_front() -> None:
    assert find(zone(GRID, change=3.0)).instances == ()
    assert find(np.full(GRID.shape, 280.0, np.float32)).instances == ()


def test_the_parameter_is_that_of_the_profile() -> None:
    parameter, gradient, _ = thermal_front_parameter(zone(GRID), GRID)
    row = int(np.flatnonzero(GRID.latitude == 47.0)[0])
    metres = 1000.0 * 6371.0 * np.deg2rad(1.0)
    bend = 1 / np.cosh(-3.0 / 3.0) ** 2
    assert gradient[row, 20] == pytest.approx(7.5 * bend / (3.0 * metres), rel=0.05)
    expected = 7.5 * 2 * bend * np.tanh(1.0) / (3.0 * metres) ** 2
    assert parameter[row, 20] == pytest.approx(expected, rel=0.15)


def test_a_whole_circle_has_no_seam() -> None:
    globe = Grid.regular(np.arange(90.0, -91.0, -2.5), np.arange(0.0, 360.0, 2.5))
    rng = np.random.default_rng(1)
    wave = 3.0 * np.cos(np.deg2rad(3 * globe.longitude)) + rng.normal(size=1)
    field = zone(globe, width=4.0, change=30.0) + wave.astype(np.float32)
    turned = find(np.roll(field, 19, axis=1), globe)
    plain = find(field, globe)
    masks = []
    for found in (plain, turned):
        mask = np.zeros(globe.shape, bool)
        for front in found.instances:
            mask.reshape(-1)[front.cells] = True
        masks.append(mask)
    assert masks[0].any() and np.array_equal(np.roll(masks[0], 19, axis=1), masks[1])
    polar = np.abs(globe.latitude) > 80.0
    assert plain.unknown[polar].all() and not plain.unknown[~polar].any()
