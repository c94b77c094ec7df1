"""A dilated-convolution masked language model over residues (ByteNet blocks, as in CARP).

Shapes: B proteins, L tokens, D model width, H bottleneck width, K kernel, V letters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .alphabet import PAD, VOCABULARY


@dataclass(frozen=True, slots=True)
class ByteNetConfig:
    """The sizes of a :class:`ByteNet`; stored beside its weights."""

    width: int = 256
    bottleneck: int = 192
    kernel: int = 5
    n_blocks: int = 12
    max_dilation: int = 16
    n_letters: int = len(VOCABULARY)

    def dilation(self, block: int) -> int:
        """Return the dilation of one block: 1, 2, 4 ... ``max_dilation``, then again from 1."""
        return 1 << (block % self.max_dilation.bit_length())

    def to_dict(self) -> dict[str, int]:
        """Return the sizes as plain integers."""
        return asdict(self)


class ByteNetBlock(nn.Module):
    """Residual block: normalise, narrow, dilated convolution, widen.

    The convolution's weight is stored as a matrix ``(H, K * H)``, so that optimisers for
    matrices apply to it.
    """

    def __init__(self, config: ByteNetConfig, dilation: int) -> None:
        super().__init__()
        width, hidden = config.width, config.bottleneck
        self.dilation = dilation
        self.kernel = config.kernel
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, hidden)
        self.weight = nn.Parameter(torch.empty(hidden, config.kernel * hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.inner_norm = nn.LayerNorm(hidden)
        self.widen = nn.Linear(hidden, width)
        nn.init.normal_(self.weight, std=(config.kernel * hidden) ** -0.5)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Return the block's output ``(B, L, D)``; ``real`` ``(B, L, 1)`` is 0 on padding."""
        y = functional.gelu(self.narrow(self.norm(x))) * real  # (B, L, H)
        y = y.transpose(1, 2).unsqueeze(2)  # (B, H, 1, L), channels last in memory
        hidden = self.weight.shape[0]
        weight = self.weight.view(hidden, self.kernel, hidden).permute(0, 2, 1).unsqueeze(2)
        reach = self.dilation * (self.kernel // 2)
        y = functional.conv2d(y, weight, self.bias, padding=(0, reach), dilation=(1, self.dilation))
        y = y.squeeze(2).transpose(1, 2)  # (B, L, H)
        widened: Tensor = self.widen(functional.gelu(self.inner_norm(y)))
        return x + widened


class ByteNet(nn.Module):
    """Masked language model made of :class:`ByteNetBlock`.

    Hook points are ``embed``, ``blocks.0`` ... ``blocks.{n-1}`` and ``norm``, each of width D.

    References
    ----------
    Kalchbrenner et al. 2016 (ByteNet); Yang, Fusi, Lu 2024, "Convolutions are competitive with
    transformers for protein sequence pretraining" (CARP).
    """

    def __init__(self, config: ByteNetConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.n_letters, config.width)
        self.blocks = nn.ModuleList(
            ByteNetBlock(config, config.dilation(index)) for index in range(config.n_blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.n_letters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, L, V)`` of tokens ``(B, L)``; padding never leaks into residues."""
        real = (tokens != PAD).unsqueeze(-1)
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, real)
        logits: Tensor = self.head(self.norm(x))
        return logits
