"""Covariance whitening (Saraswatula and Klindt 2025, 2511.13981), folded into the weights exactly.

Training sees ``z = x M`` with ``M = V diag(l + RIDGE)^(-1/2)``, where ``l`` and ``V`` are the
eigenvalues and eigenvectors of the covariance of normalised tokens ``x``: no direction is then
louder than another. The autoencoder that is saved reads and writes ``x``: ``M`` and its inverse
become part of its weights, so that its decoder rows no longer have unit length.
"""

from __future__ import annotations

import torch

from .weights import Weights

__all__ = ["folded", "whitening_matrix"]

#: Added to the eigenvalues, whose mean is 1 after normalisation.
RIDGE = 1e-3


def whitening_matrix(rows: torch.Tensor) -> torch.Tensor:
    """Return ``M`` ``(width, width)`` float64 of normalised tokens ``(n_tokens, width)``.

    Every eigenvector's largest entry is positive.
    """
    values, vectors = torch.linalg.eigh(torch.cov(rows.double().t(), correction=0))
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    matrix: torch.Tensor = vectors * torch.sign(largest) * (values.clamp_min(0.0) + RIDGE).rsqrt()
    return matrix.contiguous()


def folded(weights: Weights, matrix: torch.Tensor) -> Weights:
    """Return the weights that do to ``x`` what the given ones do to ``x M``.

    Parameters
    ----------
    weights
        Trained on whitened tokens.
    matrix : (width, width) float64
        The whitening.
    """
    inverse = torch.linalg.inv(matrix)
    return Weights(
        encoder=(weights.encoder.double() @ matrix.t()).float(),
        encoder_bias=weights.encoder_bias,
        decoder=(weights.decoder.double() @ inverse).float(),
        decoder_bias=(weights.decoder_bias.double() @ inverse).float(),
    )
