"""No code comes from data: canaries in every format that could carry one do not run."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - canaries are pickles
import shutil
from pathlib import Path

import numcodecs.pickles
import pytest
from canaries import CANARIES, Canary, hostile_parquet, hostile_zarr
from fuzz_checkpoints import small_esm
from fuzz_stores import reseal
from small_run import make, open_artefact

import sci_interp as si
from sci_interp.disk import read_parquet
from sci_interp.errors import InputError, SciInterpError, StoreError
from sci_interp_protein.models import load_network
from sci_interp_weather.networks.onnx_network import load_onnx
from sci_interp_weather.opening import open_fields


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let numcodecs unpickle, as its versions before 0.16 do."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


def test_a_canary_sings(mark: Path) -> None:
    pickle.loads(pickle.dumps(Canary(mark)))
    assert mark.is_dir()


@pytest.mark.parametrize("name", CANARIES)
def test_weights_of_strangers_run_nothing(tmp_path: Path, mark: Path, name: str) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    with pytest.raises(InputError):
        si.load_sae(CANARIES[name](folder, mark), layer="x", parent="y", k=1)
    assert not mark.exists()


def test_networks_of_strangers_run_nothing(tmp_path: Path, mark: Path) -> None:
    folder = tmp_path / "network"
    folder.mkdir()
    files = small_esm(folder)
    code = f"from pathlib import Path\nPath({str(mark)!r}).mkdir()\n"
    for name in ("modeling_canary.py", "configuration_canary.py", "__init__.py"):
        (folder / name).write_text(code)
    config = json.loads(files["config.json"])
    config["auto_map"] = {
        "AutoConfig": "configuration_canary.Config",
        "AutoModelForMaskedLM": "modeling_canary.Model",
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert load_network(str(folder)).name == "network"
    config["model_type"] = "canary"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="the model type 'canary' is not supported"):
        load_network(str(folder))
    (folder / "config.json").write_bytes(files["config.json"])
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(mark)))
    with pytest.raises(InputError, match=r"only the pickled weights pytorch_model\.bin"):
        load_network(str(folder))
    assert not mark.exists()


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("codec", ["pickle", "numcodecs.pickle", "no-such-codec"])
def test_fields_choose_no_codec_that_runs(tmp_path: Path, mark: Path, codec: str) -> None:
    filters = [{"id": "vlen-utf8"}, {"id": codec}]
    store = hostile_zarr(tmp_path / "fields.zarr", mark, name="time", filters=filters)
    with pytest.raises(InputError):
        open_fields(store)
    assert not mark.exists()


@pytest.mark.usefixtures("unguarded")
def test_the_codec_is_named(tmp_path: Path, mark: Path) -> None:
    filters = [{"id": "vlen-utf8"}, {"id": "pickle"}]
    store = hostile_zarr(tmp_path / "fields.zarr", mark, name="time", filters=filters)
    with pytest.raises(InputError, match=r"coded by 'pickle', which may run code. Allowed: "):
        open_fields(store)


@pytest.mark.parametrize("address", ["reference://x", "reference::file:///tmp/x.json"])
def test_file_systems_that_fill_templates_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="fills templates from the data"):
        open_fields(address, engine="zarr")


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("kind", ["activations", "features"])
def test_artefacts_of_strangers_choose_no_codec(tmp_path: Path, mark: Path, kind: str) -> None:
    for each in ("activations", "sae", "features"):
        make(each, tmp_path)
    places = {"activations": "activations.zarr", "features": "codes.zarr/000000"}
    arrays = {"activations": "activation", "features": "value"}
    folder = tmp_path / kind / places[kind]
    shutil.rmtree(folder)
    filters = [{"id": "vlen-utf8"}, {"id": "pickle"}]
    hostile_zarr(folder, mark, name=arrays[kind], filters=filters)
    manifest = json.loads((tmp_path / kind / "manifest.json").read_bytes())
    kept = {n: d for n, d in manifest["files"].items() if (tmp_path / kind / n).is_file()}
    added = [each for each in folder.rglob("*") if each.is_file()]
    kept |= {each.relative_to(tmp_path / kind).as_posix(): "" for each in added}
    (tmp_path / kind / "manifest.json").write_text(json.dumps(manifest | {"files": kept}))
    for name in kept:
        reseal(tmp_path / kind, name)
    with pytest.raises(SciInterpError):
        open_artefact(kind, tmp_path / kind)
    assert not mark.exists()


def test_tables_of_strangers_run_nothing(tmp_path: Path, mark: Path) -> None:
    table = read_parquet(hostile_parquet(tmp_path / "records.parquet", mark))
    assert table["record"].tolist() == ["a"]
    (tmp_path / "pickled.parquet").write_bytes(pickle.dumps(Canary(mark)))
    with pytest.raises(StoreError, match="cannot be read"):
        read_parquet(tmp_path / "pickled.parquet")
    assert not mark.exists()


def test_graphs_read_no_other_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4))
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], raw_data=bytes(4))
    onnx.external_data_helper.set_external_data(tensor, "../secret.bin", length=4)
    tensor.ClearField("raw_data")
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [info("x", 1, [1])], [info("y", 1, [1])], [tensor])
    folder = tmp_path / "graph"
    folder.mkdir()
    model = onnx.helper.make_model(graph)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"keeps weights in other files|cannot be read"):
        load_onnx(folder / "net.onnx", layers={}, grid=None, variables=["msl"])
