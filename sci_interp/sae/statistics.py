"""What features do on training tokens: how high they reach, and how often they fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.schema import Split
from sci_interp.source import ActivationSource

from .model import SparseAutoencoder
from .normalisation import Normalisation
from .sparsity import sparsity_of

__all__ = [
    "FROM_ACTIVATIONS",
    "UNMEASURED",
    "all_with_statistics",
    "measure",
    "token_ranges",
    "with_statistics",
]

#: Key of ``training`` under which an autoencoder of another program lists what its file lacks.
UNMEASURED = "unmeasured"
#: What activations tell.
FROM_ACTIVATIONS = ("mean", "scale", "firing_rate")

#: Tokens that are read at once.
BLOCK = 16_384


def token_ranges(start: int, stop: int, n_tokens: int) -> list[tuple[int, int]]:
    """Return ranges of about ``n_tokens`` tokens in all, evenly spread between two positions."""
    n_blocks = -(-(stop - start) // BLOCK)
    n_wanted = min(n_blocks, max(1, -(-n_tokens // BLOCK)))
    chosen = np.unique(np.linspace(0, n_blocks - 1, n_wanted).round().astype(np.int64))
    starts = start + chosen * BLOCK
    return [(int(at), int(min(at + BLOCK, stop))) for at in starts]


def with_statistics(
    sae: SparseAutoencoder, source: ActivationSource, *, splits: Sequence[Split], n_tokens: int
) -> SparseAutoencoder:
    """Return the autoencoder with scale and firing rate from one pass over training tokens.

    Parameters
    ----------
    sae
        With trained weights.
    source
        Its training activations.
    splits
        Where to look.
    n_tokens
        About how many tokens to read at most.
    """
    return all_with_statistics([sae], source, splits=splits, n_tokens=n_tokens)[0]


def all_with_statistics(
    saes: Sequence[SparseAutoencoder],
    source: ActivationSource,
    *,
    splits: Sequence[Split],
    n_tokens: int,
) -> list[SparseAutoencoder]:
    """Do as :func:`with_statistics` for several that read the same tokens, in one pass."""
    highest = [np.zeros(sae.n_features, np.float32) for sae in saes]
    fired = [np.zeros(sae.n_features, np.int64) for sae in saes]
    seen = 0
    for start, stop in token_ranges(*source.axis.token_range(list(splits)), n_tokens):
        values = source.read(start, stop)
        for index, sae in enumerate(saes):
            codes = sae.encode(sae.pairs(values)[0])
            np.maximum.at(highest[index], codes.feature, codes.value)
            fired[index] += np.bincount(codes.feature, minlength=sae.n_features)
        seen += stop - start
    return [
        _described(sae, most, count, seen)
        for sae, most, count in zip(saes, highest, fired, strict=True)
    ]


def _described(
    sae: SparseAutoencoder, highest: NDArray[np.float32], fired: NDArray[np.int64], seen: int
) -> SparseAutoencoder:
    typical = np.float32(np.median(highest[fired > 0])) if fired.any() else np.float32(1.0)
    training = {
        **sae.training,
        "l0": float(fired.sum() / seen),
        "dead_fraction": float((fired == 0).mean()),
    }
    return replace(
        sae,
        scale=np.where(fired > 0, highest, typical),
        firing_rate=(fired / seen).astype(np.float32),
        training=training,
    )


def measure(
    sae: SparseAutoencoder, source: ActivationSource, *, splits: Sequence[Split], n_tokens: int
) -> SparseAutoencoder:
    """Return an autoencoder of another program with what its file does not tell.

    Parameters
    ----------
    sae
        Just loaded.
    source
        Activations of its layer.
    splits
        Where to look.
    n_tokens
        About how many tokens to read at most.
    """
    ranges = token_ranges(*source.axis.token_range(list(splits)), n_tokens)
    read, written = np.zeros(sae.width), np.zeros(sae.weights.decoder.shape[1])
    for start, stop in ranges:
        given, target = sae.pairs(source.read(start, stop))
        read += given.sum(0, dtype=np.float64)
        written += target.sum(0, dtype=np.float64)
    n_seen = sum(stop - start for start, stop in ranges)
    found = with_statistics(sae, source, splits=splits, n_tokens=n_tokens)
    training = {name: held for name, held in found.training.items() if name != UNMEASURED}
    sparsity = sae.sparsity
    if "k" in sae.training.get(UNMEASURED, ()):
        k = min(max(1, round(found.training["l0"])), sae.n_features)
        sparsity = sparsity_of(sae.architecture, k)
        sparsity.restore(sae.sparsity.tensors())
    return replace(
        found,
        sparsity=sparsity,
        normalisation=_with_mean(sae.normalisation, read / n_seen),
        output=None if sae.output is None else _with_mean(sae.output, written / n_seen),
        training=training,
    )


def _with_mean(units: Normalisation, mean: NDArray[np.float64]) -> Normalisation:
    return replace(units, mean=torch.from_numpy(mean).float())
