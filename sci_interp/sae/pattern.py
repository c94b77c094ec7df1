"""Sparse codes as torch tensors, and the four products that training needs of them.

No tensor of tokens x features appears here: work is proportional to the active entries.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag

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
        if len(self.feature) == 0:
            return torch.zeros(0)
        with warnings.catch_warnings():  # torch announces its sparse rows as beta, once
            warnings.simplefilter("ignore", UserWarning)
            shape = torch.sparse_csr_tensor(
                self.indptr,
                self.feature,
                torch.zeros(len(self.feature)),
                (self.n_rows, self.n_features),
                check_invariants=False,
            )
            product: torch.Tensor = torch.sparse.sampled_addmm(shape, left, right.t(), beta=0.0)
            return product.values()

    def combine(self, value: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value * table[feature]`` over the entries of every row."""
        return embedding_bag(
            self.feature,
            table,
            self.indptr,
            per_sample_weights=value,
            mode="sum",
            include_last_offset=True,
        )

    @cached_property
    def by_feature(self) -> tuple[Pattern, torch.Tensor]:
        """The transposed pattern, and the entry of this one that each of its entries is."""
        order = torch.argsort(self.feature, stable=True)
        indptr = torch.zeros(self.n_features + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(self.feature, minlength=self.n_features), 0, out=indptr[1:])
        return Pattern(indptr, self.row[order], self.n_rows), order

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
