"""BatchTopK: the highest k x batch pre-activations of a batch (Bussmann et al. 2024, 2412.06410).

In use a fixed threshold takes the batch's place, so that a token's code is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from .pattern import Pattern
from .selection import above, as_numbers, highest_of_all, loosened
from .sparsity import Sparsity

__all__ = ["ARCHITECTURE", "BatchTopK"]

#: Weight of the past in the running mean of the lowest selected activation.
MEMORY = 0.98


class BatchTopK(Sparsity):
    """``k`` active features per token on average.

    Attributes
    ----------
    threshold : () float32
        Running mean of the lowest activation that training batches selected; in use, features
        above it are active.
    """

    name: ClassVar[str] = "batch_topk"
    _hint = 0

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.threshold = torch.tensor(0.0)

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the batch's highest positive entries, ``k`` per token; updates the threshold."""
        indptr, feature, lowest = highest_of_all(pre, self.k * len(pre), self._hint)
        self._hint = loosened(lowest, pre.dtype)
        if lowest > 0:
            edge = as_numbers(lowest, pre.dtype)
            started = bool(self.threshold > 0)
            self.threshold = torch.lerp(edge, self.threshold, MEMORY) if started else edge
        return Pattern.of(indptr, feature, pre.shape[1])

    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return the entries that may exceed the threshold."""
        return Pattern.of(*above(pre, self.threshold - error), pre.shape[1])

    def keep(self, pattern: Pattern, value: torch.Tensor) -> torch.Tensor:
        """Mark the entries above the threshold."""
        return value > self.threshold

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the threshold."""
        return {"threshold": self.threshold}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back the threshold."""
        super().restore(tensors)
        self.threshold = tensors["threshold"].clone()


ARCHITECTURE = BatchTopK
