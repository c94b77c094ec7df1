"""InterPLM (Simon and Zou 2025, Nature Methods): ``ae_*.pt`` of the hub, and files of version 1.

The first are ReLU autoencoders that subtract and add one bias. Version 1 has four more classes,
keeps the largest activation of every feature, and may scale tokens to the length √width. Training
left BOS and EOS out; layers count as hidden states of ESM-2.
"""

from __future__ import annotations

from typing import Any

import torch

from sci_interp.errors import InputError, UnknownNameError

from .dictionary_learning import RESCALING, linear
from .esm_layers import esm2_layer
from .parts import Facts, Parts, batch_rule, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]

ROOT = "normalize_to_sqrt_d"


def by_settings(source: Source) -> bool:  # noqa: ARG001 - of the reader's interface
    """Its settings hold tags that make objects, and are not read."""
    return False


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by ``bias`` beside linear layers, or by the tensors of version 1."""
    layers = {"encoder.weight", "encoder.bias", "decoder.weight"} <= names
    return layers and ("bias" in names or RESCALING in names or ROOT in names)


def read(source: Source, facts: Facts) -> Parts:
    """Read a file of either age."""
    made: dict[str, Any] = linear(source)
    n_features, width = made["encoder"].shape
    made["encoder_bias"] = source.tensor("encoder.bias", n_features)
    architecture = _architecture(source, facts)
    tensors: dict[str, torch.Tensor | None] = {}
    if architecture == "batch_topk":
        architecture, tensors = batch_rule(facts, source.number("threshold"))
    elif architecture == "jumprelu":
        tensors = {"threshold": source.tensor("threshold", n_features)}
    subtracted, added = _biases(source, width)
    rooted = ROOT in source.state and bool(source.tensor(ROOT).item())
    return Parts(
        **made,
        subtracted=subtracted,
        added=added,
        architecture=architecture,
        k=facts.settle_k(source.number("k")),
        tensors=tensors,
        kind="length" if rooted else "none",
        scale=_scale(source, n_features),
        layer=name_layer(facts, None, esm2_layer(width)),
        parent=facts.parent,
        special_tokens="left out",
    )


def _architecture(source: Source, facts: Facts) -> str:
    state = source.state
    if "k" not in state:
        thresholds = "threshold" in state and state["threshold"].ndim == 1
        found = "jumprelu" if thresholds else "relu"
        if facts.architecture not in (None, found):
            raise InputError(
                f"architecture={facts.architecture!r} is given, and {source.path} is {found!r}"
            )
        return found
    if facts.architecture is None:
        raise InputError(
            f"{source.path} does not say its architecture",
            allowed="topk, batch_topk: their tensors are the same, their codes are not",
            todo='Give it: load_sae(..., architecture="topk")',
        )
    if facts.architecture not in ("topk", "batch_topk"):
        raise UnknownNameError("architecture", facts.architecture, ("topk", "batch_topk"))
    return facts.architecture


def _biases(source: Source, width: int) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Return what is subtracted before the encoder, and added after the decoder."""
    for name in ("bias", "b_dec"):
        if name in source.state:
            both = source.tensor(name, width)
            return both, both
    return None, source.tensor("decoder.bias", width)


def _scale(source: Source, n_features: int) -> torch.Tensor | None:
    """Return the largest activations; they are ones where they were never measured."""
    if RESCALING not in source.state:
        return None
    return source.measured_scale(RESCALING, n_features)
