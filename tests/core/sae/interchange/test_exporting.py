"""What is written has the layout of its program, comes back with equal codes, or is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_world import dense, draw_tokens, layer_norm
from peer_formulas import saelens_codes, sparsify_codes
from safetensors.torch import load_file

import sci_interp as si
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.sae.model import SparseAutoencoder
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights

WIDTH, FEATURES = 16, 48
ARCHITECTURES = ("topk", "batch_topk", "matryoshka", "relu", "jumprelu", "gated", "abs_topk")


def make_sae(architecture: str, kind: str = "channel", *, plain: bool = False) -> SparseAutoencoder:
    """Return an autoencoder with units and biases that all matter, or with none (``plain``)."""
    draw = torch.Generator().manual_seed(1)
    half = FEATURES // 2 if architecture == "abs_topk" else FEATURES
    weights = Weights(
        encoder=torch.randn(half, WIDTH, generator=draw),
        encoder_bias=(not plain) * 0.2 * torch.randn(half, generator=draw),
        decoder=torch.randn(half, WIDTH, generator=draw),
        decoder_bias=(not plain) * torch.randn(WIDTH, generator=draw),
    )
    if architecture == "abs_topk":
        from sci_interp.sae.abs_topk import mirrored

        weights = mirrored(weights)
    sparsity = sparsity_of(architecture, 5)
    one_each = torch.rand(FEATURES, generator=draw)
    per_feature = architecture in ("jumprelu", "gated")
    sparsity.restore(
        {
            "threshold": one_each if per_feature else torch.tensor(0.7),
            "gate_bias": one_each - 0.5,
            "magnitude_scale": one_each + 0.5,
        }
    )
    centre = torch.randn(WIDTH, generator=draw)
    spread = 0.5 + torch.rand(WIDTH, generator=draw) if not plain else torch.full((WIDTH,), 0.8)
    return SparseAutoencoder(
        weights=weights,
        sparsity=sparsity,
        normalisation=Normalisation(kind, centre, centre, spread),
        scale=np.linspace(1, 2, FEATURES, dtype=np.float32),
        firing_rate=np.full(FEATURES, 0.1, np.float32),
        parent={"model": "a network", "layer": "layers.3"},
    )


@pytest.mark.parametrize("kind", ["channel", "layer", "length"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_has_our_codes(architecture: str, kind: str, tmp_path: Path) -> None:
    sae = make_sae(architecture, kind)
    sae.export(tmp_path / "out", format="saelens")
    config = json.loads((tmp_path / "out" / "cfg.json").read_text())
    tensors = load_file(tmp_path / "out" / "sae_weights.safetensors")
    x = draw_tokens()
    ours = dense(sae.encode(x), FEATURES)
    assert (ours > 0).sum() > len(x)
    codes, rebuilt = saelens_codes(config, tensors, x.astype(np.float64))
    np.testing.assert_allclose(codes, ours, atol=2e-5)
    np.testing.assert_allclose(rebuilt, sae.reconstruct(x), atol=2e-5 * np.abs(rebuilt).max())
    assert config["metadata"]["sae_lens_version"] == "6.0.0"
    again = si.load_sae(tmp_path / "out")
    np.testing.assert_allclose(dense(again.encode(x), FEATURES), ours, atol=2e-5)
    assert dict(again.parent) == {"model": "a network", "layer": "layers.3"}


def test_sparsify_has_our_codes(tmp_path) -> None:
    sae = make_sae("topk")
    sae.export(tmp_path, format="sparsify")
    x = draw_tokens()
    codes = sparsify_codes(
        json.loads((tmp_path / "cfg.json").read_text()),
        load_file(tmp_path / "sae.safetensors"),
        x.astype(np.float64),
    )
    ours = dense(sae.encode(x), FEATURES)
    np.testing.assert_allclose(codes, ours, atol=2e-5)
    again = si.load_sae(tmp_path, layer="layers.3", parent="a network")
    np.testing.assert_allclose(dense(again.encode(x), FEATURES), ours, atol=2e-5)


def test_esmc_has_our_codes_and_scale(tmp_path) -> None:
    sae = make_sae("topk", "layer", plain=True)
    sae.export(tmp_path, format="esmc")
    held = {n: t.double().numpy() for n, t in load_file(tmp_path / "layer_4.safetensors").items()}
    x = draw_tokens()
    z, _, _ = layer_norm(x.astype(np.float64))
    pre = np.maximum((z - held["b_dec"]) @ held["W_enc"], 0)
    edge = np.sort(pre, 1)[:, -5][:, None]
    ours = dense(sae.encode(x), FEATURES)
    np.testing.assert_allclose(np.where(pre >= edge, pre, 0), ours, atol=2e-5)
    np.testing.assert_array_equal(held["max"], sae.scale)
    again = si.load_sae(tmp_path, parent="a network")
    np.testing.assert_allclose(dense(again.encode(x), FEATURES), ours, atol=2e-5)
    np.testing.assert_array_equal(again.scale, sae.scale)
    assert (again.k, dict(again.parent)) == (5, dict(sae.parent))
    unmeasured = replace(sae, training={"unmeasured": ["scale"]}, parent={"layer": "embed_tokens"})
    unmeasured.export(tmp_path / "ones", format="esmc")
    assert (load_file(tmp_path / "ones" / "layer_0.safetensors")["max"] == 1).all()
    replace(sae, parent={}).export(tmp_path / "nine", format="esmc", layer=9)
    assert (tmp_path / "nine" / "layer_9.safetensors").is_file()


@pytest.mark.parametrize(
    ("sae", "name", "message"),
    [
        (make_sae("topk", "token"), "saelens", "kind 'token'.*Allowed: scale, channel, none, lay"),
        (make_sae("topk", "unit"), "saelens", "kind 'unit'"),
        (make_sae("relu"), "sparsify", "architecture 'relu'.*Allowed: topk"),
        (make_sae("topk", "layer"), "sparsify", "kind 'layer'"),
        (make_sae("relu", "layer"), "esmc", "architecture 'relu'"),
        (make_sae("topk"), "esmc", "kind 'channel'.*Allowed: layer"),
        (make_sae("topk", "layer"), "esmc", "no place for an encoder bias"),
        (
            replace(make_sae("topk", "layer", plain=True), parent={"layer": "encoder.layer.3"}),
            "esmc",
            r"'encoder.layer.3' has none. Give it: sae.export\(..., layer",
        ),
    ],
)
def test_what_a_format_cannot_express_is_refused(sae, name, message, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        sae.export(tmp_path / "out", format=name)
    assert not (tmp_path / "out").exists()


def test_unknown_formats_and_full_folders_are_refused(tmp_path) -> None:
    sae = make_sae("topk")
    with pytest.raises(UnknownNameError, match=r"'saelen'.*mean 'saelens'\?"):
        sae.export(tmp_path, format="saelen")
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(InputError, match=r"is not empty. Choose another folder"):
        sae.export(tmp_path, format="saelens")
    with pytest.raises(InputError, match="is not empty"):
        sae.export(tmp_path / "mine.txt", format="saelens")
