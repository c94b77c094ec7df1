"""Resampling: dead features start anew at badly reconstructed tokens (Bricken et al. 2023).

As there, tokens are drawn in proportion to the square of their loss, and the moments of the
optimiser are forgotten. Two things differ: a feature takes the direction that the reconstruction
of its token lacks rather than the token's own, and its encoder row has the mean length of the
features alive and not a fifth of it. It then adds what is missing, from its first step.
"""

from __future__ import annotations

import torch

from .weights import Weights

__all__ = ["resample"]


def resample(
    weights: Weights,
    dead: torch.Tensor,
    *,
    error: torch.Tensor,
    rows: torch.Tensor,
    generator: torch.Generator,
    same_layer: bool,
) -> torch.Tensor:
    """Give dead features new encoder and decoder rows, in place.

    Parameters
    ----------
    weights
        The parameters.
    dead : (n_dead,) int64
        The dead features.
    error : (n_tokens, n_written) float32
        Reconstruction minus target of a batch.
    rows : (n_tokens, width) float32
        What the encoder read.
    same_layer
        Whether that is what is to be written; otherwise encoder rows take the direction of what
        was read at the token.
    generator
        Draws the tokens.

    Returns
    -------
    (n_new,) int64
        Features that were started anew: at most one for each token.
    """
    square = error.square().sum(1)
    n_new = min(len(dead), int((square > 0).sum()))
    if n_new == 0:
        return dead[:0]
    token = torch.multinomial(square.square(), n_new, generator=generator)
    fresh = dead[:n_new]
    written = -error[token] / square[token].sqrt()[:, None]
    read = written if same_layer else torch.nn.functional.normalize(rows[token], dim=1)
    alive = torch.ones(weights.n_features, dtype=torch.bool)
    alive[dead] = False
    length = weights.encoder.norm(dim=1)
    usual = length[alive].mean() if alive.any() else length.mean()
    weights.decoder[fresh] = written
    weights.encoder[fresh] = read * usual
    return fresh
