"""JumpReLU: every feature has a threshold of its own (Rajamanoharan et al. 2024, 2407.14435)."""

from __future__ import annotations

from typing import ClassVar

import torch

from .pattern import Pattern
from .penalised import Penalised, at_or_above

__all__ = ["ARCHITECTURE", "JumpReLU"]


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

    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return the entries that may exceed their threshold."""
        return at_or_above(pre, self.threshold.clamp_min(0.0) - error.max())

    def keep(self, pattern: Pattern, value: torch.Tensor) -> torch.Tensor:
        """Mark the entries above their threshold."""
        return value > self.threshold.clamp_min(0.0)[pattern.feature]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the thresholds."""
        return {"threshold": self.threshold}


ARCHITECTURE = JumpReLU
