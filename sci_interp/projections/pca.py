"""Principal components as features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError
from sci_interp.schema import Split
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

from .linear import LinearProjection, describe_parent, two_sided_names, with_scale
from .moments import fit_ranges, measure_moments

__all__ = ["PcaProjection"]


class PcaProjection(LinearProjection):
    """Principal components by descending variance; both signs, ``"pca 3 -"``."""

    kind: ClassVar[str] = "pca"

    @classmethod
    def fit(
        cls,
        source: ActivationSource,
        splits: Sequence[Split] = ("train",),
        *,
        n_components: int | None = None,
    ) -> PcaProjection:
        """Diagonalise the covariance of the tokens of splits, gathered in one pass.

        Parameters
        ----------
        source
            The activations.
        splits
            Splits to fit on.
        n_components
            Components to keep; as many as channels by default.

        Raises
        ------
        InputError
            If more components are asked for than there are channels.
        """
        n_components = require_components(n_components, source.width)
        ranges = fit_ranges(source.axis, splits)
        moments = measure_moments(source, ranges)
        with one_blas_thread():
            variance, vectors = np.linalg.eigh(moments.covariance)
        vectors = vectors[:, ::-1][:, :n_components]
        variance = np.maximum(variance[::-1], 0.0)
        share = variance[:n_components] / max(variance.sum(), np.finfo(np.float64).tiny)
        found = cls(
            mean=moments.mean.astype(np.float32),
            weight=fix_signs(vectors).astype(np.float32),
            cut=np.zeros(n_components, np.float32),
            names=two_sided_names("pca", n_components),
            parent=describe_parent(source, splits),
            scale=np.zeros(2 * n_components, np.float32),
            details={"splits": list(splits), "variance_share": share.tolist()},
        )
        return with_scale(found, source, ranges)


def require_components(n_components: int | None, limit: int) -> int:
    """Return the number of components, refusing more than there are channels."""
    if n_components is None:
        return limit
    if not 1 <= n_components <= limit:
        raise InputError(f"{n_components} components were asked for", allowed=f"1 to {limit}")
    return n_components


def fix_signs(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the columns of ``directions`` with their largest entry made positive."""
    largest = np.abs(directions).argmax(axis=0)
    sign = np.sign(directions[largest, np.arange(directions.shape[1])])
    return directions * np.where(sign == 0, 1.0, sign)
