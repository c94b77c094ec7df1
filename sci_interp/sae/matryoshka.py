"""Matryoshka BatchTopK: every prefix of the dictionary reconstructs (Bussmann et al., 2503.17547).

Few, general features come first and later ones add detail, which lowers feature absorption.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from .batch_topk import BatchTopK
from .gradients import Pass, values_of
from .pattern import Pattern
from .weights import Weights

__all__ = ["ARCHITECTURE", "Matryoshka", "prefix_sizes"]


def prefix_sizes(n_features: int) -> list[int]:
    """Return the nested dictionary sizes: 1/16, 1/8, 1/4, 1/2 and all of the features."""
    return sorted({max(1, n_features // part) for part in (16, 8, 4, 2, 1)})


class Matryoshka(BatchTopK):
    """BatchTopK whose loss is the mean over nested prefixes of the dictionary."""

    name: ClassVar[str] = "matryoshka"

    def learn(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> Pass:
        """Return the mean loss of all prefixes, and its gradients."""
        value = values_of(rows, weights, pattern)
        sizes = prefix_sizes(weights.n_features)
        edges = torch.tensor(sizes, device=rows.device)
        level = torch.bucketize(pattern.feature, edges, right=True)
        kept = [level == at for at in range(len(sizes))]
        parts = [pattern.subset(mask) for mask in kept]
        errors = [weights.decoder_bias - rows]
        for part, mask in zip(parts, kept, strict=True):
            errors.append(errors[-1] + part.combine(value[mask], weights.decoder))
        del errors[0]
        slope, decoder = torch.empty_like(value), torch.zeros_like(weights.decoder)
        upstream = torch.zeros_like(rows)
        for part, mask, error in zip(
            reversed(parts), reversed(kept), reversed(errors), strict=True
        ):
            # A feature writes into its own prefix and into every larger one.
            upstream = torch.add(upstream, error, alpha=2.0 / (len(rows) * len(sizes)))
            slope[mask] = part.products(upstream, weights.decoder)
            decoder += part.gather(value[mask], upstream)
        slope.mul_(value > 0)
        loss = torch.stack([error.square().sum() for error in errors]).mean() / len(rows)
        gradient = Weights(
            encoder=pattern.gather(slope, rows),
            encoder_bias=pattern.totals(slope),
            decoder=decoder,
            decoder_bias=upstream.sum(0),
        )
        return Pass(loss, value, errors[-1], gradient, pattern.counts())


ARCHITECTURE = Matryoshka
