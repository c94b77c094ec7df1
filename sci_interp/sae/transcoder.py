"""Transcoder: one layer is read and another is written (Dunefsky et al. 2024, 2406.11944).

Features explain what the network computes between the two, an MLP say, instead of what it holds at
one. As in Paulo et al. 2025 (2501.18823), the k highest features of every token are active; there
is no skip connection. Trained on a :class:`sci_interp.source.StackedSource` of the two layers; in
use it reads activations of the first alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from .gradients import Pass, reconstruction_pass
from .pattern import Pattern
from .topk import TopK
from .weights import Weights

__all__ = ["ARCHITECTURE", "Transcoder"]


class Transcoder(TopK):
    """TopK whose decoder writes another layer."""

    name: ClassVar[str] = "transcoder"

    def learn(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> Pass:
        """Return loss and gradients of a batch: what is read, and beside it what to write."""
        read, target = rows[:, : weights.width].contiguous(), rows[:, weights.width :]
        done = reconstruction_pass(read, weights, pattern, target=target - weights.decoder_bias)
        done.gradient.decoder_bias.add_(done.error.sum(0), alpha=2.0 / len(rows))
        return done


ARCHITECTURE = Transcoder
