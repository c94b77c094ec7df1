"""Sparse codes as torch tensors, and the four products that training needs of them.

No tensor of tokens x features appears here: work is proportional to the active entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from . import products
from .memory import reused
from .selection import highest_of_rows, over_rows

__all__ = ["Pattern"]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which features are active in which rows, in compressed rows.

    Attributes
    ----------
    indptr : (n_rows + 1,) int64
        Row r holds the entries ``indptr[r]:indptr[r + 1]``.
    feature : (n_entries,) int64
        Feature of every entry, ascending inside a row.
    n_features : int
        Number of columns.
    """

    indptr: torch.Tensor
    feature: torch.Tensor
    n_features: int

    @classmethod
    def of(cls, indptr: NDArray[np.int64], feature: NDArray[np.int64], n_features: int) -> Pattern:
        """Wrap numpy arrays without a copy."""
        return cls(torch.from_numpy(indptr), torch.from_numpy(feature), n_features)

    @classmethod
    def highest(cls, pre: torch.Tensor, k: int) -> Pattern:
        """Return the ``k`` highest positive entries of every row ``(n_rows, n_features)``."""
        indptr, feature, _ = highest_of_rows(pre, k)
        return Pattern.of(indptr, feature, pre.shape[1])

    @property
    def _entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.indptr.numpy(), self.feature.numpy()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @cached_property
    def row(self) -> torch.Tensor:
        """Row of every entry ``(n_entries,)``."""
        return torch.repeat_interleave(torch.arange(self.n_rows), self.indptr.diff())

    def subset(self, kept: torch.Tensor) -> Pattern:
        """Return the pattern of the marked entries ``(n_entries,)`` alone."""
        before = torch.zeros(len(kept) + 1, dtype=torch.int64)
        torch.cumsum(kept, 0, out=before[1:])
        return Pattern(before[self.indptr], self.feature[kept], self.n_features)

    def products(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return ``left[row] . right[feature]`` of every entry.

        Every product is one fixed sum over the channels: it depends on neither the other rows nor
        the number of threads.
        """
        product = np.empty(len(self.feature), np.float32)
        over_rows(products.dots, self.n_rows, *self._entries, *_arrays(left, right), product)
        return torch.from_numpy(product)

    def combine(self, value: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value * table[feature]`` over the entries of every row."""
        made = reused(self.n_rows, table.shape[1])
        given = _arrays(value, table)
        over_rows(products.combine, self.n_rows, *self._entries, *given, made.numpy())
        return made

    def reconstruct(
        self, value: torch.Tensor, table: torch.Tensor, bias: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what combining leaves over, and its way back; each table row is read once.

        Returns
        -------
        error : (n_rows, width) float32
            ``combine(value, table) + bias - target``.
        slope : (n_entries,) float32
            ``products(error, table)``.
        loss : () float32
            Sum of the squared error.
        """
        error = reused(self.n_rows, table.shape[1])
        slope = np.empty(len(self.feature), np.float32)
        squared = np.empty(self.n_rows, np.float32)
        given = _arrays(value, table, bias, target)
        made = (error.numpy(), slope, squared)
        over_rows(products.reconstruct, self.n_rows, *self._entries, *given, *made)
        loss = torch.tensor(squared.sum(dtype=np.float64), dtype=torch.float32)
        return error, torch.from_numpy(slope), loss

    @cached_property
    def by_feature(self) -> tuple[Pattern, torch.Tensor]:
        """The transposed pattern, and the entry of this one that each of its entries is."""
        first = np.zeros(self.n_features + 1, np.int64)
        indptr, feature = self._entries
        np.cumsum(np.bincount(feature, minlength=self.n_features), out=first[1:])
        row, order = np.empty_like(feature), np.empty_like(feature)
        products.transpose(indptr, feature, first[:-1].copy(), row, order)
        return Pattern.of(first, row, self.n_rows), torch.from_numpy(order)

    def gather(self, value: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return, for every feature, the sum of ``value * rows[row]`` over its entries."""
        transposed, order = self.by_feature
        return transposed.combine(value[order], rows)

    def totals(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value`` over the entries of every feature."""
        return torch.bincount(self.feature, value.double(), self.n_features).float()

    def counts(self) -> torch.Tensor:
        """Return the number of entries of every feature."""
        return self.by_feature[0].indptr.diff()


def _arrays(*tensors: torch.Tensor) -> list[NDArray[np.float32]]:
    """Return arrays in the layout that the products are compiled for."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
