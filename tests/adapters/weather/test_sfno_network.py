"""Spherical Fourier neural operators: their inner grids, their folders, their forecasts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from sci_interp.errors import InputError, MissingExtraError
from sci_interp_weather.fields import Fields
from sci_interp_weather.models import load_network
from sci_interp_weather.networks import sfno
from sci_interp_weather.networks.geometry_check import check_geometry
from sci_interp_weather.networks.sfno import SfnoNetwork, load_sfno

operators = pytest.importorskip(
    "torch_harmonics.examples.models.sfno", reason="the extra 'sfno' is not installed"
)

ARCHITECTURE = {
    "img_size": [25, 48],
    "in_chans": 2,
    "out_chans": 1,
    "embed_dim": 8,
    "num_layers": 3,
    "scale_factor": 2,
}
SETTINGS = {
    "variables": ["msl", "t850"],
    "lead": 6,
    "targets": ["msl"],
    "mean": [101_000.0, 275.0],
    "scale": [900.0, 8.0],
}


def make_model(**changes):
    torch.manual_seed(0)
    return operators.SphericalFourierNeuralOperator(**(ARCHITECTURE | changes))


def make_network(**changes):
    return SfnoNetwork(make_model(**changes), **SETTINGS)


def some_inputs(n=2):
    rng = np.random.default_rng(0)
    standard = rng.standard_normal((n, 1, 2, 25, 48))
    values = standard * np.array([900, 8])[:, None, None] + np.array([101_000, 275])[:, None, None]
    return values.astype(np.float32), np.arange(float(n))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "operator"
    path.mkdir()
    weights = {k: v.contiguous().clone() for k, v in make_model().state_dict().items()}
    save_file(weights, path / "model.safetensors")
    write_config(path)
    return path


def write_config(path, **changes):
    config = {"architecture": ARCHITECTURE, **SETTINGS} | changes
    (path / "config.json").write_text(json.dumps(config))


def test_inner_blocks_lie_on_the_inner_grid():
    network = make_network()
    assert network.layers == {"encoder": 8, "blocks.0": 8, "blocks.1": 8, "blocks.2": 8}
    assert network.default_layer == "blocks.1"
    assert network.field_grid.shape == network.token_grid("blocks.2").shape == (25, 48)
    inner = network.token_grid("blocks.1")
    assert inner.shape == (13, 24) and inner.periodic
    roots = np.sort(np.polynomial.legendre.leggauss(13)[0])[::-1]
    np.testing.assert_allclose(inner.latitude, np.degrees(np.arcsin(roots)), atol=1e-3)
    assert 0.0 in inner.longitude
    even = make_network(grid_internal="equiangular").token_grid("blocks.0")
    np.testing.assert_allclose(even.latitude, np.linspace(90, -90, 13), atol=1e-3)


def test_operator_sees_its_own_orientation_and_forecasts_in_physical_units():
    network = make_network()
    inputs, hours = some_inputs()
    standard = (inputs[:, 0] - np.array([101_000, 275])[:, None, None]) / np.array([900, 8])[
        :, None, None
    ]
    turned = torch.from_numpy(np.roll(standard, 24, axis=-1).astype(np.float32))
    with torch.inference_mode():
        own = network.module(turned)[:, 0].numpy()
    expected = np.roll(own, -24, axis=-1) * 900 + 101_000
    forecast = network.forecast(inputs, hours)
    np.testing.assert_allclose(forecast[:, 0], expected, rtol=1e-5)
    for layer in network.layers:
        assert np.array_equal(forecast, network.forecast(inputs, hours, layer, lambda rows: rows))
    zero = network.forecast(inputs, hours, "blocks.2", torch.zeros_like)
    np.testing.assert_allclose(zero, 101_000, rtol=1e-6)


def test_layers_move_where_their_grids_say():
    network = make_network()
    inputs, _ = some_inputs(1)
    fields = Fields.from_arrays(
        network.field_grid,
        pd.date_range("2001-01-01", periods=1),
        {name: inputs[:, 0, i] for i, name in enumerate(network.variables)},
    )
    # The untrained last block answers as strongly at the antipode, so it is compared directly.
    for layer in ("encoder", "blocks.0", "blocks.1"):
        assert check_geometry(network, fields, layer=layer).near.mean() >= 0.8
    inputs, hours = some_inputs(1)
    kept = {}
    last = network.module.blocks[2]
    handle = last.register_forward_hook(lambda _m, _i, output: kept.update(last=output))
    tokens = network.run(inputs, hours, ["blocks.2"])["blocks.2"]
    handle.remove()
    torch.testing.assert_close(tokens[0, 10 * 25 + 4], kept["last"][0, :, 4, 10 + 24])


def test_shuffled_operator_keeps_its_transforms():
    network = make_network()
    other = network.shuffled(1)
    assert other.digest == network.shuffled(1).digest != network.digest
    inputs, hours = some_inputs()
    changed = other.forecast(inputs, hours)
    assert np.isfinite(changed).all()
    assert not np.allclose(changed, network.forecast(inputs, hours), rtol=1e-6)


def test_folder_is_loaded_by_name(folder):
    found = load_network(f"sfno:{folder}")
    inputs, hours = some_inputs()
    assert found.name == "sfno:operator" and found.lead == 6
    np.testing.assert_array_equal(
        found.forecast(inputs, hours), make_network().forecast(inputs, hours)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": None}, "no table 'architecture'"),
        ({"architecture": ARCHITECTURE | {"depth": 3}}, "does not describe an operator"),
        ({"architecture": ARCHITECTURE | {"embed_dim": 9}}, "does not describe an operator"),
        ({"variables": ["msl"]}, "in_chans 2, its settings make 1"),
        ({"targets": ["msl", "t850"]}, "out_chans 1, its settings make 2"),
        ({"targets": ["z500"]}, "'z500' is not among the variables"),
        ({"colour": "red"}, "does not describe an operator"),
        ({"mean": [1.0]}, "mean and scale"),
    ],
)
def test_config_that_does_not_fit(folder, changes, message):
    write_config(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_sfno(folder, "wrong")


def test_damaged_or_missing_files(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"\x80\x04canary")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_sfno(folder, "damaged")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_sfno(tmp_path / "absent", "absent")


def test_weights_that_are_far_too_large_are_not_read(folder, monkeypatch):
    monkeypatch.setattr(sfno, "_LARGEST", 100)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        load_sfno(folder, "large")


def test_inner_grid_that_is_not_known():
    model = make_model()
    model.grid_internal = "icosahedral"
    with pytest.raises(InputError, match="icosahedral"):
        SfnoNetwork(model, **SETTINGS)


def test_missing_package_is_named_for_operators(folder, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(sfno.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"sci-interp\[sfno\]"):
        load_sfno(folder, "absent")


@pytest.mark.parametrize("value", [[], {}, 0, 0.5, -1, "x", None])
@pytest.mark.parametrize(
    "key", [*ARCHITECTURE, *SETTINGS, "latitude", "first_longitude", "offsets", "name"]
)
@pytest.mark.filterwarnings("ignore")
def test_settings_of_strangers_are_used_or_refused(folder, key, value):
    if key in ARCHITECTURE:
        write_config(folder, architecture=ARCHITECTURE | {key: value})
    else:
        write_config(folder, **{key: value})
    refused = ""
    try:
        load_sfno(folder, "x")
    except InputError as error:
        refused = str(error)
    assert not refused or str(folder) in refused
