"""Goodfire's autoencoder of Evo 2 (2025): one matrix, tied, selected in batches.

Nothing is subtracted. Neither k nor a threshold is in the file: the program selects k times the
tokens of whatever batch it is given.
"""

from __future__ import annotations

from .parts import Facts, Parts, batch_rule, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its files come without settings."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by the one matrix."""
    return {"W", "b_enc", "b_dec"} <= names


def read(source: Source, facts: Facts) -> Parts:
    """Read a checkpoint; ``k`` and ``threshold`` are to be given."""
    encoder = source.tensor("W", None, None).t().contiguous()
    n_features, width = encoder.shape
    architecture, tensors = batch_rule(facts, None)
    return Parts(
        encoder=encoder,
        encoder_bias=source.tensor("b_enc", n_features),
        decoder=encoder.clone(),
        subtracted=None,
        added=source.tensor("b_dec", width),
        architecture=architecture,
        k=facts.settle_k(None),
        tensors=tensors,
        norm_factor=facts.norm_factor or 1.0,
        layer=name_layer(facts, None, lambda number: f"blocks.{number}"),
        parent=facts.parent,
        special_tokens="unknown",
    )
