"""What SAELens and sparsify compute from their files, in float64 and by their own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def ranked(pre: np.ndarray, k: int) -> np.ndarray:
    """Keep the k highest entries of every row where they are positive."""
    edge = np.sort(pre, 1)[:, -k][:, None]
    return np.where((pre >= edge) & (pre > 0), pre, 0.0)


def saelens_codes(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes, both signs side by side for abstopk, and reconstruction."""
    w = {name: held.double().numpy() for name, held in tensors.items()}
    shift, factor = np.zeros((len(x), 1)), np.ones((len(x), 1))
    if config["normalize_activations"] == "layer_norm":
        shift, factor = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True) + 1e-5
    elif config["normalize_activations"] == "constant_norm_rescale":
        factor = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    rows = (x - shift) / factor - w["b_dec"] * config["apply_b_dec_to_input"]
    name = config["architecture"]
    signed = None
    if name == "gated":
        gate = rows @ w["W_enc"] + w["b_gate"] > 0
        codes = gate * np.maximum(rows @ (w["W_enc"] * np.exp(w["r_mag"])) + w["b_mag"], 0.0)
    else:
        pre = rows @ w["W_enc"] + w["b_enc"]
        codes = np.maximum(pre, 0.0)
        if name == "topk":
            codes = ranked(pre, config["k"])
        elif name == "jumprelu":
            codes = codes * (pre > w["threshold"])
        elif name == "abstopk":
            edge = np.sort(np.abs(pre), 1)[:, -config["k"]][:, None]
            signed = np.where(np.abs(pre) >= edge, pre, 0.0)
            codes = np.concatenate([np.maximum(signed, 0.0), np.maximum(-signed, 0.0)], 1)
    active = codes if signed is None else signed
    return codes, (active @ w["W_dec"] + w["b_dec"]) * factor + shift


def sparsify_codes(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], x: np.ndarray
) -> np.ndarray:
    """Return the codes of TopK."""
    w = {name: held.double().numpy() for name, held in tensors.items()}
    pre = (x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]
    return ranked(np.maximum(pre, 0.0), config["k"])
