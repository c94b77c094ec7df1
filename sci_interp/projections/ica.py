"""Independent components as features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sci_interp.schema import Split
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

from .linear import LinearProjection, describe_parent, two_sided_names, with_scale
from .moments import fit_ranges, read_slices
from .pca import fix_signs, require_components

__all__ = ["IcaProjection"]

#: Most components where the number is left open: the time grows with their square.
DEFAULT_COMPONENTS = 128


class IcaProjection(LinearProjection):
    """Independent components of the activations (FastICA); both signs, ``"ica 3 +"``.

    ``details["converged"]`` says whether the fixed point was reached within the iterations allowed;
    components that were still turning are kept, as a baseline does not depend on their last digit.
    """

    kind: ClassVar[str] = "ica"

    @classmethod
    def fit(
        cls,
        source: ActivationSource,
        splits: Sequence[Split] = ("train",),
        *,
        n_components: int | None = None,
        n_tokens: int = 50_000,
        n_iterations: int = 200,
        seed: int = 0,
    ) -> IcaProjection:
        """Fit on a random sample of the tokens of splits.

        Parameters
        ----------
        source
            The activations.
        splits
            Splits to fit on.
        n_components
            Components; by default as many as channels, and at most 128.
        n_tokens
            Size of the sample, which is held in memory.
        n_iterations
            Most iterations of FastICA.
        seed
            Seed of the sample and of the initial unmixing.
        """
        limit = min(source.width, DEFAULT_COMPONENTS) if n_components is None else n_components
        n_components = require_components(limit, source.width)
        ranges = fit_ranges(source.axis, splits)
        sample = sample_tokens(source, ranges, n_tokens, seed=seed)
        mean, unmixing, converged = _unmix(sample, n_components, n_iterations, seed)
        found = cls(
            mean=mean.astype(np.float32),
            weight=unmixing.astype(np.float32),
            cut=np.zeros(unmixing.shape[1], np.float32),
            names=two_sided_names("ica", unmixing.shape[1]),
            parent=describe_parent(source, splits),
            scale=np.zeros(2 * unmixing.shape[1], np.float32),
            details={
                "splits": list(splits),
                "n_tokens": len(sample),
                "seed": seed,
                "converged": converged,
            },
        )
        return with_scale(found, source, ranges)


def sample_tokens(
    source: ActivationSource, ranges: Sequence[tuple[int, int]], n_tokens: int, *, seed: int
) -> NDArray[np.float32]:
    """Return the activations of random tokens, at most ``n_tokens``, in the order of the axis."""
    total = sum(stop - start for start, stop in ranges)
    chosen = np.arange(total)
    if total > n_tokens:
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(total, n_tokens, replace=False))
    parts, before = [], 0
    for _, values in read_slices(source, ranges):
        first, last = np.searchsorted(chosen, (before, before + len(values)))
        parts.append(values[chosen[first:last] - before])
        before += len(values)
    return np.concatenate(parts)


def _unmix(
    sample: NDArray[np.float32], n_components: int, n_iterations: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return mean ``(width,)``, unmixing ``(width, n_components)`` and whether it converged."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean.astype(np.float32)
    model = FastICA(
        n_components,
        whiten="unit-variance",
        whiten_solver="eigh",
        max_iter=n_iterations,
        random_state=seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with one_blas_thread():
            model.fit(centred)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    # The order that FastICA finds is arbitrary: the component that moves the activations most
    # comes first.
    order = np.argsort(-np.linalg.norm(model.mixing_, axis=0), kind="stable")
    return mean, fix_signs(model.components_.T.astype(np.float64)[:, order]), converged
