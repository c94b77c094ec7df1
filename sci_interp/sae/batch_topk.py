"""BatchTopK: the highest k x batch pre-activations of a batch (Bussmann et al. 2024, 2412.06410).

In use a fixed threshold takes the batch's place, so that a token's code is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch

from sci_interp.errors import StoreError

from .pattern import Pattern
from .selection import above, as_numbers, highest_of_all, loosened
from .sparsity import Sparsity

__all__ = ["ARCHITECTURE", "BatchTopK"]


class BatchTopK(Sparsity):
    """``k`` active features per token on average.

    Attributes
    ----------
    threshold : () float32
        Mean of the lowest activation that batches select with the final weights; in use, features
        above it are active.
    """

    name: ClassVar[str] = "batch_topk"
    _hint = 0

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.threshold = torch.tensor(0.0)

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the highest positive entries of the batch, ``k`` per token on average."""
        return self._select(pre)[0]

    def calibrate(self, batches: Iterator[torch.Tensor]) -> None:
        """Set the threshold to the mean of the batches' lowest selected activations.

        A running mean during training lags behind weights that still change; with few steps it
        left mean activity a tenth above ``k``.
        """
        edges = [edge for _, edge in map(self._select, batches)]
        self.threshold = torch.stack(edges).mean()

    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return the entries that may exceed the threshold."""
        return Pattern.of(*above(pre, self.threshold - error), pre.shape[1])

    def keep(
        self,
        pattern: Pattern,  # noqa: ARG002 - a threshold needs no rows
        value: torch.Tensor,
    ) -> torch.Tensor:
        """Mark the entries above the threshold."""
        return value > self.threshold

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the threshold."""
        return {"threshold": self.threshold}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back the threshold.

        Raises
        ------
        StoreError
            If it is missing, or no single number.
        """
        super().restore(tensors)
        if tensors["threshold"].ndim:
            raise StoreError(
                f"the threshold of a {self.name} autoencoder has the shape "
                f"{tuple(tensors['threshold'].shape)}",
                allowed="a single number",
            )
        self.threshold = tensors["threshold"].clone()

    def _select(self, pre: torch.Tensor) -> tuple[Pattern, torch.Tensor]:
        indptr, feature, lowest = highest_of_all(pre, self.k * len(pre), self._hint)
        self._hint = loosened(lowest, pre.dtype)
        return Pattern.of(indptr, feature, pre.shape[1]), as_numbers(lowest, pre.dtype)


ARCHITECTURE = BatchTopK
