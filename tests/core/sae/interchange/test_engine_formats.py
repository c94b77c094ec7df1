"""Files of general programs: every code by the plain formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
from sae_world import planted_source
from safetensors.torch import save_file

import sci_interp as si
from sci_interp.sae import save_sae

W = draw_weights()
N = numbers(W)
MATRICES = {"W_enc": W["E"].t(), "b_enc": W["e"], "W_dec": W["D"], "b_dec": W["d"]}
LINEAR = {"encoder.weight": W["E"], "encoder.bias": W["e"], "decoder.weight": W["D"].t()}
COUNTED = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.9)}
MODERN = {"sae_lens_version": "6.54.12", "model_name": "gpt", "hook_name": "blocks.3.hook"}


def above(threshold):
    return lambda pre: np.where(pre > threshold, relu(pre), 0.0)


def gated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = (x - N["d"]) @ N["E"].T
    codes = (p + N["e"] > 0) * relu(np.exp(N["s"] - 1) * p + 0.5 * N["e"])
    return codes, codes @ N["D"] + N["d"]


def saelens(tensors: dict[str, torch.Tensor], architecture: str, **settings: Any):
    config = {"architecture": architecture, "d_in": WIDTH, "d_sae": FEATURES, "metadata": MODERN}
    config |= {"apply_b_dec_to_input": True, "normalize_activations": "none", **settings}
    return lambda folder: save_folder(
        folder, "sae_weights.safetensors", tensors, "cfg.json", config
    )


def saelens_scaled(folder: Path) -> Path:
    settings = {"normalize_activations": "expected_average_only_in"}
    saelens(MATRICES, "standard", **settings)(folder)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.4}')
    return folder


def scaled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, rebuilt = same_bias(relu)(0.4 * x)
    return codes, rebuilt / 0.4


def whitening() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    matrix = torch.eye(WIDTH) + 0.2 * torch.randn(WIDTH, WIDTH, generator=draw)
    return torch.randn(WIDTH, generator=draw).double(), matrix.double(), matrix.double().inverse()


def saelens_whitened(folder: Path) -> Path:
    saelens(MATRICES, "topk", k=K, normalize_activations="covariance_whitening")(folder)
    names = ("mean", "matrix", "inverse_matrix")
    held = {n: t.contiguous() for n, t in zip(names, whitening(), strict=True)}
    save_file(held, folder / "activation_whitening.safetensors")
    return folder


def whitened(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, matrix, inverse = (held.numpy() for held in whitening())
    codes, rebuilt = same_bias(highest)((x - mean) @ matrix)
    return codes, rebuilt @ inverse + mean


def rescaled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = N["s"]
    codes = highest(((x - N["d"]) @ N["E"].T + N["e"]) * length)
    return codes, (codes / length) @ (N["D"] * length[:, None]) + N["d"]


def largest(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pre = (x - N["d"]) @ N["E"].T + N["e"]
    edge = np.sort(np.abs(pre), 1)[:, -K][:, None]
    codes = np.where(np.abs(pre) >= edge, pre, 0.0)
    return np.concatenate([relu(codes), relu(-codes)], 1), codes @ N["D"] + N["d"]


def layer_normed(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, mean, deviation = layer_norm(x)
    codes, rebuilt = same_bias(relu)(z)
    return codes, rebuilt * deviation + mean


def rooted(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ratio = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(WIDTH)
    codes, rebuilt = same_bias(relu)(x / ratio)
    return codes, rebuilt * ratio


OLD = {"hook_point": "blocks.3.hook", "model_name": "gpt", "d_in": WIDTH, "d_sae": FEATURES}


def saelens_old(**settings: Any):
    return lambda folder: save_folder(
        folder, "sae_weights.safetensors", MATRICES, "cfg.json", {**OLD, **settings}
    )


GATED = {"W_enc": W["E"].t(), "W_dec": W["D"], "b_dec": W["d"], "b_gate": W["e"]}
GATED |= {"b_mag": 0.5 * W["e"], "r_mag": W["s"] - 1}
SPARSIFY = {"encoder.weight": W["E"], "encoder.bias": W["e"], "W_dec": W["D"], "b_dec": W["d"]}


def learned(class_name: str, tensors: dict[str, torch.Tensor]):
    """Write ``trainer_0/`` of dictionary_learning."""

    def write(folder: Path) -> Path:
        trainer = {"dict_class": class_name, "layer": 3, "lm_name": "gpt", "k": K, "steps": 9}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
        return save_torch(folder, "ae.pt", tensors).parent

    return write


def long_relu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decoder rows of length s: its loader scales features by them."""
    pre = ((x - N["d"]) @ N["E"].T + N["e"]) * N["s"]
    return relu(pre), relu(pre) @ N["D"] + N["d"]


