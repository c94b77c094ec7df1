"""Small synthetic fields, and the real ones."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from sci_interp_weather.blocks import BlockRule
from sci_interp_weather.datasets import Needs, build_dataset
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.networks.base import digest_tensors, permute_weights


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
    """Return a function that writes a dataset to a NetCDF file, by default a new one."""

    def write(dataset: xr.Dataset, name: str = "", **options) -> Path:
        path = tmp_path / (name or f"fields{len(list(tmp_path.iterdir()))}.nc")
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


def travelling_waves(grid: Grid, times, *, seed=0, mean=101_000.0, scale=800.0) -> np.ndarray:
    """Return waves that travel: smooth, with lows and highs, remembered for days."""
    rng = np.random.default_rng(seed)
    day = np.asarray((times - times[0]) / pd.Timedelta(days=1), dtype=np.float64)[:, None, None]
    latitude = np.radians(grid.latitude)[None, :, None]
    longitude = np.radians(grid.longitude)[None, None, :]
    values = np.zeros((len(times), *grid.shape))
    for _ in range(12):
        k, m, phase = rng.integers(1, 9), rng.integers(1, 9), rng.uniform(0, 2 * np.pi)
        speed = rng.uniform(-0.8, 0.8)
        values += np.cos(k * longitude + 2 * m * latitude - speed * day + phase)
    season = np.cos(2 * np.pi * day / 365.25)
    return (mean + scale * (values / 3 + season)).astype(np.float32)


@pytest.fixture(scope="session")
def make_waves():
    """Return a maker of fields of travelling waves, 7 x 9 cells of 5 degrees, or the globe."""
    kinds = {"msl": (101_000.0, 800.0), "z500": (54_000.0, 1500.0), "t850": (278.0, 6.0)}

    def make(n=400, *, start="2001-01-01", freq="1D", globe=False, names=("msl",), static=None):
        latitude = np.arange(87.5, -90, -5.0) if globe else np.arange(60.0, 29.0, -5.0)
        longitude = np.arange(-177.5, 180, 5.0) if globe else np.arange(-40.0, 1.0, 5.0)
        grid = Grid.regular(latitude, longitude)
        times = pd.date_range(start, periods=n, freq=freq)
        values = {
            name: travelling_waves(grid, times, seed=at, mean=kinds[name][0], scale=kinds[name][1])
            for at, name in enumerate(names)
        }
        return Fields.from_arrays(grid, times, values, static=static)

    return make


class TinyNetwork:
    """A convolution of the pressure of two days, and a forecast from it; nothing is learned."""

    name = "tiny"
    variables = ("msl",)
    offsets = (-24, 0)
    lead = 24
    targets = ("msl",)
    default_layer = "mix"

    def __init__(self, patch: int = 1, levels: int = 1, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.patch, self.levels, self.field_grid = patch, levels, None
        first = torch.nn.Conv2d(2 * patch * patch, 4 * levels, 3, padding=1)
        last = torch.nn.Conv2d(4 * levels, patch * patch, 1)
        self.module = torch.nn.ModuleList([first, last])
        for tensor in self.module.parameters():
            tensor.data = torch.randn(tensor.shape, generator=generator) / 4

    @property
    def digest(self):
        return digest_tensors(self.module.state_dict())

    @property
    def layers(self):
        return {"stem": 4, "mix": 4, "pooled": 8}

    def n_levels(self, layer):
        return self.levels

    def token_grid(self, layer):
        patch = self.patch * (2 if layer == "pooled" else 1)
        return self.field_grid.coarsen(patch, patch)

    def bind(self, grid):
        other = copy.copy(self)
        other.field_grid = grid
        return other

    def run(self, inputs, hours, layers):
        stem = self._stem(inputs)
        found = {"stem": stem, "mix": torch.relu(stem)}
        return {name: self._tokens(found[name]) for name in layers}

    def forecast(self, inputs, hours, layer=None, replacement=None):
        mix = torch.relu(self._stem(inputs))
        if replacement is not None:
            tokens = self._tokens(mix)
            changed = replacement(tokens.reshape(-1, 4)).reshape(tokens.shape)
            rows, columns = mix.shape[-2:]
            cells = changed.reshape(len(inputs), columns, self.levels, rows, 4)
            mix = cells.permute(0, 2, 4, 3, 1).reshape(mix.shape)
        change = torch.pixel_shuffle(self.module[1](mix), self.patch)[:, 0].detach().numpy()
        result = inputs[:, -1, 0].copy()
        result[:, : change.shape[1], : change.shape[2]] += 100 * change
        return result[:, None]

    def shuffled(self, seed):
        other = copy.deepcopy(self)
        permute_weights(other.module, seed)
        other.name = f"tiny shuffled {seed}"
        return other

    def _stem(self, inputs):
        rows, columns = (self.patch * n for n in self.token_grid("mix").shape)
        scaled = (torch.from_numpy(inputs[:, :, 0, :rows, :columns]) - 101_000) / 1000
        return self.module[0](torch.pixel_unshuffle(scaled, self.patch)).detach()

    def _tokens(self, values):
        n, _, rows, columns = values.shape
        fields = values.reshape(n, self.levels, 4, rows, columns)
        return fields.permute(0, 4, 1, 3, 2).reshape(n, columns * self.levels * rows, 4)


@pytest.fixture(scope="session")
def tiny_network():
    """Return the maker of a tiny network: cells per token along each axis, levels, seed."""
    return TinyNetwork


@pytest.fixture(scope="session")
def make_records(tiny_network):
    """Return a maker of datasets, not annotated, as a tiny network would see the fields."""

    def make(fields, *, patch=1, levels=1, block="season", gap_days=10.0, needs=None):
        network = tiny_network(patch, levels).bind(fields.grid)
        asked = needs or Needs(("msl",), (-24, 0), 24, ("msl",))
        rule = BlockRule.parse(block, gap_days)
        units = dict.fromkeys(fields.variables, "unit")
        return build_dataset(
            fields, asked, network.token_grid("mix"), levels, rule=rule, units=units
        )

    return make
