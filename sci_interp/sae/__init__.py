"""Sparse autoencoders: train, load, encode, measure."""

from __future__ import annotations

from .faithfulness import Fidelity, fidelity
from .files import load_sae, save_sae
from .model import SparseAutoencoder
from .training import train

__all__ = ["Fidelity", "SparseAutoencoder", "fidelity", "load_sae", "save_sae", "train"]
