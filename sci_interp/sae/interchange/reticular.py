"""Reticular's SAEFold (Parsan et al. 2025, arXiv 2503.08764): Matryoshka BatchTopK on ESM2-3B.

The tensors are those of dictionary_learning, but biases and threshold are in units of normalised
activations, and what those were divided by is not in the file. Layers count as hidden states.
"""

from __future__ import annotations

from dataclasses import replace

from . import dictionary_learning
from .esm_layers import esm2_layer
from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its files come without settings."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by the tensors, which dictionary_learning has as well."""
    return {"W_enc", "b_enc", "W_dec", "b_dec", "group_sizes"} <= names


def read(source: Source, facts: Facts) -> Parts:
    """Read a checkpoint; ``norm_factor`` is to be given."""
    parts = Parts(**dictionary_learning.read_matryoshka(source, facts, {}))
    layer = name_layer(facts, None, esm2_layer(parts.encoder.shape[1]))
    return replace(parts, layer=layer, norm_factor=facts.norm_factor, special_tokens="unknown")
