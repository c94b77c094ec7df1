"""Biohub's autoencoders of ESM C (2026): ``config.json`` beside ``layer_{i}.safetensors``.

TopK without an encoder bias on tokens that are standardised one by one; layer i is hidden state i.
``max`` is the largest activation of every feature, and ``idf`` a weight for display; in the
releases of all layers both are ones that stand for nothing.
"""

from __future__ import annotations

import re

from sci_interp.errors import InputError

from .esm_layers import esmc_layer
from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["MODEL_TYPE", "by_settings", "by_tensors", "read"]

MODEL_TYPE = "esmc_sae"


def by_settings(source: Source) -> bool:
    """Tell by the model type, or by the settings it goes with."""
    config = source.config()
    return config.get("model_type") == MODEL_TYPE or {"codebook_dim", "k"} <= set(config)


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by the tensors of one layer."""
    return {"W_enc", "W_dec", "b_dec", "idf", "max"} <= names


def read(source: Source, facts: Facts) -> Parts:
    """Read one layer: ``layer`` gives its number where there are several."""
    config = source.config()
    number = _number(source, facts)
    path = source.path if source.path.is_file() else source.folder / f"layer_{number}.safetensors"
    state = source.read(path)
    encoder = source.tensor("W_enc", None, None, state=state).t().contiguous()
    n_features, width = encoder.shape
    if (config.get("codebook_dim", n_features), config.get("d_model", width)) != encoder.shape:
        raise InputError(
            f"{path} has {n_features} features of width {width}, and config.json says "
            f"{config.get('codebook_dim')} of {config.get('d_model')}",
            todo="Download both again; they belong to different autoencoders",
        )
    bias = source.tensor("b_dec", width, state=state)
    named = Facts(layer=facts.layer if isinstance(facts.layer, str) else number)
    return Parts(
        encoder=encoder,
        encoder_bias=None,
        decoder=source.tensor("W_dec", n_features, width, state=state),
        subtracted=bias,
        added=bias,
        architecture="topk",
        k=facts.settle_k(config.get("k")),
        kind="layer",
        scale=source.measured_scale("max", n_features, state=state),
        layer=name_layer(named, None, esmc_layer(width)),
        parent=facts.parent,
        special_tokens="unknown",
    )


def _number(source: Source, facts: Facts) -> int | None:
    """Return the number of the hidden state: given, or the only one there is."""
    available = source.config().get("available_layers") or []
    if source.path.is_file():
        found = re.fullmatch(r"layer_(\d+)", source.path.stem)
        available = [int(found[1])] if found else available
    if isinstance(facts.layer, str):
        inner = re.fullmatch(r"layers\.(\d+)", facts.layer)
        given = int(inner[1]) + 1 if inner else 0 if facts.layer == "embed_tokens" else None
    else:
        given = facts.layer
    if given is None and len(available) == 1:
        return int(available[0])
    if available and given not in available:
        raise InputError(
            f"{source.path} holds several layers"
            if given is None
            else f"{source.path} has no layer {given}",
            allowed=f"hidden states {', '.join(map(str, available))}",
            todo="Give the number of one: load_sae(..., layer=...)",
        )
    return given
