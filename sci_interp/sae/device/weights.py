"""Weights and Adam on a device: in float32, whatever the products are computed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sci_interp.sae.adam import BETAS, EPSILON, Adam
from sci_interp.sae.weights import Weights

__all__ = ["DeviceAdam", "DeviceWeights"]


@dataclass(frozen=True, eq=False)
class DeviceWeights(Weights):
    """Parameters that training changes on a device."""

    def drop_parallel(self, gradient: torch.Tensor) -> None:
        """Take from a decoder gradient what would only change the rows' length, in place."""
        along = (gradient * self.decoder).sum(dim=1, keepdim=True)
        gradient.addcmul_(self.decoder, along, value=-1.0)


class DeviceAdam(Adam):
    """Adam with moments on the device of its parameters."""

    def step(self, gradient: Mapping[str, torch.Tensor], rate: float) -> None:
        """Move the parameters against a gradient, by name, at a learning rate."""
        self.n_steps += 1
        beta, gamma = BETAS
        shrunk, correction = 1.0 - beta**self.n_steps, (1.0 - gamma**self.n_steps) ** -0.5
        for name, weight in self.parameters.items():
            slope, first, second = gradient[name], self._first[name], self._second[name]
            first.mul_(beta).add_(slope, alpha=1.0 - beta)
            second.mul_(gamma).addcmul_(slope, slope, value=1.0 - gamma)
            length = second.sqrt().mul_(correction).add_(EPSILON)
            weight.addcdiv_(first, length, value=-rate / shrunk)
