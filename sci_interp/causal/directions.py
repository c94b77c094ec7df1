"""What an intervention adds to the activations: a feature's own share, or controls of its size."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.errors import InputError
from sci_interp.sae import SparseAutoencoder

__all__ = ["CONTROL_KINDS", "ControlKind", "FeatureShare", "control_directions"]

ControlKind: TypeAlias = Literal["directions", "features"]
CONTROL_KINDS: tuple[ControlKind, ...] = get_args(ControlKind)

Floats = NDArray[np.float64]


class FeatureShare:
    """What one feature contributes to activations, and activations with more or less of it.

    The contribution of a token is ``f W``: the feature's activation times its decoder row, in the
    units of the activations. Everything else that the network computed stays, the autoencoder's
    error included.

    Parameters
    ----------
    sae
        The autoencoder.
    feature
        The feature.
    """

    def __init__(self, sae: SparseAutoencoder, feature: int) -> None:
        self._sae = sae
        self._feature = feature
        self._known: dict[bytes, tuple[torch.Tensor, torch.Tensor]] = {}

    def forget(self) -> None:
        """Drop what is remembered of the activations seen so far."""
        self._known.clear()

    def of(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens on which the feature fires, and what it contributes there.

        Equal activations are encoded once: every arm meets those of the untouched network.

        Parameters
        ----------
        values : (n_tokens, width)
            Activations.

        Returns
        -------
        tokens : (n,) int64
            Ascending.
        share : (n, width) float64
            Contributions.
        """
        plain = values.detach().to("cpu", torch.float32).contiguous()
        key = hashlib.sha256(plain.numpy().tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._encode(plain)
        return self._known[key]

    def add(
        self, values: torch.Tensor, coefficient: float, direction: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return activations with ``coefficient`` times the contribution added.

        Parameters
        ----------
        values : (n_tokens, width)
            Activations; a coefficient of 0 gives the same bits.
        coefficient
            -1 ablates the feature, 1 doubles it.
        direction : (width,) float64, optional
            A unit vector that takes the place of the contribution's own direction; tokens and
            lengths stay.
        """
        tokens, share = self.of(values)
        if direction is not None:
            share = torch.linalg.vector_norm(share, dim=1, keepdim=True) * direction
        delta = (coefficient * share).to(values)
        tokens = tokens.to(values.device)
        result = values.clone()
        old = result[tokens]
        # -0.0 + 0.0 is 0.0: where nothing is added, nothing is computed.
        result[tokens] = torch.where(delta == 0, old, old + delta)
        return result

    def _encode(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        codes = self._sae.encode(values.numpy())
        entries = np.flatnonzero(codes.feature == self._feature)
        tokens = torch.from_numpy(np.searchsorted(codes.indptr, entries, side="right") - 1)
        strength = torch.from_numpy(codes.value[entries].astype(np.float64))
        rows = strength[:, None] * self._sae.weights.decoder[self._feature].double()
        like = values[tokens].double()
        units = self._sae.normalisation
        return tokens, units.invert(rows, like) - units.invert(torch.zeros_like(rows), like)


def control_directions(
    sae: SparseAutoencoder, feature: int, n: int, *, kind: ControlKind, seed: int
) -> Floats:
    """Return unit directions ``(n, width)`` to compare a feature's direction with.

    Parameters
    ----------
    sae, feature
        The feature, and the dictionary it belongs to.
    n
        Number of controls.
    kind
        ``"directions"``: drawn at random, every direction of the normalised activations alike.
        ``"features"``: those of the other features whose firing rates are nearest. They lie where
        activations vary, and are the harder comparison.
    seed
        Seed of the random directions.

    Raises
    ------
    InputError
        If the dictionary has too few other features that fire.
    """
    spread = sae.normalisation.spread.double().numpy()
    if kind == "directions":
        rows = np.random.default_rng([seed, feature]).standard_normal((n, sae.width)) * spread
    else:
        rows = sae.dictionary[_alike(sae, feature, n)].astype(np.float64)
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _alike(sae: SparseAutoencoder, feature: int, n: int) -> NDArray[np.int64]:
    rate = sae.firing_rate.astype(np.float64)
    others = np.flatnonzero((rate > 0) & (np.arange(sae.n_features) != feature))
    if len(others) < n:
        raise InputError(
            f"{len(others)} other features fire, and {n} controls are asked for",
            todo='Take random directions: controls="directions"',
        )
    own = max(rate[feature], rate[others].min())
    distance = np.abs(np.log(rate[others] / own))
    return others[np.argsort(distance, kind="stable")[:n]]
