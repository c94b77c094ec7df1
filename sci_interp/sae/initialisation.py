"""Start from the data: decoder rows are directions that occur, and the encoder fits them.

Random directions leave most features to find their way into the data first; starting on data
points was the largest single gain of quality after few steps.
"""

from __future__ import annotations

import torch

from .gradients import values_of
from .preactivation import PreActivation
from .settings import TrainingSettings
from .sparsity import sparsity_of
from .weights import Weights

__all__ = ["initial_weights"]


def initial_weights(rows: torch.Tensor, settings: TrainingSettings) -> Weights:
    """Return weights to start from.

    Decoder rows are unit mixtures of a data point and a random direction. The encoder is the
    decoder times the least-squares gain ``<x, y> / <y, y>`` of its own reconstruction ``y``. Rows
    are centred already, so that the biases start at zero. Where the decoder writes other channels
    than the encoder reads, both rows of a feature come from the same token.

    Parameters
    ----------
    rows : (n_tokens, width) float32
        Normalised training tokens; what is written stands beside what is read.
    settings
        Features, k, seed, blend.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    n_features = settings.features
    n_read = settings.n_read or rows.shape[1]
    written = rows if settings.n_read is None else rows[:, n_read:]
    chosen = _draw(len(rows), n_features, generator)
    decoder = _directions(written[chosen], settings.blend, generator)
    encoder = decoder.clone()
    if settings.n_read is not None:
        encoder = _directions(rows[chosen, :n_read], settings.blend, generator)
    weights = Weights(
        encoder=encoder,
        encoder_bias=torch.zeros(n_features),
        decoder=decoder,
        decoder_bias=torch.zeros(written.shape[1]),
    )
    first = slice(settings.batch_size)
    read = rows[first, :n_read].contiguous()
    weights.encoder.mul_(_gain(read, written[first], weights, settings))
    return weights


def _directions(rows: torch.Tensor, blend: float, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(rows.shape, generator=generator)
    return _unit(blend * _unit(rows) + (1 - blend) * _unit(noise))


def _draw(n_rows: int, n_features: int, generator: torch.Generator) -> torch.Tensor:
    passes = -(-n_features // n_rows)
    orders = [torch.randperm(n_rows, generator=generator) for _ in range(passes)]
    return torch.cat(orders)[:n_features]


def _gain(
    rows: torch.Tensor, written: torch.Tensor, weights: Weights, settings: TrainingSettings
) -> torch.Tensor:
    pre = PreActivation(weights, settings.precision)(rows)
    sparsity = sparsity_of(settings.architecture, settings.k)
    pattern = sparsity.propose(pre)
    value = values_of(rows, weights, pattern, signed=sparsity.signed)
    made = pattern.combine(value, weights.decoder)
    return (written * made).sum() / made.square().sum().clamp_min(1e-12)


def _unit(rows: torch.Tensor) -> torch.Tensor:
    unit: torch.Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit
