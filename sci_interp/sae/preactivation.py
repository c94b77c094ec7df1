"""The one dense product: what every feature reads, in a reused buffer and fast arithmetic."""

from __future__ import annotations

import torch

from .weights import Weights

__all__ = ["PreActivation", "fast_dtype"]

#: Largest relative error of rounding to float32: half a unit in the last place.
_ROUNDING = 2.0**-24


def fast_dtype() -> torch.dtype:
    """Return bfloat16 on processors that multiply it natively, otherwise float32."""
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return torch.bfloat16 if native else torch.float32


class PreActivation:
    """Computes ``rows @ encoder.T + encoder_bias`` for changing weights.

    Parameters
    ----------
    weights
        The parameters; :meth:`refresh` follows their changes.
    dtype
        Arithmetic: ``torch.bfloat16`` or ``torch.float32``.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype) -> None:
        self.weights = weights
        self.dtype = dtype
        self._encoder = weights.encoder.to(dtype)
        self._bias = weights.encoder_bias.to(dtype)
        self._out = torch.empty(0, weights.n_features, dtype=dtype)
        self._lengths: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def refresh(self) -> None:
        """Copy the weights after a step."""
        self._lengths = None
        if self.dtype != self.weights.encoder.dtype:
            self._encoder.copy_(self.weights.encoder)
            self._bias.copy_(self.weights.encoder_bias)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return pre-activations ``(n_tokens, n_features)``, valid until the next call."""
        if len(self._out) < len(rows):
            self._out = torch.empty(len(rows), self.weights.n_features, dtype=self.dtype)
        out = self._out[: len(rows)]
        pre: torch.Tensor = torch.addmm(self._bias, rows.to(self.dtype), self._encoder.t(), out=out)
        return pre

    def error(self, rows: torch.Tensor) -> torch.Tensor:
        """Bound the distance ``(n_tokens,)`` to exact pre-activations before the last rounding.

        A token x and an encoder row e become y and f in fast arithmetic. By Cauchy-Schwarz
        ``|x.e - y.f| <= |x| |e - f| + |x - y| |f|``, whose lengths are known; products accumulate
        in float32. Rounding the finished number keeps its order, so that comparing with a floor
        that is rounded alike needs no allowance for it.

        Parameters
        ----------
        rows : (n_tokens, width) float32
            Normalised activations.
        """
        if self._lengths is None:
            rounded, bias = self._encoder.float(), self._bias.float()
            lost = (self.weights.encoder - rounded).norm(dim=1).max()
            bias_lost = (self.weights.encoder_bias - bias).abs().max()
            self._lengths = lost, self.weights.encoder.norm(dim=1).max(), bias_lost
        lost, longest, bias_lost = self._lengths
        length, rows_lost = rows.norm(dim=1), (rows - rows.to(self.dtype).float()).norm(dim=1)
        factors = length * lost + rows_lost * (longest + lost) + bias_lost
        summed = (2.0 * self.weights.width + 4.0) * _ROUNDING
        reach = (length + rows_lost) * (longest + lost) + self.weights.encoder_bias.abs().max()
        bound: torch.Tensor = 1.001 * factors + summed * reach
        return bound
