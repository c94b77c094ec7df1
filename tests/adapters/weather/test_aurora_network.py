"""Aurora: tiny models with random weights, made with the real package, on a global grid."""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from sci_interp.errors import InputError, MissingExtraError, UnknownNameError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.models import load_network
from sci_interp_weather.networks import static_fields as static_fields_module
from sci_interp_weather.networks import torchvision_trap
from sci_interp_weather.networks.aurora_network import CHECKPOINTS, AuroraNetwork, load_aurora
from sci_interp_weather.networks.geometry_check import check_geometry
from sci_interp_weather.networks.static_fields import read_static
from sci_interp_weather.networks.torchvision_trap import import_aurora

netCDF4 = pytest.importorskip("netCDF4")

needs_aurora = pytest.mark.skipif(
    importlib.util.find_spec("aurora") is None,
    reason="microsoft-aurora is not installed (a large extra)",
)
GRID = Grid.regular(np.linspace(90, -90, 33), np.arange(64) * 360 / 64)
TINY = {
    "embed_dim": 16,
    "num_heads": 2,
    "encoder_depths": (1, 2),
    "encoder_num_heads": (2, 4),
    "decoder_depths": (2, 1),
    "decoder_num_heads": (4, 2),
}
FIRST, SECOND = "backbone.encoder_layers.0.blocks.0", "backbone.encoder_layers.1.blocks.1"
MEANS = {"t2m": 280.0, "msl": 101_325.0, "z": 50_000.0, "t": 260.0, "q": 1e-3}


def static_fields(names=("lsm", "z", "slt"), shape=GRID.shape):
    rng = np.random.default_rng(1)
    return {name: rng.random(shape) for name in names}


def make_model(variant="Aurora", **changes):
    torch.manual_seed(0)
    return getattr(import_aurora(), variant)(**(TINY | changes))


def make_network(variant="Aurora", levels=(500, 850), **changes):
    model = make_model(variant, **changes)
    network = AuroraNetwork(model, static=static_fields(model.static_vars), levels=levels)
    return network.bind(GRID)


def some_inputs(network, n=2):
    rng = np.random.default_rng(0)
    means = [MEANS.get(name, MEANS.get(name[0], 5.0)) for name in network.variables]
    noise = 1 + 0.01 * rng.standard_normal((n, 2, len(means), *GRID.shape))
    values = noise * np.array(means)[:, None, None]
    return values.astype(np.float32), 350_000.0 + 6 * np.arange(n)


@needs_aurora
def test_layers_and_their_latent_levels():
    network = make_network()
    assert list(network.layers.values()) == [16, 32, 32]
    assert network.n_levels(FIRST) == network.n_levels(SECOND) == 4
    assert network.token_grid(FIRST).shape == (8, 16)
    assert network.token_grid(SECOND).shape == (4, 8)
    assert network.offsets == (-6, 0) and network.lead == 6
    assert network.variables[:6] == ("t2m", "u10", "v10", "msl", "z500", "z850")
    unbound = AuroraNetwork(make_model(), static=static_fields(shape=(721, 1440)))
    assert list(unbound.layers.values()) == [16, 32, 32] and unbound.field_grid is None


@needs_aurora
def test_tokens_are_columns_levels_rows():
    network = make_network()
    inputs, hours = some_inputs(network, 1)
    seen = {}
    block = network.module.get_submodule(FIRST)
    handle = block.register_forward_hook(lambda _m, args, out: seen.update(res=args[2], out=out))
    tokens = network.run(inputs, hours, [FIRST])[FIRST]
    handle.remove()
    levels, n_rows, n_columns = seen["res"]
    assert (levels, n_rows, n_columns) == (4, 8, 16)
    # Aurora's first column is the Greenwich meridian, the grid's is the date line.
    level, row, column = 2, 5, 3
    own = (level * n_rows + row) * n_columns + (column + 8) % 16
    torch.testing.assert_close(
        tokens[0, (column * levels + level) * n_rows + row], seen["out"][0, own]
    )


@needs_aurora
def test_layers_of_every_stage_move_where_their_grids_say():
    network = make_network()
    inputs, _ = some_inputs(network, 1)
    fields = Fields.from_arrays(
        GRID,
        pd.date_range("2001-01-01", periods=3, freq="6h"),
        {name: inputs[0, 0, i][None].repeat(3, 0) for i, name in enumerate(network.variables)},
    )
    for layer in (FIRST, SECOND):
        assert check_geometry(network, fields, layer=layer).near.all()


