"""ONNX networks: inner tensors read and replaced, on a small graph and on a real trained one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from sci_interp.errors import InputError, MissingExtraError, UnknownNameError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.models import load_network
from sci_interp_weather.networks import onnx_network
from sci_interp_weather.networks.geometry_check import check_geometry
from sci_interp_weather.networks.onnx_network import OnnxNetwork, load_onnx

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

REGION = Grid.regular(np.linspace(60, 30, 12), np.linspace(-20, 25, 16))
NCHW = "batch channel latitude longitude"
LAYERS = {"inner": NCHW, "pooled": NCHW}
VARIABLES = ["msl", "t850"]


def make_model(*, batch="n", seed=0, external=False):
    """Return conv -> relu ('inner') -> mean over 2 x 2 ('pooled') -> widened, plus a skip."""
    helper = onnx.helper
    rng = np.random.default_rng(seed)
    weights = {
        "first": rng.standard_normal((6, 2, 3, 3)),
        "second": rng.standard_normal((1, 6, 1, 1)),
        "up": np.array([1.0, 1.0, 2.0, 2.0]),
    }
    nodes = [
        helper.make_node("Conv", ["fields", "first"], ["raw"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["raw"], ["inner"]),
        helper.make_node("AveragePool", ["inner"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["pooled", "", "up"], ["widened"], mode="nearest"),
        helper.make_node("Add", ["widened", "inner"], ["joined"]),
        helper.make_node("Conv", ["joined", "second"], ["forecast"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [info("fields", 1, [batch, 2, 12, 16])],
        [info("forecast", 1, [batch, 1, 12, 16])],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    if external:
        onnx.external_data_helper.set_external_data(graph.initializer[0], "weights.bin")
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def network():
    return OnnxNetwork(
        make_model(),
        layers=LAYERS,
        grid=REGION,
        variables=VARIABLES,
        patch={"pooled": (2, 2)},
        lead=24,
        targets=["msl"],
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(make_model().SerializeToString())
    return path


def some_inputs(n=3):
    inputs = np.random.default_rng(1).standard_normal((n, 1, 2, 12, 16)).astype(np.float32)
    return inputs, np.arange(float(n))


def test_inner_tensors_become_tokens(network):
    inputs, hours = some_inputs()
    tokens = network.run(inputs, hours, ["inner", "pooled"])
    assert network.layers == {"inner": 6, "pooled": 6}
    assert network.token_grid("pooled").shape == (6, 8)
    assert tuple(tokens["pooled"].shape) == (3, 48, 6)
    weight = torch.from_numpy(onnx.numpy_helper.to_array(network.model.graph.initializer[0]).copy())
    inner = torch.relu(torch.conv2d(torch.from_numpy(inputs[:, 0]), weight, padding=1))
    torch.testing.assert_close(tokens["inner"][1, 5 * 12 + 4], inner[1, :, 4, 5])
    pooled = torch.nn.functional.avg_pool2d(inner, 2)
    torch.testing.assert_close(tokens["pooled"][2, 3 * 6 + 1], pooled[2, :, 1, 3])


def test_no_op_is_exact_and_skips_around_the_replaced_tensor_stay(network):
    inputs, hours = some_inputs()
    plain = network.forecast(inputs, hours)
    assert plain.shape == (3, 1, 12, 16)
    for layer in LAYERS:
        assert np.array_equal(plain, network.forecast(inputs, hours, layer, lambda rows: rows))
    silent = network.forecast(inputs, hours, "pooled", torch.zeros_like)
    inner = network.run(inputs, hours, ["inner"])["inner"]
    weight = onnx.numpy_helper.to_array(network.model.graph.initializer[1])[0, :, 0, 0]
    skipped = (inner.numpy() @ weight).reshape(3, 16, 12).transpose(0, 2, 1)
    np.testing.assert_allclose(silent[:, 0], skipped, rtol=1e-4, atol=1e-5)

    def one(rows):
        assert rows.shape == (3 * 48, 6)
        new = rows.clone()
        new[48 + 3 * 6 + 1] += 1
        return new

    changed = np.argwhere(network.forecast(inputs, hours, "pooled", one) != plain)
    assert {tuple(place) for place in changed.tolist()} == {
        (1, 0, row, column) for row in (2, 3) for column in (6, 7)
    }


def test_graph_for_one_record_runs_record_by_record(network):
    single = OnnxNetwork(
        make_model(batch=1),
        layers=LAYERS,
        grid=REGION,
        variables=VARIABLES,
        patch={"pooled": (2, 2)},
        lead=24,
        targets=["msl"],
    )
    inputs, hours = some_inputs()
    np.testing.assert_array_equal(single.forecast(inputs, hours), network.forecast(inputs, hours))
    tokens = [net.run(inputs, hours, ["pooled"])["pooled"] for net in (single, network)]
    assert torch.equal(*tokens)
    double = single.forecast(inputs, hours, "inner", lambda rows: 2 * rows)
    np.testing.assert_allclose(double, 2 * network.forecast(inputs, hours), rtol=1e-4, atol=1e-5)


def test_shuffled_weights(network):
    other = network.shuffled(3)
    assert other.digest == network.shuffled(3).digest != network.digest
    before, after = (
        onnx.numpy_helper.to_array(net.model.graph.initializer[0]) for net in (network, other)
    )
    assert np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
    inputs, hours = some_inputs()
    assert not np.allclose(other.forecast(inputs, hours), network.forecast(inputs, hours))


def test_network_that_forecasts_nothing_gives_layers_alone():
    network = OnnxNetwork(make_model(), layers={"inner": NCHW}, grid=REGION, variables=VARIABLES)
    inputs, hours = some_inputs()
    assert network.run(inputs, hours, ["inner"])["inner"].shape == (3, 192, 6)
    with pytest.raises(InputError, match="forecasts nothing"):
        network.forecast(inputs, hours)


def test_inputs_may_be_given_by_name_and_outputs_finished(network):
    inputs, hours = some_inputs()
    named = OnnxNetwork(
        network.model,
        layers={"inner": NCHW},
        grid=REGION,
        variables=VARIABLES,
        lead=24,
        targets=["msl"],
        prepare=lambda fields, _: {"fields": fields[:, 0]},
        finish=lambda outputs: outputs[0] + 1,
    )
    np.testing.assert_array_equal(
        named.forecast(inputs, hours), network.forecast(inputs, hours) + 1
    )


def test_inputs_that_the_graph_does_not_take(network):
    wrong = OnnxNetwork(
        network.model,
        layers={"inner": NCHW},
        grid=REGION,
        variables=VARIABLES,
        prepare=lambda fields, _: fields[:, 0, :1],
    )
    with pytest.raises(InputError, match=r"fields \(n, 2, 12, 16\)"):
        wrong.run(*some_inputs(), ["inner"])


def test_tensor_that_does_not_exist():
    with pytest.raises(UnknownNameError, match="Did you mean 'inner'"):
        OnnxNetwork(make_model(), layers={"iner": NCHW}, grid=REGION, variables=VARIABLES)


def test_graph_that_onnxruntime_does_not_know():
    model = make_model()
    model.graph.node[1].op_type = "Mystery"
    network = OnnxNetwork(model, layers={"inner": NCHW}, grid=REGION, variables=VARIABLES)
    with pytest.raises(InputError, match="cannot run this graph"):
        network.run(*some_inputs(), ["inner"])


def test_file_is_loaded_by_name(saved, network):
    axes = {"latitude": REGION.latitude.tolist(), "longitude": REGION.longitude.tolist()}
    settings = {"layers": LAYERS, "grid": axes, "variables": VARIABLES}
    found = load_network(f"onnx:{saved}", patch={"pooled": (2, 2)}, **settings)
    inputs, hours = some_inputs()
    assert found.name == "small.onnx"
    tokens = [net.run(inputs, hours, ["pooled"])["pooled"] for net in (found, network)]
    assert torch.equal(*tokens)


def test_file_without_settings_names_what_is_needed(saved):
    with pytest.raises(InputError, match=r"layers, grid, variables.*inner, pooled"):
        load_network(f"onnx:{saved}")
    with pytest.raises(UnknownNameError, match="no option 'layer'"):
        load_network(f"onnx:{saved}", layer="inner")


def test_files_that_are_too_large_damaged_or_missing(saved, tmp_path):
    with pytest.raises(InputError, match="at most 10 bytes"):
        load_onnx(saved, max_bytes=10)
    with pytest.raises(InputError, match="cannot be read"):
        load_onnx(tmp_path / "absent.onnx")
    saved.write_bytes(b"\x80\x04canary")
    with pytest.raises(InputError, match="cannot be read as an ONNX model"):
        load_onnx(saved)


def test_weights_in_other_files_are_refused(tmp_path):
    path = tmp_path / "external.onnx"
    path.write_bytes(make_model(external=True).SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(6 * 2 * 9 * 4))
    with pytest.raises(InputError, match="weights in other files"):
        load_onnx(path)


def test_missing_package_is_named(saved, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(onnx_network.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"sci-interp\[onnx\]"):
        load_onnx(saved)


CYCLONE_LAYERS = {
    "activation_1/Identity:0": (NCHW, 1),
    "activation_3/Identity:0": (NCHW, 2),
    "activation_5/Identity:0": (NCHW, 4),
    "activation_7/Identity:0": (NCHW, 8),
    "activation_10/Identity:0": (NCHW, 4),
    "activation_13/Identity:0": (NCHW, 2),
    "activation_16/Identity:0": (NCHW, 1),
}


@pytest.fixture(scope="module")
def cyclone(shared_data):
    """ECMWF's cyclone U-Net on a window of 20 degrees; its inputs are standardised."""
    path = shared_data / "weather" / "models" / "cyclone_model_200x200.onnx"
    if not path.is_file():
        pytest.skip("the cyclone network is not among the real data")
    return load_onnx(
        path,
        layers={name: layout for name, (layout, _) in CYCLONE_LAYERS.items()},
        grid=Grid.regular(30 - 0.1 * np.arange(200), -80 + 0.1 * np.arange(200)),
        variables=[f"channel{i}" for i in range(17)],
        patch={name: (size, size) for name, (_, size) in CYCLONE_LAYERS.items()},
        targets=["cyclone"],
        prepare=lambda fields, _: fields[:, 0].transpose(0, 2, 3, 1),
        finish=lambda outputs: outputs[0].transpose(0, 3, 1, 2),
    )


