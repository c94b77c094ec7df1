"""The project's own forecast networks: what they compute, how they are stored, what they reach."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from sci_interp.errors import InputError
from sci_interp_weather.fields import Fields
from sci_interp_weather.models import load_network
from sci_interp_weather.networks.forecast import (
    BUNDLED,
    ForecastNetwork,
    find_bundled,
    load_forecast,
)
from sci_interp_weather.networks.forecast_model import (
    ForecastConfig,
    ForecastModel,
    seasonal_harmonics,
)
from sci_interp_weather.networks.geometry_check import check_geometry, read_inputs
from sci_interp_weather.opening import open_fields

CONFIG = ForecastConfig(
    variables=("msl", "t850"),
    offsets=(-24, 0),
    lead=24,
    latitude=tuple(np.linspace(60, 40, 9).tolist()),
    longitude=tuple(np.linspace(-20, 10, 13).tolist()),
    width=8,
    n_blocks=3,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = ForecastModel(CONFIG)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.climatology[:, 0] = torch.tensor([101_325.0, 275.0])[:, None, None]
    model.climatology[:, 1] = torch.tensor([300.0, -8.0])[:, None, None]
    model.scale.copy_(torch.tensor([900.0, 5.0]))
    return model.eval()


@pytest.fixture
def folder(tmp_path, model):
    path = tmp_path / "network"
    path.mkdir()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, path / "model.safetensors"
    )
    write_config(path)
    return path


def write_config(path, **changes):
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    content = {"model_type": "forecast", "weights_sha256": digest, **CONFIG.to_dict()}
    (path / "config.json").write_text(json.dumps(content | changes))


def some_inputs(n=2):
    rng = np.random.default_rng(0)
    shape = (n, 2, 1, 9, 13)
    msl = 101_000 + 900 * rng.standard_normal(shape)
    t850 = 275 + 5 * rng.standard_normal(shape)
    inputs = np.concatenate([msl, t850], axis=2).astype(np.float32)
    return inputs, 24.0 * (12_000 + np.arange(n))


def test_harmonics_repeat_after_a_year():
    hours = torch.tensor([0.0, 24 * 365.2425, 12 * 365.2425], dtype=torch.float64)
    terms = seasonal_harmonics(hours, 2)
    assert tuple(terms.shape) == (3, 5) and terms.dtype == torch.float64
    torch.testing.assert_close(terms[0], terms[1])
    torch.testing.assert_close(terms[2], torch.tensor([1, -1, 0, 1, 0.0]).double())


def test_untrained_network_forecasts_persistence_of_the_anomaly():
    model = ForecastModel(CONFIG).eval()
    model.scale.copy_(torch.tensor([900.0, 5.0]))
    model.climatology[:, 1] = torch.tensor([300.0, -8.0])[:, None, None]
    inputs, hours = some_inputs()
    fields, times = torch.from_numpy(inputs), torch.from_numpy(hours)
    forecast = model(fields, times)
    drift = model.normals(times + 24) - model.normals(times)
    torch.testing.assert_close(forecast, fields[:, -1] + drift)
    assert 0.5 < drift[:, 0].abs().max() < 10


def test_standardised_anomalies_are_restored(model):
    inputs, hours = some_inputs()
    times = torch.from_numpy(hours)[:, None] + torch.tensor([-24.0, 0.0]).double()
    fields = torch.from_numpy(inputs)
    anomalies = model.standardise(fields, times)
    assert 0.5 < anomalies[:, :, 0].std() < 2
    torch.testing.assert_close(model.restore(anomalies, times), fields)


def test_window_of_the_grid_agrees_with_the_whole_inside(model):
    inputs, hours = some_inputs()
    times = torch.from_numpy(hours)
    anomalies = model.standardise(torch.from_numpy(inputs), times[:, None] + model._offsets)
    whole = model.predict_change(anomalies, times)
    part = model.predict_change(anomalies[..., :12], times, model.geometry[..., :12])
    # The right edge of the window reaches one cell to the left with each of seven convolutions.
    torch.testing.assert_close(whole[..., :5], part[..., :5])
    assert not torch.allclose(whole[..., 11], part[..., 11])


def test_network_lies_where_its_grid_says(model):
    network = ForecastNetwork(model, "test")
    assert network.layers == {"stem": 8, "blocks.0": 8, "blocks.1": 8, "blocks.2": 8}
    assert network.default_layer == "blocks.1"
    assert network.lead == 24 and network.targets == network.variables == ("msl", "t850")
    assert network.token_grid("blocks.0").shape == (9, 13)
    inputs, _ = some_inputs(4)
    times = pd.date_range("2001-01-01", periods=4)
    values = {name: inputs[:, 0, i] for i, name in enumerate(network.variables)}
    fields = Fields.from_arrays(network.field_grid, times, values)
    assert check_geometry(network, fields, layer="stem").near.all()


def test_replacement_of_a_block_changes_the_forecast_and_a_no_op_does_not(model):
    network = ForecastNetwork(model, "test")
    inputs, hours = some_inputs()
    plain = network.forecast(inputs, hours)
    for layer in network.layers:
        assert np.array_equal(plain, network.forecast(inputs, hours, layer, lambda rows: rows * 1))
        changed = network.forecast(inputs, hours, layer, lambda rows: rows.flip(1))
        assert not np.allclose(plain, changed, rtol=1e-6)


def test_stored_network_is_the_same(folder, model):
    network = load_forecast(folder, "stored")
    inputs, hours = some_inputs()
    expected = ForecastNetwork(model, "direct")
    assert network.digest == expected.digest and network.name == "stored"
    assert np.array_equal(network.forecast(inputs, hours), expected.forecast(inputs, hours))
    assert load_network(str(folder)).name == folder.name


def test_other_weights_than_the_config_names_are_refused(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_forecast(folder, "damaged")


def test_weights_that_are_no_safetensors_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"\x80\x04canary")
    write_config(folder)
    with pytest.raises(InputError, match="cannot be read"):
        load_forecast(folder, "damaged")


def test_weights_of_other_sizes_are_refused(folder):
    write_config(folder, width=9)
    with pytest.raises(InputError, match=r"does not fit the sizes in config\.json: its blocks"):
        load_forecast(folder, "other")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"more": torch.zeros(1)}, folder / "model.safetensors")
    write_config(folder)
    with pytest.raises(InputError, match="more has the shape"):
        load_forecast(folder, "other")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        load_forecast(folder, "missing")


def test_weights_that_are_far_too_large_are_not_read(folder):
    with (folder / "model.safetensors").open("r+b") as handle:
        handle.truncate(2**27)
    with pytest.raises(InputError, match="larger than"):
        load_forecast(folder, "large")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bytenet"}, "does not describe"),
        ({"weights_sha256": None}, "no weights_sha256"),
        ({"variables": []}, "no usable variables"),
        ({"offsets": ["-24"]}, "no usable offsets"),
        ({"offsets": [-24.5, 0]}, "no usable offsets"),
        ({"offsets": [2**63, 0]}, "no usable offsets"),
        ({"latitude": [float("nan")]}, "no usable latitude"),
        ({"longitude": [1e308]}, "no usable longitude"),
        ({"lead": 2**63}, "no usable lead"),
        ({"width": True}, "no usable width"),
        ({"n_blocks": 0}, "no usable n_blocks"),
    ],
)
def test_config_that_cannot_be_used(folder, changes, message):
    write_config(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_forecast(folder, "config")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_config_that_is_no_table(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"JSON|describe"):
        load_forecast(folder, "config")


def test_bundled_network_is_small_and_complete(tmp_path):
    network = load_network()
    assert network.name == f"bundled:{next(iter(BUNDLED))}"
    folder = find_bundled("forecast")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 * 2**20
    assert network.variables == network.targets == ("msl",) and network.lead == 24
    assert network.token_grid(network.default_layer).shape == (17, 33)
    shutil.copytree(folder, tmp_path / "copy")
    assert load_network(str(tmp_path / "copy")).digest == network.digest


def test_bundled_network_beats_persistence_and_climatology_on_days_it_never_saw(weather_data):
    network = load_network()
    fields = open_fields(
        weather_data / "ncep_slp_north_atlantic" / "ncep_slp_natl_daily_2001_2010.nc"
    )
    records = np.arange(fields.index_of("2010-01-02T00"), fields.index_of("2010-12-30T00"), 6)
    inputs, hours = read_inputs(network.bind(fields.grid), fields, records)
    truth = fields.read("msl", records + 1)
    area = fields.grid.row_weights()[:, None]

    def rmse(guess):
        return float(
            np.sqrt(np.average((guess - truth) ** 2, weights=np.broadcast_to(area, truth.shape)))
        )

    normal = network.module.normals(torch.from_numpy(hours) + 24)[:, 0].numpy()
    forecast = rmse(network.forecast(inputs, hours)[:, 0])
    assert forecast < 0.68 * rmse(inputs[:, 1, 0])
    assert forecast < 0.45 * rmse(normal)
    assert forecast < 415


def test_bundled_network_lies_where_its_grid_says(weather_data):
    network = load_network()
    fields = open_fields(
        weather_data / "ncep_slp_north_atlantic" / "ncep_slp_natl_daily_2001_2010.nc"
    )
    for layer in network.layers:
        assert check_geometry(network, fields, layer=layer, tolerance=2).near.mean() >= 0.8
