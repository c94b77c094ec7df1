"""Hand-written forward and backward pass of a sparse reconstruction.

With the active entries ``a`` of a token, their values ``v = relu(x . E[a] + b[a])`` and the
reconstruction ``y = sum(v * D[a]) + c``, the loss is the mean of ``|y - t|^2`` over tokens. Only
active entries have a gradient, so every product runs over entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .pattern import Pattern
from .weights import Weights

__all__ = ["Pass", "gradient_of", "reconstruction_pass", "values_of"]


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward and backward pass.

    Attributes
    ----------
    loss : () float32
        Mean squared error per token, summed over channels, and penalties.
    value : (n_entries,) float32
        Activation of every selected entry; 0 where the selection was too generous.
    error : (n_tokens, width) float32
        Reconstruction minus target.
    gradient : Weights
        Gradient of the loss.
    counts : (n_features,) int64
        Tokens on which each feature is active.
    own : mapping
        Gradient of the architecture's own parameters by name.
    """

    loss: torch.Tensor
    value: torch.Tensor
    error: torch.Tensor
    gradient: Weights
    counts: torch.Tensor
    own: Mapping[str, torch.Tensor] = field(default_factory=dict)


def values_of(
    rows: torch.Tensor, weights: Weights, pattern: Pattern, *, signed: bool = False
) -> torch.Tensor:
    """Return the float32 activations ``(n_entries,)`` of selected entries, cut at 0 or signed."""
    value = pattern.products(rows, weights.encoder).add_(weights.encoder_bias[pattern.feature])
    return value if signed else value.relu_()


def gradient_of(
    rows: torch.Tensor,
    pattern: Pattern,
    *,
    value: torch.Tensor,
    slope: torch.Tensor,
    upstream: torch.Tensor,
) -> Weights:
    """Return the gradient of all weights from those of pre-activations and reconstruction.

    Parameters
    ----------
    rows : (n_tokens, width) float32
        What the encoder read.
    pattern
        Entries of ``value`` and ``slope``.
    value, slope : (n_entries,) float32
        Activations, and the gradient of what they were cut from.
    upstream : (n_tokens, width) float32
        Gradient of the reconstruction.
    """
    return Weights(
        encoder=pattern.gather(slope, rows),
        encoder_bias=pattern.totals(slope),
        decoder=pattern.gather(value, upstream),
        decoder_bias=upstream.sum(0),
    )


def reconstruction_pass(
    rows: torch.Tensor,
    weights: Weights,
    pattern: Pattern,
    *,
    target: torch.Tensor | None = None,
    signed: bool = False,
) -> Pass:
    """Reconstruct ``target`` (the rows themselves, if None) and return loss and gradients.

    Parameters
    ----------
    rows : (n_tokens, width) float32
        Normalised activations, as the encoder sees them.
    weights
        The parameters.
    pattern
        Entries that may be active.
    target : (n_tokens, width) float32
        What to reconstruct; with a target the decoder bias takes no part.
    signed
        Whether activations may be negative.
    """
    value = values_of(rows, weights, pattern, signed=signed)
    bias = weights.decoder_bias if target is None else torch.zeros_like(weights.decoder_bias)
    wanted = rows if target is None else target
    error, slope, loss = pattern.reconstruct(value, weights.decoder, bias, wanted)
    share = 2.0 / len(rows)
    slope.mul_(share if signed else share * (value > 0))
    gradient = Weights(
        encoder=pattern.gather(slope, rows),
        encoder_bias=pattern.totals(slope),
        decoder=pattern.gather(value * share, error),
        decoder_bias=error.sum(0).mul_(share) if target is None else bias,
    )
    return Pass(loss / len(rows), value, error, gradient, pattern.counts())
