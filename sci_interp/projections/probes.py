"""Linear probes as features: how well a label can be read off with a direction made for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sci_interp.annotations import AnnotationSlice, AnnotationStore
from sci_interp.errors import InputError
from sci_interp.schema import Split
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

from .linear import LinearProjection, describe_parent, with_scale
from .moments import Moments, fit_ranges, read_slices

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ProbeProjection"]

#: Where a score begins to count, from the mean of the negatives (0) to that of the positives (1).
CUT = 0.25


class ProbeProjection(LinearProjection):
    """A linear discriminant per label, ``"probe HELIX"``: the ceiling for any single direction.

    The direction of a label solves ``(S + ridge tr(S) / width I) v = m1 - m0`` with the covariance
    S of the tokens known for the label's group and the means m1, m0 of its positive and negative
    tokens: Fisher's discriminant, which ridge regression on two target values gives as well,
    whatever the balance of the classes. Tokens count with the weight of their record.
    """

    kind: ClassVar[str] = "probe"
    two_sided: ClassVar[bool] = False

    @classmethod
    def fit(
        cls,
        source: ActivationSource,
        known: AnnotationStore,
        splits: Sequence[Split] = ("train",),
        *,
        ridge: float = 1e-3,
        n_tokens: int = 2_000_000,
    ) -> ProbeProjection:
        """Fit a probe to every label on the known tokens of splits, in one pass.

        A label without positive or without negative tokens there gives a feature that is never
        active.

        Parameters
        ----------
        source
            The activations.
        known
            The labels; on the same records.
        splits
            Splits to fit on.
        ridge
            Strength of the regularisation, relative to the mean variance of a channel.
        n_tokens
            Tokens to fit on, at most about; evenly spread over the splits.

        Raises
        ------
        StoreError
            If activations and annotations have different token axes.
        InputError
            If the ridge is not positive.
        """
        if not ridge > 0:
            raise InputError(f"the ridge is {ridge}", allowed="a positive number")
        source.axis.require_same(known.axis, "the activations", "the annotations")
        ranges = fit_ranges(source.axis, splits, n_tokens=n_tokens)
        state = _ClassMoments.zero(known, source.width)
        for start, values in read_slices(source, ranges):
            stop = start + len(values)
            state.add(
                known.read(start, stop), start, values, source.axis.family_weights(start, stop)
            )
        mean, weight, cut = state.solve(ridge)
        found = cls(
            mean=mean.astype(np.float32),
            weight=weight.astype(np.float32),
            cut=cut.astype(np.float32),
            names=tuple(f"probe {label.name}" for label in known.labels),
            parent=describe_parent(source, splits),
            scale=np.zeros(len(known.labels), np.float32),
            details={"splits": list(splits), "ridge": ridge, "annotations": known.digest},
        )
        return with_scale(found, source, ranges)


@dataclass(eq=False)
class _ClassMoments:
    """Moments of the known tokens per group, and sums over the positive tokens per label."""

    group_of_label: NDArray[np.int64]
    known: list[Moments]
    positive_weight: NDArray[np.float64]
    positive_first: NDArray[np.float64]

    @classmethod
    def zero(cls, store: AnnotationStore, width: int) -> _ClassMoments:
        n_labels = len(store.labels)
        return cls(
            store.group_of_label,
            [Moments.zero(width) for _ in store.groups],
            np.zeros(n_labels),
            np.zeros((n_labels, width)),
        )

    def add(
        self,
        found: AnnotationSlice,
        start: int,
        values: NDArray[np.float32],
        weight: NDArray[np.float64],
    ) -> None:
        """Add the tokens of a slice that begins at ``start``."""
        # Groups that are assessed everywhere, or at the same tokens, share one product.
        shared: dict[bytes, Moments] = {}
        for group in range(len(self.known)):
            of_group = found.known_group == group
            mask = _mask(
                found.known_start[of_group] - start, found.known_stop[of_group] - start, len(values)
            )
            if not mask.any():
                continue
            key = mask.tobytes()
            if key not in shared:
                shared[key] = Moments.of(values[mask], weight[mask])
            self.known[group] = self.known[group] + shared[key]
        positive = _indicator(found, start, len(values), len(self.positive_weight))
        self.positive_weight += positive @ weight
        self.positive_first += positive @ (values * weight[:, None])

    @one_blas_thread()
    def solve(
        self, ridge: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return mean ``(width,)``, directions ``(width, n_labels)`` and cuts ``(n_labels,)``."""
        n_labels, width = self.positive_first.shape
        directions = np.zeros((width, n_labels))
        middle = np.zeros((width, n_labels))
        for group, moments in enumerate(self.known):
            n_positive = self.positive_weight
            n_negative = moments.weight - n_positive
            label = np.flatnonzero(
                (self.group_of_label == group)
                & (n_positive > 0)
                & (n_negative > 1e-9 * moments.weight)
            )
            if len(label) == 0:
                continue
            positive = (self.positive_first[label] / n_positive[label, None]).T
            negative = ((moments.first - self.positive_first[label]) / n_negative[label, None]).T
            covariance = moments.covariance
            strength = ridge * max(float(np.trace(covariance)) / width, np.finfo(float).tiny)
            directions[:, label] = np.linalg.solve(
                covariance + strength * np.eye(width), positive - negative
            )
            middle[:, label] = negative + CUT * (positive - negative)
        mean = _mean_of(self.known, width)
        cut = ((middle - mean[:, None]) * directions).sum(axis=0)
        return mean, directions, cut


def _mean_of(moments: Sequence[Moments], width: int) -> NDArray[np.float64]:
    total = sum((each.first for each in moments), np.zeros(width))
    weight = sum(each.weight for each in moments)
    return total / weight if weight else total


def _mask(start: NDArray[np.int64], stop: NDArray[np.int64], n_tokens: int) -> NDArray[np.bool_]:
    change = np.zeros(n_tokens + 1, np.int64)
    np.add.at(change, start, 1)
    np.add.at(change, stop, -1)
    return change[:-1].cumsum() > 0


def _indicator(found: AnnotationSlice, start: int, n_tokens: int, n_labels: int) -> csr_array:
    """Return which tokens of a slice are positive for which label ``(n_labels, n_tokens)``."""
    from scipy.sparse import csr_array

    label, first, last = found.union()
    length = last - first
    before = np.repeat(length.cumsum() - length, length)
    token = np.repeat(first - start, length) + np.arange(length.sum()) - before
    per_label = np.bincount(label, weights=length, minlength=n_labels).astype(np.int64)
    indptr = np.append(0, per_label.cumsum())
    return csr_array((np.ones(len(token)), token, indptr), shape=(n_labels, n_tokens))
