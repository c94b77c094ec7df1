"""Coastlines: where they should be, nowhere else, and restated without loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sci_interp.adapter import Polyline
from sci_interp_weather.coastlines import coastlines, pack_lines, unpack_lines
from sci_interp_weather.grids import Grid

NORTH_ATLANTIC = Grid.regular(np.arange(70, 29, -2.5), np.arange(-70, 11, 2.5))
WORLD = Grid.regular(np.arange(90, -91, -2.0), np.arange(-180, 180, 2.0))


def distance(lines: tuple[Polyline, ...], longitude: float, latitude: float) -> float:
    """Return the distance of a place to the nearest line, in degrees."""
    best = np.inf
    for line in lines:
        points = np.stack([line.x - longitude, line.y - latitude], axis=1)
        step = np.diff(points, axis=0)
        length = np.maximum((step**2).sum(axis=1), 1e-12)
        share = np.clip(-(points[:-1] * step).sum(axis=1) / length, 0, 1)
        best = min(best, np.hypot(*(points[:-1] + share[:, None] * step).T).min())
    return float(best)


@pytest.mark.parametrize(
    ("place", "longitude", "latitude"),
    [
        ("Land's End", -5.7, 50.1),
        ("Gibraltar", -5.35, 36.1),
        ("Cape Race, Newfoundland", -53.1, 46.7),
        ("Cape Farewell", -43.9, 59.8),
    ],
)
def test_places_lie_on_the_coast(place: str, longitude: float, latitude: float) -> None:
    assert distance(coastlines(NORTH_ATLANTIC), longitude, latitude) < 0.5, place


def test_cape_hatteras_lies_on_the_coast_of_the_world() -> None:
    assert distance(coastlines(WORLD), -75.5, 35.25) < 0.5


def test_the_sea_and_the_land_hold_no_line() -> None:
    lines = coastlines(WORLD)
    assert distance(lines, -30.0, 50.0) > 8 and distance(lines, 15.0, 49.5) > 3
    assert distance(lines, 180.0, 67.5) > 1, "the cut at the date line is no coast"
    assert all(line.y.min() > -89 for line in lines), "nor is the pole"


@pytest.mark.parametrize(
    "grid", [NORTH_ATLANTIC, WORLD, Grid.regular(np.arange(60, 19, -1.5), np.arange(150, 229, 1.5))]
)
def test_nothing_lies_outside(grid: Grid) -> None:
    lines = coastlines(grid)
    x = np.concatenate([line.x for line in lines])
    y = np.concatenate([line.y for line in lines])
    assert x.min() >= grid.longitude_edges[0] and x.max() <= grid.longitude_edges[-1]
    assert y.min() >= grid.latitude_edges.min() and y.max() <= grid.latitude_edges.max()
    assert all(len(line.x) == len(line.y) >= 2 for line in lines)
    assert max(np.abs(np.diff(line.x)).max() for line in lines) < 12, "a line crosses the map"


def test_longitudes_run_past_the_date_line() -> None:
    pacific = coastlines(Grid.regular(np.arange(60, 19, -1.5), np.arange(150, 229, 1.5)))
    assert distance(pacific, 195.2, 54.6) < 0.5  # Cape Sarichef, Alaska, at 164.8 degrees west
    assert distance(pacific, 156.7, 51.0) < 0.5  # Cape Lopatka, Kamchatka


def test_a_grid_may_begin_anywhere() -> None:
    turned = replace(
        WORLD, longitude=WORLD.longitude + 150, longitude_edges=np.arange(-31, 330, 2.0)
    )
    shifted = coastlines(turned)
    for longitude, latitude in ((-5.7, 50.1), (284.5, 35.25), (153.6, -28.6)):
        assert distance(shifted, longitude, latitude) < 0.5


def test_bytes_come_back() -> None:
    lines = [np.array([[-18000, 9000], [5, -7]]), np.array([[1, 2], [3, 4], [18000, 6]])]
    for line, back in zip(lines, unpack_lines(pack_lines(lines)), strict=True):
        np.testing.assert_array_equal(line / 100, back)
