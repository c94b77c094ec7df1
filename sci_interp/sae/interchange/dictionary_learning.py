"""dictionary_learning (Marks, Karvonen, Mueller): ``ae.pt`` beside ``config.json``.

The class in the settings decides; TopK and BatchTopK have the same tensors. Biases in saved files
are already in the units of the activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sci_interp.errors import InputError, UnknownNameError

from .parts import Facts, Parts, batch_rule, name_layer
from .reading import Source

__all__ = ["by_settings", "by_tensors", "linear", "read", "read_matryoshka"]

#: Only InterPLM's files hold this tensor.
RESCALING = "activation_rescale_factor"

#: By the class's name; "topk" and "batch_topk" may also be given as ``architecture``.
CLASSES = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batch_topk",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "MatryoshkaBatchTopKSAE": "matryoshka",
}


def by_settings(source: Source) -> bool:
    """Tell by the settings of its trainers."""
    return "trainer" in source.config()


def by_tensors(names: frozenset[str]) -> bool:
    """Tell by tensors of its classes, but for those of InterPLM, which it began with."""
    plain = {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"} <= names
    gated = {"r_mag", "gate_bias", "mag_bias", "decoder_bias", "encoder.weight"} <= names
    counted = {"encoder.weight", "b_dec", "k"} <= names and RESCALING not in names
    return plain or gated or counted


def read(source: Source, facts: Facts) -> Parts:
    """Read a file of any of its classes."""
    trainer = _trainer(source)
    architecture = _architecture(source, facts, trainer.get("dict_class"))
    parts = READERS[architecture](source, facts, trainer)
    notes = {name: trainer[name] for name in ("steps", "lr", "trainer_class") if name in trainer}
    return Parts(**{**parts, "notes": {**notes, **parts.get("notes", {})}})


def _trainer(source: Source) -> Mapping[str, Any]:
    found = source.config().get("trainer", {})
    return found if isinstance(found, Mapping) else {}


def _architecture(source: Source, facts: Facts, class_name: Any) -> str:
    if isinstance(class_name, str) and class_name not in CLASSES:
        raise UnknownNameError("class of dictionary_learning", class_name, CLASSES)
    stated = CLASSES[class_name] if isinstance(class_name, str) else _by_tensors(source)
    if facts.architecture is not None and stated not in (None, facts.architecture):
        raise InputError(
            f"architecture={facts.architecture!r} is given, and {source.path} is {stated!r}"
        )
    found = stated or facts.architecture
    if found is None:
        raise InputError(
            f"{source.path} does not say its architecture",
            allowed="topk, batch_topk: their tensors are the same, their codes are not",
            todo='Give it: load_sae(..., architecture="topk")',
        )
    if found not in READERS:
        raise UnknownNameError("architecture", found, READERS)
    return found


def _by_tensors(source: Source) -> str | None:
    state = source.state
    if "r_mag" in state:
        return "gated"
    if "group_sizes" in state:
        return "matryoshka"
    if "threshold" in state and source.tensor("threshold", *[None] * state["threshold"].ndim).ndim:
        return "jumprelu"
    return None if "k" in state else "relu"


def _common(facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    number = trainer.get("layer")
    layer = trainer.get("submodule_name") or (number if isinstance(number, int) else None)
    parent = facts.parent or trainer.get("lm_name")
    return {"layer": name_layer(facts, layer), "parent": parent}


def linear(source: Source) -> dict[str, Any]:
    """Return encoder and decoder that are ``torch.nn.Linear``."""
    encoder = source.tensor("encoder.weight", None, None)
    n_features, width = encoder.shape
    decoder = source.tensor("decoder.weight", width, n_features).t().contiguous()
    return {"encoder": encoder, "decoder": decoder}


def _read_relu(source: Source, facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    parts = _common(facts, trainer) | linear(source)
    n_features, width = parts["encoder"].shape
    parts |= {"architecture": "relu", "encoder_bias": source.tensor("encoder.bias", n_features)}
    if "bias" not in source.state:  # AutoEncoderNew subtracts nothing.
        return parts | {"subtracted": None, "added": source.tensor("decoder.bias", width)}
    bias = source.tensor("bias", width)
    # Its from_pretrained scales features to decoder rows of unit length.
    length = parts["decoder"].norm(dim=1)
    if not torch.allclose(length, torch.ones_like(length)):
        parts["decoder"] = parts["decoder"] / length[:, None]
        parts["encoder"] = parts["encoder"] * length[:, None]
        parts["encoder_bias"] = parts["encoder_bias"] * length
    return parts | {"subtracted": bias, "added": bias}


def _read_topk(source: Source, facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    parts = _common(facts, trainer) | linear(source)
    n_features, width = parts["encoder"].shape
    bias = source.tensor("b_dec", width)
    return parts | {
        "architecture": "topk",
        "encoder_bias": source.tensor("encoder.bias", n_features),
        "subtracted": bias,
        "added": bias,
        "k": facts.settle_k(source.number("k") or trainer.get("k")),
    }


def _read_batch_topk(source: Source, facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    rule = batch_rule(facts, source.number("threshold"))
    return _read_topk(source, facts, trainer) | dict(
        zip(("architecture", "tensors"), rule, strict=True)
    )


def _read_gated(source: Source, facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    parts = _common(facts, trainer) | linear(source)
    n_features, width = parts["encoder"].shape
    bias = source.tensor("decoder_bias", width)
    return parts | {
        "architecture": "gated",
        "encoder_bias": source.tensor("mag_bias", n_features),
        "subtracted": bias,
        "added": bias,
        "tensors": {
            "gate_bias": source.tensor("gate_bias", n_features),
            "magnitude_scale": source.tensor("r_mag", n_features).exp(),
        },
    }


def _matrices(source: Source) -> dict[str, Any]:
    """Return encoder and decoder that are plain matrices."""
    encoder = source.tensor("W_enc", None, None).t().contiguous()
    n_features, width = encoder.shape
    return {
        "encoder": encoder,
        "encoder_bias": source.tensor("b_enc", n_features),
        "decoder": source.tensor("W_dec", n_features, width),
        "added": source.tensor("b_dec", width),
    }


def _read_jumprelu(source: Source, facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    parts = _common(facts, trainer) | _matrices(source)
    threshold = source.tensor("threshold", len(parts["encoder"]))
    return parts | {
        "architecture": "jumprelu",
        "subtracted": None,
        "tensors": {"threshold": threshold},
    }


def read_matryoshka(source: Source, facts: Facts, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a Matryoshka autoencoder; all of its groups are used."""
    parts = _common(facts, trainer) | _matrices(source)
    architecture, tensors = batch_rule(facts, source.number("threshold"), architecture="matryoshka")
    sizes = source.tensor("group_sizes", None).int().tolist()
    return parts | {
        "architecture": architecture,
        "subtracted": parts["added"],
        "tensors": tensors,
        "k": facts.settle_k(source.number("k") or trainer.get("k")),
        "notes": {"group_sizes": sizes},
    }


READERS: Mapping[str, Callable[[Source, Facts, Mapping[str, Any]], dict[str, Any]]] = {
    "relu": _read_relu,
    "topk": _read_topk,
    "batch_topk": _read_batch_topk,
    "gated": _read_gated,
    "jumprelu": _read_jumprelu,
    "matryoshka": read_matryoshka,
}
