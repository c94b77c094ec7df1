"""The four tensors of a sparse autoencoder, one row per feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import torch

from .products import drop_parallel
from .selection import over_rows

__all__ = ["Weights"]


@dataclass(frozen=True, eq=False)
class Weights:
    """Parameters, or their gradients.

    Attributes
    ----------
    encoder : (n_features, width) float32
        Direction that every feature reads.
    encoder_bias : (n_features,) float32
        Added to what it reads.
    decoder : (n_features, width) float32
        Direction that every feature writes, of unit length.
    decoder_bias : (width,) float32
        Reconstruction of a token without active features.
    """

    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    decoder_bias: torch.Tensor

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.encoder.shape[0]

    @property
    def width(self) -> int:
        """Number of channels."""
        return self.encoder.shape[1]

    def named(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield names and tensors in a fixed order."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    @classmethod
    def from_named(cls, tensors: Mapping[str, torch.Tensor]) -> Weights:
        """Build from tensors by name; others are left alone."""
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})

    def of_features(self, features: torch.Tensor) -> Weights:
        """Return copies of the rows of some features."""
        return Weights(
            self.encoder[features],
            self.encoder_bias[features],
            self.decoder[features],
            self.decoder_bias,
        )

    def normalise_decoder(self) -> None:
        """Scale every decoder row to unit length, in place."""
        self.decoder.div_(self.decoder.norm(dim=1, keepdim=True).clamp_min_(1e-12))

    def drop_parallel(self, gradient: torch.Tensor) -> None:
        """Take from a decoder gradient what would only change the rows' length, in place."""
        over_rows(drop_parallel, len(gradient), gradient.numpy(), self.decoder.numpy())
