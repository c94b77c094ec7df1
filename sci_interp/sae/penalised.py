"""What ReLU, Gated and JumpReLU autoencoders share: every feature has its own floor, and a price.

``penalty`` is the weight of the sparsity loss beside the squared error, both for activations of
mean squared length 1, as in the papers; here the mean squared length is the width, and the loss is
scaled to match. Without a penalty the price is steered until ``k`` features are active on average:
each step multiplies it by a small power of ``active / k``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from sci_interp.errors import StoreError

from .pattern import Pattern
from .preactivation import PreActivation
from .selection import as_numbers, highest_of_all
from .sparsity import Sparsity
from .weights import Weights

if TYPE_CHECKING:
    from .settings import TrainingSettings

__all__ = ["Penalised", "at_or_above"]

#: A steered price starts low, so that features first learn to reconstruct.
FIRST_PRICE = 0.1
#: Share of ``log(active / k)`` that a step adds to the logarithm of the price.
STEERING = 0.03
#: Active features per token at the start, as a multiple of ``k``.
FIRST_ACTIVE = 2


class Penalised(Sparsity):
    """Activity is not counted but priced; ``k`` is the mean number of features that is aimed at.

    Attributes
    ----------
    price : float
        Current weight of the sparsity loss.
    """

    ranked: ClassVar[bool] = False
    price = FIRST_PRICE
    _rise = 0.0
    _steered = True

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the positive entries."""
        return at_or_above(pre, torch.zeros(pre.shape[1]))

    def propose(self, pre: torch.Tensor) -> Pattern:
        """Choose the highest positive entries of the batch, ``k`` per token on average."""
        indptr, feature, _ = highest_of_all(pre, self.k * len(pre))
        return Pattern.of(indptr, feature, pre.shape[1])

    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return the entries that may be positive."""
        return at_or_above(pre, -error.max().expand(pre.shape[1]))

    def keep(
        self,
        pattern: Pattern,  # noqa: ARG002 - an entry is judged alone
        value: torch.Tensor,
    ) -> torch.Tensor:
        """Mark the positive entries."""
        return value > 0

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`tensors` gave.

        Raises
        ------
        StoreError
            If a tensor is missing, or has no number for every feature.
        """
        super().restore(tensors)
        for name in self.tensors():
            if tensors[name].ndim != 1:
                raise StoreError(
                    f"the tensor {name!r} of a {self.name} autoencoder has the shape "
                    f"{tuple(tensors[name].shape)}",
                    allowed="(n_features,)",
                )
            setattr(self, name, tensors[name].float().clone())

    def prepare(
        self,
        settings: TrainingSettings,
        weights: Weights,  # noqa: ARG002 - for those with own parameters
    ) -> None:
        """Take the penalty; a given one rises from 0 during the warm-up."""
        self._steered = settings.penalty is None
        if settings.penalty is not None:
            self._rise = settings.penalty / max(1.0, settings.warm_up * settings.n_steps)
            self._most = settings.penalty
            self.price = min(self._rise, self._most)

    def follow(self, n_active: float) -> None:
        """Change the price."""
        if self._steered:
            self.price *= math.exp(STEERING * math.log(max(n_active, 0.1 * self.k) / self.k))
        else:
            self.price = min(self.price + self._rise, self._most)

    def calibrate(self, batches: Iterator[torch.Tensor]) -> None:
        """Set ``k`` to the mean activity that a given penalty led to."""
        if not self._steered:
            counts = [len(self.select(pre).feature) / len(pre) for pre in batches]
            self.k = max(1, round(float(np.mean(counts))))

    def state(self) -> dict[str, torch.Tensor]:
        """Return own parameters and the price."""
        return {**self.parameters(), "price": torch.tensor(self.price, dtype=torch.float64)}

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        for name, tensor in self.parameters().items():
            tensor.copy_(state[name])
        self.price = float(state["price"])


def first_floor(rows: torch.Tensor, weights: Weights, n_active: int) -> float:
    """Return the pre-activation above which tokens have ``n_active`` entries on average."""
    pre = PreActivation(weights, "float32")(rows)
    _, _, lowest = highest_of_all(pre, n_active * len(rows))
    return float(as_numbers(lowest, pre.dtype))


def at_or_above(pre: torch.Tensor, floor: torch.Tensor) -> Pattern:
    """Return the entries at or above a floor of each feature.

    Parameters
    ----------
    pre : (n_tokens, n_features) bfloat16 or float32
        Pre-activations.
    floor : (n_features,) float32
        Floors, rounded to the precision of ``pre``: what is above in float32 stays above.
    """
    row, feature = torch.nonzero(pre >= floor.to(pre.dtype), as_tuple=True)
    indptr = torch.zeros(len(pre) + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(row, minlength=len(pre)), 0, out=indptr[1:])
    return Pattern(indptr, feature, pre.shape[1])