LEARNED_GATED = {"encoder.weight": W["E"], "decoder.weight": W["D"].t(), "decoder_bias": W["d"]}
LEARNED_GATED |= {"r_mag": W["s"] - 1, "gate_bias": W["e"], "mag_bias": 0.5 * W["e"]}


def openai(activation: str):
    def write(folder: Path) -> Path:
        state: dict[str, Any] = {"pre_bias": W["d"], "latent_bias": W["e"]}
        state |= {"encoder.weight": W["E"], "decoder.weight": W["D"].t()}
        state |= {"latents_activation_frequency": torch.ones(FEATURES)}
        state |= {"activation": activation, "activation_state_dict": {}}
        if activation == "TopK":
            state["activation_state_dict"] = {"k": K, "postact_fn": "ReLU"}
        return save_torch(folder, "0.pt", state)

    return write


def openai_topk(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, mean, deviation = layer_norm(x)
    codes, rebuilt = same_bias(highest)(z)
    return codes, rebuilt * deviation + mean


def llamascopium(act_fn: str, **changes: Any):
    def write(folder: Path) -> Path:
        long = W["D"] * W["s"][:, None]
        tensors = {"W_E": W["E"].t(), "b_E": W["e"], "W_D": long, "b_D": W["d"]}
        tensors["activation_function.log_jumprelu_threshold"] = W["s"].log()
        tensors["dataset_average_activation_norm.blocks.3"] = torch.tensor(2.0)
        config = {"sae_type": "sae", "act_fn": act_fn, "top_k": K, "d_model": WIDTH}
        config |= {"hook_point_in": "blocks.3", "hook_point_out": "blocks.3"}
        config |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True}
        return save_folder(
            folder, "sae_weights.safetensors", tensors, "config.json", {**config, **changes}
        )

    return write


def llama_scope(folder: Path) -> Path:
    (folder / "checkpoints").mkdir()
    tensors = {**LINEAR, "decoder.bias": W["d"]}
    tensors = {name: held.contiguous() for name, held in tensors.items()}
    save_file(tensors, folder / "checkpoints" / "final.safetensors")
    config = {"act_fn": "jumprelu", "jump_relu_threshold": 0.9, "norm_activation": "dataset-wise"}
    config |= {"hook_point_in": "blocks.3", "hook_point_out": "blocks.3", "top_k": 50}
    config |= {"dataset_average_activation_norm": {"in": 10.0, "out": 10.0}}
    (folder / "hyperparams.json").write_text(json.dumps(config))
    return folder


