"""Training runs for the kill test; what each would load anew is loaded when this is imported."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sae_world import planted_source, train_small

from sci_interp.sae import SparseAutoencoder, Sweep, sweep


def train_topk(out: Path) -> SparseAutoencoder:
    """Train for 24 steps, some with dead features."""
    return train_small(out, n_tokens=6000, dead_after=1000)


def train_batch_topk(out: Path) -> SparseAutoencoder:
    """Train a BatchTopK autoencoder, whose threshold is learned too."""
    return train_small(out, architecture="batch_topk", n_tokens=6000)


def train_gated(out: Path) -> SparseAutoencoder:
    """Train with a steered price, whitening and resampling."""
    options = {"whitening": True, "revival": "resampling", "centre": "geometric_median"}
    return train_small(out, architecture="gated", n_tokens=6000, dead_after=600, **options)


def train_jumprelu(out: Path) -> SparseAutoencoder:
    """Train thresholds."""
    return train_small(out, architecture="jumprelu", n_tokens=6000, dead_after=1000)


def sweep_three(out: Path) -> Sweep:
    """Train three runs of two seeds in one pass."""
    runs = [{"k": 3}, {"k": 3, "seed": 1}, {"k": 4, "architecture": "batch_topk"}]
    return sweep(
        planted_source()[1],
        out=out,
        runs=runs,
        features=96,
        n_tokens=6000,
        batch_size=256,
        dead_after=1000,
        checkpoint_every=7,
        progress=False,
    )


with tempfile.TemporaryDirectory() as warm:
    train_topk(Path(warm) / "topk")
    train_batch_topk(Path(warm) / "batch_topk")
    train_gated(Path(warm) / "gated")
    train_jumprelu(Path(warm) / "jumprelu")
    sweep_three(Path(warm) / "sweep")
