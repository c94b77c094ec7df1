"""Masked-language-model loss of a network, with one layer's output replaced where asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sci_interp.adapter import TokenLoss
from sci_interp.hooks import replace

from .alphabet import AMINO_ACIDS
from .batches import Batch
from .network import Network

__all__ = ["HIDDEN_SHARE", "hidden_positions", "masked_losses"]

#: Share of the residues that are hidden, as in the training of ESM-2.
HIDDEN_SHARE = 0.15

_STANDARD = np.zeros(256, dtype=bool)
_STANDARD[np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)] = True


def hidden_positions(record: str, sequence: str, seed: int) -> NDArray[np.bool_]:
    """Return which residues of a protein are hidden and scored: ``(n_residues,)``.

    They follow from ``seed`` and the record's id alone. Letters beyond the twenty amino acids are
    never hidden; a protein with amino acids has at least one hidden residue.
    """
    digest = hashlib.sha256(f"hidden/{seed}/{record}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:16], "big")).random(len(sequence))
    standard = _STANDARD[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    if not standard.any():
        return standard
    draw = np.where(standard, draw, np.inf)
    return draw <= max(HIDDEN_SHARE, float(draw.min()))


def masked_losses(
    network: Network,
    batch: Batch,
    hidden: dict[str, NDArray[np.bool_]],
    *,
    layer: str,
    replacement: Callable[[Tensor], Tensor] | None,
) -> dict[str, TokenLoss]:
    """Return the cross-entropy at the hidden residues that a batch's windows keep, by record.

    Every hidden residue is shown as ``<mask>``. The replacement receives the layer's output at
    all residues ``(n, D)`` in float32; start, end and padding tokens keep theirs. Arithmetic is
    float32, and losses are in nats.

    Parameters
    ----------
    network
        A network with a language-model head.
    batch
        Windows laid out as tokens.
    hidden
        Hidden residues by record, of :func:`hidden_positions`.
    layer
        The layer to replace.
    replacement
        Maps what the network computed to what it shall see; None leaves it alone.
    """
    shown = torch.zeros_like(batch.residues)
    scored = torch.zeros_like(batch.residues)
    for row, window in enumerate(batch.windows):
        first, last = window.offset, window.offset + window.stop - window.start
        mask = torch.from_numpy(hidden[window.record][window.start : window.stop])
        shown[row, first:last] = mask
        kept = batch.kept(row)
        scored[row, kept] = shown[row, kept]
    tokens = torch.where(shown, network.vocabulary.mask, batch.tokens).to(network.device)
    residues = batch.residues.to(network.device)
    context = (
        nullcontext()
        if replacement is None
        else replace(network.root, layer, _at_residues(replacement, residues))
    )
    with torch.inference_mode(), context:
        logits = network.logits(tokens)  # (B, L, V)
    chosen = logits[scored.to(logits.device)].float()
    truth = batch.tokens[scored].to(logits.device)
    nats = functional.cross_entropy(chosen, truth, reduction="none").double().cpu().numpy()
    stops = np.cumsum(scored.sum(1).numpy())
    found: dict[str, TokenLoss] = {}
    for window, part in zip(batch.windows, np.split(nats, stops[:-1]), strict=True):
        before = found.get(window.record, TokenLoss(0.0, 0))
        found[window.record] = before + TokenLoss(float(part.sum()), len(part))
    return found


def _at_residues(
    replacement: Callable[[Tensor], Tensor], residues: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return a map of ``(B, L, D)`` that applies ``replacement`` to the residues alone."""

    def apply(output: Tensor) -> Tensor:
        result = output.clone()
        result[residues] = replacement(output[residues].float()).to(output)
        return result

    return apply