def cyclone_inputs(n=1):
    inputs = 0.3 * np.random.default_rng(0).standard_normal((n, 1, 17, 200, 200))
    return inputs.astype(np.float32), np.zeros(n)


def test_real_network_has_layers_of_several_resolutions(cyclone):
    sizes = {name: cyclone.token_grid(name).shape[0] for name in cyclone.layers}
    assert list(sizes.values()) == [200, 100, 50, 25, 50, 100, 200]
    assert set(cyclone.layers.values()) == {32}
    inputs, hours = cyclone_inputs(2)
    tokens = cyclone.run(inputs, hours, list(cyclone.layers))
    assert {values.shape[1] for values in tokens.values()} == {40_000, 10_000, 2_500, 625}
    first = cyclone.run(inputs[:1], hours[:1], ["activation_7/Identity:0"])
    torch.testing.assert_close(
        first["activation_7/Identity:0"][0], tokens["activation_7/Identity:0"][0]
    )


def test_real_network_is_unchanged_by_a_no_op_and_changed_by_an_ablation(cyclone):
    inputs, hours = cyclone_inputs()
    plain = cyclone.forecast(inputs, hours)
    assert plain.shape == (1, 1, 200, 200) and 0 <= plain.min() <= plain.max() <= 1
    for layer in ("activation_1/Identity:0", "activation_7/Identity:0"):
        assert np.array_equal(plain, cyclone.forecast(inputs, hours, layer, lambda rows: rows))
        assert not np.array_equal(plain, cyclone.forecast(inputs, hours, layer, torch.zeros_like))


def test_real_network_moves_where_its_geometry_says(cyclone):
    inputs, _ = cyclone_inputs()
    times = pd.date_range("2020-09-01", periods=1)
    fields = Fields.from_arrays(
        cyclone.field_grid,
        times,
        {name: inputs[:, 0, i] for i, name in enumerate(cyclone.variables)},
    )
    for layer in ("activation_3/Identity:0", "activation_7/Identity:0"):
        assert check_geometry(cyclone, fields, layer=layer, tolerance=2).near.mean() >= 0.8
