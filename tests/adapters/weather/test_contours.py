"""Closed contours: planted minima, edges, poles, rotations."""

import numpy as np
import pytest
from scipy import ndimage

from sci_interp_weather.contours import find_basins, mesh_of
from sci_interp_weather.grids import Grid

GLOBE = Grid.regular(np.arange(90.0, -91.0, -2.5), np.arange(0.0, 360.0, 2.5))
REGION = Grid.regular(np.arange(70.0, 29.0, -2.5), np.arange(-70.0, 11.0, 2.5))


def hollow(grid, latitude, longitude, depth, size_km=400.0):
    return -depth * np.exp(-((grid.distance_km(latitude, longitude) / size_km) ** 2) / 2)


def basins(grid, field, rise=2.0, within=5.5, reach=18.0):
    return find_basins(field, mesh_of(grid), rise=rise, within=within, reach=reach)


def test_a_planted_minimum_is_found_with_its_depth() -> None:
    (found,) = basins(GLOBE, hollow(GLOBE, 50.0, -20.0, 30.0))
    row, column = divmod(found.cell, GLOBE.shape[1])
    assert (GLOBE.latitude[row], GLOBE.longitude[column]) == (50.0, -20.0)
    assert found.decided and found.value == -30.0
    assert found.depth == pytest.approx(30.0, abs=0.05)
    assert found.prominence == pytest.approx(30.0, abs=0.05)
    inside = GLOBE.distance_km(50.0, -20.0).reshape(-1)[found.cells]
    assert found.cell in found.cells and inside.max() <= 18.0 * 111.3


@pytest.mark.parametrize(("depth", "size"), [(1.9, 400.0), (20.0, 4000.0)])
def test_shallow_and_broad_minima_do_not_count(depth: float, size: float) -> None:
    assert basins(GLOBE, hollow(GLOBE, 50.0, -20.0, depth, size)) == []


@pytest.mark.parametrize("latitude", [90.0, 87.5, -90.0])
def test_contours_close_over_the_poles(latitude: float) -> None:
    (found,) = basins(GLOBE, hollow(GLOBE, latitude, 60.0, 30.0))
    assert found.decided and found.depth > 29.0
    rows = found.cells // GLOBE.shape[1]
    columns = GLOBE.longitude[found.cells % GLOBE.shape[1]]
    assert len(set(rows.tolist())) > 2 and np.ptp(columns) > 180.0


def test_rotating_a_whole_circle_rotates_the_basins() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=GLOBE.shape)
    field = ndimage.gaussian_filter(noise, 2.5, mode=("nearest", "wrap"))
    field *= 10.0 / field.std()
    turned = np.roll(field, 37, axis=1)
    before, after = basins(GLOBE, field), basins(GLOBE, turned)
    assert len(before) == len(after) > 20

    def turn(cells):
        rows, columns = np.divmod(cells, GLOBE.shape[1])
        return np.sort(rows * GLOBE.shape[1] + (columns + 37) % GLOBE.shape[1]).tolist()

    for a, b in zip(before, after, strict=True):
        assert turn(a.cells) == np.sort(b.cells).tolist()
        assert (a.depth, a.prominence) == (b.depth, b.prominence)


def test_mirroring_a_field_mirrors_the_basins() -> None:
    field = hollow(REGION, 55.0, -30.0, 30.0) + hollow(REGION, 45.0, -50.0, 10.0)
    south = Grid.regular(-REGION.latitude, REGION.longitude)
    north, mirrored = basins(REGION, field), basins(south, field[::-1])
    assert [b.depth for b in north] == [b.depth for b in mirrored]
    assert [len(b.cells) for b in north] == [len(b.cells) for b in mirrored]


@pytest.mark.parametrize("place", [(70.0, -30.0), (67.5, -30.0), (50.0, -70.0), (50.0, 7.5)])
def test_minima_that_the_edge_cuts_are_undecided(place: tuple[float, float]) -> None:
    (found,) = basins(REGION, hollow(REGION, *place, 15.0, 600.0))
    assert not found.decided
    assert found.cell in found.cells
    assert (hollow(REGION, *place, 15.0, 600.0).reshape(-1)[found.cells] < -13.0).all()


def test_a_flat_minimum_on_the_edge_is_rejected() -> None:
    assert basins(REGION, hollow(REGION, 70.0, -30.0, 10.0, 3000.0)) == []


def test_an_area_ends_where_it_would_run_over_the_edge() -> None:
    (found,) = basins(REGION, hollow(REGION, 60.0, -30.0, 30.0, 500.0))
    field = hollow(REGION, 60.0, -30.0, 30.0, 500.0)
    edge = field[0].min()
    assert found.decided and found.depth == pytest.approx(30.0 + edge)
    assert (field.reshape(-1)[found.cells] < edge).all()


def test_a_weaker_minimum_keeps_its_own_area_inside_a_stronger_one() -> None:
    field = hollow(GLOBE, 50.0, -20.0, 40.0, 900.0) + hollow(GLOBE, 50.0, 0.0, 25.0, 300.0)
    strong, weak = basins(GLOBE, field)
    assert strong.value < weak.value
    assert set(weak.cells.tolist()) < set(strong.cells.tolist())
    assert weak.depth == pytest.approx(weak.prominence) and weak.depth < strong.depth


def test_an_area_stays_within_reach() -> None:
    field = hollow(GLOBE, 50.0, -20.0, 40.0, 1500.0)
    (found,) = basins(GLOBE, field, reach=10.0)
    assert GLOBE.distance_km(50.0, -20.0).reshape(-1)[found.cells].max() <= 10.0 * 111.3
    assert found.depth < found.prominence


def test_cells_without_a_value_are_outside() -> None:
    field = hollow(GLOBE, 50.0, -20.0, 30.0)
    field[16, 64] = np.nan  # 50 N, 20 W
    assert np.isnan(field[GLOBE.nearest(50.0, -20.0)])
    assert all(not found.decided for found in basins(GLOBE, field))
    assert basins(GLOBE, np.full(GLOBE.shape, np.nan)) == []


def test_a_flat_field_has_no_basin() -> None:
    assert basins(GLOBE, np.zeros(GLOBE.shape)) == []
