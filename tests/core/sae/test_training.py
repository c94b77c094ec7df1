"""Training finds planted directions, and gives the same bytes whatever happens to it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from kills import read_tree, run_killed
from sae_world import planted_source, train_small

from sci_interp.errors import InputError, NotFiniteError, StoreError, UnknownNameError
from sci_interp.manifest import read_manifest
from sci_interp.sae import load_sae, train
from sci_interp.sae.tiles import has_tiles
from sci_interp.source import ArraySource

needs_tiles = pytest.mark.skipif(not has_tiles(), reason="needs a processor with AVX-512 VNNI")


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka"])
@pytest.mark.parametrize(
    "precision", [pytest.param("int8", marks=needs_tiles), "bfloat16", "float32"]
)
def test_planted_directions_are_found(architecture, precision, tmp_path) -> None:
    directions, source = planted_source()
    sae = train(
        source,
        out=tmp_path / "sae",
        features=96,
        k=3,
        n_tokens=150_000,
        batch_size=512,
        architecture=architecture,
        precision=precision,
        progress=False,
    )
    rows = sae.dictionary / np.linalg.norm(sae.dictionary, axis=1, keepdims=True)
    assert (directions @ rows.T).max(axis=1).mean() > 0.93
    assert sae.training["l0"] == pytest.approx(3, rel=0.05)
    assert sae.training["curve"][-1]["fvu"] < 0.12


def test_statistics_are_those_of_the_training_tokens(tmp_path) -> None:
    _, source = planted_source()
    sae = train_small(tmp_path / "sae")
    start, stop = source.axis.token_range(["train", "discovery"])
    codes = sae.encode(source.read(start, stop))
    fired = np.bincount(codes.feature, minlength=sae.n_features)
    highest = np.zeros(sae.n_features, np.float32)
    np.maximum.at(highest, codes.feature, codes.value)
    np.testing.assert_allclose(sae.firing_rate, fired / (stop - start), rtol=1e-6)
    np.testing.assert_array_equal(sae.scale[fired > 0], highest[fired > 0])
    assert (sae.scale > 0).all()
    assert sae.training["dead_fraction"] == (fired == 0).mean()
    torch.testing.assert_close(sae.weights.decoder.norm(dim=1), torch.ones(96))


def test_runs_repeat_byte_by_byte(tmp_path) -> None:
    train_small(tmp_path / "a")
    train_small(tmp_path / "b", checkpoint_every=1000)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    other = train_small(tmp_path / "c", seed=1)
    assert other.digest != load_sae(tmp_path / "a").digest


def test_number_of_threads_does_not_change_the_weights(tmp_path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = train_small(tmp_path / "one", n_tokens=10_000)
        torch.set_num_threads(2)
        two = train_small(tmp_path / "two", n_tokens=10_000)
    finally:
        torch.set_num_threads(before)
    assert one.digest == two.digest


@pytest.mark.parametrize("task", ["train_topk", "train_batch_topk"])
def test_killed_runs_end_with_the_same_bytes(task, tmp_path) -> None:
    counts = run_killed(f"sae_killed:{task}", tmp_path, n_trials=4)
    assert counts["n_kills"] > 0
    whole = read_tree(tmp_path / "whole")
    assert set(whole) == {"manifest.json", "request.json", "sae.json", "sae.safetensors"}
    for trial in range(4):
        assert read_tree(tmp_path / f"trial{trial}") == whole


def test_manifest_says_from_what(tmp_path) -> None:
    _, source = planted_source()
    sae = train_small(tmp_path / "sae", architecture="batch_topk")
    manifest = read_manifest(tmp_path / "sae", "sae")
    assert manifest.inputs == {"activations": source.digest}
    assert manifest.settings["k"] == 3 and manifest.settings["architecture"] == "batch_topk"
    assert sae.parent["activations"] == source.digest and sae.parent["layer"] == "array"


def test_a_finished_artefact_is_loaded_and_other_work_refused(tmp_path) -> None:
    first = train_small(tmp_path / "sae")
    (tmp_path / "sae" / "checkpoint.tmp").write_bytes(b"left by a kill")
    assert train_small(tmp_path / "sae").digest == first.digest
    assert not (tmp_path / "sae" / "checkpoint.tmp").exists()
    with pytest.raises(StoreError, match="k was 3 there and is 4 now"):
        train_small(tmp_path / "sae", k=4)


def test_broken_checkpoint_is_refused(tmp_path, monkeypatch) -> None:
    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sci_interp.sae.training.with_statistics", stop)
    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path / "sae")
    monkeypatch.undo()
    with pytest.raises(StoreError, match="unfinished"):
        load_sae(tmp_path / "sae")
    (tmp_path / "sae" / "checkpoint.tmp").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(StoreError, match="not a readable safetensors file"):
        train_small(tmp_path / "sae")


def test_dead_features_come_back(tmp_path) -> None:
    """With hardly more features than directions, silent ones are missed in the reconstruction."""
    changes = {"features": 64, "n_tokens": 60_000}
    without = train_small(tmp_path / "without", auxiliary=0.0, **changes)
    with_it = train_small(tmp_path / "with", **changes)
    assert with_it.training["dead_fraction"] < without.training["dead_fraction"]
    assert with_it.training["curve"][-1]["fvu"] < 0.9 * without.training["curve"][-1]["fvu"]


def test_progress_tells_the_state(tmp_path, capsys) -> None:
    train_small(tmp_path / "sae", progress=True)
    said = capsys.readouterr().err
    assert "train: 79 of 79" in said and "FVU" in said and "dead" in said


def test_nan_is_refused_and_nothing_looks_finished(tmp_path) -> None:
    _, source = planted_source()
    values = source.values.copy()
    values[:, 5] = np.nan
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        train(ArraySource(source.axis, values), out=tmp_path / "a", features=8, k=2, batch_size=64)
    start, _ = source.axis.token_range(["train"])
    values = source.values.copy()
    values[start : start + 3000 : 500, 1] = np.inf
    with pytest.raises(NotFiniteError):
        train(ArraySource(source.axis, values), out=tmp_path / "b", features=8, k=2, batch_size=64)
    assert not (tmp_path / "b" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k=0 is not usable"),
        ({"k": 97}, "k=97 is more than the 96 features"),
        ({"features": 1}, "features=1 is not usable"),
        ({"n_tokens": 0}, "n_tokens=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"seed": -1}, "seed=-1"),
        ({"warm_up": 1.5}, "warm_up=1.5"),
        ({"decay": -0.1}, "decay=-0.1"),
        ({"auxiliary": 2}, "auxiliary=2"),
        ({"blend": float("nan")}, "blend=nan"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"dead_after": 0}, "dead_after=0"),
        ({"precision": "float16"}, "precision 'float16' is unknown"),
        ({"normalisation": "loud"}, "normalisation 'loud' is unknown"),
        ({"splits": ("train", "tests")}, "'tests'"),
        ({"splits": ()}, "splits"),
        ({"batch_size": 100_000}, "batch"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        train_small(tmp_path / "sae", **changes)
    assert not (tmp_path / "sae").exists()


def test_unknown_architecture_is_refused(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="topk"):
        train_small(tmp_path / "sae", architecture="topkk")


def test_saved_settings_are_complete(tmp_path) -> None:
    train_small(tmp_path / "sae")
    config = json.loads((tmp_path / "sae" / "sae.json").read_text())
    assert config["format"] == 1
    assert config["training"]["seed"] == 0 and config["training"]["learning_rate"] > 0
    assert {"step", "fvu", "l0", "dead_fraction"} == set(config["training"]["curve"][0])
