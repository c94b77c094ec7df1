"""OpenAI's ``sparse_autoencoder`` (Gao et al. 2024, arXiv 2406.04093): one ``.pt`` file.

A TopK activation means that tokens were standardised (LayerNorm without weights), as the program
itself infers; a ReLU means that they were not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sci_interp.errors import InputError

from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its files come without settings."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by biases of their own beside statistics or the activation's name."""
    layers = {"pre_bias", "latent_bias", "encoder.weight"} <= names
    return layers and bool({"activation", "latents_activation_frequency"} & names)


def read(source: Source, facts: Facts) -> Parts:
    """Read a file of either activation; tied decoders are the encoder itself."""
    state = source.state
    encoder = source.tensor("encoder.weight", None, None)
    n_features, width = encoder.shape
    decoder = encoder
    if "decoder.weight" in state:
        decoder = source.tensor("decoder.weight", width, n_features).t().contiguous()
    bias = source.tensor("pre_bias", width)
    name = state.get("activation", "ReLU")
    if name not in ("ReLU", "TopK"):
        raise InputError(f"{source.path} has the activation {name!r}", allowed="ReLU, TopK")
    ranked = name == "TopK"
    inner = state.get("activation_state_dict", {})
    inner = inner if isinstance(inner, Mapping) else {}
    if ranked and inner.get("postact_fn", "ReLU") != "ReLU":
        raise InputError(
            f"{source.path} keeps negative activations ({inner['postact_fn']} after TopK)",
            allowed="ReLU after TopK",
        )
    return Parts(
        encoder=encoder,
        encoder_bias=source.tensor("latent_bias", n_features),
        decoder=decoder,
        subtracted=bias,
        added=bias,
        architecture="topk" if ranked else "relu",
        k=facts.settle_k(_k(inner) if ranked else None),
        kind="layer" if ranked else "none",
        layer=name_layer(facts, None),
        parent=facts.parent,
        special_tokens="unknown",
    )


def _k(inner: Mapping[str, Any]) -> int | None:
    return None if "k" not in inner else int(inner["k"])
