"""Covariates of an adapter as features: plain numbers at every token, in both signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sci_interp.adapter import Adapter, Dataset
from sci_interp.axis import OnAxis
from sci_interp.covariates import CovariateSource
from sci_interp.features import FeatureStore, encode
from sci_interp.schema import Split

from .channels import ChannelProjection

__all__ = ["encode_covariates"]


def encode_covariates(
    adapter: Adapter,
    dataset: Dataset,
    *,
    out: Path | str,
    fractions: Mapping[Split, float] | None = None,
    fit_on: Sequence[Split] = ("train",),
    progress: bool = True,
    like: OnAxis | None = None,
) -> FeatureStore:
    """Store an adapter's covariates as features, ``"pressure anomaly -"``.

    Parameters
    ----------
    adapter, dataset
        Whose covariates; see :class:`~sci_interp.adapter.WithCovariates`.
    out
        Folder of the artefact.
    fractions
        Shares of the splits, as given to ``extract``.
    fit_on
        Splits from which mean, standard deviation and scale are taken.
    progress
        Show a progress bar.
    like
        A store or stream whose records in quarantine are left out here too.

    Raises
    ------
    InputError
        If the adapter knows none.
    """
    source = CovariateSource(adapter, dataset, fractions=fractions, like=like)
    names = tuple(f"{item.name} {sign}" for sign in "+-" for item in source.covariates)
    projection = ChannelProjection.fit(source, fit_on)
    return encode(projection, source, out=out, names=names, progress=progress)
