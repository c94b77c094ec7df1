"""How activations are centred and scaled before the encoder sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from sci_interp.errors import InputError

__all__ = ["CENTRES", "NORMALISATIONS", "CentreKind", "Normalisation", "NormalisationKind"]

CentreKind: TypeAlias = Literal["mean", "geometric_median"]
CENTRES: tuple[CentreKind, ...] = get_args(CentreKind)
NormalisationKind: TypeAlias = Literal[
    "scale", "channel", "token", "none", "layer", "unit", "length"
]
NORMALISATIONS: tuple[NormalisationKind, ...] = get_args(NormalisationKind)

_TINY = 1e-6
#: Most steps to the geometric median.
_MEDIAN_STEPS = 200

#: Rows, and what takes them back: ``rows * deviation + mean``.
Standardised: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Normalisation:
    """A reversible change of units, saved with the autoencoder.

    Attributes
    ----------
    kind : str
        ``"scale"``: minus the mean, one factor for all, so that the mean squared length is the
        width; ``"channel"``: every channel to variance 1; ``"none"``: as they are.

        The others change every token first, and then do as ``"scale"``: ``"token"`` gives it mean 0
        and variance 1 over its channels, ``"layer"`` the same with the unbiased deviation plus 1e-5
        (LayerNorm without weights as Gao et al. 2024 write it, and the z-score of ESM C's
        autoencoders), ``"unit"`` mean 0 and length 1, ``"length"`` the length √width.
    mean : (width,) float32
        Mean over training tokens (of the activations themselves, whatever the kind).
    centre : (width,) float32
        Subtracted: where the decoder's bias starts. Equal to the mean for ``"scale"`` and
        ``"channel"`` that were fitted here, but for those with a geometric median.
    spread : (width,) float32
        What a unit of every normalised channel means.
    """

    kind: NormalisationKind
    mean: torch.Tensor
    centre: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def fit(
        cls, kind: NormalisationKind, values: torch.Tensor, centre: CentreKind = "mean"
    ) -> Normalisation:
        """Fit to a sample of training tokens.

        Parameters
        ----------
        kind
            See above.
        values : (n_tokens, width) float32
            The sample.
        centre
            ``"mean"``, or ``"geometric_median"``: the point of least mean distance to the tokens,
            which a few distant ones do not move (where the decoder's bias of Bricken et al. 2023
            starts).

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
        if kind == "none":
            width = sample.shape[1]
            return cls(kind, mean.float(), torch.zeros(width), torch.ones(width))
        if kind in _PER_TOKEN:
            sample = _PER_TOKEN[kind](sample)[0]
        middle = sample.mean(0) if centre == "mean" else _geometric_median(sample)
        variance = (sample - middle).square().mean(0)
        if not variance.sum() > 0:
            raise InputError(
                "all activations of the training tokens are equal",
                todo="Choose another layer, or give more records",
            )
        typical = variance.mean().sqrt()
        spread = typical.expand(len(middle))
        if kind == "channel":
            spread = variance.sqrt().clamp_min(_TINY * float(typical))
        return cls(kind, mean.float(), middle.float(), spread.float().clone())

    def split(self, n_read: int | None) -> tuple[Normalisation, Normalisation | None]:
        """Return the units of the first channels and of the others; None: of all, and None."""
        if n_read is None:
            return self, None
        both = (slice(n_read), slice(n_read, None))
        first, others = (
            Normalisation(self.kind, self.mean[at], self.centre[at], self.spread[at]) for at in both
        )
        return first, others

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """Return normalised activations."""
        if self.kind in _PER_TOKEN:
            values = _PER_TOKEN[self.kind](values)[0]
        return (values - self.centre) / self.spread

    def invert(self, rows: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        """Return activations from normalised ones.

        Parameters
        ----------
        rows : (n_tokens, width) float32
            Normalised activations.
        like : (n_tokens, width) float32
            The original tokens; with a kind that changes every token they give each its own mean
            and spread, which a code alone does not hold.
        """
        values = rows * self.spread + self.centre
        if self.kind in _PER_TOKEN and like is not None:
            _, mean, deviation = _PER_TOKEN[self.kind](like)
            return values * deviation + mean
        return values


def _geometric_median(sample: torch.Tensor) -> torch.Tensor:
    """Return the point of least mean distance (Weiszfeld's iteration)."""
    middle = sample.mean(0)
    for _ in range(_MEDIAN_STEPS):
        weight = (sample - middle).norm(dim=1).clamp_min(1e-12).reciprocal()
        moved = (weight @ sample) / weight.sum()
        step, middle = float((moved - middle).norm()), moved
        if step < _TINY / float(weight.mean()):
            break
    return middle


def _standardise(values: torch.Tensor) -> Standardised:
    mean = values.mean(1, keepdim=True)
    deviation = values.std(1, keepdim=True, correction=0).clamp_min(_TINY)
    return (values - mean) / deviation, mean, deviation


def _layer(values: torch.Tensor) -> Standardised:
    mean = values.mean(1, keepdim=True)
    centred = values - mean
    deviation = centred.std(1, keepdim=True)
    return centred / (deviation + 1e-5), mean, deviation


def _unit(values: torch.Tensor) -> Standardised:
    mean = values.mean(1, keepdim=True)
    centred = values - mean
    length = centred.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return centred / length, mean, length


def _length(values: torch.Tensor) -> Standardised:
    ratio = values.norm(dim=1, keepdim=True).clamp_min(1e-8) / values.shape[1] ** 0.5
    return values / ratio, torch.zeros_like(ratio), ratio


_PER_TOKEN: Mapping[str, Callable[[torch.Tensor], Standardised]] = {
    "token": _standardise,
    "layer": _layer,
    "unit": _unit,
    "length": _length,
}
