"""Crosscoder: one dictionary for several layers (Lindsey et al. 2024, "Sparse Crosscoders").

Trained on a :class:`sci_interp.source.StackedSource`, whose layers, or models, lie side by side,
each with a scale of its own. A feature reads all of them and has a decoder row for each; the loss
is the sum of the layers' squared errors, and an activation is priced times the **sum** of the
lengths of its rows, so that a feature can do without layers. At the end the length of the joined
row is folded into the encoder; the lengths by layer (:func:`layer_lengths`) are its shares.

Two features that write one layer each cost as much as one that writes both, so that a dictionary
much wider than needed splits features by layer (Minder et al. 2025, 2504.02922). ``batch_topk`` on
the same source has no such price, and is the crosscoder that they recommend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from .relu import ReLU
from .weights import Weights

if TYPE_CHECKING:
    from .settings import TrainingSettings

__all__ = ["ARCHITECTURE", "Crosscoder", "layer_lengths"]


class Crosscoder(ReLU):
    """ReLU over the channels of several layers.

    Attributes
    ----------
    widths : (n_layers,) int64
        Channels of each layer.
    """

    name: ClassVar[str] = "crosscoder"

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self.widths = torch.zeros(0, dtype=torch.int64)

    def prepare(self, settings: TrainingSettings, weights: Weights) -> None:
        """Take penalty and widths."""
        super().prepare(settings, weights)
        self.unit_decoder = False
        self.widths = torch.tensor(settings.widths, dtype=torch.int64)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the widths."""
        return {"widths": self.widths}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back the widths."""
        super().restore(tensors)
        self.widths = tensors["widths"].to(torch.int64)

    def _lengths(self, decoder: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum of the lengths of each feature's rows, and its slope."""
        lengths = layer_lengths(decoder, self.widths).clamp_min(1e-12)
        return lengths.sum(1), decoder / lengths.repeat_interleave(self.widths, dim=1)


def layer_lengths(decoder: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """Return the length of every feature's decoder row in each layer ``(n_features, n_layers)``.

    Parameters
    ----------
    decoder : (n_features, width) float32
        Joined rows, in normalised units, as ``sae.weights.decoder``.
    widths : (n_layers,) int64
        Channels of each layer, as ``sae.sparsity.widths``.
    """
    parts = torch.split(decoder, widths.tolist(), dim=1)
    return torch.stack([part.norm(dim=1) for part in parts], dim=1)


ARCHITECTURE = Crosscoder