def llama_scope_formula(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pre = 0.4 * x @ N["E"].T + N["e"]
    codes = above(0.9 / np.linalg.norm(N["D"], axis=1))(pre)
    return codes, (codes @ N["D"] + N["d"]) / 0.4


def llamascopium_jumprelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factor = np.sqrt(WIDTH) / 2.0
    pre = factor * x @ N["E"].T + N["e"]
    codes = np.where(pre * N["s"] > N["s"], pre, 0.0)
    return codes, (codes @ (N["D"] * N["s"][:, None]) + N["d"]) / factor


def llamascopium_topk(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes in the units in which features compete."""
    ratio = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(WIDTH)
    codes = highest((x / ratio @ N["E"].T + N["e"]) * N["s"])
    return codes, (codes @ N["D"] + N["d"]) * ratio


def saev(activation: dict[str, Any], **extra: torch.Tensor):
    def write(folder: Path) -> Path:
        header = {"schema": 5, "cfg": {"activation": activation}, "commit": "a", "lib": "1"}
        with (folder / "sae.pt").open("wb") as handle:
            handle.write(json.dumps(header).encode() + b"\n")
            torch.save({**MATRICES, **extra}, handle)
        return folder / "sae.pt"

    return write


FREE = same_bias(relu, subtract=False)
CASES = {
    "saelens standard": Case(saelens(MATRICES, "standard"), same_bias(relu), "saelens"),
    "saelens unsubtracted": Case(
        saelens(MATRICES, "standard", apply_b_dec_to_input=False), FREE, "saelens"
    ),
    "saelens topk": Case(saelens(MATRICES, "topk", k=K), same_bias(highest), "saelens"),
    "saelens topk rescaled": Case(
        saelens(
            {**MATRICES, "W_dec": W["D"] * W["s"][:, None]},
            "topk",
            k=K,
            rescale_acts_by_decoder_norm=True,
        ),
        rescaled,
        "saelens",
    ),
    "saelens abstopk": Case(saelens(MATRICES, "abstopk", k=K), largest, "saelens"),
    "saelens jumprelu": Case(
        saelens({**MATRICES, "threshold": W["s"] - 0.7}, "jumprelu"),
        same_bias(above((W["s"] - 0.7).numpy())),
        "saelens",
    ),
    "saelens gated": Case(saelens(GATED, "gated"), gated, "saelens"),
    "saelens batchtopk": Case(
        saelens(
            {**MATRICES, "topk_threshold": torch.tensor(0.9, dtype=torch.float64)}, "batchtopk"
        ),
        same_bias(above(np.float32(0.9))),
        "saelens",
    ),
    "saelens layer_norm": Case(
        saelens(MATRICES, "standard", normalize_activations="layer_norm"), layer_normed, "saelens"
    ),
    "saelens constant_norm_rescale": Case(
        saelens(MATRICES, "standard", normalize_activations="constant_norm_rescale"),
        rooted,
        "saelens",
    ),
    "saelens scaled": Case(saelens_scaled, scaled, "saelens"),
    "saelens scaled, given": Case(
        saelens(MATRICES, "standard", normalize_activations="expected_average_only_in"),
        scaled,
        "saelens",
        {"norm_factor": 2.5},
    ),
    "saelens whitened": Case(saelens_whitened, whitened, "saelens"),
    "saelens 5 topk": Case(
        saelens_old(activation_fn_str="topk", activation_fn_kwargs={"k": K}),
        same_bias(highest),
        "saelens",
    ),
    "saelens 5 standard": Case(
        saelens_old(normalize_activations=False), same_bias(relu), "saelens"
    ),
    "saelens 3 normalised": Case(
        saelens_old(normalize_activations=True), scaled, "saelens", {"norm_factor": 2.5}
    ),
    "sparsify": Case(
        lambda folder: save_folder(
            folder,
            "sae.safetensors",
            SPARSIFY,
            "cfg.json",
            {"k": K, "d_in": WIDTH, "signed": False},
        ),
        same_bias(highest),
        "sparsify",
    ),
    "AutoEncoder": Case(
        learned("AutoEncoder", {"bias": W["d"], **LINEAR}), same_bias(relu), "dictionary_learning"
    ),
    "AutoEncoder of long rows": Case(
        learned(
            "AutoEncoder",
            {"bias": W["d"], **LINEAR, "decoder.weight": (W["D"] * W["s"][:, None]).t()},
        ),
        long_relu,
        "dictionary_learning",
    ),
    "AutoEncoderNew": Case(
        learned("AutoEncoderNew", {**LINEAR, "decoder.bias": W["d"]}), FREE, "dictionary_learning"
    ),
    "AutoEncoderTopK": Case(
        learned("AutoEncoderTopK", {**LINEAR, "b_dec": W["d"], **COUNTED}),
        same_bias(highest),
        "dictionary_learning",
    ),
    "BatchTopKSAE": Case(
        learned("BatchTopKSAE", {**LINEAR, "b_dec": W["d"], **COUNTED}),
        same_bias(above(np.float32(0.9))),
        "dictionary_learning",
    ),
    "BatchTopKSAE never set": Case(
        learned(
            "BatchTopKSAE",
            {**LINEAR, "b_dec": W["d"], **COUNTED, "threshold": torch.tensor(-1.0)},
        ),
        same_bias(highest),
        "dictionary_learning",
        {"threshold": "per_token"},
    ),
    "MatryoshkaBatchTopKSAE": Case(
        learned(
            "MatryoshkaBatchTopKSAE",
            {**MATRICES, **COUNTED, "group_sizes": torch.tensor([8, 40])},
        ),
        same_bias(above(np.float32(0.9))),
        "dictionary_learning",
    ),
    "JumpReluAutoEncoder": Case(
        learned("JumpReluAutoEncoder", {**MATRICES, "threshold": W["s"]}),
        same_bias(above(W["s"].numpy()), subtract=False),
        "dictionary_learning",
    ),
    "GatedAutoEncoder": Case(
        learned("GatedAutoEncoder", LEARNED_GATED), gated, "dictionary_learning"
    ),
    "openai relu": Case(openai("ReLU"), same_bias(relu), "openai"),
    "openai topk": Case(openai("TopK"), openai_topk, "openai"),
    "llamascopium jumprelu": Case(llamascopium("jumprelu"), llamascopium_jumprelu, "llamascopium"),
    "llama scope": Case(llama_scope, llama_scope_formula, "llamascopium"),
    "llamascopium topk": Case(
        llamascopium("topk", norm_activation="token-wise"), llamascopium_topk, "llamascopium"
    ),
    "saev relu": Case(saev({"cls": "Relu", "params": {}}), FREE, "saev"),
    "saev topk": Case(
        saev({"cls": "TopK", "params": {"top_k": K}}),
        same_bias(highest, subtract=False),
        "saev",
    ),
    "saev batch_topk": Case(
        saev(
            {"cls": "BatchTopK", "params": {"top_k": K}},
            **{"activation.threshold": torch.tensor(0.9)},
        ),
        same_bias(above(np.float32(0.9)), subtract=False),
        "saev",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_codes_and_reconstruction_follow_the_program(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    sae = si.load_sae(case.write(tmp_path), **{**NAMED, **case.facts})
    x = draw_tokens()
    codes, rebuilt = case.formula(x.astype(np.float64))
    assert (codes > 0).sum() > len(x)
    np.testing.assert_allclose(dense(sae.encode(x), codes.shape[1]), codes, atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x), rebuilt, atol=2e-5 * np.abs(rebuilt).max())
    assert sae.training["format"] == case.format
    assert (sae.parent["model"], sae.parent["layer"]) == ("a network", "encoder.layer.3")


def test_parent_layer_and_tokens_come_from_the_settings(tmp_path) -> None:
    made = {}
    for name in ("saelens topk", "saelens 5 topk", "AutoEncoderTopK", "llamascopium jumprelu"):
        (tmp_path / name).mkdir()
        path = CASES[name].write(tmp_path / name)
        made[name] = si.load_sae(path, **({"parent": "gpt"} if "llama" in name else {}))
    assert {sae.parent["model"] for sae in made.values()} == {"gpt"}
    layers = [sae.parent["layer"] for sae in made.values()]
    assert layers == ["blocks.3.hook", "blocks.3.hook", "3", "blocks.3"]
    tokens = [sae.training["special_tokens"] for sae in made.values()]
    assert tokens == ["unknown", "trained with BOS", "unknown", "unknown"]
    assert made["AutoEncoderTopK"].training["steps"] == 9


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (saelens(MATRICES, "skip_transcoder"), "adds a product of what it reads"),
        (saelens(MATRICES, "temporal"), "reads other tokens as well"),
        (saelens(MATRICES, "matching_pursuit"), "encodes step by step"),
        (
            saelens(MATRICES, "transcoder", normalize_activations="layer_norm"),
            "a transcoder of normalised activations",
        ),
        (saelens(MATRICES, "hexagonal"), "no SAELens architecture 'hexagonal'"),
        (saelens(MATRICES, "topk", k=K, normalize_activations="loud"), "normalisation.*'loud'"),
        (saelens(MATRICES, "standard", finetuning_scaling_factor=True), "finetuned scaling"),
        (
            saelens(MATRICES, "topk", k=K, normalize_activations="covariance_whitening"),
            r"activation_whitening\.safetensors is missing",
        ),
        (learned("SpinGlass", LINEAR), "no class of dictionary_learning 'SpinGlass'"),
        (openai("Tanh"), "the activation 'Tanh'"),
        (llamascopium("jumprelu", hook_point_out="blocks.4"), "from blocks.3 to blocks.4"),
        (llamascopium("softmax"), "the activation 'softmax'"),
        (llamascopium("relu", norm_activation="batch-wise"), "depends on the batch"),
        (saev({"cls": "Swish", "params": {}}), "the activation 'Swish'"),
        (
            lambda folder: save_folder(
                folder, "sae.safetensors", SPARSIFY, "cfg.json", {"k": K, "skip_connection": True}
            ),
            "adds a product of what it reads",
        ),
        (
            lambda folder: save_folder(
                folder, "sae.safetensors", SPARSIFY, "cfg.json", {"k": K, "activation": "groupmax"}
            ),
            "selects features by 'groupmax'",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(write, message, tmp_path) -> None:
    with pytest.raises(si.SciInterpError, match=message):
        si.load_sae(write(tmp_path), **NAMED)


@pytest.mark.parametrize("program", ["saelens", "saelens jumprelu", "sparsify"])
def test_transcoders_write_a_layer_of_another_width(program: str, tmp_path: Path) -> None:
    wide = torch.randn(FEATURES, 7, generator=torch.Generator().manual_seed(5))
    bias = torch.arange(7.0)
    if program == "sparsify":
        tensors = {**SPARSIFY, "W_dec": wide, "b_dec": bias}
        config = {"k": K, "transcode": True}
        save_folder(tmp_path, "sae.safetensors", tensors, "cfg.json", config)
    else:
        name = "transcoder" if program == "saelens" else "jumprelu_transcoder"
        tensors = {**MATRICES, "W_dec": wide, "b_dec": bias, "threshold": W["s"]}
        saelens(tensors, name, d_out=7)(tmp_path)
    sae = si.load_sae(tmp_path, **NAMED)
    x = draw_tokens()
    select = {"saelens": relu, "saelens jumprelu": above(W["s"].numpy()), "sparsify": highest}
    codes = select[program](x.astype(np.float64) @ N["E"].T + N["e"])
    np.testing.assert_allclose(dense(sae.encode(x), FEATURES), codes, atol=1e-5)
    written = codes @ wide.double().numpy() + bias.numpy()
    np.testing.assert_allclose(sae.reconstruct(x), written, atol=1e-4)
    _, both = planted_source(width=WIDTH + 7, n_tokens=400)
    measured = sae.measured(both)
    assert measured.output is not None and measured.training["format"] == program.split()[0]
    seen = both.read(*both.axis.token_range(["train", "discovery"])).mean(0)
    np.testing.assert_allclose(measured.normalisation.mean, seen[:WIDTH], atol=1e-5)
    np.testing.assert_allclose(measured.output.mean, seen[WIDTH:], atol=1e-5)
    save_sae(sae, tmp_path / "kept")
    np.testing.assert_array_equal(si.load_sae(tmp_path / "kept").reconstruct(x), sae.reconstruct(x))
    with pytest.raises(si.SciInterpError, match="no place for another layer that is written"):
        sae.export(tmp_path / "out", format="saelens")
    with pytest.raises(si.SciInterpError, match="a transcoder writes another layer"):
        sae.check(None, None)


@pytest.mark.parametrize(
    "write",
    [
        saelens(MATRICES, "topk", k="many"),
        saelens(MATRICES, "topk", k=[3]),
        saelens(MATRICES, "standard", metadata="6.0.0"),
        learned("AutoEncoderTopK", {**LINEAR, "b_dec": W["d"], "k": torch.ones(2)}),
        learned("MatryoshkaBatchTopKSAE", {**MATRICES, **COUNTED, "group_sizes": [8, 40]}),
        llamascopium("jumprelu", dataset_average_activation_norm={"in": "long"}),
        llamascopium("jumprelu", dataset_average_activation_norm={"in": -1.0}),
        saev({"cls": "TopK", "params": [5]}),
        saev({"cls": "TopK", "params": {"top_k": 1e999}}),
    ],
)
def test_settings_that_make_no_sense_are_refused(write, tmp_path: Path) -> None:
    with pytest.raises(si.SciInterpError):
        si.load_sae(write(tmp_path), **NAMED)
