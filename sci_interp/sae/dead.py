"""AuxK: features that stopped firing learn what the others leave over (arXiv 2406.04093)."""

from __future__ import annotations

import torch

from .gradients import reconstruction_pass
from .pattern import Pattern
from .weights import Weights

__all__ = ["add_auxiliary"]

#: Every step looks at one in this many tokens, in turn.
STRIDE = 4


def add_auxiliary(
    gradient: Weights,
    weights: Weights,
    dead: torch.Tensor,
    *,
    rows: torch.Tensor,
    error: torch.Tensor,
    step: int,
    factor: float,
    signed: bool = False,
    patterns: type[Pattern] = Pattern,
) -> None:
    """Add the gradient of ``factor * |residual - its reconstruction by dead features|^2``.

    Each token uses the half-width highest dead features. Their encoder and decoder rows are
    compacted, so that the cost follows the number of dead features; the residual is a constant.

    Parameters
    ----------
    gradient
        Changed in place.
    weights
        The parameters.
    dead : (n_dead,) int64
        The dead features.
    rows, error : (n_tokens, width) float32
        Normalised activations, and reconstruction minus activations.
    step
        Chooses the tokens.
    factor
        Weight of the loss.
    signed
        Whether activations may be negative.
    patterns
        Holds the active entries.
    """
    rows, residual = rows[step % STRIDE :: STRIDE], -error[step % STRIDE :: STRIDE]
    if len(dead) == 0 or len(rows) == 0:
        return
    part = weights.of_features(dead)
    pre = torch.addmm(part.encoder_bias, rows, part.encoder.t())
    n_active = max(1, min(weights.width // 2, len(dead)))
    pattern = patterns.highest(pre.abs() if signed else pre, n_active)
    learned = reconstruction_pass(
        rows.contiguous(), part, pattern, target=residual, signed=signed
    ).gradient
    gradient.encoder.index_add_(0, dead, learned.encoder, alpha=factor)
    gradient.encoder_bias.index_add_(0, dead, learned.encoder_bias, alpha=factor)
    gradient.decoder.index_add_(0, dead, learned.decoder, alpha=factor)
