"""Micro-batches: their passes become that of the whole batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .gradients import Pass
from .weights import Weights

__all__ = ["accumulate_passes"]


def accumulate_passes(
    rows: torch.Tensor, n_parts: int, learn: Callable[[torch.Tensor], Pass]
) -> Pass:
    """Return the pass of a batch from those of its parts, one after another.

    Only one part at a time needs the room of its pre-activations and entries. ``value`` is that of
    all parts in turn. A loss that is a mean over tokens has the whole batch's gradient, but for
    rounding.

    Parameters
    ----------
    rows : (n_tokens, width) float32
        The batch.
    n_parts
        Divides ``n_tokens``.
    learn
        Returns the pass of some rows.
    """
    if n_parts == 1:
        return learn(rows)
    parts = [learn(part) for part in rows.chunk(n_parts)]
    first, others = parts[0], parts[1:]
    for held in others:
        for (_, total), (_, more) in zip(
            first.gradient.named(), held.gradient.named(), strict=True
        ):
            total.add_(more)
    share = 1.0 / n_parts
    return Pass(
        loss=torch.stack([part.loss for part in parts]).mean(),
        value=torch.cat([part.value for part in parts]),
        error=torch.cat([part.error for part in parts]),
        gradient=Weights.from_named({name: held * share for name, held in first.gradient.named()}),
        counts=torch.stack([part.counts for part in parts]).sum(0),
        own={name: torch.stack([part.own[name] for part in parts]).mean(0) for name in first.own},
    )
