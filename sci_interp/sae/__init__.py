"""Sparse autoencoders: train, load, encode, measure."""

from __future__ import annotations

from .faithfulness import Fidelity, fidelity
from .files import save_sae
from .interchange import load_sae
from .model import SparseAutoencoder
from .sweep_result import Sweep
from .sweeping import sweep
from .training import train

__all__ = [
    "Fidelity",
    "SparseAutoencoder",
    "Sweep",
    "fidelity",
    "load_sae",
    "save_sae",
    "sweep",
    "train",
]
