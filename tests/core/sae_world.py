"""Activations made of known directions, and small training runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sci_interp.axis import TokenAxis
from sci_interp.sae import SparseAutoencoder, train
from sci_interp.sae.abs_topk import mirrored
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights
from sci_interp.source import ArraySource


def planted_source(
    *,
    n_tokens: int = 8000,
    width: int = 32,
    n_directions: int = 48,
    n_active: int = 3,
    seed: int = 0,
) -> tuple[np.ndarray, ArraySource]:
    """Return unit directions and tokens that are positive sums of a few of them, off centre."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n_directions, width)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = rng.standard_normal((n_tokens, width)).astype(np.float32) * 0.01 + 0.7
    for _ in range(n_active):
        strength = rng.uniform(0.5, 1.5, (n_tokens, 1)).astype(np.float32)
        values += strength * directions[rng.integers(0, n_directions, n_tokens)]
    n_records = n_tokens // 100
    names = [f"record{index:04d}" for index in range(n_records)]
    table = pd.DataFrame({"record": names, "block": names, "n_tokens": 100})
    axis = TokenAxis.build(table, {"train": 0.5, "discovery": 0.2, "test": 0.3})
    return directions, ArraySource(axis, values)


def random_sae(
    *, architecture: str = "topk", width: int = 16, n_features: int = 64, k: int = 4, seed: int = 0
) -> SparseAutoencoder:
    """Return an autoencoder with random weights."""
    draw = torch.Generator().manual_seed(seed)
    weights = Weights(
        encoder=torch.randn(n_features, width, generator=draw),
        encoder_bias=0.1 * torch.randn(n_features, generator=draw),
        decoder=torch.randn(n_features, width, generator=draw),
        decoder_bias=0.1 * torch.randn(width, generator=draw),
    )
    weights.normalise_decoder()
    sparsity = sparsity_of(architecture, k)
    sparsity.restore(own_tensors(architecture, n_features, width))
    mean = torch.randn(width, generator=draw)
    if architecture == "abs_topk":
        weights = mirrored(weights.of_features(torch.arange(n_features // 2)))
    output = Normalisation("scale", mean.flip(0), mean.flip(0), torch.full((width,), 0.3))
    return SparseAutoencoder(
        weights=weights,
        sparsity=sparsity,
        normalisation=Normalisation("scale", mean, mean, torch.full((width,), 0.5)),
        scale=np.ones(n_features, np.float32),
        firing_rate=np.zeros(n_features, np.float32),
        parent={"activations": "a" * 64, "layer": "layers.1"},
        output=output if architecture == "transcoder" else None,
    )


def own_tensors(architecture: str, n_features: int, width: int) -> dict[str, torch.Tensor]:
    """Return tensors that an architecture has beside its weights."""
    rising = torch.linspace(-1.0, 5.0, n_features)
    if architecture == "gated":
        return {"gate_bias": -rising, "magnitude_scale": torch.linspace(0.5, 2.0, n_features)}
    if architecture == "crosscoder":
        return {"widths": torch.tensor([width // 2, width - width // 2])}
    return {"threshold": rising if architecture == "jumprelu" else torch.tensor(4.0)}


def train_small(out: Path, **changes: Any) -> SparseAutoencoder:
    """Train a small autoencoder in a second."""
    _, source = planted_source()
    settings: dict[str, Any] = {"features": 96, "k": 3, "n_tokens": 20_000, "batch_size": 256}
    settings |= {"dead_after": 2000, "checkpoint_every": 7, "progress": False}
    return train(source, out=out, **{**settings, **changes})
