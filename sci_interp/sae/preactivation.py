"""The one dense product: what every feature reads, in a reused buffer and fast arithmetic."""

from __future__ import annotations

import torch

from .weights import Weights

__all__ = ["PreActivation", "fast_dtype"]

#: Half a unit in the last place, relative: bfloat16 keeps 8 significant bits, float32 24.
_ROUNDING = {torch.bfloat16: 2.0**-9, torch.float32: 2.0**-24}


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

    def refresh(self) -> None:
        """Copy the weights after a step."""
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
        """Bound the distance ``(n_tokens,)`` between computed and exact pre-activations.

        Factors, bias, product and sum are rounded once each, and the product accumulates in
        float32; by Cauchy-Schwarz none of these errors exceeds a rounding unit of the longest
        encoder row times the token's length.

        Parameters
        ----------
        rows : (n_tokens, width) float32
            Normalised activations.
        """
        relative = 4.1 * _ROUNDING[self.dtype] + 2.0 * self.weights.width * _ROUNDING[torch.float32]
        reach = rows.norm(dim=1) * self.weights.encoder.norm(dim=1).max()
        bound: torch.Tensor = relative * (reach + self.weights.encoder_bias.abs().max())
        return bound
