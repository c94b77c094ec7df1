"""TopK: the k highest pre-activations of every token (Gao et al. 2024, arXiv 2406.04093)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from .pattern import Pattern
from .selection import above, as_numbers, highest_of_rows, keep_highest
from .sparsity import Sparsity

__all__ = ["ARCHITECTURE", "TopK"]


class TopK(Sparsity):
    """Exactly ``k`` active features per token, fewer where fewer are positive."""

    name: ClassVar[str] = "topk"
    _hint = 0

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the ``k`` highest positive entries of every token."""
        indptr, feature, _ = self._highest(pre)
        return Pattern.of(indptr, feature, pre.shape[1])

    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return the entries within twice the error below a token's k-th highest.

        The k-th highest was itself rounded, by half a unit in the last place at most.
        """
        _, _, lowest = self._highest(pre)
        unrounded = as_numbers(lowest, pre.dtype) * (1.0 - 0.51 * torch.finfo(pre.dtype).eps)
        floor = unrounded - 2.0 * error
        return Pattern.of(*above(pre, floor), pre.shape[1])

    def keep(self, pattern: Pattern, value: torch.Tensor) -> torch.Tensor:
        """Mark the ``k`` highest positive entries of every token; the first of equal ones."""
        return torch.from_numpy(keep_highest(pattern.indptr.numpy(), value.numpy(), self.k))

    def _highest(
        self, pre: torch.Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        found = highest_of_rows(pre, self.k, self._hint)
        lowest = found[2]
        self._hint = int(np.quantile(lowest, 0.02, method="lower")) if len(lowest) else 0
        return found


ARCHITECTURE = TopK
