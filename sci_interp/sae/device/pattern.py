"""Sparse codes on a device: the products of :class:`sci_interp.sae.pattern.Pattern` in torch.

Rows are bags of table rows. ``torch.nn.functional.embedding_bag`` sums a bag without holding its
rows, and its gradient by the weights of a bag is the product of every entry, so that no tensor of
entries x channels exists. Both take a fixed order of sums. No operation here waits for the device,
except :meth:`DevicePattern.subset`, whose size depends on what is marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import embedding_bag

from sci_interp.sae.pattern import Pattern

__all__ = ["DevicePattern"]

#: Bits of the largest value in the whole numbers that totals are summed in.
_TOTAL_BITS = 40


@dataclass(frozen=True, eq=False)
class DevicePattern(Pattern):
    """Which features are active in which rows, of as many entries as were asked for.

    Where fewer are positive, others fill up the number, so that its size is known beforehand.

    Attributes
    ----------
    positive : (n_entries,) bool
        Whether the pre-activation was; others are not counted.
    """

    positive: torch.Tensor

    @classmethod
    def highest(cls, pre: torch.Tensor, k: int) -> DevicePattern:
        """Return the ``k`` highest entries of every row; of equal ones, those that torch takes."""
        n_rows, n_features = pre.shape
        top = pre.topk(min(k, n_features), dim=1, sorted=False)
        feature, order = top.indices.sort(dim=1)
        positive = top.values.gather(1, order) > 0
        indptr = torch.arange(n_rows + 1, device=pre.device) * feature.shape[1]
        return cls(indptr, feature.flatten(), n_features, positive.flatten())

    @classmethod
    def highest_of_all(cls, pre: torch.Tensor, n_entries: int) -> DevicePattern:
        """Return the ``n_entries`` highest entries of all rows; of equal ones, some."""
        n_rows, n_features = pre.shape
        top = pre.flatten().topk(n_entries, sorted=False)
        place, order = top.indices.sort()
        row = place.div(n_features, rounding_mode="floor")
        indptr = torch.searchsorted(row, torch.arange(n_rows + 1, device=pre.device))
        return cls(indptr, place - row * n_features, n_features, top.values[order] > 0)

    @cached_property
    def row(self) -> torch.Tensor:
        """Row of every entry ``(n_entries,)``."""
        rows = torch.arange(self.n_rows, device=self.indptr.device)
        return torch.repeat_interleave(rows, self.indptr.diff(), output_size=len(self.feature))

    def subset(self, kept: torch.Tensor) -> DevicePattern:
        """Return the pattern of the marked entries ``(n_entries,)`` alone."""
        before = torch.nn.functional.pad(kept.cumsum(0), (1, 0))
        return DevicePattern(
            before[self.indptr], self.feature[kept], self.n_features, self.positive[kept]
        )

    def products(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return ``left[row] . right[feature]`` of every entry."""
        return self._there_and_back(left.new_zeros(len(self.feature)), right, lambda _: left)[1]

    def combine(self, value: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value * table[feature]`` over the entries of every row."""
        made: torch.Tensor = embedding_bag(
            self.feature,
            table.contiguous(),
            self.indptr,
            mode="sum",
            per_sample_weights=value,
            include_last_offset=True,
        )
        return made

    def reconstruct(
        self, value: torch.Tensor, table: torch.Tensor, bias: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return error, slope and loss as :meth:`Pattern.reconstruct` does."""
        error, slope = self._there_and_back(value, table, lambda made: made.add_(bias).sub_(target))
        return error, slope, error.square().sum(dtype=torch.float64).float()

    @cached_property
    def by_feature(self) -> tuple[Pattern, torch.Tensor]:
        """The transposed pattern, and the entry of this one that each of its entries is."""
        sorted_feature, order = self.feature.sort(stable=True)
        edges = torch.arange(self.n_features + 1, device=self.feature.device)
        first = torch.searchsorted(sorted_feature, edges)
        transposed = DevicePattern(first, self.row[order], self.n_rows, self.positive[order])
        return transposed, order

    def totals(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``value`` over the entries of every feature.

        Summed in whole numbers of a small unit: a device adds in any order, and their sum is the
        same in all.
        """
        if len(value) == 0:
            return value.new_zeros(self.n_features)
        unit = value.abs().max().double().clamp_min(1e-30) * 2.0**-_TOTAL_BITS
        whole = (value.double() / unit).round().long()
        return (self._sum_by_feature(whole) * unit).float()

    def counts(self) -> torch.Tensor:
        """Return the number of positive entries of every feature."""
        return self._sum_by_feature(self.positive.long())

    def _sum_by_feature(self, number: torch.Tensor) -> torch.Tensor:
        return number.new_zeros(self.n_features).index_add_(0, self.feature, number)

    def _there_and_back(
        self,
        value: torch.Tensor,
        table: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``change`` makes of the combined rows, and its product with every entry."""
        with torch.enable_grad():
            weight = value.detach().requires_grad_()
            made = self.combine(weight, table)
        changed = change(made.detach())
        (slope,) = torch.autograd.grad(made, weight, changed)
        return changed, slope
