"""The one dense product: what every feature reads, in a reused buffer and fast arithmetic."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from .bytewise import Bytes
from .tiles import FEATURES, has_tiles
from .weights import Weights

__all__ = ["Arithmetic", "PreActivation", "fast_arithmetic", "native_bfloat16"]

#: Of the product: 8-bit numbers with a unit for every row, or floats.
Arithmetic: TypeAlias = Literal["int8", "bfloat16", "float32"]

#: Largest relative error of rounding to float32: half a unit in the last place.
_ROUNDING = 2.0**-24


def native_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 natively."""
    return any(map(_has, ("avx512_bf16", "amx_bf16", "arm_bf16")))


def fast_arithmetic(n_features: int, *, ranked: bool) -> Arithmetic:
    """Return the fastest arithmetic of this processor that suits a selection.

    Parameters
    ----------
    n_features
        Among so many.
    ranked
        Whether the highest ones are selected, or those at or above a floor that lies inside the
        range of most: rounding to 8 bits would let many through.
    """
    if ranked and n_features >= FEATURES and has_tiles() and not _has("amx_bf16"):
        return "int8"
    return "bfloat16" if native_bfloat16() else "float32"


def _has(name: str) -> bool:
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get(name))


class PreActivation:
    """Computes ``rows @ encoder.T + encoder_bias`` for changing weights.

    Parameters
    ----------
    weights
        The parameters; :meth:`refresh` follows their changes.
    arithmetic
        In which products are computed; those of ``"int8"`` are returned as bfloat16.
    """

    def __init__(self, weights: Weights, arithmetic: Arithmetic) -> None:
        self.weights = weights
        self.arithmetic = arithmetic
        self.dtype = torch.float32 if arithmetic == "float32" else torch.bfloat16
        self._bytes = Bytes(weights) if arithmetic == "int8" else None
        if self._bytes is None:
            self._encoder = weights.encoder.to(self.dtype)
            self._bias = weights.encoder_bias.to(self.dtype)
        self._out = weights.encoder.new_empty(0, weights.n_features, dtype=self.dtype)
        self._lengths: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self._lost = torch.empty(0)

    def refresh(self) -> None:
        """Copy the weights after a step."""
        self._lengths = None
        if self._bytes is not None:
            self._bytes.refresh()
        elif self.dtype != self.weights.encoder.dtype:
            self._encoder.copy_(self.weights.encoder)
            self._bias.copy_(self.weights.encoder_bias)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return pre-activations ``(n_tokens, n_features)``, valid until the next call."""
        if len(self._out) < len(rows):
            n_rows = max(len(rows), Bytes.FEWEST)
            with torch.inference_mode(False):  # a later call may be outside of it
                self._out = self._out.new_empty(n_rows, self.weights.n_features)
        out = self._out[: len(rows)]
        if self._bytes is not None:
            self._lost = self._bytes.product(rows, self._out)
            return out
        pre: torch.Tensor = torch.addmm(self._bias, rows.to(self.dtype), self._encoder.t(), out=out)
        return pre

    def error(self, rows: torch.Tensor) -> torch.Tensor:
        """Bound the distance ``(n_tokens,)`` to exact pre-activations before the last rounding.

        A token x and an encoder row e become y and f in fast arithmetic. By Cauchy-Schwarz
        ``|x.e - y.f| <= |x| |e - f| + |x - y| |f|``, whose lengths are known; products accumulate
        in float32 or in integers. Rounding the finished number keeps its order, so that comparing
        with a floor that is rounded alike needs no allowance for it.

        Parameters
        ----------
        rows : (n_tokens, width) float32
            Normalised activations, those of the last call.
        """
        if self._lengths is None:
            self._lengths = self._lost_by_weights()
        lost, longest, bias_lost = self._lengths
        length = rows.norm(dim=1)
        if self._bytes is None:
            rows_lost = (rows - rows.to(self.dtype).float()).norm(dim=1)
        else:
            rows_lost = self._lost
        factors = length * lost + rows_lost * (longest + lost) + bias_lost
        summed = (2.0 * self.weights.width + 4.0) * _ROUNDING
        reach = (length + rows_lost) * (longest + lost) + self.weights.encoder_bias.abs().max()
        bound: torch.Tensor = 1.001 * factors + summed * reach
        return bound

    def _lost_by_weights(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what rounding took from encoder rows and biases at most, and the longest row."""
        longest = self.weights.encoder.norm(dim=1).max()
        if self._bytes is not None:
            return self._bytes.lost.max(), longest, torch.tensor(0.0)
        lost = (self.weights.encoder - self._encoder.float()).norm(dim=1).max()
        return lost, longest, (self.weights.encoder_bias - self._bias.float()).abs().max()
