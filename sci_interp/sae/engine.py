"""What a training computes with: memory, selection and optimiser of the processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from .adam import Adam
from .pattern import Pattern
from .preparation import Preparation
from .settings import Precision
from .sparsity import Sparsity
from .weights import Weights

__all__ = ["HOST", "Engine"]


class Engine:
    """Compiled loops on the processor: this one moves nothing.

    Attributes
    ----------
    patterns : type
        How active entries are held, and what is computed with them.
    device : torch.device
        Where trained weights are.
    """

    patterns: ClassVar[type[Pattern]] = Pattern
    device = torch.device("cpu")

    def precision(self, wanted: Precision) -> Precision:
        """Return the precision that a training is told."""
        return wanted

    def place(self, weights: Weights) -> Weights:
        """Return weights where training changes them."""
        return weights

    def place_preparation(self, prepared: Preparation) -> Preparation:
        """Return what is done to activations first, where that happens."""
        return prepared

    def move(self, rows: torch.Tensor) -> torch.Tensor:
        """Return activations ``(n_tokens, width)`` where they are computed with."""
        return rows

    def adam(self, parameters: Mapping[str, torch.Tensor]) -> Adam:
        """Return an optimiser of placed parameters."""
        return Adam(parameters)

    def select(self, sparsity: Sparsity, pre: torch.Tensor) -> Pattern:
        """Choose the active entries of pre-activations ``(n_tokens, n_features)``."""
        return sparsity.select(pre)

    def marked(self, mask: torch.Tensor, n_marked: int) -> torch.Tensor:  # noqa: ARG002
        """Return the places ``(n_marked,)`` of true entries in ``(n_features,)``, ascending."""
        return torch.nonzero(mask).flatten()


#: The processor.
HOST = Engine()
