"""JumpReLU: every feature has a threshold of its own (Rajamanoharan et al. 2024, 2407.14435).

The loss counts active features, and thresholds learn through the paper's straight-through
estimator: a step's gradient is that of a rectangle of width ``BANDWIDTH``. With a penalty the loss
is ``penalty * L0``; without, the paper's second form, ``(L0 / k - 1)^2``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from .gradients import Pass, gradient_of, values_of
from .pattern import Pattern
from .penalised import Penalised, at_or_above, first_floor
from .weights import Weights

if TYPE_CHECKING:
    from .settings import TrainingSettings

__all__ = ["ARCHITECTURE", "JumpReLU"]

#: Width of the rectangle, as a share of the first threshold.
BANDWIDTH = 0.1
#: Weight of ``(L0 / k - 1)^2`` beside the squared error, for activations of mean squared length 1.
TARGET_WEIGHT = 10.0
#: Rounding of pre-activations to bfloat16 hides no entry this much, relatively, below a floor.
ROUNDING = 2.0**-6


class JumpReLU(Penalised):
    """Entries above their feature's threshold are active, with their whole value.

    Attributes
    ----------
    threshold : (n_features,) float32
        Of every feature; a negative one counts as 0.
    """

    name: ClassVar[str] = "jumprelu"

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.threshold = torch.zeros(0)

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the entries above the lower edge of their threshold's rectangle."""
        floor = (1.0 - ROUNDING) * (self.threshold - 0.5 * self._bandwidth)
        return at_or_above(pre, floor.clamp_min(0.0))

    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return the entries that may exceed their threshold."""
        return at_or_above(pre, self.threshold.clamp_min(0.0) - error.max())

    def keep(self, pattern: Pattern, value: torch.Tensor) -> torch.Tensor:
        """Mark the entries above their threshold."""
        return value > self.threshold.clamp_min(0.0)[pattern.feature]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the thresholds."""
        return {"threshold": self.threshold}

    def prepare(self, settings: TrainingSettings, weights: Weights) -> None:
        """Take the penalty; thresholds are learned by their logarithm."""
        super().prepare(settings, weights)
        self._logarithm = torch.zeros(weights.n_features)
        self._bandwidth = 0.0
        self.threshold = self._logarithm.exp()

    def begin(self, rows: torch.Tensor, weights: Weights) -> None:
        """Set one threshold for all, above which tokens have ``k`` entries."""
        floor = max(first_floor(rows, weights, self.k), 1e-6)
        self._logarithm.fill_(floor).log_()
        self._bandwidth = BANDWIDTH * floor
        self.threshold = self._logarithm.exp()

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return the logarithms of the thresholds."""
        return {"log_threshold": self._logarithm}

    def learn(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> Pass:
        """Return squared error and counted activity, and their gradients."""
        reach, edge = values_of(rows, weights, pattern), self.threshold[pattern.feature]
        active = reach > edge
        value = reach * active
        n_active = float(active.sum()) / len(rows)
        error = pattern.combine(value, weights.decoder).add_(weights.decoder_bias).sub_(rows)
        upstream = error * (2.0 / len(rows))
        slope = pattern.products(upstream, weights.decoder)
        loss, price = self._sparsity_loss(n_active, rows.shape[1])
        near = (reach - edge).abs() < 0.5 * self._bandwidth
        jump = near * (edge * slope + price / len(rows)) / self._bandwidth
        slope.mul_(active)
        gradient = gradient_of(rows, pattern, value=value, slope=slope, upstream=upstream)
        return Pass(
            error.square().sum() / len(rows) + loss,
            value,
            error,
            gradient,
            pattern.subset(active).counts(),
            {"log_threshold": -self.threshold * pattern.totals(jump)},
        )

    def follow(self, n_active: float) -> None:
        """Follow the logarithms."""
        if not self._steered:
            super().follow(n_active)
        self.threshold = self._logarithm.exp()

    def calibrate(self, batches: Iterator[torch.Tensor]) -> None:
        """Set ``k`` to the mean activity that a given penalty led to."""
        self._bandwidth = 0.0
        super().calibrate(batches)

    def revive(self, features: torch.Tensor, weights: Weights) -> None:
        """Give the features a typical threshold."""
        super().revive(features, weights)
        self._logarithm[features] = self._logarithm.median()
        self.threshold = self._logarithm.exp()

    def state(self) -> dict[str, torch.Tensor]:
        """Return logarithms, price and width of the rectangle."""
        width = torch.tensor(self._bandwidth, dtype=torch.float64)
        return {**super().state(), "bandwidth": width}

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        super().resume(state)
        self._bandwidth = float(state["bandwidth"])
        self.threshold = self._logarithm.exp()

    def _sparsity_loss(self, n_active: float, width: int) -> tuple[float, float]:
        """Return the loss of the batch's mean activity, and its slope."""
        if not self._steered:
            return width * self.price * n_active, width * self.price
        excess = n_active / self.k - 1.0
        weight = width * TARGET_WEIGHT
        return weight * excess**2, 2.0 * weight * excess / self.k


ARCHITECTURE = JumpReLU
