"""Llamascopium (OpenMOSS, Language-Model-SAEs), and Llama Scope, which its older age made.

Nothing is subtracted. Activations are brought to the length √width, each by its own or all by
their mean length. Features compete in units in which decoder rows have unit length; ReLU and
JumpReLU keep theirs, and TopK's codes are in units of the competition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sci_interp.errors import InputError
from sci_interp.sae.normalisation import NormalisationKind

from .parts import Facts, Parts, batch_rule, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "read"]

OLD_SETTINGS = "hyperparams.json"
LOG_THRESHOLD = "log_jumprelu_threshold"
MEAN_LENGTH = "dataset_average_activation_norm"
KINDS: Mapping[str, NormalisationKind] = {
    "token-wise": "length",
    "dataset-wise": "none",
    "inference": "none",
}


def by_settings(source: Source) -> bool:
    """Tell by settings of either age."""
    return bool({"sae_type", "act_fn"} <= set(source.config()) or _old(source))


def by_tensors(names: frozenset[str]) -> bool:  # noqa: ARG001 - of the reader's interface
    """Without settings its files mean nothing."""
    return False


def read(source: Source, facts: Facts) -> Parts:
    """Read an autoencoder; its cross-layer relatives are refused."""
    config = source.config() or _old(source)
    inner, outer = config.get("hook_point_in"), config.get("hook_point_out")
    if config.get("sae_type", "sae") != "sae" or inner != outer or config.get("use_glu_encoder"):
        raise InputError(
            f"{source.path} is a {config.get('sae_type', 'sae')} from {inner} to {outer}",
            allowed="sae_type 'sae', from a layer to itself, without a gated encoder",
        )
    encoder, decoder = _matrices(source)
    n_features, width = encoder.shape
    bias = _first(source, ("b_E", "encoder.bias"), n_features)
    added = _first(source, ("b_D", "decoder.bias"), width)
    length = decoder.norm(dim=1)
    if not config.get("sparsity_include_decoder_norm", True):
        length = torch.ones(n_features)
    architecture, tensors = _rule(source, facts, config, length)
    if architecture in ("topk", "batch_topk"):
        encoder, decoder = encoder * length[:, None], decoder / length[:, None].clamp_min(1e-12)
        bias = None if bias is None else bias * length
    return Parts(
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder,
        subtracted=added if config.get("apply_decoder_bias_to_pre_encoder") else None,
        added=added,
        architecture=architecture,
        k=facts.settle_k(config.get("top_k") if architecture == "topk" else None),
        tensors=tensors,
        kind=_kind(source, config),
        norm_factor=_norm_factor(source, facts, config, width),
        layer=name_layer(facts, inner),
        parent=facts.parent or config.get("model_name"),
        special_tokens="unknown",
    )


def _old(source: Source) -> Mapping[str, Any]:
    found = source.config(OLD_SETTINGS)
    return found if "act_fn" in found else {}


def _matrices(source: Source) -> tuple[torch.Tensor, torch.Tensor]:
    if "W_E" in source.state:
        encoder = source.tensor("W_E", None, None).t().contiguous()
        return encoder, source.tensor("W_D", *encoder.shape)
    encoder = source.tensor("encoder.weight", None, None)
    return encoder, source.tensor("decoder.weight", *reversed(encoder.shape)).t().contiguous()


def _first(source: Source, names: tuple[str, ...], size: int) -> torch.Tensor | None:
    held = [name for name in names if name in source.state]
    return source.tensor(held[0], size) if held else None


def _rule(
    source: Source, facts: Facts, config: Mapping[str, Any], length: torch.Tensor
) -> tuple[str, dict[str, torch.Tensor | None]]:
    name = config.get("act_fn")
    if name in ("relu", "topk"):
        return str(name), {}
    if name == "batchtopk":
        return batch_rule(facts, None)
    if name != "jumprelu":
        raise InputError(
            f"{source.path} has the activation {name!r}",
            allowed="relu, jumprelu, topk, batchtopk",
        )
    held = [key for key in source.state if str(key).endswith(LOG_THRESHOLD)]
    if held:
        threshold = source.tensor(held[0], len(length)).exp()
    elif "jump_relu_threshold" in config:
        threshold = torch.full_like(length, float(config["jump_relu_threshold"]))
    else:
        raise InputError(f"{source.path} has no threshold", todo="Copy it from its source again")
    return "jumprelu", {"threshold": threshold / length.clamp_min(1e-12)}


def _kind(source: Source, config: Mapping[str, Any]) -> NormalisationKind:
    name = str(config.get("norm_activation", "dataset-wise"))
    if name not in KINDS:
        raise InputError(
            f"{source.path} normalises activations {name}, which depends on the batch",
            allowed=", ".join(KINDS),
        )
    return KINDS[name]


def _norm_factor(
    source: Source, facts: Facts, config: Mapping[str, Any], width: int
) -> float | None:
    if config.get("norm_activation", "dataset-wise") != "dataset-wise":
        return 1.0
    inner = config.get("hook_point_in")
    stated = config.get(MEAN_LENGTH)
    mean = stated.get("in") if isinstance(stated, Mapping) else None
    mean = mean or source.number(f"{MEAN_LENGTH}.{inner}")
    return facts.norm_factor if mean is None else float(mean) / width**0.5
