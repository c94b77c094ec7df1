"""What can be read from a forecast: the depth and place of a low, the mean of the region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .datasets import WeatherDataset
from .grids import Grid
from .pressure_systems import PressureFinder

__all__ = ["REACH_KM", "list_endpoints", "measure_forecast", "refine_minimum"]

#: Distance from the low at the record's time within which the forecast's low is looked for.
REACH_KM: Final = 1000.0
_HPA: Final = 100.0


def list_endpoints(dataset: WeatherDataset) -> Mapping[str, str]:
    """Return the endpoints of a dataset's forecasts, with definition and unit."""
    first, lead = dataset.needs.targets[0], dataset.needs.lead
    unit = "hPa" if first == "msl" else dataset.units.get(first, "")
    found = {
        "regional_mean": f"area mean of {first} in the {lead}-hour forecast ({unit})",
        "regional_minimum": f"lowest {first} in the {lead}-hour forecast ({unit})",
        "regional_maximum": f"highest {first} in the {lead}-hour forecast ({unit})",
    }
    if _has_pressure(dataset):
        where = (
            f"within {REACH_KM:g} km of the deepest low at the record's time, in the {lead}-hour "
            "forecast; none where no low is present"
        )
        found |= {
            "central_pressure": f"lowest sea-level pressure {where} (hPa)",
            "low_latitude": f"latitude of the lowest sea-level pressure {where} (degrees north)",
            "low_longitude": f"longitude of the lowest sea-level pressure {where} (degrees east)",
        }
    return found


def measure_forecast(
    dataset: WeatherDataset, record: str, forecast: NDArray[np.float32]
) -> Mapping[str, float]:
    """Return the value of every endpoint; NaN where there is no low.

    Parameters
    ----------
    dataset
        The data.
    record
        The record.
    forecast : (n_targets, n_rows, n_columns) float32
        Its forecast, in physical units.
    """
    targets, grid = dataset.needs.targets, dataset.fields.grid
    scale = _HPA if targets[0] == "msl" else 1.0
    first = forecast[0].astype(np.float64) / scale
    area = np.broadcast_to(grid.row_weights()[:, None], grid.shape)
    found = {
        "regional_mean": float((first * area).sum() / area.sum()),
        "regional_minimum": float(first.min()),
        "regional_maximum": float(first.max()),
    }
    if not _has_pressure(dataset):
        return found
    low = deepest_low(dataset, record)
    if low is None:
        lowest, latitude, longitude = (float("nan"),) * 3
    else:
        pressure = forecast[targets.index("msl")].astype(np.float64) / _HPA
        lowest, latitude, longitude = lowest_near(pressure, grid, low)
    return found | {
        "central_pressure": lowest,
        "low_latitude": latitude,
        "low_longitude": longitude,
    }


def deepest_low(dataset: WeatherDataset, record: str) -> tuple[float, float] | None:
    """Return latitude and longitude of the low of lowest pressure at the record's time."""
    at = dataset.index_of(record)
    finder = PressureFinder(dataset.fields.grid, orography=dataset.fields.static.get("orography"))
    lows = finder.find(dataset.fields.read("msl", slice(at, at + 1))[0]).of_kind("low")
    if not lows:
        return None
    deepest = min(lows, key=lambda low: low.pressure)
    return deepest.latitude, deepest.longitude


def lowest_near(
    pressure: NDArray[np.float64], grid: Grid, low: tuple[float, float]
) -> tuple[float, float, float]:
    """Return the lowest pressure within :data:`REACH_KM` of a point, its latitude, longitude."""
    near = np.where(grid.distance_km(*low) <= REACH_KM, pressure, np.inf)
    row, column = np.unravel_index(int(near.argmin()), near.shape)
    latitude, longitude = refine_minimum(pressure, grid, int(row), int(column))
    return float(pressure[row, column]), latitude, longitude


def refine_minimum(
    values: NDArray[np.float64], grid: Grid, row: int, column: int
) -> tuple[float, float]:
    """Return latitude and longitude of a minimum between the cells.

    Along each axis a parabola is laid through the cell and its two neighbours; its vertex counts
    within half a cell. On the edge of the grid, and on a slope, the cell's centre stays.
    """
    n_rows, n_columns = grid.shape
    latitude, longitude = float(grid.latitude[row]), float(grid.longitude[column])
    if 0 < row < n_rows - 1:
        step = (grid.latitude[row + 1] - grid.latitude[row - 1]) / 2
        latitude += float(step) * _vertex(*values[row - 1 : row + 2, column])
    if grid.periodic or 0 < column < n_columns - 1:
        around = np.take(values[row], (column - 1, column, column + 1), mode="wrap")
        longitude += float(grid.longitude[1] - grid.longitude[0]) * _vertex(*around)
    return latitude, longitude


def _vertex(before: float, middle: float, after: float) -> float:
    """Return where the parabola through three points has its minimum, in steps from the middle."""
    curvature = before - 2 * middle + after
    if middle > min(before, after) or curvature <= 0:
        return 0.0
    return float(0.5 * (before - after) / curvature)


def _has_pressure(dataset: WeatherDataset) -> bool:
    return "msl" in dataset.needs.targets and dataset.fields.has("msl")
