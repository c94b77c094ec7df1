"""What every forecast network offers, and what is done to weights of any kind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sci_interp.adapter import Replacement
from sci_interp_weather.grids import Grid

__all__ = ["Network", "digest_tensors", "permute_weights", "shuffled_name"]


class Network(Protocol):
    """A network that reads fields and has layers whose tokens lie on a grid.

    Fields are given and returned north first, longitude ascending, in canonical units. Tokens
    are ``(column * n_levels + level) * n_rows + row`` of :meth:`token_grid`.

    Attributes
    ----------
    name : str
        Identity for the reader.
    variables : tuple of str
        Canonical names of what it reads.
    offsets : tuple of int
        Hours of the input times relative to the record's.
    lead : int
        Hours from the record's time to the forecast's; 0 where there is no forecast.
    targets : tuple of str
        Canonical names of what it forecasts.
    default_layer : str
        A layer to start with.
    field_grid : Grid or None
        The grid that it reads; None as long as it would take any.
    """

    name: str
    variables: tuple[str, ...]
    offsets: tuple[int, ...]
    lead: int
    targets: tuple[str, ...]
    default_layer: str

    @property
    def field_grid(self) -> Grid | None:
        """The grid that it reads; None as long as it would take any."""

    @property
    def digest(self) -> str:
        """SHA-256 over the weights in use."""

    @property
    def layers(self) -> Mapping[str, int]:
        """Hookable layers and their widths."""

    def n_levels(self, layer: str) -> int:
        """Return the number of levels of a layer."""

    def token_grid(self, layer: str) -> Grid:
        """Return the grid of a layer's tokens."""

    def bind(self, grid: Grid) -> Network:
        """Return this network, reading fields on ``grid``; refuses a grid that does not fit."""

    def run(
        self, inputs: NDArray[np.float32], hours: NDArray[np.float64], layers: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return ``(n, n_tokens, width)`` float32 of every layer.

        Parameters
        ----------
        inputs
            ``(n, n_offsets, n_variables, n_rows, n_columns)``, physical units.
        hours
            ``(n,)`` hours of the records since 1970.
        layers
            Which layers.
        """

    def forecast(
        self,
        inputs: NDArray[np.float32],
        hours: NDArray[np.float64],
        layer: str | None = None,
        replacement: Replacement | None = None,
    ) -> NDArray[np.float32]:
        """Return ``(n, n_targets, n_rows, n_columns)`` in physical units.

        ``replacement`` maps the tokens ``(n * n_tokens, width)`` of ``layer`` to what the rest of
        the network shall see.
        """

    def shuffled(self, seed: int) -> Network:
        """Return a copy whose every weight tensor is permuted within itself."""


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, shapes, types and values of tensors."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        state.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def permute_weights(module: nn.Module, seed: int) -> None:
    """Permute the entries of every parameter within itself, in place; buffers stay."""
    generator = torch.Generator().manual_seed(seed)
    for _, tensor in sorted(module.named_parameters(), key=lambda pair: pair[0]):
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        tensor.data = tensor.detach().reshape(-1)[order].reshape(tensor.shape)


def shuffled_name(name: str, seed: int) -> str:
    """Return the name of a network with shuffled weights."""
    return f"{name} (weights shuffled, seed {seed})"
