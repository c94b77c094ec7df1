"""Where the tokens of a network's layers lie on the globe, and how they are read and put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.grids import Grid

from .layouts import Layout

__all__ = ["Geometry"]

_SAME_PLACE = 1e-3


@dataclass(frozen=True, eq=False)
class Geometry:
    """Layers of one network, and the grid they lie on.

    Attributes
    ----------
    layouts : mapping of str to Layout
        By layer.
    grid : Grid or None
        The fields' grid.
    is_fixed : bool
        Whether the network takes no other grid.
    patches : mapping of str to (rows, columns)
        Cells of the fields' grid under one token; 1 x 1 where a layer is not listed.
    token_grids : mapping of str to Grid
        Grids of layers whose tokens are not such patches.
    levels : mapping of str to int
        Levels of a layer; 1 where it is not listed.
    south_first : bool
        Whether the network itself wants the southernmost row first.
    first_longitude : float or None
        Longitude, modulo 360, that the network itself wants first on a whole circle; None: as
        the grid has it.
    """

    layouts: Mapping[str, Layout]
    grid: Grid | None = None
    is_fixed: bool = False
    patches: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    token_grids: Mapping[str, Grid] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)
    south_first: bool = False
    first_longitude: float | None = None

    def __post_init__(self) -> None:
        for option in (self.patches, self.token_grids, self.levels):
            for layer in option:
                self.layout(layer)
        for layer, levels in self.levels.items():
            if levels > 1 and not self.layouts[layer].has_levels:
                raise InputError(
                    f"layer {layer!r} has {levels} levels, and its layout "
                    f"{self.layouts[layer].text!r} names none",
                    allowed="a layout with an axis 'level'",
                )
        if self.grid is not None:
            for layer in self.layouts:
                self._token_shift(layer)

    def layout(self, layer: str) -> Layout:
        """Return the layout of a layer.

        Raises
        ------
        UnknownNameError
            If the network has no such layer.
        """
        if layer not in self.layouts:
            raise UnknownNameError("layer", layer, self.layouts)
        return self.layouts[layer]

    def bound(self, grid: Grid) -> Geometry:
        """Return this geometry on a grid of fields.

        Raises
        ------
        InputError
            If the network was made for another grid, or patches do not fit.
        """
        if self.is_fixed and self.grid is not None:
            _require_same(self.grid, grid)
            return self
        return replace(self, grid=grid)

    def require_grid(self) -> Grid:
        """Return the fields' grid, or say that there is none yet."""
        if self.grid is None:
            raise InputError(
                "the network has not been given a grid", todo="Call network.bind(fields.grid)"
            )
        return self.grid

    def token_grid(self, layer: str) -> Grid:
        """Return the grid of a layer's tokens."""
        self.layout(layer)
        if layer in self.token_grids:
            return self.token_grids[layer]
        grid = self.require_grid()
        rows, columns = self.patches.get(layer, (1, 1))
        # Rows that fill no patch are left out at the end the network sees last.
        offset = grid.shape[0] % rows if self.south_first else 0
        return grid.coarsen(rows, columns, rows_offset=offset)

    def to_network(self, fields: Tensor) -> Tensor:
        """Return fields ``(..., n_rows, n_columns)`` in the network's own orientation."""
        turned = torch.roll(fields, -self._column_shift(), dims=-1)
        return torch.flip(turned, dims=(-2,)) if self.south_first else turned

    def from_network(self, fields: Tensor) -> Tensor:
        """Undo :meth:`to_network`."""
        turned = torch.flip(fields, dims=(-2,)) if self.south_first else fields
        return torch.roll(turned, self._column_shift(), dims=-1)

    def to_tokens(
        self, layer: str, values: Tensor, n: int, sizes: Mapping[str, int] | None = None
    ) -> Tensor:
        """Return ``(n, n_tokens, width)`` of a layer's output, whatever its type.

        Parameters
        ----------
        layer
            Which layer.
        values
            Its output for ``n`` records.
        n
            Number of records.
        sizes
            Sizes that the layer was called with, which must be those of its grid.

        Raises
        ------
        InputError
            If the output does not fit the layout on the layer's grid.
        """
        known = self._sizes(layer, n, sizes)
        try:
            tokens = self.layout(layer).to_tokens(values, known)
        except InputError as error:
            raise InputError(
                f"layer {layer!r}: {error.what}", allowed=error.allowed, todo=error.todo
            ) from None
        return self._turned(layer, tokens, known, back=True)

    def from_tokens(
        self, layer: str, tokens: Tensor, like: Tensor, sizes: Mapping[str, int] | None = None
    ) -> Tensor:
        """Undo :meth:`to_tokens`; ``like`` is the layer's own output."""
        known = self._sizes(layer, len(tokens), sizes)
        turned = self._turned(layer, tokens, known, back=False)
        return self.layout(layer).from_tokens(turned, like, known)

    def _turned(
        self, layer: str, tokens: Tensor, sizes: Mapping[str, int], *, back: bool
    ) -> Tensor:
        """Return tokens in the orientation of the grid (``back``) or of the network."""
        shift = self._token_shift(layer)
        if not shift and not self.south_first:
            return tokens
        axes = [sizes[axis] for axis in ("longitude", "level", "latitude")]
        cells = tokens.reshape(len(tokens), *axes, tokens.shape[-1])
        if self.south_first:
            cells = torch.flip(cells, dims=(3,))
        return torch.roll(cells, shift if back else -shift, dims=1).flatten(1, 3)

    def _sizes(self, layer: str, n: int, called: Mapping[str, int] | None) -> dict[str, int]:
        n_rows, n_columns = self.token_grid(layer).shape
        sizes = {"latitude": n_rows, "longitude": n_columns, "level": self.levels.get(layer, 1)}
        for axis, size in (called or {}).items():
            if axis == "level" and layer not in self.levels:
                sizes[axis] = size
            elif sizes[axis] != size:
                raise InputError(
                    f"layer {layer!r} was called with {axis} {size}, its grid has {sizes[axis]}",
                    todo="Use a grid that the network divides without padding",
                )
        return {"batch": n, **sizes}

    def _column_shift(self) -> int:
        """Return the column of the fields' grid that the network wants first."""
        return 0 if self.grid is None else self._first_column(self.grid)

    def _token_shift(self, layer: str) -> int:
        """Return the column of a layer's tokens that the network has first."""
        tokens = self.token_grid(layer)
        if layer in self.token_grids:
            return self._first_column(tokens)
        shift, width = self._column_shift(), self.patches.get(layer, (1, 1))[1]
        if shift % width:
            raise InputError(
                f"the patches of layer {layer!r} are not those of the grid once it starts at "
                f"{self.first_longitude:g} degrees east",
                todo="Use a grid whose columns from its start to there fill whole patches",
            )
        return shift // width

    def _first_column(self, grid: Grid) -> int:
        if not grid.periodic or self.first_longitude is None:
            return 0
        apart = np.abs((grid.longitude - self.first_longitude + 180.0) % 360.0 - 180.0)
        return int(np.argmin(apart))


def _require_same(wanted: Grid, given: Grid) -> None:
    if wanted.shape != given.shape:
        what = "the fields do not have the rows and columns that the network was made for"
    else:
        apart = max(
            float(np.abs(wanted.latitude - given.latitude).max()),
            float(np.abs(wanted.longitude - given.longitude).max()),
        )
        if apart < _SAME_PLACE:
            return
        what = f"the fields' cells lie up to {apart:g} degrees from the network's"
    raise InputError(
        what,
        allowed=f"the grid {_extent(wanted)}",
        todo=f"Interpolate or select the fields, which are {_extent(given)}",
    )


def _extent(grid: Grid) -> str:
    return (
        f"{grid.latitude[0]:g} to {grid.latitude[-1]:g} north, {grid.longitude[0]:g} to "
        f"{grid.longitude[-1]:g} east, {grid.shape[0]} x {grid.shape[1]}"
    )
