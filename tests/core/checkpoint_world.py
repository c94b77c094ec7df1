"""Checkpoints written as other programs write them, and their codes by the plain formula."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

WIDTH, FEATURES, K = 16, 48, 5

Tensors = dict[str, torch.Tensor]
#: From tokens ``(n, WIDTH)`` in float64 to codes and reconstruction.
Formula = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

NAMED = {"layer": "encoder.layer.3", "parent": "a network"}


@dataclass(frozen=True)
class Case:
    """One checkpoint: how it is written, what is to be given, and what it means.

    Attributes
    ----------
    write : callable
        Writes into an empty folder and returns what to load.
    formula : callable
        What its program computes.
    facts : mapping
        What a user gives to ``load_sae``.
    format : str
        What ``auto`` should find.
    """

    write: Callable[[Path], Path]
    formula: Formula
    format: str
    facts: Mapping[str, Any] = field(default_factory=lambda: dict(NAMED))


def draw_weights(seed: int = 0) -> Tensors:
    """Return random weights; ``E`` (F, d), ``D`` (F, d) and biases."""
    draw = torch.Generator().manual_seed(seed)
    decoder = torch.randn(FEATURES, WIDTH, generator=draw)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    return {
        "E": decoder + 0.3 * torch.randn(FEATURES, WIDTH, generator=draw),
        "D": decoder,
        "e": 0.2 * torch.randn(FEATURES, generator=draw),
        "d": 0.5 * torch.randn(WIDTH, generator=draw),
        "s": 0.5 + torch.rand(FEATURES, generator=draw),
    }


def draw_tokens(n: int = 300, seed: int = 7) -> np.ndarray:
    """Return tokens off centre and of different loudness ``(n, WIDTH)`` float32."""
    rng = np.random.default_rng(seed)
    loudness = rng.uniform(0.5, 4.0, (n, 1))
    return (loudness * rng.standard_normal((n, WIDTH)) + 0.7).astype(np.float32)


def highest(pre: np.ndarray, k: int = K) -> np.ndarray:
    """Return the k highest positive entries of every row, and zeros."""
    edge = np.sort(pre, 1)[:, -k][:, None]
    return np.where((pre >= edge) & (pre > 0), pre, 0.0)


def layer_norm(x: np.ndarray, epsilon: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens standardised with the unbiased deviation, and mean and deviation."""
    mean, deviation = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
    return (x - mean) / (deviation + epsilon), mean, deviation


def numbers(w: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return the weights in float64."""
    return {name: held.double().numpy() for name, held in w.items()}


def save_torch(folder: Path, name: str, held: Any) -> Path:
    """Write a torch file and return its path."""
    torch.save(held, folder / name)
    return folder / name


def save_folder(
    folder: Path, weights: str, tensors: Tensors, settings: str, config: Mapping[str, Any]
) -> Path:
    """Write safetensors beside JSON and return the folder."""
    save_file({name: held.contiguous() for name, held in tensors.items()}, folder / weights)
    (folder / settings).write_text(json.dumps(config))
    return folder


def dense(codes: Any, n_features: int) -> np.ndarray:
    """Return codes as a matrix."""
    whole = np.zeros((codes.n_tokens, n_features))
    rows = np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr))
    whole[rows, codes.feature.astype(np.int64)] = codes.value
    return whole


def same_bias(select: Callable[[np.ndarray], np.ndarray], *, subtract: bool = True) -> Formula:
    """Return the formula that most have: x - d, encoder, selection, decoder, + d."""

    def formula(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = numbers(draw_weights())
        codes = select((x - w["d"] * subtract) @ w["E"].T + w["e"])
        return codes, codes @ w["D"] + w["d"]

    return formula


def relu(pre: np.ndarray) -> np.ndarray:
    """Return the positive part."""
    return np.maximum(pre, 0.0)
