"""SAELens (Bloom, Tigges, Duong, Chanin): ``cfg.json`` beside ``sae_weights.safetensors``.

Settings without a ``sae_lens_version`` of 6 or later are read by the older rules. Training files
hold a BatchTopK threshold, a scaling of the activations, or a whitening, which are folded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from sci_interp.errors import InputError, UnknownNameError
from sci_interp.sae.normalisation import NormalisationKind

from .parts import Facts, Parts, batch_rule, name_layer
from .reading import Source

__all__ = ["SETTINGS_FILE", "WEIGHTS_FILE", "by_settings", "by_tensors", "read"]

SETTINGS_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"
SCALER_FILE, WHITENING_FILE = "activation_scaler.json", "activation_whitening.safetensors"

#: Ours for each of theirs that encodes token by token.
ARCHITECTURES = {
    "standard": "relu",
    "gated": "gated",
    "topk": "topk",
    "abstopk": "abs_topk",
    "jumprelu": "jumprelu",
    "batchtopk": "batch_topk",
    "matryoshka_batchtopk": "matryoshka",
    "transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
}
KINDS: Mapping[str, NormalisationKind] = {
    "none": "none",
    "expected_average_only_in": "none",
    "covariance_whitening": "none",
    "layer_norm": "layer",
    "constant_norm_rescale": "length",
}
#: Names in settings before version 6.
RENAMED = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}


def by_settings(source: Source) -> bool:
    """Tell by its two files, or by settings with its names."""
    named = source.path.is_dir() and source.has(WEIGHTS_FILE)
    return source.has(SETTINGS_FILE) and (named or source.path.name == WEIGHTS_FILE)


def by_tensors(names: frozenset[str]) -> bool:  # noqa: ARG001 - of the reader's interface
    """Without settings its files mean nothing."""
    return False


def read(source: Source, facts: Facts) -> Parts:
    """Read an autoencoder, or a transcoder without a skip connection."""
    config = modern(source.config(SETTINGS_FILE))
    if not config:
        raise InputError(f"{source.path} has no {SETTINGS_FILE}", todo="Copy it from its source")
    name = str(config.get("architecture", "standard"))
    if name not in ARCHITECTURES:
        _refuse(source, name)
    encoder = source.tensor("W_enc", None, None).t().contiguous()
    n_features, width = encoder.shape
    transcodes = name.endswith("transcoder")
    decoder = source.tensor("W_dec", n_features, None if transcodes else width)
    bias = source.tensor("b_dec", decoder.shape[1])
    architecture = ARCHITECTURES[name]
    tensors: dict[str, torch.Tensor | None] = {}
    if architecture in ("batch_topk", "matryoshka"):
        architecture, tensors = batch_rule(
            facts, source.number("topk_threshold"), architecture=architecture
        )
    elif architecture == "jumprelu":
        tensors = {"threshold": source.tensor("threshold", n_features)}
    elif architecture == "gated":
        tensors = {
            "gate_bias": source.tensor("b_gate", n_features),
            "magnitude_scale": source.tensor("r_mag", n_features).exp(),
        }
    metadata = config["metadata"]
    found = Parts(
        encoder=encoder,
        encoder_bias=source.tensor("b_mag" if architecture == "gated" else "b_enc", n_features),
        decoder=decoder,
        subtracted=bias if config.get("apply_b_dec_to_input", True) and not transcodes else None,
        added=bias,
        architecture=architecture,
        k=facts.settle_k(config.get("k")),
        tensors=tensors,
        kind=_kind(source, config),
        norm_factor=_norm_factor(source, facts, config),
        layer=name_layer(facts, metadata.get("hook_name")),
        parent=facts.parent or metadata.get("model_name"),
        transcodes=transcodes,
        special_tokens="trained with BOS" if metadata.get("prepend_bos") else "unknown",
        notes={"source": {key: held for key, held in metadata.items() if _plain(held)}},
    )
    if config.get("rescale_acts_by_decoder_norm"):
        found = _rescaled(found)
    return _unwhitened(source, found) if _whitened(config) else found


def modern(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of any version as version 6 has them."""
    if not config:
        return {}
    metadata = config.get("metadata") or {}
    version = str(config.get("sae_lens_version") or metadata.get("sae_lens_version") or "0")
    major = re.match(r"\d+", version)
    if major is not None and int(major[0]) >= 6:
        return {**config, "metadata": metadata}
    renamed = {RENAMED.get(name, name): held for name, held in config.items()}
    k = (renamed.get("activation_fn_kwargs") or {}).get("k")
    if renamed.get("activation_fn") == "topk" and k is not None:
        renamed |= {"architecture": "topk", "k": k}
    normalised = renamed.get("normalize_activations")
    if normalised in (None, True, False):
        renamed["normalize_activations"] = "expected_average_only_in" if normalised else "none"
    renamed.setdefault("prepend_bos", True)
    return {**renamed, "metadata": renamed}


