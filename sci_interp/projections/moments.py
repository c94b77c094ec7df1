"""Slices of activations to fit on, and their mean and covariance as an additive state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, NotFiniteError
from sci_interp.schema import Split
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

__all__ = ["Moments", "fit_ranges", "measure_moments", "read_slices"]

#: Tokens that are read at once; a longer record is read whole.
SLICE_TOKENS = 16_384


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted sums over tokens; moments of disjoint token sets add up.

    Attributes
    ----------
    weight : float
        Sum of the weights w.
    first : (width,) float64
        Sum of w x.
    second : (width, width) float64
        Sum of w x xᵀ.
    """

    weight: float
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def zero(cls, width: int) -> Moments:
        """Return the moments of no token."""
        return cls(0.0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    @one_blas_thread()
    def of(cls, values: NDArray[np.float32], weight: NDArray[np.float64] | None = None) -> Moments:
        """Return the moments of activations ``(n, width)`` with weights ``(n,)``, 1 by default."""
        wide = values.astype(np.float64)
        weighted = wide if weight is None else wide * weight[:, None]
        total = float(len(values)) if weight is None else float(weight.sum())
        return cls(total, weighted.sum(axis=0), weighted.T @ wide)

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.weight + other.weight, self.first + other.first, self.second + other.second
        )

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean ``(width,)``."""
        return self.first / self.weight

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance ``(width, width)``."""
        found: NDArray[np.float64] = self.second / self.weight - np.outer(self.mean, self.mean)
        return found


def fit_ranges(
    axis: TokenAxis, splits: Sequence[Split], *, n_tokens: int | None = None
) -> list[tuple[int, int]]:
    """Return token ranges of whole records that cover the splits.

    Parameters
    ----------
    axis
        The records.
    splits
        Neighbouring splits.
    n_tokens
        Take evenly spread ranges that together hold about as many tokens; all by default.

    Raises
    ------
    InputError
        If the splits hold no record.
    """
    first, last = axis.record_range(splits)
    if first == last:
        raise InputError(
            f"the splits {', '.join(splits)} hold no record to fit on",
            todo="Name other splits, or give them a share of the blocks",
        )
    starts = axis.record_starts
    edges = [int(starts[first])]
    for stop in starts[first + 1 : last + 1].tolist():
        if len(edges) == 1 or stop - edges[-2] > SLICE_TOKENS:
            edges.append(stop)
        else:
            edges[-1] = stop
    ranges = list(pairwise(edges))
    total = edges[-1] - edges[0]
    if n_tokens is None or total <= n_tokens:
        return ranges
    n_ranges = max(1, round(len(ranges) * n_tokens / total))
    return [ranges[index * len(ranges) // n_ranges] for index in range(n_ranges)]


def read_slices(
    source: ActivationSource, ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the start and the activations of every token range.

    Raises
    ------
    NotFiniteError
        If activations hold NaN or infinity.
    """
    for start, stop in ranges:
        values = source.read(start, stop)
        if not np.isfinite(values).all():
            raise NotFiniteError(
                f"the activations of layer {source.layer!r} hold NaN or infinity "
                f"in the tokens {start}:{stop}"
            )
        yield start, values


def measure_moments(source: ActivationSource, ranges: Sequence[tuple[int, int]]) -> Moments:
    """Return the unweighted moments of token ranges in one pass."""
    total = Moments.zero(source.width)
    for _, values in read_slices(source, ranges):
        total = total + Moments.of(values)
    return total
