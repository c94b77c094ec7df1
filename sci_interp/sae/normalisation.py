"""How activations are centred and scaled before the encoder sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from sci_interp.errors import InputError

__all__ = ["NORMALISATIONS", "Normalisation", "NormalisationKind"]

NormalisationKind: TypeAlias = Literal["scale", "channel", "token"]
NORMALISATIONS: tuple[NormalisationKind, ...] = get_args(NormalisationKind)

_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Normalisation:
    """A reversible change of units, saved with the autoencoder.

    Attributes
    ----------
    kind : str
        ``"scale"``: minus the mean, one factor for all, so that the mean squared length is the
        width; ``"channel"``: every channel to variance 1; ``"token"``: every token to mean 0 and
        variance 1 over its channels, then as ``"scale"``.
    mean : (width,) float32
        Mean over training tokens (of the activations themselves, whatever the kind).
    centre : (width,) float32
        Subtracted; equal to the mean unless the kind is ``"token"``.
    spread : (width,) float32
        What a unit of every normalised channel means.
    """

    kind: NormalisationKind
    mean: torch.Tensor
    centre: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def fit(cls, kind: NormalisationKind, values: torch.Tensor) -> Normalisation:
        """Fit to a sample of training tokens ``(n_tokens, width)``.

        Raises
        ------
        InputError
            If the kind is unknown, or all tokens are equal.
        """
        if kind not in NORMALISATIONS:
            raise InputError(
                f"the normalisation {kind!r} is unknown", allowed=", ".join(NORMALISATIONS)
            )
        sample = values.double()
        mean = sample.mean(0)
        if kind == "token":
            sample = _standardise(sample)[0]
        centre = sample.mean(0)
        variance = (sample - centre).square().mean(0)
        if not variance.sum() > 0:
            raise InputError(
                "all activations of the training tokens are equal",
                todo="Choose another layer, or give more records",
            )
        typical = variance.mean().sqrt()
        spread = typical.expand(len(centre))
        if kind == "channel":
            spread = variance.sqrt().clamp_min(_TINY * float(typical))
        return cls(kind, mean.float(), centre.float(), spread.float().clone())

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """Return normalised activations."""
        if self.kind == "token":
            values = _standardise(values)[0]
        return (values - self.centre) / self.spread

    def invert(self, rows: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        """Return activations from normalised ones.

        Parameters
        ----------
        rows : (n_tokens, width) float32
            Normalised activations.
        like : (n_tokens, width) float32
            The original tokens; with kind ``"token"`` they give each token its own mean and
            spread, which a code alone does not hold.
        """
        values = rows * self.spread + self.centre
        if self.kind == "token" and like is not None:
            _, mean, deviation = _standardise(like)
            return values * deviation + mean
        return values


def _standardise(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mean = values.mean(1, keepdim=True)
    deviation = values.std(1, keepdim=True, correction=0).clamp_min(_TINY)
    return (values - mean) / deviation, mean, deviation
