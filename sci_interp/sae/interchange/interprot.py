"""InterProt (Adams et al. 2025, ICML): TopK on ESM-2 650M.

Tokens are standardised (LayerNorm without weights), ``b_pre`` is subtracted and added, and k is
not in the file. Training saw BOS and EOS; layers count as hidden states.
"""

from __future__ import annotations

from .esm_layers import esm2_layer
from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its files come without settings."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by names in lower case."""
    return {"w_enc", "w_dec", "b_enc", "b_pre"} <= names


def read(source: Source, facts: Facts) -> Parts:
    """Read a checkpoint; ``k`` is to be given."""
    encoder = source.tensor("w_enc", None, None).t().contiguous()
    n_features, width = encoder.shape
    bias = source.tensor("b_pre", width)
    return Parts(
        encoder=encoder,
        encoder_bias=source.tensor("b_enc", n_features),
        decoder=source.tensor("w_dec", n_features, width),
        subtracted=bias,
        added=bias,
        architecture="topk",
        k=facts.settle_k(None),
        kind="layer",
        layer=name_layer(facts, None, esm2_layer(width)),
        parent=facts.parent,
        special_tokens="trained with BOS and EOS",
    )
