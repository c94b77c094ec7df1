from __future__ import annotations

import numpy as np
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.grids import Grid
from sci_interp_weather.tokens import (
    CellMeans,
    from_tokens,
    levels_to_tokens,
    to_tokens,
    token_coordinates,
)

GRID = Grid.regular(np.arange(60.0, 29.0, -5.0), np.arange(-40.0, 1.0, 5.0))
GLOBE = Grid.regular(np.arange(88.0, -90, -4.0), np.arange(0.0, 360.0, 4.0))


def test_columns_are_outermost_then_levels_then_rows():
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)  # level, row, column
    tokens = levels_to_tokens(values)
    for column in range(4):
        for level in range(2):
            for row in range(3):
                assert tokens[(column * 2 + level) * 3 + row] == values[level, row, column]
    np.testing.assert_array_equal(from_tokens(tokens, (3, 4), 2), values)
    many = np.stack([tokens, tokens + 1])
    np.testing.assert_array_equal(from_tokens(many, (3, 4), 2)[1], values + 1)


def test_a_field_is_the_same_on_every_level():
    values = np.arange(12.0).reshape(3, 4)
    found = from_tokens(to_tokens(values, 2), (3, 4), 2)
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_array_equal(found[1], values)


def test_coordinates_are_those_of_the_cells():
    found = token_coordinates(GRID, 2)
    rows, columns = GRID.shape
    assert found["latitude"][:rows].tolist() == GRID.latitude.tolist()
    assert found["level"][: 2 * rows].tolist() == [0.0] * rows + [1.0] * rows
    assert found["longitude"][:: 2 * rows].tolist() == GRID.longitude.tolist()
    assert {values.shape for values in found.values()} == {(2 * rows * columns,)}


def test_means_over_the_same_cells_change_nothing():
    values = np.random.default_rng(0).random((5, *GRID.shape)).astype(np.float32)
    np.testing.assert_array_equal(CellMeans.between(GRID, GRID).of(values), values)


def test_means_keep_the_integral():
    coarse = GLOBE.coarsen(3, 5)
    values = np.random.default_rng(0).random(GLOBE.shape)
    means = CellMeans.between(GLOBE, coarse).of(values)
    assert means.shape == (15, 18)
    wanted = (values * GLOBE.area()).sum()
    assert (means * coarse.area()).sum() == pytest.approx(wanted, rel=1e-6)


def test_means_over_finer_and_turned_cells():
    fine = Grid.regular(np.arange(89.0, -90, -2.0), np.arange(-180.0, 180.0, 2.0))
    values = np.repeat(np.arange(90.0)[None], 45, axis=0)
    found = CellMeans.between(GLOBE, fine).of(values)
    assert found.shape == (90, 180)
    # A fine cell inside a coarse one takes its value; one on the border takes the mean.
    assert set(np.round(found[0] * 2).tolist()) <= set(range(180))


def test_cells_outside_the_fields_are_refused():
    other = Grid.regular(np.arange(60.0, 29.0, -5.0), np.arange(20.0, 61.0, 5.0))
    with pytest.raises(InputError, match="cells at longitude 20 lie outside the fields"):
        CellMeans.between(GRID, other)
