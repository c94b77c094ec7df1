"""Saved autoencoders come back bit for bit; damaged ones are refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_world import random_sae
from safetensors.torch import load_file, save_file

from sci_interp.errors import InputError, StoreError
from sci_interp.manifest import finish_artefact
from sci_interp.sae import load_sae, save_sae
from sci_interp.sae.sparsity import ARCHITECTURES


@pytest.fixture
def folder(tmp_path) -> Path:
    save_sae(random_sae(architecture="batch_topk"), tmp_path / "sae")
    return tmp_path / "sae"


def change_config(folder: Path, **changes) -> None:
    path = folder / "sae.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: held for name, held in config.items() if held is not None}))
    finish_artefact(folder)


def change_tensors(folder: Path, **changes) -> None:
    tensors = {**load_file(folder / "sae.safetensors"), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "sae.safetensors")
    finish_artefact(folder)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_codes_are_equal_bit_for_bit(architecture, tmp_path) -> None:
    sae = random_sae(architecture=architecture)
    save_sae(sae, tmp_path / "sae")
    again = load_sae(tmp_path / "sae")
    values = np.random.default_rng(0).standard_normal((200, sae.width)).astype(np.float32)
    before, after = sae.encode(values), again.encode(values)
    for name in ("indptr", "feature", "value"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(sae.decode(before), again.decode(after))
    assert (again.digest, again.k, again.parent) == (sae.digest, sae.k, sae.parent)
    save_sae(again, tmp_path / "copy")
    for name in ("sae.json", "sae.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "sae" / name).read_bytes()


def test_truncated_weights_are_refused(folder) -> None:
    path = folder / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match="damaged"):
        load_sae(folder)
    finish_artefact(folder)
    with pytest.raises(StoreError, match="not a readable safetensors file"):
        load_sae(folder)


def test_one_flipped_bit_is_refused(folder) -> None:
    path = folder / "sae.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        load_sae(folder)


def test_missing_file_is_named(folder) -> None:
    (folder / "sae.safetensors").unlink()
    with pytest.raises(StoreError, match=r"has no sae\.safetensors"):
        load_sae(folder)


def test_pickles_never_run(folder, tmp_path) -> None:
    payload = f"cos\nmkdir\n(S'{tmp_path / 'ran'}'\ntR."
    (folder / "sae.safetensors").write_bytes(payload.encode())
    finish_artefact(folder)
    with pytest.raises(StoreError, match="pickled weights are not read"):
        load_sae(folder)
    (tmp_path / "ae.pt").write_bytes(payload.encode())
    with pytest.raises(InputError, match="its reading might run code"):
        load_sae(tmp_path / "ae.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": None}, "lacks the tensor 'decoder'"),
        ({"encoder": torch.zeros(64, 15)}, r"'encoder' .* \(64, 15\)"),
        ({"scale": torch.zeros(64, dtype=torch.float64)}, "'scale' .* torch.float64"),
        ({"mean": torch.full((16,), float("nan"))}, "'mean' .* NaN"),
        ({"threshold": None}, "needs the tensor 'threshold'"),
        ({"threshold": torch.zeros(64)}, r"threshold of a batch_topk .* \(64,\).*single number"),
    ],
)
def test_wrong_tensors_are_refused(changes, message, folder) -> None:
    change_tensors(folder, **changes)
    with pytest.raises(StoreError, match=message):
        load_sae(folder)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("jumprelu", {"threshold": torch.tensor(1.0)}, r"'threshold' of a jumprelu .*n_features"),
        ("jumprelu", {"threshold": torch.zeros(63)}, r"'threshold' .* \(63,\).*\(64,\)"),
        ("gated", {"gate_bias": torch.full((64,), float("inf"))}, "'gate_bias' .* NaN or infinity"),
        ("gated", {"magnitude_scale": None}, "needs the tensor 'magnitude_scale'"),
        ("crosscoder", {"widths": None}, "needs the tensor 'widths'"),
        ("transcoder", {"output_mean": None}, "lacks the tensor 'output_mean'"),
        ("transcoder", {"decoder": torch.zeros(64, 15)}, r"'decoder' .* \(64, 15\)"),
    ],
)
def test_wrong_tensors_of_an_architecture_are_refused(
    architecture, changes, message, tmp_path
) -> None:
    save_sae(random_sae(architecture=architecture), tmp_path / "sae")
    change_tensors(tmp_path / "sae", **changes)
    with pytest.raises(StoreError, match=message):
        load_sae(tmp_path / "sae")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_written": "16"}, "no usable 'n_written'"),
        ({"format": 2}, "has the format 2.*newer version"),
        ({"format": None}, "does not say its format"),
        ({"architecture": "gate"}, "no architecture 'gate'.*topk"),
        ({"architecture": "gated"}, "gated autoencoder needs the tensor 'gate_bias'"),
        ({"architecture": None}, "no usable 'architecture'"),
        ({"k": "4"}, "no usable 'k'"),
        ({"k": 0}, "k=0"),
        ({"normalisation": "loud"}, "'loud'"),
    ],
)
def test_wrong_settings_are_refused(changes, message, folder) -> None:
    change_config(folder, **changes)
    with pytest.raises(StoreError, match=message):
        load_sae(folder)


def test_settings_that_are_no_json_are_refused(folder) -> None:
    (folder / "sae.json").write_text("{")
    finish_artefact(folder)
    with pytest.raises(StoreError, match="cannot be read"):
        load_sae(folder)


def test_folder_without_an_artefact_is_refused(tmp_path) -> None:
    with pytest.raises(StoreError, match="not an artefact"):
        load_sae(tmp_path / "nothing")
