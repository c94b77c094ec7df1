"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity").

The price of an activation is multiplied by the length of its decoder row, which is free (Anthropic,
"Circuits Updates - April 2024"); lengths are folded into the encoder at the end. With
``plain_penalty`` rows have unit length, as in the first paper. Both shrink activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from .gradients import Pass, gradient_of, values_of
from .pattern import Pattern
from .penalised import FIRST_ACTIVE, Penalised, first_floor
from .weights import Weights

if TYPE_CHECKING:
    from .settings import TrainingSettings

__all__ = ["ARCHITECTURE", "ReLU"]


class ReLU(Penalised):
    """Every positive entry is active."""

    name: ClassVar[str] = "relu"

    def prepare(self, settings: TrainingSettings, weights: Weights) -> None:
        """Take penalty and variant."""
        super().prepare(settings, weights)
        self.unit_decoder = settings.plain_penalty

    def begin(self, rows: torch.Tensor, weights: Weights) -> None:
        """Lower the biases until few features are active."""
        weights.encoder_bias.sub_(first_floor(rows, weights, FIRST_ACTIVE * self.k))

    def learn(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> Pass:
        """Return squared error and priced activations, and their gradients."""
        value = values_of(rows, weights, pattern)
        active = value > 0
        error = pattern.combine(value, weights.decoder).add_(weights.decoder_bias).sub_(rows)
        upstream = error * (2.0 / len(rows))
        length, direction = self._lengths(weights.decoder)
        price = length * (self.price * rows.shape[1] ** 0.5)
        mean = pattern.totals(value) / len(rows)
        slope = pattern.products(upstream, weights.decoder)
        slope.add_(price[pattern.feature], alpha=1.0 / len(rows)).mul_(active)
        gradient = gradient_of(rows, pattern, value=value, slope=slope, upstream=upstream)
        if not self.unit_decoder:
            per_length = mean * (self.price * rows.shape[1] ** 0.5)
            gradient.decoder.addcmul_(per_length[:, None], direction)
        loss = error.square().sum() / len(rows) + torch.dot(price, mean)
        return Pass(loss, value, error, gradient, pattern.subset(active).counts())

    def revive(self, features: torch.Tensor, weights: Weights) -> None:
        """Give the features a typical bias."""
        weights.encoder_bias[features] = weights.encoder_bias.median()

    def finish(self, weights: Weights) -> Weights:
        """Fold the lengths of the decoder rows into the encoder."""
        if self.unit_decoder:
            return weights
        length = weights.decoder.norm(dim=1).clamp_min(1e-12)
        return Weights(
            weights.encoder * length[:, None],
            weights.encoder_bias * length,
            weights.decoder / length[:, None],
            weights.decoder_bias,
        )

    def _lengths(self, decoder: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the length of each feature's row, and its slope."""
        if self.unit_decoder:
            return torch.ones(len(decoder)), decoder
        length = decoder.norm(dim=1).clamp_min(1e-12)
        return length, decoder / length[:, None]


ARCHITECTURE = ReLU
