"""Hand-written forward and backward pass of a sparse reconstruction.

With the active entries ``a`` of a token, their values ``v = relu(x . E[a] + b[a])`` and the
reconstruction ``y = sum(v * D[a]) + c``, the loss is the mean of ``|y - t|^2`` over tokens. Only
active entries have a gradient, so every product runs over entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .pattern import Pattern
from .weights import Weights

__all__ = ["Pass", "reconstruction_pass", "values_of"]


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward and backward pass.

    Attributes
    ----------
    loss : () float32
        Mean squared error per token, summed over channels.
    value : (n_entries,) float32
        Activation of every selected entry; 0 where the selection was too generous.
    error : (n_tokens, width) float32
        Reconstruction minus target.
    gradient : Weights
        Gradient of the loss.
    """

    loss: torch.Tensor
    value: torch.Tensor
    error: torch.Tensor
    gradient: Weights


def values_of(rows: torch.Tensor, weights: Weights, pattern: Pattern) -> torch.Tensor:
    """Return the float32 activations ``(n_entries,)`` of selected entries."""
    value = pattern.products(rows, weights.encoder)
    return value.add_(weights.encoder_bias[pattern.feature]).relu_()


def reconstruction_pass(
    rows: torch.Tensor, weights: Weights, pattern: Pattern, *, target: torch.Tensor | None = None
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
    """
    value = values_of(rows, weights, pattern)
    error = pattern.combine(value, weights.decoder)
    error = error.add_(weights.decoder_bias).sub_(rows) if target is None else error.sub_(target)
    loss = error.square().sum() / len(rows)
    upstream = error * (2.0 / len(rows))
    slope = pattern.products(upstream, weights.decoder).mul_(value > 0)
    gradient = Weights(
        encoder=pattern.gather(slope, rows),
        encoder_bias=pattern.totals(slope),
        decoder=pattern.gather(value, upstream),
        decoder_bias=upstream.sum(0) if target is None else torch.zeros_like(weights.decoder_bias),
    )
    return Pass(loss, value, error, gradient)
