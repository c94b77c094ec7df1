"""What can be read from a forecast: the depth and place of a low, the mean of the region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .datasets import WeatherDataset
from .grids import Grid
from .pressure_systems import PressureFinder

__all__ = ["REACH_KM", "list_endpoints", "measure_forecast", "refine_minimum", "unwrap_longitude"]

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
        turns = "; within 180 degrees of that low's longitude, so that it may run past 180"
        found |= {
            "central_pressure": f"lowest sea-level pressure {where} (hPa)",
            "low_latitude": f"latitude of the lowest sea-level pressure {where} (degrees north)",
            "low_longitude": f"longitude of the lowest sea-level pressure {where}{turns} "
            "(degrees east)",
        }
    return found


def measure_forecast(
    dataset: WeatherDataset, record: str, forecast: NDArray[np.float32]
) -> Mapping[str, float]:
    """Return the value of every endpoint; NaN where there is no low or no forecast.

    Cells that the network does not forecast (NaN: a row that its patches leave over) do not count.
    A forecast that holds infinity has no endpoint.

    Parameters
    ----------
    dataset
        The data.
    record
        The record.
    forecast : (n_targets, n_rows, n_columns) float32
        Its forecast, in physical units.
    """
    if np.isinf(forecast).any():
        return dict.fromkeys(list_endpoints(dataset), float("nan"))
    targets, grid = dataset.needs.targets, dataset.fields.grid
    found = _summarise(forecast[0].astype(np.float64) / (_HPA if targets[0] == "msl" else 1), grid)
    if not _has_pressure(dataset):
        return found
    lowest = latitude = longitude = float("nan")
    low = deepest_low(dataset, record)
    if low is not None:
        pressure = forecast[targets.index("msl")].astype(np.float64) / _HPA
        lowest, latitude, longitude = lowest_near(pressure, grid, low)
        longitude = unwrap_longitude(longitude, low[1])
    return found | {
        "central_pressure": lowest,
        "low_latitude": latitude,
        "low_longitude": longitude,
    }


def _summarise(values: NDArray[np.float64], grid: Grid) -> dict[str, float]:
    """Return area mean, minimum and maximum of the cells that hold a number."""
    told = np.isfinite(values)
    if not told.any():
        return dict.fromkeys(
            ("regional_mean", "regional_minimum", "regional_maximum"), float("nan")
        )
    area = np.broadcast_to(grid.row_weights()[:, None], grid.shape)[told]
    return {
        "regional_mean": float((values[told] * area).sum() / area.sum()),
        "regional_minimum": float(values[told].min()),
        "regional_maximum": float(values[told].max()),
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
    """Return the lowest pressure within :data:`REACH_KM` of a point, its latitude, longitude.

    NaN where no cell there holds a number.
    """
    near = (grid.distance_km(*low) <= REACH_KM) & np.isfinite(pressure)
    if not near.any():
        return float("nan"), float("nan"), float("nan")
    near = np.where(near, pressure, np.inf)
    row, column = np.unravel_index(int(near.argmin()), near.shape)
    latitude, longitude = refine_minimum(pressure, grid, int(row), int(column))
    return float(pressure[row, column]), latitude, longitude


def unwrap_longitude(longitude: float, start: float) -> float:
    """Return a longitude as the one within 180 degrees of another.

    Across the date line the way from 176 to 181 degrees is 5 degrees, not -355.

    >>> unwrap_longitude(-179.0, 176.0)
    181.0
    """
    return start + (longitude - start + 180.0) % 360.0 - 180.0


def refine_minimum(
    values: NDArray[np.float64], grid: Grid, row: int, column: int
) -> tuple[float, float]:
    """Return latitude and longitude of a minimum between the cells.

    Along each axis a parabola is laid through the cell and its two neighbours; its vertex counts
    within half a cell. On the edge of the grid, beside a cell without a number, and on a slope, the
    cell's centre stays.
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
    if not np.isfinite(curvature) or middle > min(before, after) or curvature <= 0:
        return 0.0
    return float(0.5 * (before - after) / curvature)


def _has_pressure(dataset: WeatherDataset) -> bool:
    return "msl" in dataset.needs.targets and dataset.fields.has("msl")
