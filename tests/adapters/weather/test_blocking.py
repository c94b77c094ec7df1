"""Blocking."""

import numpy as np
import pandas as pd
import pytest

from sci_interp_weather.blocking import BlockingDetector
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid

GRID = Grid.regular(np.arange(75.0, 19.0, -2.5), np.arange(-80.0, 21.0, 2.5))
TIMES = pd.date_range("2001-01-01", periods=900, freq="24h")


@pytest.fixture(scope="module")
def fields() -> Fields:
    """Two and a half years of noise with highs that stay 8, 3 and, at the end, 2 days."""
    rng = np.random.default_rng(0)
    values = 54000.0 + 300.0 * rng.normal(size=(len(TIMES), 1, 1))
    values = values + 100.0 * rng.normal(size=(len(TIMES), *GRID.shape))
    bell = 3000.0 * np.exp(-((GRID.distance_km(57.5, -20.0) / 900.0) ** 2) / 2)
    low_latitude = 3000.0 * np.exp(-((GRID.distance_km(25.0, -60.0) / 600.0) ** 2) / 2)
    for start, stop in ((300, 308), (400, 403), (898, 900)):
        values[start:stop] += bell
    values[500:510] += low_latitude
    return Fields.from_arrays(GRID, TIMES, {"z500": values})


def test_only_what_stays_is_blocking(fields: Fields) -> None:
    detector = BlockingDetector(fields)
    blocked = [bool(detector.find(i).instances) for i in (299, 300, 303, 307, 308, 401, 505)]
    assert blocked == [False, True, True, True, False, False, False]
    events = {detector.find(i).instances[0].event for i in range(300, 308)}
    assert events == {f"blocking {fields.time_labels[300]} #1"}
    (block,) = detector.find(303).instances
    assert (
        GRID.nearest(57.5, -20.0)[0] * GRID.shape[1] + GRID.nearest(57.5, -20.0)[1] in block.cells
    )


def test_what_the_end_cuts_is_unknown(fields: Fields) -> None:
    found = BlockingDetector(fields).find(899)
    assert found.instances == () and found.unknown[GRID.nearest(57.5, -20.0)]


def test_two_years_of_days_are_needed(fields: Fields) -> None:
    assert BlockingDetector.possible(fields)
    some = np.zeros((3, *GRID.shape))
    few = Fields.from_arrays(GRID, TIMES[:3], {"z500": some})
    sparse = Fields.from_arrays(GRID, TIMES[::400], {"z500": some})
    other = Fields.from_arrays(GRID, TIMES[::400], {"msl": some})
    assert not any(BlockingDetector.possible(item) for item in (few, sparse, other))