def _refuse(source: Source, name: str) -> None:
    reasons = {
        "skip": "adds a product of what it reads to what it writes",
        "temporal": "reads other tokens as well",
        "matching_pursuit": "encodes step by step",
    }
    for word, reason in reasons.items():
        if word in name:
            raise InputError(
                f"{source.path} is a {name}, which {reason}", allowed=", ".join(ARCHITECTURES)
            )
    raise UnknownNameError("SAELens architecture", name, ARCHITECTURES)


def _kind(source: Source, config: Mapping[str, Any]) -> NormalisationKind:
    name = str(config.get("normalize_activations") or "none")
    if name != "none" and "transcoder" in str(config.get("architecture")):
        raise InputError(
            f"{source.path} is a transcoder of normalised activations ({name})",
            allowed="transcoders of activations as they are",
        )
    if config.get("finetuning_scaling_factor"):
        raise InputError(
            f"{source.path} has a finetuned scaling of its features",
            allowed="finetuning_scaling_factor=false",
            todo="Fold it into the decoder with the version of SAELens that made it",
        )
    if name not in KINDS:
        raise UnknownNameError("normalisation of SAELens", name, KINDS)
    return KINDS[name]


def _norm_factor(source: Source, facts: Facts, config: Mapping[str, Any]) -> float | None:
    """Return what activations are divided by: of the file beside, or given."""
    if config.get("normalize_activations") != "expected_average_only_in":
        return 1.0
    scaling = source.config(SCALER_FILE).get("scaling_factor")
    return facts.norm_factor if scaling is None else 1.0 / float(scaling)


def _rescaled(parts: Parts) -> Parts:
    """Return features in units in which decoder rows have unit length, as they compete in."""
    length = parts.decoder.norm(dim=1)
    bias = parts.encoder_bias
    return Parts(
        **{
            **vars(parts),
            "encoder": parts.encoder * length[:, None],
            "encoder_bias": None if bias is None else bias * length,
            "decoder": parts.decoder / length[:, None].clamp_min(1e-12),
        }
    )


def _whitened(config: Mapping[str, Any]) -> bool:
    return config.get("normalize_activations") == "covariance_whitening"


def _unwhitened(source: Source, parts: Parts) -> Parts:
    """Fold a whitening ``(x - mean) @ matrix`` into the weights, in float64."""
    path = source.folder / WHITENING_FILE
    if not path.is_file():
        raise InputError(
            f"{source.path} was trained on whitened activations, and {WHITENING_FILE} is missing",
            todo="Copy it from the folder of the training",
        )
    width = parts.encoder.shape[1]
    state = source.read(path)
    mean = source.tensor("mean", width, state=state).double()
    matrix = source.tensor("matrix", width, width, state=state).double()
    inverse = source.tensor("inverse_matrix", width, width, state=state).double()
    encoder = parts.encoder.double() @ matrix.t()
    before = torch.zeros(width) if parts.subtracted is None else parts.subtracted
    added = torch.zeros(width) if parts.added is None else parts.added
    # ((x - mean) M - b) E.T = (x - mean - b M^-1) (E M.T).T
    return Parts(
        **{
            **vars(parts),
            "encoder": encoder.float(),
            "decoder": (parts.decoder.double() @ inverse).float(),
            "subtracted": (before.double() @ inverse + mean).float(),
            "added": (added.double() @ inverse + mean).float(),
        }
    )


def _plain(held: Any) -> bool:
    return isinstance(held, str | int | float | bool)
