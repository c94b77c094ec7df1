"""What is done to activations before training sees them, fitted to a sample and saved with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .normalisation import Normalisation
from .settings import TrainingSettings
from .weights import Weights
from .whitening import folded, whitening_matrix

__all__ = ["Preparation"]

_UNITS = ("mean", "centre", "spread")


@dataclass(frozen=True, eq=False)
class Preparation:
    """Normalisation, and whitening where it is asked for.

    Attributes
    ----------
    units : Normalisation
        Of the activations; layers side by side have a scale each.
    matrix : (width, width) float64 or None
        Whitens normalised tokens.
    """

    units: Normalisation
    matrix: torch.Tensor | None = None

    @classmethod
    def fit(cls, settings: TrainingSettings, sample: torch.Tensor) -> Preparation:
        """Fit to a sample of training tokens ``(n_tokens, width)``.

        Raises
        ------
        InputError
            If all tokens are equal.
        """
        layers = torch.split(sample, list(settings.widths or sample.shape[1:]), dim=1)
        fitted = [Normalisation.fit(settings.normalisation, x, settings.centre) for x in layers]
        joined = (torch.cat([getattr(units, name) for units in fitted]) for name in _UNITS)
        units = Normalisation(settings.normalisation, *joined)
        matrix = whitening_matrix(units.apply(sample)) if settings.whitening else None
        return cls(units, matrix)

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """Return what training sees of activations ``(n_tokens, width)``."""
        rows = self.units.apply(values)
        return rows if self.matrix is None else rows @ self.matrix.float()

    def finish(self, weights: Weights) -> Weights:
        """Return the weights that read and write normalised activations."""
        return weights if self.matrix is None else folded(weights, self.matrix)

    def state(self) -> dict[str, torch.Tensor]:
        """Return all tensors by name."""
        found = {f"units.{name}": getattr(self.units, name) for name in _UNITS}
        return found if self.matrix is None else {**found, "units.matrix": self.matrix}

    @classmethod
    def resume(cls, settings: TrainingSettings, state: Mapping[str, torch.Tensor]) -> Preparation:
        """Take back what :meth:`state` gave."""
        units = Normalisation(settings.normalisation, *(state[f"units.{name}"] for name in _UNITS))
        return cls(units, state["units.matrix"] if settings.whitening else None)
