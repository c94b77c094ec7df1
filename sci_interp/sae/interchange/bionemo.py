"""The sparse autoencoders of NVIDIA's BioNeMo recipes: ``checkpoint_final.pt``.

TopK where steps since the last activity are kept, ReLU where not. Tokens may be standardised.
``model_config`` says so, and k; older files lack it. Layers count as hidden states of ESM-2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sci_interp.errors import InputError
from sci_interp.sae.normalisation import NormalisationKind

from .dictionary_learning import linear
from .esm_layers import esm2_layer
from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its settings are inside the weights."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by biases of their own, without the statistics that OpenAI's files hold."""
    layers = {"pre_bias", "latent_bias", "encoder.weight", "decoder.weight"} <= names
    return layers and not {"activation", "latents_activation_frequency"} & names


def read(source: Source, facts: Facts) -> Parts:
    """Read a checkpoint with or without its settings."""
    config = source.entries.get("model_config", {})
    config = config if isinstance(config, Mapping) else {}
    parts: dict[str, Any] = linear(source)
    n_features, width = parts["encoder"].shape
    bias = source.tensor("pre_bias", width)
    ranked = "stats_last_nonzero" in source.state
    kind = _kind(source, facts, config, ranked=ranked)
    # TopK divides by the unbiased deviation of a token; ours is the other one times a factor.
    factor = (width / (width - 1)) ** 0.5 if kind == "token" else 1.0
    return Parts(
        **parts,
        encoder_bias=source.tensor("latent_bias", n_features),
        subtracted=bias,
        added=bias,
        architecture="topk" if ranked else "relu",
        k=facts.settle_k(config.get("top_k")),
        kind=kind,
        norm_factor=factor,
        layer=name_layer(facts, None, esm2_layer(width)),
        parent=facts.parent,
        special_tokens="unknown",
    )


def _kind(
    source: Source, facts: Facts, config: Mapping[str, Any], *, ranked: bool
) -> NormalisationKind:
    if not config and facts.normalisation is None:
        raise InputError(
            f"{source.path} does not say whether tokens were standardised",
            allowed='"token" where they were, "none" where not',
            todo="Give it: load_sae(..., normalisation=...)",
        )
    stated = config.get("normalize_input", facts.normalisation == "token")
    if stated and not ranked:
        raise InputError(
            f"{source.path} normalises its input and not its output, so that it rebuilds nothing",
            allowed="ReLU autoencoders with normalize_input=False",
        )
    return "token" if stated else "none"
