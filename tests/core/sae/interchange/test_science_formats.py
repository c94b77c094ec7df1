"""Published autoencoders of proteins, genomes and weather: every code by the plain formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_world import (
    FEATURES,
    NAMED,
    WIDTH,
    Case,
    K,
    dense,
    draw_tokens,
    draw_weights,
    highest,
    layer_norm,
    numbers,
    relu,
    same_bias,
    save_folder,
    save_torch,
)
from safetensors.torch import save_file

import sci_interp as si

W = draw_weights()
LINEAR = {"encoder.weight": W["E"], "encoder.bias": W["e"], "decoder.weight": W["D"].t()}
VERSION_1 = {"activation_rescale_factor": W["s"], "normalize_to_sqrt_d": torch.tensor(False)}
COUNTED = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.9)}


def interplm_hub(folder: Path) -> Path:
    return save_torch(folder, "ae_normalized.pt", {"bias": W["d"], **LINEAR})


def interplm_relu(folder: Path) -> Path:
    rooted = {**VERSION_1, "normalize_to_sqrt_d": torch.tensor(True)}
    return save_torch(folder, "ae.pt", {"bias": W["d"], **LINEAR, **rooted})


def interplm_relu_formula(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ratio = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(WIDTH)
    codes, rebuilt = same_bias(relu)(x / ratio)
    return codes, rebuilt * ratio


def interplm_tied(folder: Path) -> Path:
    return save_torch(folder, "ae.pt", {**LINEAR, "decoder.bias": W["d"], **VERSION_1})


def interplm_counted(folder: Path) -> Path:
    return save_torch(folder, "ae.pt", {"b_dec": W["d"], **LINEAR, **COUNTED, **VERSION_1})


def interplm_jumprelu(folder: Path) -> Path:
    tensors = {**LINEAR, "decoder.bias": W["d"], "threshold": W["s"], **VERSION_1}
    return save_torch(folder, "ae.pt", tensors)


def above(threshold):
    return lambda pre: np.where(pre > threshold, relu(pre), 0.0)


def interprot(folder: Path) -> Path:
    tensors = {"w_enc": W["E"].t(), "w_dec": W["D"], "b_enc": W["e"], "b_pre": W["d"]}
    tensors["stats_last_nonzero"] = torch.zeros(FEATURES, dtype=torch.long)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "esm2_l24.safetensors")
    return folder / "esm2_l24.safetensors"


def layer_normed(x: np.ndarray, epsilon: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    z, mean, deviation = layer_norm(x, epsilon)
    codes, rebuilt = same_bias(highest)(z)
    return codes, rebuilt * deviation + mean


def esmc(folder: Path) -> Path:
    tensors = {"W_enc": W["E"].t(), "W_dec": W["D"], "b_dec": W["d"], "max": W["s"]}
    tensors["idf"] = W["s"] + 1
    config = {"model_type": "esmc_sae", "d_model": WIDTH, "codebook_dim": FEATURES, "k": K}
    config["available_layers"] = [23]
    return save_folder(folder, "layer_23.safetensors", tensors, "config.json", config)


def esmc_formula(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w = numbers(W)
    z, mean, deviation = layer_norm(x)
    codes = highest((z - w["d"]) @ w["E"].T)
    return codes, (codes @ w["D"] + w["d"]) * deviation + mean


MATRICES = {"W_enc": W["E"].t(), "b_enc": W["e"], "W_dec": W["D"], "b_dec": W["d"]}


def reticular(folder: Path) -> Path:
    sizes = {"group_sizes": torch.tensor([8, 40])}
    state = {f"ae.{name}": held for name, held in {**MATRICES, **COUNTED, **sizes}.items()}
    return save_torch(folder, "3b-l36.ckpt", {"state_dict": state, "epoch": 3})


def divided(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, rebuilt = same_bias(above(float(COUNTED["threshold"])))(x / 2.5)
    return codes, rebuilt * 2.5


def bionemo(folder: Path, *, configured: bool = True) -> Path:
    state = {"module.pre_bias": W["d"], "module.latent_bias": W["e"]}
    state |= {"module.encoder.weight": W["E"], "module.decoder.weight": W["D"].t()}
    state["module.stats_last_nonzero"] = torch.zeros(FEATURES, dtype=torch.long)
    whole = {"model_state_dict": state, "optimizer_state_dict": {}, "global_step": 9}
    if configured:
        config = {"input_dim": WIDTH, "hidden_dim": FEATURES, "top_k": K, "normalize_input": True}
        whole["model_config"] = config
    return save_torch(folder, "checkpoint_final.pt", whole).parent


def evo2(folder: Path) -> Path:
    state = {"W": W["D"].t(), "b_enc": W["e"], "b_dec": W["d"]}
    return save_torch(folder, "sae.pt", {f"_orig_mod.module.{n}": t for n, t in state.items()})


def tied(select):
    def formula(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = numbers(W)
        codes = select(x @ w["D"].T + w["e"])
        return codes, codes @ w["D"] + w["d"]

    return formula


def graphcast(folder: Path) -> Path:
    state = {"enc.weight": W["E"], "dec.weight": (3 * W["D"]).t(), "b_pre": 0.1 * W["d"]}
    state["miss_counts"] = torch.zeros(FEATURES, dtype=torch.long)
    return save_torch(folder, "sae_layer8.pt", {"model_state": state, "step": 7})


def graphcast_formula(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w = numbers(W)
    mean = x.mean(1, keepdims=True)
    length = np.linalg.norm(x - mean, axis=1, keepdims=True)
    codes = highest(relu(((x - mean) / length - 0.1 * w["d"]) @ w["E"].T))
    return codes, (codes @ w["D"] + 0.1 * w["d"]) * length + mean


CASES = {
    "interplm hub": Case(interplm_hub, same_bias(relu), "interplm"),
    "interplm relu √d": Case(interplm_relu, interplm_relu_formula, "interplm"),
    "interplm tied": Case(interplm_tied, same_bias(relu, subtract=False), "interplm"),
    "interplm topk": Case(
        interplm_counted, same_bias(highest), "interplm", {**NAMED, "architecture": "topk"}
    ),
    "interplm batch_topk": Case(
        interplm_counted,
        same_bias(above(np.float32(0.9))),
        "interplm",
        {**NAMED, "architecture": "batch_topk"},
    ),
    "interplm jumprelu": Case(
        interplm_jumprelu, same_bias(above(W["s"].numpy()), subtract=False), "interplm"
    ),
    "interprot": Case(interprot, layer_normed, "interprot", {**NAMED, "k": K}),
    "esmc": Case(esmc, esmc_formula, "esmc"),
    "reticular": Case(
        reticular, divided, "reticular", {**NAMED, "norm_factor": 2.5, "format": "reticular"}
    ),
    "bionemo": Case(bionemo, lambda x: layer_normed(x, 1e-8), "bionemo"),
    "bionemo bare": Case(
        lambda folder: bionemo(folder, configured=False),
        same_bias(highest),
        "bionemo",
        {**NAMED, "k": K, "normalisation": "none"},
    ),
    "evo2": Case(evo2, tied(above(0.8)), "evo2", {**NAMED, "k": K, "threshold": 0.8}),
    "evo2 per token": Case(
        evo2, tied(highest), "evo2", {**NAMED, "k": K, "threshold": "per_token"}
    ),
    "graphcast": Case(graphcast, graphcast_formula, "graphcast", {**NAMED, "k": K}),
}


@pytest.mark.parametrize("name", CASES)
def test_codes_and_reconstruction_follow_the_published_formula(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    sae = si.load_sae(case.write(tmp_path), **case.facts)
    x = draw_tokens()
    codes, rebuilt = case.formula(x.astype(np.float64))
    assert (codes > 0).sum() > len(x)
    np.testing.assert_allclose(dense(sae.encode(x), FEATURES), codes, atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x), rebuilt, atol=2e-5 * np.abs(rebuilt).max())
    assert sae.training["format"] == case.format
    assert (sae.parent["model"], sae.parent["layer"]) == ("a network", "encoder.layer.3")


@pytest.mark.parametrize(
    ("name", "number", "layer"),
    [
        ("interplm hub", 3, "encoder.layer.2"),
        ("interplm hub", 0, "embeddings"),
        ("interprot", 24, "encoder.layer.23"),
        ("bionemo", 24, "encoder.layer.23"),
        ("reticular", 18, "encoder.layer.17"),
        ("esmc", 23, "layers.22"),
        ("evo2", 26, "blocks.26"),
        ("graphcast", 8, "8"),
    ],
)
def test_a_layer_may_be_a_number_of_the_source(name, number, layer, tmp_path) -> None:
    case = CASES[name]
    sae = si.load_sae(case.write(tmp_path), **{**case.facts, "layer": number})
    assert sae.parent["layer"] == layer


def test_the_last_hidden_state_of_esm2_is_behind_the_norm(tmp_path) -> None:
    encoder = torch.randn(12, 320)
    tensors = {"bias": torch.zeros(320), "encoder.weight": encoder}
    tensors |= {"encoder.bias": torch.zeros(12), "decoder.weight": encoder.t()}
    path = save_torch(tmp_path, "ae.pt", tensors)
    sae = si.load_sae(path, layer=6, parent="facebook/esm2_t6_8M_UR50D")
    assert sae.parent["layer"] == "encoder.emb_layer_norm_after"


def test_special_tokens_and_scale_are_carried(tmp_path) -> None:
    def load(name: str):
        (tmp_path / name).mkdir()
        return si.load_sae(CASES[name].write(tmp_path / name), **CASES[name].facts)

    interprot_sae, hub, version_1, biohub = map(
        load, ("interprot", "interplm hub", "interplm tied", "esmc")
    )
    assert interprot_sae.training["special_tokens"] == "trained with BOS and EOS"
    assert hub.training["special_tokens"] == "left out"
    assert hub.training["unmeasured"] == ["mean", "scale", "firing_rate", "k"]
    np.testing.assert_array_equal(version_1.scale, W["s"].numpy())
    np.testing.assert_array_equal(biohub.scale, W["s"].numpy())
    assert biohub.training["unmeasured"] == ["mean", "firing_rate"]
    assert (biohub.k, biohub.parent["layer"]) == (K, "encoder.layer.3")


def test_the_only_layer_of_esmc_needs_no_number(tmp_path) -> None:
    assert si.load_sae(esmc(tmp_path), parent="ESMC-600M").parent["layer"] == "layers.22"
    assert si.load_sae(tmp_path / "layer_23.safetensors", parent="a").parent["layer"] == "layers.22"


def test_layers_of_esmc_are_told_apart(tmp_path) -> None:
    esmc(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "available_layers": [22, 23]}))
    with pytest.raises(si.SciInterpError, match=r"several layers.*hidden states 22, 23.*layer="):
        si.load_sae(tmp_path, parent="a")
    with pytest.raises(si.SciInterpError, match=r"no layer 9\."):
        si.load_sae(tmp_path, parent="a", layer=9)
    assert si.load_sae(tmp_path, parent="a", layer="layers.22").parent["layer"] == "layers.22"


def test_ones_are_no_measurement(tmp_path) -> None:
    esmc(tmp_path)
    tensors = {"W_enc": W["E"].t().contiguous(), "W_dec": W["D"], "b_dec": W["d"]}
    ones = torch.ones(FEATURES)
    save_file({**tensors, "idf": ones, "max": ones.clone()}, tmp_path / "layer_23.safetensors")
    with pytest.warns(UserWarning, match="'max' of .* is all ones, which is no measurement"):
        sae = si.load_sae(tmp_path, parent="a")
    assert "scale" in sae.training["unmeasured"]
    silent = torch.ones(FEATURES)
    silent[:5], silent[5:] = 0.0, 4.0
    save_file({**tensors, "idf": ones, "max": silent}, tmp_path / "layer_23.safetensors")
    assert (si.load_sae(tmp_path, parent="a").scale == 4.0).all()
