"""Small synthetic fields, and the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid


@pytest.fixture(scope="session")
def weather_data(shared_data) -> Path:
    """Return the folder of real weather data; skips the test where there is none."""
    folder = shared_data / "weather"
    if not folder.is_dir():
        pytest.skip("there are no real weather data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def era_interim(weather_data) -> list[Path]:
    """Files of sea-level pressure, Z500 and T850, one variable each."""
    return [
        weather_data / "erainterim_west_europe" / f"{x}_ei.nc" for x in ("mslp", "z500", "t850")
    ]


def smooth_pressure(times, latitude, longitude, seed: int = 0) -> np.ndarray:
    """Return pressure (Pa) that differs everywhere, on the axes in the order given."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, len(times))[:, None, None]
    lat, lon = np.radians(latitude)[:, None], np.radians(longitude)[None, :]
    waves = np.sin(2 * lon + phases) * np.cos(lat) + 0.3 * np.sin(3 * lat + lon + 2 * phases)
    return (101_000 + 1_500 * waves).astype(np.float32)


@pytest.fixture(scope="session")
def make_dataset():
    """Return a maker of datasets in the layout of ERA5, with a variable ``msl``."""

    def make(n_times=6, latitude=None, longitude=None, *, seed=0, units="Pa") -> xr.Dataset:
        latitude = np.arange(60.0, 29.0, -5.0) if latitude is None else np.asarray(latitude)
        longitude = np.arange(0.0, 360.0, 30.0) if longitude is None else np.asarray(longitude)
        times = pd.date_range("2001-01-01", periods=n_times, freq="D", unit="s")
        values = smooth_pressure(times, latitude, longitude, seed)
        return xr.Dataset(
            {"msl": (("time", "latitude", "longitude"), values, {"units": units} if units else {})},
            coords={"time": times, "latitude": latitude, "longitude": longitude},
        )

    return make


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a dataset to a new NetCDF file and gives its path."""

    def write(dataset: xr.Dataset, name: str = "fields.nc", **options) -> Path:
        path = tmp_path / name
        dataset.to_netcdf(path, engine="netcdf4", **options)
        return path

    return write


@pytest.fixture(scope="session")
def make_fields():
    """Return a maker of fields held in memory, on a region or, with ``globe``, a whole globe."""

    def make(n_times=40, *, globe=False, freq="D", start="2001-01-01", seed=0) -> Fields:
        latitude = np.arange(90.0, -91.0, -10.0) if globe else np.arange(70.0, 29.0, -5.0)
        longitude = np.arange(-180.0, 180.0, 10.0) if globe else np.arange(-60.0, 11.0, 5.0)
        times = pd.date_range(start, periods=n_times, freq=freq)
        grid = Grid.regular(latitude, longitude)
        return Fields.from_arrays(
            grid, times, {"msl": smooth_pressure(times, grid.latitude, grid.longitude, seed)}
        )

    return make
