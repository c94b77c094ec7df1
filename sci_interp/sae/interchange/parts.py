"""What every format comes down to, what a user adds to it, and the autoencoder made of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from sci_interp.errors import InputError
from sci_interp.sae.abs_topk import mirrored
from sci_interp.sae.model import SparseAutoencoder
from sci_interp.sae.normalisation import Normalisation, NormalisationKind
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.statistics import FROM_ACTIVATIONS, UNMEASURED
from sci_interp.sae.weights import Weights

from .reading import Source

__all__ = ["Facts", "Parts", "Threshold", "assemble", "batch_rule", "name_layer"]

Threshold: TypeAlias = float | Literal["per_token"]

#: Architectures that select by rank, so that they are nothing without a k.
RANKED = ("topk", "abs_topk", "transcoder")

_MEANING = {
    "k": "active features per token",
    "norm_factor": "what activations are divided by",
    "threshold": 'of use, or threshold="per_token" to take the k highest of every token',
    "layer": "name of the layer in the adapter, or its number in the source's own counting",
    "parent": "name of the network",
}


@dataclass(frozen=True)
class Facts:
    """What a user says of a checkpoint; None where the file is to say it.

    Attributes
    ----------
    layer, parent, k, norm_factor, threshold, architecture, normalisation
        See :func:`sci_interp.sae.interchange.load_sae`.
    """

    layer: str | int | None = None
    parent: str | None = None
    k: int | None = None
    norm_factor: float | None = None
    threshold: Threshold | None = None
    architecture: str | None = None
    normalisation: Literal["none", "token"] | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise InputError(f"k={self.k} is not usable", allowed="1 or more")
        for name in ("norm_factor", "threshold"):
            given = getattr(self, name)
            if given is None or given == "per_token":
                continue
            if not (math.isfinite(given) and given >= 0 and (given > 0 or name == "threshold")):
                raise InputError(f"{name}={given} is not usable", allowed="a positive number")

    def settle_k(self, found: Any) -> int | None:
        """Return k of the user or of the file.

        Raises
        ------
        InputError
            If they differ.
        """
        stated = None if found is None else int(found)
        if self.k is not None and stated is not None and self.k != stated:
            raise InputError(f"k={self.k} is given, and the checkpoint says k={stated}")
        return stated if self.k is None else self.k


@dataclass(frozen=True, eq=False)
class Parts:
    """An autoencoder as its source has it.

    A token ``x`` becomes ``rows = T(x) / norm_factor - subtracted``, reads ``rows @ encoder.T +
    encoder_bias``, and is rebuilt as ``(codes @ decoder + added) * norm_factor``, taken back by T.

    Attributes
    ----------
    encoder, decoder : (n_features, width) float32
        The decoder of a transcoder has the width of the layer that it writes, as ``added`` has.
    encoder_bias : (n_features,) float32 or None
    subtracted, added : (width,) float32 or None
        None stands for zeros.
    architecture : str
        One of ours.
    k : int or None
        None where unknown.
    tensors : mapping
        What the architecture needs besides.
    kind : str
        T: one of our normalisations, or ``"none"``.
    norm_factor : float or None
        None where unknown.
    scale : (n_features,) float32 or None
        Largest activation of every feature, where it is known.
    layer, parent : str or None
    transcodes : bool
        Whether another layer is written, as it is.
    special_tokens : str
        What its training did with tokens that stand for no position of a record.
    notes : mapping
        What else the source says.
    """

    encoder: torch.Tensor
    decoder: torch.Tensor
    encoder_bias: torch.Tensor | None
    subtracted: torch.Tensor | None
    added: torch.Tensor | None
    architecture: str
    layer: str | None
    parent: str | None
    k: int | None = None
    tensors: Mapping[str, torch.Tensor | None] = field(default_factory=dict)
    kind: NormalisationKind = "none"
    norm_factor: float | None = 1.0
    scale: torch.Tensor | None = None
    transcodes: bool = False
    special_tokens: str = "unknown"
    notes: Mapping[str, Any] = field(default_factory=dict)


def assemble(parts: Parts, facts: Facts, source: Source, name: str) -> SparseAutoencoder:
    """Build the autoencoder.

    Parameters
    ----------
    parts, source
        What was read, and where.
    facts
        What the user gave.
    name
        Of the format.

    Raises
    ------
    InputError
        If facts are missing, all of which are named, or one that is given has no place.
    """
    _require_facts(parts, source, name)
    _require_used(parts, facts, source, name)
    n_features, width = parts.encoder.shape
    written = parts.decoder.shape[1]
    assert len(parts.decoder) == n_features and (parts.transcodes or written == width)
    subtracted = torch.zeros(width) if parts.subtracted is None else parts.subtracted
    added = torch.zeros(written) if parts.added is None else parts.added
    factor = float(parts.norm_factor or 0.0)
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(
            f"the norm factor of {source.path} is {factor}", allowed="a positive number"
        )
    weights = Weights(
        encoder=parts.encoder,
        encoder_bias=torch.zeros(n_features) if parts.encoder_bias is None else parts.encoder_bias,
        decoder=parts.decoder,
        decoder_bias=added if parts.transcodes else added - subtracted,
    )
    if parts.architecture == "abs_topk":
        weights = mirrored(weights)
    sparsity = sparsity_of(parts.architecture, parts.k or 1)
    if not 1 <= sparsity.k <= n_features:
        raise InputError(
            f"k={sparsity.k} is not usable with {n_features} features of {source.path}"
        )
    sparsity.restore({key: held for key, held in parts.tensors.items() if held is not None})
    unknown = [each for each in FROM_ACTIVATIONS if each != "scale" or parts.scale is None]
    if parts.k is None:
        unknown.append("k")
    training = {
        "format": name,
        "special_tokens": parts.special_tokens,
        UNMEASURED: unknown,
        **parts.notes,
    }
    scale = torch.ones(weights.n_features) if parts.scale is None else parts.scale
    return SparseAutoencoder(
        weights=weights,
        sparsity=sparsity,
        normalisation=Normalisation(
            parts.kind, torch.zeros(width), subtracted * factor, torch.full((width,), factor)
        ),
        scale=scale.numpy().astype(np.float32),
        firing_rate=np.zeros(weights.n_features, np.float32),
        parent={"model": str(parts.parent), "layer": str(parts.layer)},
        training=training,
        output=_as_it_is(written) if parts.transcodes else None,
    )


def _as_it_is(width: int) -> Normalisation:
    return Normalisation("none", torch.zeros(width), torch.zeros(width), torch.ones(width))


def batch_rule(
    facts: Facts, found: float | None, *, architecture: str = "batch_topk"
) -> tuple[str, dict[str, torch.Tensor | None]]:
    """Return architecture and tensors of an autoencoder whose training selected in batches.

    In use a threshold takes the batch's place. A negative one was never set.
    """
    if facts.threshold == "per_token":
        return "topk", {}
    known = facts.threshold if facts.threshold is not None else found
    usable = known is not None and float(known) >= 0
    return architecture, {"threshold": torch.tensor(float(known or 0.0)) if usable else None}


def name_layer(
    facts: Facts, found: str | int | None, naming: Callable[[int], str | None] = str
) -> str | None:
    """Return the layer's name in an adapter.

    Parameters
    ----------
    facts
        May name the layer, or give its number.
    found
        What the checkpoint says.
    naming
        From a number, as the format's source counts, to a name; None where there is none.
    """
    layer = found if facts.layer is None else facts.layer
    return naming(layer) if isinstance(layer, int) else layer


def _require_facts(parts: Parts, source: Source, name: str) -> None:
    known: dict[str, Any] = {"layer": parts.layer, "parent": parts.parent}
    known["norm_factor"] = parts.norm_factor
    if parts.architecture in RANKED:
        known["k"] = parts.k
    known |= parts.tensors
    missing = [fact for fact in _MEANING if fact in known and known[fact] is None]
    if missing:
        raise InputError(
            f"{source.path}, read as {name}, does not say {' and '.join(missing)}",
            allowed="; ".join(f"{fact}: {_MEANING[fact]}" for fact in missing),
            todo=f"Give them: load_sae(..., {', '.join(f'{fact}=...' for fact in missing)})",
        )


def _require_used(parts: Parts, facts: Facts, source: Source, name: str) -> None:
    """Refuse a fact that the checkpoint contradicts, or that has no meaning for it."""
    in_batches = parts.architecture in ("batch_topk", "matryoshka")
    ranked = parts.architecture == "topk"
    per_token = facts.threshold == "per_token"
    # Given batches and a rule for single tokens, what is read is topk.
    renamed = per_token and facts.architecture == "batch_topk" and parts.architecture == "topk"
    used = {
        "k": parts.k,
        "norm_factor": parts.norm_factor,
        "normalisation": parts.kind,
        "architecture": facts.architecture if renamed else parts.architecture,
        "threshold": facts.threshold if (ranked if per_token else in_batches) else None,
    }
    for fact, held in used.items():
        given = getattr(facts, fact)
        if given not in (None, held):
            raise InputError(
                f"{fact}={given!r} is given, and {source.path}, read as {name}, "
                + ("has no use for it" if held is None else f"has {held!r}"),
                todo=f"Leave out {fact}",
            )
