"""Gated: one bias decides whether a feature is active, another how much (2404.16014).

Rajamanoharan et al. 2024: with ``p = E x``, the gate is open where ``p + gate_bias > 0``, and the
activation behind it is ``relu(magnitude_scale * p + encoder_bias)``, where ``magnitude_scale`` is
the paper's ``exp(r_mag)``. The price is on the gate alone, so that activations do not shrink; the
gate learns from an auxiliary reconstruction, ``relu(p + gate_bias)`` through a frozen decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch

from .gradients import Pass, gradient_of
from .pattern import Pattern
from .penalised import FIRST_ACTIVE, Penalised, first_floor
from .weights import Weights

if TYPE_CHECKING:
    from .settings import TrainingSettings

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

    def prepare(self, settings: TrainingSettings, weights: Weights) -> None:
        """Take the penalty; scales are learned by their logarithm."""
        super().prepare(settings, weights)
        self.gate_bias = torch.zeros(weights.n_features)
        self._logarithm = torch.zeros(weights.n_features)
        self.magnitude_scale = self._logarithm.exp()

    def begin(self, rows: torch.Tensor, weights: Weights) -> None:
        """Close the gates until few features are active."""
        self.gate_bias.fill_(-first_floor(rows, weights, FIRST_ACTIVE * self.k))

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return bias of the gate, and logarithm of the scale."""
        return {"gate_bias": self.gate_bias, "log_scale": self._logarithm}

    def learn(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> Pass:
        """Return both reconstructions' error and the priced gates, and their gradients."""
        reading = pattern.products(rows, weights.encoder)
        gate, value = self._both(reading, weights, pattern)
        gate = gate.relu()
        error = pattern.combine(value, weights.decoder).add_(weights.decoder_bias).sub_(rows)
        second = pattern.combine(gate, weights.decoder).add_(weights.decoder_bias).sub_(rows)
        share = 1.0 / len(rows)
        price = self.price * rows.shape[1] ** 0.5
        upstream = error * (2.0 * share)
        slope = pattern.products(upstream, weights.decoder).mul_(value > 0)
        of_gate = pattern.products(second * (2.0 * share), weights.decoder)
        of_gate.add_(price * share).mul_(gate > 0)
        scale = self.magnitude_scale[pattern.feature]
        both = torch.addcmul(of_gate, slope, scale)
        gradient = gradient_of(rows, pattern, value=value, slope=both, upstream=upstream)
        gradient = replace(gradient, encoder_bias=pattern.totals(slope))
        loss = (error.square().sum() + second.square().sum() + price * gate.sum()) * share
        own = {
            "gate_bias": pattern.totals(of_gate),
            "log_scale": self.magnitude_scale * pattern.totals(slope * reading),
        }
        return Pass(loss, value, error, gradient, pattern.subset(value > 0).counts(), own)

    def follow(self, n_active: float) -> None:
        """Change the price, and follow the logarithms."""
        super().follow(n_active)
        self.magnitude_scale = self._logarithm.exp()

    def revive(self, features: torch.Tensor, weights: Weights) -> None:
        """Give the features a typical gate, and activations of their own."""
        super().revive(features, weights)
        self.gate_bias[features] = self.gate_bias.median()
        self._logarithm[features] = 0.0
        self.magnitude_scale = self._logarithm.exp()

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        super().resume(state)
        self.magnitude_scale = self._logarithm.exp()

    def _both(
        self, reading: torch.Tensor, weights: Weights, pattern: Pattern
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gate's pre-activation and the activation of every entry."""
        feature = pattern.feature
        gate = reading + self.gate_bias[feature]
        value = reading * self.magnitude_scale[feature] + weights.encoder_bias[feature]
        return gate, torch.where(gate > 0, value.relu(), 0.0)


ARCHITECTURE = Gated