@needs_aurora
def test_forecast_with_and_without_replacement():
    network = make_network()
    inputs, hours = some_inputs(network)
    plain = network.forecast(inputs, hours)
    assert plain.shape == (2, len(network.targets), *GRID.shape)
    assert np.isnan(plain[..., -1, :]).all() and np.isfinite(plain[..., :-1, :]).all()
    same = network.forecast(inputs, hours, SECOND, lambda rows: rows)
    assert np.array_equal(plain, same, equal_nan=True)
    changed = network.forecast(inputs, hours, SECOND, lambda rows: 1.5 * rows)
    assert np.nanmax(np.abs(changed - plain)) > 0
    assert network.shuffled(1).digest == network.shuffled(1).digest != network.digest


@needs_aurora
@pytest.mark.filterwarnings("ignore:The normalisation statics")
@pytest.mark.parametrize(
    ("variant", "levels"),
    [("AuroraWave", (500,)), ("AuroraAirPollution", (500, 850)), ("AuroraV1p5", (500, 850))],
)
def test_other_published_variants_run(variant, levels):
    changes = {"autocast": False} if variant == "AuroraV1p5" else {}
    model = make_model(variant, patch_size=4, **changes)
    network = AuroraNetwork(model, static=static_fields(model.static_vars), levels=levels)
    network = network.bind(GRID)
    inputs, hours = some_inputs(network, 1)
    tokens = network.run(inputs, hours, [FIRST])[FIRST]
    assert tuple(tokens.shape) == (1, 4 * 8 * 16, 16)
    assert network.forecast(inputs, hours).shape[1] == len(network.targets)


@needs_aurora
def test_local_checkpoint_is_read_without_running_code(tmp_path, static_file):
    path = tmp_path / "mine.ckpt"
    model = make_model(use_lora=False)
    torch.save({f"net.{name}": tensor for name, tensor in model.state_dict().items()}, path)
    options = {"architecture": TINY | {"use_lora": False}, "static": static_fields()}
    with pytest.raises(InputError, match="does not tell which Aurora"):
        load_network(f"aurora:{path}", **options)
    with pytest.raises(UnknownNameError, match="variant of Aurora"):
        load_aurora(str(path), variant="Borealis", **options)
    with pytest.raises(InputError, match="needs its static fields"):
        load_aurora(str(path), variant="Aurora")
    network = load_network(f"aurora:{path}", variant="Aurora", levels=(500, 850), **options)
    expected = AuroraNetwork(model, static=static_fields(), levels=(500, 850))
    assert network.digest == expected.digest and network.name == "aurora:mine"
    path_given = load_aurora(str(path), variant="Aurora", **(options | {"static": static_file}))
    np.testing.assert_allclose(path_given.static["z"], network.static["z"], rtol=1e-6)
    with pytest.raises(InputError, match="cannot be loaded as AuroraWave"):
        load_aurora(str(path), variant="AuroraWave", **options)

    class Canary:
        def __reduce__(self):
            return (sys.exit, (3,))

    torch.save({"net": Canary()}, path)
    with pytest.raises(InputError, match="cannot be loaded as Aurora"):
        load_aurora(str(path), variant="Aurora", **options)


@pytest.fixture
def static_file(tmp_path):
    """Static fields from south to north and from 0 to 360 degrees, one of them with a time."""
    path = tmp_path / "static.nc"
    flipped = {k: np.roll(v[::-1], 32, axis=1) for k, v in static_fields().items()}
    axes = {"lat": GRID.latitude[::-1], "lon": np.arange(64) * 360 / 64, "time": [0.0]}
    with netCDF4.Dataset(path, "w") as data:
        for name, values in axes.items():
            data.createDimension(name, len(values))
            data.createVariable(name, "f8", (name,))[:] = values
        data.createVariable("lsm", "f4", ("lat", "lon"))[:] = flipped["lsm"]
        data.createVariable("z", "f4", ("time", "lon", "lat"))[:] = flipped["z"].T[None]
        data.createVariable("slt", "f4", ("lat", "lon"))[:] = flipped["slt"]
        data.createVariable("flat", "f4", ("lat",))[:] = 0
        data.createVariable("holes", "f4", ("lat", "lon"), fill_value=-1)[:] = -1
    return path


