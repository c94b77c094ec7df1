"""Dictionaries of random directions that keep what a dictionary owes to its activations.

A direction of high variance agrees with other directions of high variance, learned or not. So the
random ones are drawn in whitened coordinates, turned back, and every one keeps the variance of the
direction that it replaces.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.sae import SparseAutoencoder
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

from .coding import read_records, record_slices
from .shared import SharedTokens

__all__ = ["random_rotation", "rotate_autoencoder", "rotate_rows"]

Floats = NDArray[np.float64]

#: Eigenvalues below this share of the largest are raised to it.
FLOOR = 1e-6


def random_rotation(width: int, rng: np.random.Generator) -> Floats:
    """Return an orthogonal matrix ``(width, width)``, uniform over all (Stewart 1980)."""
    turned, triangle = np.linalg.qr(rng.standard_normal((width, width)))
    rotation: Floats = turned * np.sign(np.diag(triangle))
    return rotation


@one_blas_thread()
def rotate_rows(rows: NDArray[np.floating], rng: np.random.Generator) -> Floats:
    """Return as many random directions with the second moment of the rows ``(n, width)``."""
    given = rows.astype(np.float64)
    root, inverse = _roots(given.T @ given / len(given))
    rotated: Floats = given @ inverse @ random_rotation(given.shape[1], rng) @ root
    return rotated


@one_blas_thread()
def rotate_autoencoder(
    sae: SparseAutoencoder, source: ActivationSource, shared: SharedTokens, seed: int
) -> SparseAutoencoder:
    """Return the autoencoder with random directions in the place of those that its features read.

    What every feature reads keeps the variance that it has on the first slice of the shared tokens,
    so that thresholds keep their meaning; biases stay, and so does the decoder.

    Parameters
    ----------
    sae
        The autoencoder.
    source
        Activations of its layer.
    shared
        Records; blocks lie in the order of a hash, so that the first ones are a sample.
    seed
        Chooses the directions.
    """
    first, last = record_slices(shared)[0]
    values = torch.from_numpy(read_records(source, shared.record[first:last]))
    inputs = sae.normalisation.apply(values).numpy().astype(np.float64)
    centred = inputs - inputs.mean(axis=0)
    root, inverse = _roots(centred.T @ centred / len(centred))
    rotation = random_rotation(sae.width, np.random.default_rng([seed, sae.width]))
    encoder = sae.weights.encoder.numpy().astype(np.float64) @ root @ rotation @ inverse
    turned = torch.from_numpy(encoder.astype(np.float32))
    return replace(sae, weights=replace(sae.weights, encoder=turned))


def _roots(moment: Floats) -> tuple[Floats, Floats]:
    """Return the symmetric root of a second moment, and its inverse."""
    size, axis = np.linalg.eigh(moment)
    deviation = np.sqrt(np.maximum(size, FLOOR * max(size[-1], np.finfo(np.float64).tiny)))
    return (axis * deviation) @ axis.T, (axis / deviation) @ axis.T
