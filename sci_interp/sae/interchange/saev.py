"""saev (OSU NLP): one file, a line of JSON and then a torch file; the bias is not subtracted.

BatchTopK keeps a threshold for use, and before it had one it selected in every token alone. TopK
keeps whatever sign the k highest have, which with a usual k are positive; here those alone count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sci_interp.errors import InputError

from .parts import Facts, Parts, batch_rule, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]

THRESHOLD = "activation.threshold"


def by_settings(source: Source) -> bool:
    """Tell by the first line of a single file."""
    if not source.path.is_file() and source.config():
        return False
    try:
        header = source.header
    except InputError:
        return False
    return "schema" in header and "cfg" in header


def by_tensors(names: frozenset[str]) -> bool:  # noqa: ARG001 - of the reader's interface
    """Without settings its files mean nothing."""
    return False


def read(source: Source, facts: Facts) -> Parts:
    """Read a file of any schema with an activation in its settings."""
    config = source.header["cfg"]
    activation = config.get("activation") if isinstance(config, Mapping) else None
    if not isinstance(activation, Mapping):
        raise InputError(f"{source.path} names no activation", todo="Save it with a newer saev")
    name = str(activation.get("cls"))
    params = activation.get("params") or {}
    encoder = source.tensor("W_enc", None, None).t().contiguous()
    n_features, width = encoder.shape
    architecture, tensors = _rule(source, facts, name)
    ranked = architecture in ("topk", "batch_topk")
    return Parts(
        encoder=encoder,
        encoder_bias=source.tensor("b_enc", n_features),
        decoder=source.tensor("W_dec", n_features, width),
        subtracted=None,
        added=source.tensor("b_dec", width),
        architecture=architecture,
        k=facts.settle_k(params.get("top_k") if ranked else None),
        tensors=tensors,
        layer=name_layer(facts, None),
        parent=facts.parent,
        special_tokens="unknown",
    )


def _rule(source: Source, facts: Facts, name: str) -> tuple[str, dict[str, Any]]:
    if name == "Relu":
        return "relu", {}
    if name == "TopK" or (name == "BatchTopK" and THRESHOLD not in source.state):
        return "topk", {}
    if name == "BatchTopK":
        return batch_rule(facts, source.number(THRESHOLD))
    raise InputError(f"{source.path} has the activation {name!r}", allowed="Relu, TopK, BatchTopK")
