"""What ReLU, Gated and JumpReLU autoencoders share: a floor for every feature, and a penalty."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sci_interp.errors import StoreError

from .pattern import Pattern
from .sparsity import Sparsity

__all__ = ["Penalised", "at_or_above"]


class Penalised(Sparsity):
    """Activity is not counted but priced; ``k`` is the mean number of features that is aimed at."""

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the positive entries."""
        return at_or_above(pre, torch.zeros(pre.shape[1]))

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
