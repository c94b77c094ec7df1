"""EleutherAI sparsify: ``cfg.json`` beside ``sae.safetensors``; TopK, the bias subtracted.

Transcoders subtract nothing; those with a skip connection are refused.
"""

from __future__ import annotations

from sci_interp.errors import InputError

from .parts import Facts, Parts, name_layer
from .reading import Source

__all__ = ["SETTINGS_FILE", "WEIGHTS_FILE", "by_settings", "by_tensors", "read"]

SETTINGS_FILE, WEIGHTS_FILE = "cfg.json", "sae.safetensors"


def by_settings(source: Source) -> bool:
    """Tell by its two files."""
    named = source.path.is_dir() and source.has(WEIGHTS_FILE)
    return source.has(SETTINGS_FILE) and (named or source.path.name == WEIGHTS_FILE)


def by_tensors(names: frozenset[str]) -> bool:  # noqa: ARG001 - of the reader's interface
    """Without settings its files mean nothing."""
    return False


def read(source: Source, facts: Facts) -> Parts:
    """Read a sparse coder; its folder is named by the layer."""
    config = source.config(SETTINGS_FILE)
    if config.get("skip_connection") or "W_skip" in source.state:
        raise InputError(
            f"{source.path} adds a product of what it reads to what it writes",
            allowed="sparse coders with skip_connection=false",
        )
    if config.get("activation", "topk") != "topk" or config.get("signed"):
        raise InputError(
            f"{source.path} selects features by {config.get('activation')!r}",
            allowed="topk, unsigned",
        )
    encoder = source.tensor("encoder.weight", None, None)
    n_features, width = encoder.shape
    transcodes = bool(config.get("transcode"))
    decoder = source.tensor("W_dec", n_features, None if transcodes else width)
    bias = source.tensor("b_dec", decoder.shape[1])
    return Parts(
        encoder=encoder,
        encoder_bias=source.tensor("encoder.bias", n_features),
        decoder=decoder,
        subtracted=None if transcodes else bias,
        added=bias,
        architecture="transcoder" if transcodes else "topk",
        transcodes=transcodes,
        k=facts.settle_k(config.get("k")),
        layer=name_layer(facts, None),
        parent=facts.parent,
        special_tokens="unknown",
    )
