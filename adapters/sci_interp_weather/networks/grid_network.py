"""What networks on grids share: checking and turning fields, probing layers, shapes of answers."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sci_interp.adapter import Replacement
from sci_interp.errors import InputError
from sci_interp_weather.grids import Grid

from .geometry import Geometry
from .layouts import Layout

__all__ = ["GridNetwork", "geometry_of"]

Self = TypeVar("Self", bound="GridNetwork")


class GridNetwork(ABC):
    """A :class:`~sci_interp_weather.networks.base.Network` without its forward pass.

    Parameters
    ----------
    name
        Identity for the reader.
    geometry
        Its layers and their grids.
    variables, offsets
        What it reads, and at which hours relative to the record's time.
    lead, targets
        Hours ahead and what it forecasts; 0 and none for a network that forecasts nothing.
    default_layer
        A layer to start with; by default the one at two thirds of the list.
    """

    def __init__(
        self,
        name: str,
        geometry: Geometry,
        *,
        variables: Sequence[str],
        offsets: Sequence[int] = (0,),
        lead: int = 0,
        targets: Sequence[str] = (),
        default_layer: str | None = None,
    ) -> None:
        self.name = name
        self.geometry = geometry
        self.variables, self.targets = tuple(variables), tuple(targets)
        self.offsets, self.lead = tuple(offsets), lead
        names = list(geometry.layouts)
        if not names or not self.variables or not self.offsets:
            raise InputError(f"{name} names no layer, no variable or no input time")
        self.default_layer = default_layer or names[min(len(names) - 1, 2 * len(names) // 3)]
        geometry.layout(self.default_layer)

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 over the weights in use."""

    @abstractmethod
    def shuffled(self: Self, seed: int) -> Self:
        """Return a copy whose every weight tensor is permuted within itself."""

    @abstractmethod
    def _run(
        self,
        fields: Tensor,
        hours: Tensor,
        layers: Sequence[str],
        replacement: tuple[str, Replacement] | None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Run the network's own forward pass on fields in its own orientation.

        Returns what it forecasts ``(n, n_targets, n_rows, n_columns)``, None where it forecasts
        nothing, and the tokens of ``layers``.
        """

    @property
    def field_grid(self) -> Grid | None:
        """The grid that it reads; None as long as it would take any."""
        return self.geometry.grid

    def token_grid(self, layer: str) -> Grid:
        """Return the grid of a layer's tokens.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        InputError
            If the network has no grid yet.
        """
        return self.geometry.token_grid(layer)

    def bind(self: Self, grid: Grid) -> Self:
        """Return this network, reading fields on ``grid``.

        Raises
        ------
        InputError
            If the network was made for another grid, or its patches do not fit this one.
        """
        bound = copy.copy(self)
        bound.geometry = self.geometry.bound(grid)
        return bound

    @property
    def layers(self) -> Mapping[str, int]:
        """Hookable layers and their widths, found by running the network once."""
        return {layer: shape[1] for layer, shape in self._shapes.items()}

    def n_levels(self, layer: str) -> int:
        """Return the number of levels of a layer."""
        self.geometry.layout(layer)
        return self._shapes[layer][0]

    def run(
        self, inputs: NDArray[np.float32], hours: NDArray[np.float64], layers: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return ``(n, n_tokens, width)`` float32 of every layer.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        InputError
            If the inputs do not have the network's shape, or a layer does not fit its geometry.
        """
        for layer in layers:
            self.geometry.layout(layer)
        _, tokens = self._run(*self._checked(inputs, hours), layers, None)
        return {layer: values.float().cpu() for layer, values in tokens.items()}

    def forecast(
        self,
        inputs: NDArray[np.float32],
        hours: NDArray[np.float64],
        layer: str | None = None,
        replacement: Replacement | None = None,
    ) -> NDArray[np.float32]:
        """Return ``(n, n_targets, n_rows, n_columns)`` in physical units.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        InputError
            If the network forecasts nothing, or gives something of another shape.
        """
        if not self.targets:
            raise InputError(f"{self.name} forecasts nothing", todo="Give targets= and finish=")
        change = None
        if replacement is not None:
            change = (layer or self.default_layer, replacement)
            self.geometry.layout(change[0])
        output, _ = self._run(*self._checked(inputs, hours), (), change)
        wanted = (len(inputs), len(self.targets), *self.geometry.require_grid().shape)
        if not isinstance(output, Tensor) or tuple(output.shape) != wanted:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"the forecast of {self.name} has the shape {shape}",
                allowed=f"{wanted}: records, targets, latitudes, longitudes",
                todo="Give finish=, which turns the network's output into that",
            )
        turned = self.geometry.from_network(output.float().cpu())
        return np.ascontiguousarray(turned.numpy())

    def _checked(
        self, inputs: NDArray[np.float32], hours: NDArray[np.float64]
    ) -> tuple[Tensor, Tensor]:
        grid = self.geometry.require_grid()
        wanted = (len(hours), len(self.offsets), len(self.variables), *grid.shape)
        if tuple(inputs.shape) != wanted:
            raise InputError(
                f"the inputs have the shape {tuple(inputs.shape)}",
                allowed=f"{wanted}: records, input times, variables, latitudes, longitudes",
            )
        fields = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
        times = torch.from_numpy(np.ascontiguousarray(hours, dtype=np.float64))
        return self.geometry.to_network(fields), times

    def _on_small_grid(self: Self, grid: Grid) -> Self:
        """Return this network on a grid that only serves to find the sizes of its layers."""
        return self.bind(grid)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        """Levels and width of every layer, in order, from a pass on fields of zeros."""
        geometry = self.geometry
        probe = self if geometry.is_fixed else self._on_small_grid(_probe_grid(geometry))
        shape = (1, len(self.offsets), len(self.variables), *probe.geometry.require_grid().shape)
        tokens = probe.run(np.zeros(shape, np.float32), np.zeros(1), list(geometry.layouts))
        found = {}
        for layer, values in tokens.items():
            n_rows, n_columns = probe.token_grid(layer).shape
            found[layer] = (values.shape[1] // (n_rows * n_columns), values.shape[2])
        return found


def geometry_of(
    layers: Mapping[str, str],
    *,
    grid: Grid | None,
    patch: tuple[int, int] | Mapping[str, tuple[int, int]] = (1, 1),
    levels: int | Mapping[str, int] = 1,
    token_grids: Mapping[str, Grid] | None = None,
    south_first: bool = False,
    first_longitude: float | None = None,
) -> Geometry:
    """Return the geometry that the settings of a network describe.

    Parameters
    ----------
    layers
        Layouts by layer.
    grid
        The only grid that the network takes; None: any.
    patch, levels
        Of all layers, or by layer.
    token_grids, south_first, first_longitude
        As in :class:`~sci_interp_weather.networks.geometry.Geometry`.

    Raises
    ------
    InputError
        If a layout cannot be read, a size is not positive, or patches do not fit the grid.
    UnknownNameError
        If a setting names a layer that is not among ``layers``.
    """
    patches = patch if isinstance(patch, Mapping) else dict.fromkeys(layers, patch)
    by_layer = levels if isinstance(levels, Mapping) else dict.fromkeys(layers, levels)
    for what, sizes in (("patch", patches.values()), ("levels", by_layer.values())):
        if any(np.min(size) < 1 for size in sizes):
            raise InputError(f"the {what} is not positive", allowed="whole numbers from 1")
    return Geometry(
        {layer: Layout.parse(text) for layer, text in layers.items()},
        grid=grid,
        is_fixed=grid is not None,
        patches=dict(patches),
        token_grids=dict(token_grids or {}),
        levels={layer: n for layer, n in by_layer.items() if n > 1},
        south_first=south_first,
        first_longitude=first_longitude,
    )


def _probe_grid(geometry: Geometry) -> Grid:
    """Return a small global grid that every patch divides."""
    patches = list(geometry.patches.values())
    height, width = (math.lcm(*(patch[axis] for patch in patches)) for axis in (0, 1))
    rows = height * max(2, math.ceil(8 / height))
    columns = width * max(4, math.ceil(16 / width))
    latitude = 90 - (np.arange(rows) + 0.5) * 180 / rows
    return Grid.regular(latitude, -180 + np.arange(columns) * 360 / columns)
