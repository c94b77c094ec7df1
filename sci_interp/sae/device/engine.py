"""What a training computes with on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch

from sci_interp.sae.adam import Adam
from sci_interp.sae.batch_topk import BatchTopK
from sci_interp.sae.engine import Engine
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.pattern import Pattern
from sci_interp.sae.preparation import Preparation
from sci_interp.sae.settings import Precision
from sci_interp.sae.sparsity import Sparsity
from sci_interp.sae.weights import Weights

from .pattern import DevicePattern
from .weights import DeviceAdam, DeviceWeights

__all__ = ["DeviceEngine"]


class DeviceEngine(Engine):
    """Torch operations on one device, for architectures that rank features.

    Tensors of weights, optimiser and batches are on the device; starting weights, thresholds, the
    final statistics and files are made on the processor. In a step the host waits for the device
    once, for the loss and two counts, and with matryoshka several times for the size of each
    prefix.

    Every sum has a fixed order or is one of whole numbers. Where torch's matrix products and
    ``topk`` repeat on a device, as they do on one model of device under one release, a run repeats
    byte by byte there. It equals a run on the processor but for rounding, and but for which of
    several equal bfloat16 pre-activations are taken.

    Parameters
    ----------
    device
        Where to compute; the processor's own serves as a check.
    """

    patterns: ClassVar[type[Pattern]] = DevicePattern

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def precision(self, wanted: Precision) -> Precision:
        """Return the precision that a training is told: bfloat16 where it is left open."""
        return "bfloat16" if wanted == "auto" else wanted

    def place(self, weights: Weights) -> Weights:
        """Return the weights on the device."""
        return DeviceWeights.from_named({name: self._to(held) for name, held in weights.named()})

    def place_preparation(self, prepared: Preparation) -> Preparation:
        """Return normalisation, and whitening, on the device."""
        units = prepared.units
        held = (self._to(each) for each in (units.mean, units.centre, units.spread))
        matrix = None if prepared.matrix is None else self._to(prepared.matrix)
        return replace(prepared, units=Normalisation(units.kind, *held), matrix=matrix)

    def move(self, rows: torch.Tensor) -> torch.Tensor:
        """Return activations on the device; the host goes on while they travel."""
        return self._to(rows.pin_memory() if self.device.type == "cuda" else rows)

    def adam(self, parameters: Mapping[str, torch.Tensor]) -> Adam:
        """Return an optimiser of placed parameters."""
        return DeviceAdam(parameters)

    def select(self, sparsity: Sparsity, pre: torch.Tensor) -> Pattern:
        """Choose the highest pre-activations ``(n_tokens, n_features)`` of tokens or batch."""
        if isinstance(sparsity, BatchTopK):
            return DevicePattern.highest_of_all(pre, sparsity.k * len(pre))
        return DevicePattern.highest(pre.abs() if sparsity.signed else pre, sparsity.k)

    def marked(self, mask: torch.Tensor, n_marked: int) -> torch.Tensor:
        """Return the places ``(n_marked,)`` of true entries; their number is known already."""
        return mask.logical_not().byte().argsort(stable=True)[:n_marked]

    def _to(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)
