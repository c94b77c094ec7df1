"""AbsTopK: the k entries of largest magnitude, with their sign (Zhu et al. 2025, 2510.00404).

One direction serves two opposite meanings: half the width for signed quantities. Codes are
positive, so that in use every direction has two sides: features ``0..F-1`` are the positive sides
and ``F..2F-1`` the negative ones, whose encoder and decoder rows are the same with the other sign.
A token activates one side of a direction at most, and decoding is that of any autoencoder.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from .pattern import Pattern
from .topk import TopK
from .weights import Weights

__all__ = ["ARCHITECTURE", "AbsTopK", "mirrored"]


def mirrored(weights: Weights) -> Weights:
    """Return the weights of both sides: ``2F`` features from ``F`` directions."""
    return Weights(
        encoder=torch.cat([weights.encoder, -weights.encoder]),
        encoder_bias=torch.cat([weights.encoder_bias, -weights.encoder_bias]),
        decoder=torch.cat([weights.decoder, -weights.decoder]),
        decoder_bias=weights.decoder_bias,
    )


class AbsTopK(TopK):
    """TopK over both sides of every direction; training knows the directions alone.

    The ``k`` highest of all sides are the ``k`` of largest magnitude.
    """

    name: ClassVar[str] = "abs_topk"
    signed: ClassVar[bool] = True

    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the ``k`` entries of largest magnitude of every token."""
        return super().select(pre.abs())

    def finish(self, weights: Weights) -> Weights:
        """Return the weights of both sides."""
        return mirrored(weights)


ARCHITECTURE = AbsTopK
