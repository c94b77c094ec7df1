"""Grids: orientation, exact areas, distances, patches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_weather.grids import EARTH_RADIUS_KM, Grid, great_circle_km

SPHERE = 4 * np.pi * EARTH_RADIUS_KM**2


def globe(step: float, *, poles: bool = True) -> Grid:
    n = round(180 / step)
    latitude = np.linspace(90, -90, n + 1) if poles else 90 - step * (np.arange(n) + 0.5)
    return Grid.regular(latitude, np.arange(0, 360, step))


@pytest.mark.parametrize("poles", [True, False])
@pytest.mark.parametrize("step", [2.5, 5.0, 30.0])
def test_cells_of_a_globe_add_up_to_the_sphere(step, poles):
    grid = globe(step, poles=poles)
    assert grid.periodic
    assert grid.area().sum() == pytest.approx(SPHERE, rel=1e-12)
    assert grid.longitude[0] == -180.0
    assert grid.row_weights().max() == 1.0


def test_a_gaussian_grid_reaches_the_poles():
    latitude = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))
    grid = Grid.regular(latitude, np.arange(0, 360, 5.625))
    assert (np.diff(grid.latitude) < 0).all()
    assert grid.area().sum() == pytest.approx(SPHERE, rel=1e-12)


def test_the_row_at_the_pole_is_a_cap_of_half_a_step():
    grid = globe(2.5)
    cap = 2 * np.pi * EARTH_RADIUS_KM**2 * (1 - np.sin(np.radians(88.75)))
    assert grid.area()[0].sum() == pytest.approx(cap, rel=1e-9)
    assert grid.step_weights(1000)[0] == 5
    assert min(globe(0.25).step_weights(100)) == 1


@given(
    start=st.integers(-18, 17),
    n_columns=st.integers(3, 30),
    shift=st.sampled_from([0, 360]),
    cut=st.integers(0, 29),
    flip=st.booleans(),
)
def test_a_region_is_the_same_however_the_file_cuts_the_circle(start, n_columns, shift, cut, flip):
    longitude = 10.0 * (start + np.arange(n_columns))
    latitude = np.arange(20.0, 61.0, 5.0)
    wrapped = np.roll((longitude + 180) % 360 - 180 + (shift if start >= 0 else 0), cut)
    grid = Grid.regular(latitude, longitude)
    other = Grid.regular(latitude[::-1] if flip else latitude, wrapped)
    assert other.digest == grid.digest
    assert grid.latitude[0] == 60.0 and -180 <= grid.longitude[0] < 180
    assert not grid.periodic


def test_a_region_across_the_date_line_runs_past_180():
    grid = Grid.regular([10, 0, -10], [170, 180, -170, -160])
    assert grid.longitude.tolist() == [170, 180, 190, 200]
    assert grid.nearest(0, -170) == (1, 2)
    assert grid.nearest(0, 190) == (1, 2)
    assert grid.nearest(0, 0) is None


def test_single_precision_copies_have_the_same_grid():
    longitude = np.arange(0, 360, 0.1)
    latitude = np.arange(-90, 90.05, 0.1)
    single = Grid.regular(latitude.astype(np.float32), longitude.astype(np.float32))
    assert single.digest == Grid.regular(latitude[::-1], np.roll(longitude, 100)).digest
    assert single.periodic


def test_nearest_is_the_cell_that_contains_the_point():
    grid = globe(2.5)
    assert grid.nearest(90, 13.0)[0] == 0
    assert grid.nearest(-90, 0)[0] == 72
    assert grid.nearest(0, 179.9) == (36, 0)
    assert grid.nearest(0, -180) == (36, 0)
    region = Grid.regular([60, 50, 40], [-10, 0, 10])
    assert region.nearest(66, 0) is None
    assert region.nearest(35, 15) == (2, 2)


def test_distances_are_great_circles():
    quarter = EARTH_RADIUS_KM * np.pi / 2
    assert great_circle_km(0, 0, 90, 77) == pytest.approx(quarter)
    assert great_circle_km(0, -170, 0, 170) == pytest.approx(EARTH_RADIUS_KM * np.radians(20))
    assert great_circle_km(51.5, -0.1, 40.7, -74.0) == pytest.approx(5567, abs=10)
    grid = globe(30.0)
    assert grid.distance_km(0, 0).shape == grid.shape
    assert grid.distance_km(90, 0)[0] == pytest.approx(0.0, abs=1e-6)


def test_patches_are_laid_from_the_north_and_the_west():
    grid = globe(2.5).coarsen(4, 4)
    assert grid.shape == (18, 36) and grid.periodic
    assert grid.latitude_edges[0] == 90.0 and grid.latitude_edges[-1] == -88.75
    assert grid.longitude[0] == -180 + 1.5 * 2.5
    assert globe(2.5).coarsen(4, 4, rows_offset=1).latitude_edges[0] == 88.75
    region = Grid.regular(np.arange(30, 71, 2.5), np.arange(-70, 10.1, 2.5)).coarsen(4, 4)
    assert region.shape == (4, 8) and region.longitude_edges[-1] == -70 - 1.25 + 8 * 10


def test_patches_keep_the_area_of_their_cells():
    grid = globe(5.0, poles=False)
    assert grid.coarsen(4, 8).area().sum() == pytest.approx(SPHERE, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "columns", "offset", "message"),
    [
        (0, 1, 0, "do not fit"),
        (1, 0, 0, "do not fit"),
        (74, 1, 0, "do not fit"),
        (4, 4, 72, "do not fit"),
        (4, 5, 0, "cannot be divided"),
        (4, 4, -1, "do not fit"),
    ],
)
def test_patches_that_do_not_fit_are_refused(rows, columns, offset, message):
    with pytest.raises(InputError, match=message):
        globe(2.5).coarsen(rows, columns, rows_offset=offset)


GOOD = np.arange(40.0, 0.0, -10)


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        ([50.0], GOOD, "latitude has the shape"),
        (np.zeros((3, 3)), GOOD, "latitude has the shape"),
        (GOOD, [0.0], "longitude has the shape"),
        ([50.0, np.nan], GOOD, "latitude holds NaN"),
        (GOOD, [0.0, np.inf], "longitude holds NaN"),
        ([100.0, 90.0, 80.0], GOOD, "latitude 100 is outside"),
        (GOOD, [0.0, 1e6], "outside the globe"),
        ([50.0, 50.0, 40.0], GOOD, "latitude has a value twice"),
        (GOOD, np.arange(0, 361, 10), "longitude has a value twice"),
        ([50.0, 40.0, 20.0, 10.0], GOOD, "latitude is not evenly spaced"),
        (GOOD, [0.0, 10.0, 20.0, 40.0, 50.0], "longitude is not evenly spaced"),
    ],
)
def test_axes_that_are_no_grid_are_refused(latitude, longitude, message):
    with pytest.raises(InputError, match=message):
        Grid.regular(latitude, longitude)
