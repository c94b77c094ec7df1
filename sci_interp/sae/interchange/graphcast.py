"""The autoencoder of GraphCast (MacMillan and Ouellette 2025, arXiv 2512.24440).

Every node is brought to mean 0 and length 1, one bias is subtracted and added, there is no other;
decoder rows are taken at unit length. k is not in the file (the paper's is 32), and layers count
steps of the processor.
"""

from __future__ import annotations

from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its files come without settings."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by two layers without biases and the shared one."""
    return {"enc.weight", "dec.weight", "b_pre"} <= names


def read(source: Source, facts: Facts) -> Parts:
    """Read a checkpoint; ``k`` is to be given."""
    encoder = source.tensor("enc.weight", None, None)
    n_features, width = encoder.shape
    decoder = source.tensor("dec.weight", width, n_features).t().contiguous()
    bias = source.tensor("b_pre", width)
    return Parts(
        encoder=encoder,
        encoder_bias=None,
        decoder=decoder / decoder.norm(dim=1, keepdim=True).clamp_min(1e-8),
        subtracted=bias,
        added=bias,
        architecture="topk",
        k=facts.settle_k(None),
        kind="unit",
        layer=name_layer(facts, None),
        parent=facts.parent,
        special_tokens="none exist",
    )
