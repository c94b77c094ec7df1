"""Gated: one bias decides whether a feature is active, another how much (2404.16014).

Rajamanoharan et al. 2024: with ``p = E x``, the gate is open where ``p + gate_bias > 0``, and the
activation behind it is ``relu(magnitude_scale * p + encoder_bias)``, where ``magnitude_scale`` is
the paper's ``exp(r_mag)``. The penalty acts on the gate alone, so that activations do not shrink.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from .pattern import Pattern
from .penalised import Penalised
from .weights import Weights

__all__ = ["ARCHITECTURE", "Gated"]


class Gated(Penalised):
    """Entries whose gate is open are active.

    Attributes
    ----------
    gate_bias : (n_features,) float32
        Added to what a feature reads, before its sign opens the gate.
    magnitude_scale : (n_features,) float32
        Positive factor from what a feature reads to its activation.
    """

    name: ClassVar[str] = "gated"

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.gate_bias = torch.zeros(0)
        self.magnitude_scale = torch.zeros(0)

    def reader(self, weights: Weights) -> Weights:
        """Return the weights of the gate."""
        return replace(weights, encoder_bias=self.gate_bias)

    def values(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> torch.Tensor:
        """Return activations; 0 behind a closed gate."""
        return self._both(pattern.products(rows, weights.encoder), weights, pattern)[1]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return bias of the gate, and scale."""
        return {"gate_bias": self.gate_bias, "magnitude_scale": self.magnitude_scale}

    def _both(
        self, reading: torch.Tensor, weights: Weights, pattern: Pattern
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gate's pre-activation and the activation of every entry."""
        feature = pattern.feature
        gate = reading + self.gate_bias[feature]
        value = reading * self.magnitude_scale[feature] + weights.encoder_bias[feature]
        return gate, torch.where(gate > 0, value.relu(), 0.0)


ARCHITECTURE = Gated