def test_static_fields_are_turned_like_the_grid(static_file, monkeypatch):
    found = read_static(static_file, ["lsm", "z", "slt"])
    for name, values in static_fields().items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)
    with pytest.raises(UnknownNameError, match="no variable 'soil'"):
        read_static(static_file, ["soil"])
    with pytest.raises(InputError, match="flat has the axes lat 33"):
        read_static(static_file, ["flat"])
    with pytest.raises(InputError, match="missing values"):
        read_static(static_file, ["holes"])
    with pytest.raises(InputError, match="cannot be read"):
        read_static(static_file.with_name("absent.nc"), ["lsm"])
    monkeypatch.setattr(static_fields_module, "_LARGEST", 100)
    with pytest.raises(InputError, match="larger than 100"):
        read_static(static_file, ["lsm"])


def test_names_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "static.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as data:
        data.createDimension("latitude", 3)
        data.createVariable("latitude", "f4", ("latitude",))[:] = [1, 0, -1]
    path.write_bytes(path.read_bytes().replace(b"latitude", b"lat\xe9tude"))
    with pytest.raises(InputError, match="cannot be read as NetCDF"):
        read_static(path, ["lsm"])


@needs_aurora
def test_published_checkpoint_that_cannot_be_downloaded(monkeypatch):
    aurora = import_aurora()

    def fail(_self):
        raise OSError("no network")

    monkeypatch.setattr(aurora.AuroraSmallPretrained, "load_checkpoint", fail)
    with pytest.raises(InputError, match="no network"):
        load_aurora("aurora-0.25-small-pretrained", static=static_fields(), architecture=TINY)
    assert all(hasattr(aurora, variant) for variant in CHECKPOINTS.values())
    names = {getattr(aurora, v).default_checkpoint_name for v in CHECKPOINTS.values()}
    assert names == {f"{stem}.ckpt" for stem in CHECKPOINTS}


@needs_aurora
def test_grids_and_static_fields_that_do_not_fit():
    with pytest.raises(InputError, match="needs the static field 'slt'"):
        AuroraNetwork(make_model(), static=static_fields(("lsm", "z")))
    network = AuroraNetwork(make_model(), static=static_fields())
    region = Grid.regular(np.linspace(60, 29, 32), np.arange(32.0))
    with pytest.raises(InputError, match="does not go around the globe"):
        network.bind(region)
    odd = Grid.regular(np.linspace(90, -90, 35), np.arange(64) * 360 / 64)
    with pytest.raises(InputError, match="35 x 64"):
        network.bind(odd)
    other = Grid.regular(np.linspace(90, -90, 17), np.arange(32) * 360 / 32)
    with pytest.raises(InputError, match=r"static field 'lsm' has the shape \(33, 64\)"):
        network.bind(other)


def test_checkpoint_names_that_are_not_known():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'aurora-0\.25-finetuned'"):
        load_aurora("aurora-0.25-finetune")


def test_missing_package_is_named_for_aurora(monkeypatch):
    monkeypatch.setattr(torchvision_trap.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"sci-interp\[aurora\]"):
        import_aurora()


def test_another_package_of_the_same_name_is_told_apart(monkeypatch):
    monkeypatch.setitem(sys.modules, "aurora", types.ModuleType("aurora"))
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setattr(torchvision_trap.importlib.util, "find_spec", lambda _name: True)
    with pytest.raises(InputError, match="another one than microsoft-aurora"):
        import_aurora()


def test_package_that_cannot_be_imported_is_reported(monkeypatch):
    def broken(name):
        raise ImportError(f"{name} lacks a library")

    monkeypatch.setattr(torchvision_trap.importlib.util, "find_spec", lambda _name: True)
    monkeypatch.setattr(torchvision_trap.importlib, "import_module", broken)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(InputError, match="cannot be imported"):
        import_aurora()


def test_operators_are_declared_only_where_the_import_fails_for_them(monkeypatch):
    calls = []

    def fake(name):
        calls.append(name)
        if name == "torchvision":
            sys.modules["torchvision.half_made"] = types.ModuleType("half")
            raise RuntimeError("operator torchvision::nms does not exist")
        return types.SimpleNamespace(Aurora=None, Batch=None)

    declared = []

    class Library:
        def __init__(self, namespace, kind):
            assert (namespace, kind) == ("torchvision", "DEF")

        def define(self, schema):
            declared.append(schema.split("(")[0])

    monkeypatch.setattr(torchvision_trap.importlib.util, "find_spec", lambda _name: True)
    monkeypatch.setattr(torchvision_trap.importlib, "import_module", fake)
    monkeypatch.setattr(torch.library, "Library", Library)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    import_aurora()
    assert declared == ["nms", "qnms"] and calls == ["torchvision", "aurora"]
    assert "torchvision.half_made" not in sys.modules
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    import_aurora()
    assert declared == ["nms", "qnms"]
