"""Jets."""

import numpy as np
import pandas as pd

from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.jets import JetDetector, jet_level

GRID = Grid.regular(np.arange(70.0, 19.0, -2.5), np.arange(-80.0, 21.0, 2.5))


def fields(u, *levels) -> Fields:
    times = pd.DatetimeIndex(["2001-01-01"])
    values = {f"{name}{level}": u[None] for level in levels for name in ("u", "v")}
    return Fields.from_arrays(GRID, times, values)


def test_the_level_nearest_to_250_is_taken() -> None:
    still = np.zeros(GRID.shape)
    assert jet_level(fields(still, 200, 300, 225)) == 225
    assert jet_level(fields(still, 250, 500)) == 250
    assert jet_level(fields(still, 500, 850)) is None


def test_long_areas_of_strong_wind_are_jets() -> None:
    wind = np.zeros(GRID.shape)
    wind[8:10, 5:25] = 25.0  # 35 m/s with both components
    wind[15, 10:12] = 40.0
    wind[5:7, 0:2] = 40.0
    wind[18, 5:25] = 20.0
    found = JetDetector(fields(wind, 250), 250).find(0)
    (jet,) = found.instances
    assert jet.label == "jet" and len(jet.cells) == 40
    assert found.unknown[5:7, 0:2].all() and found.unknown.sum() == 4
