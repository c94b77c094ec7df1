"""Any ``torch.nn.Module`` as a forecast network: hook paths, layouts and a grid say the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from sci_interp.adapter import Replacement
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.hooks import capture, layer_names, replace
from sci_interp_weather.grids import Grid

from .base import digest_tensors, permute_weights, shuffled_name
from .geometry import Geometry
from .grid_network import GridNetwork, geometry_of

__all__ = ["CalledSizes", "Finish", "ModuleNetwork", "Prepare", "replaced_tokens"]

#: ``(inputs, hours) -> the module's argument``, or a tuple of them, or (tuple, dict of keywords).
Prepare: TypeAlias = "Callable[[Tensor, Tensor], Any]"
#: The module's output ``-> (n, n_targets, n_rows, n_columns)``.
Finish: TypeAlias = "Callable[[Any], Tensor]"
#: Arguments and keywords of a layer's call ``-> sizes`` of ``level``, ``latitude``, ``longitude``.
CalledSizes: TypeAlias = "Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, int]]"

Self = TypeVar("Self", bound="ModuleNetwork")


class ModuleNetwork(GridNetwork):
    """A module whose own forward pass runs, with hooks at named layers.

    Parameters
    ----------
    module
        The network; put into evaluation mode.
    layers
        Hook paths and the layouts of their outputs, such as
        ``{"body.3": "batch channel latitude longitude"}``; axes in parentheses are flattened
        into one: ``"batch (level latitude longitude) channel"``.
    grid
        The grid it was made for; None: any grid that its patches divide.
    variables, offsets
        Canonical names of what it reads; hours of the input times relative to the record's.
    patch
        Rows and columns of the fields' grid under one token; one pair, or a pair by layer.
    levels
        Levels of the layers, or by layer.
    lead, targets
        Hours ahead and what it forecasts; left out where only activations are wanted.
    prepare
        ``prepare(inputs, hours)`` returns what the module is called with, from ``inputs``
        ``(n, n_offsets, n_variables, n_rows, n_columns)`` in physical units and ``hours`` (n,)
        since 1970. By default times and variables become channels ``(n, C, n_rows, n_columns)``.
    finish
        Turns the module's output into ``(n, n_targets, n_rows, n_columns)`` in physical units.
    token_grids
        Grids of layers whose tokens are not patches of the fields' grid.
    south_first, first_longitude
        The orientation that the module itself wants, where it is not north first, or not the
        grid's first longitude (0 for networks on 0 to 360 degrees).
    sizes
        Reads the sizes of a layer from its own call, where they are among the arguments.
    default_layer
        A layer to start with; by default the one at two thirds of the list.
    name
        Identity for the reader; by default the class of the module.

    Raises
    ------
    UnknownNameError
        If there is no submodule at a hook path; near names are listed.
    InputError
        If a layout, patch or level does not fit.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        layers: Mapping[str, str],
        grid: Grid | None,
        variables: Sequence[str],
        offsets: Sequence[int] = (0,),
        patch: tuple[int, int] | Mapping[str, tuple[int, int]] = (1, 1),
        levels: int | Mapping[str, int] = 1,
        lead: int = 0,
        targets: Sequence[str] = (),
        prepare: Prepare | None = None,
        finish: Finish | None = None,
        token_grids: Mapping[str, Grid] | None = None,
        south_first: bool = False,
        first_longitude: float | None = None,
        sizes: CalledSizes | None = None,
        default_layer: str | None = None,
        name: str | None = None,
    ) -> None:
        known = layer_names(module)
        for layer in layers:
            if layer not in known:
                raise UnknownNameError("layer", layer, known)
        geometry = geometry_of(
            layers,
            grid=grid,
            patch=patch,
            levels=levels,
            token_grids=token_grids,
            south_first=south_first,
            first_longitude=first_longitude,
        )
        super().__init__(
            name or type(module).__name__,
            geometry,
            variables=variables,
            offsets=offsets,
            lead=lead,
            targets=targets,
            default_layer=default_layer,
        )
        self.module = module.eval().requires_grad_(False)
        self._prepare = prepare or _as_channels
        self._finish = finish
        self._called_sizes = sizes

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the parameters and buffers in use."""
        return digest_tensors(self.module.state_dict())

    def to(self, device: torch.device | str) -> None:
        """Move the weights.

        Raises
        ------
        InputError
            If there is no such device.
        """
        try:
            self.module.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.name} cannot be moved to {device}: {reason}", allowed="cpu, cuda, cuda:N"
            ) from None

    def shuffled(self: Self, seed: int) -> Self:
        """Return a copy whose every parameter is permuted within itself; buffers stay."""
        other = copy.copy(self)
        other.module = copy.deepcopy(self.module)
        other.__dict__.pop("digest", None)
        other.name = shuffled_name(self.name, seed)
        permute_weights(other.module, seed)
        return other

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def _run(
        self,
        fields: Tensor,
        hours: Tensor,
        layers: Sequence[str],
        replacement: tuple[str, Replacement] | None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        n = len(fields)
        watched = [*layers, replacement[0]] if replacement else list(layers)
        with torch.inference_mode(), ExitStack() as stack:
            args, kwargs = self._call(fields.to(self.device), hours.to(self.device))
            calls = stack.enter_context(_Watch(self.module, watched, self._called_sizes))
            if replacement is not None:
                fn = _on_tokens(self.geometry, replacement, n, calls)
                stack.enter_context(replace(self.module, replacement[0], fn))
            found = stack.enter_context(capture(self.module, layers))
            output = self.module(*args, **kwargs)
            calls.require_all()
            tokens = {
                layer: self.geometry.to_tokens(layer, found[layer], n, calls.sizes[layer])
                for layer in layers
            }
            finished = self._finished(output) if self.targets else None
        return finished, tokens

    def _call(self, fields: Tensor, hours: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        prepared = self._prepare(fields, hours)
        if not isinstance(prepared, tuple):
            return (prepared,), {}
        if len(prepared) == 2 and isinstance(prepared[0], tuple) and isinstance(prepared[1], dict):
            return prepared
        return prepared, {}

    def _finished(self, output: Any) -> Tensor:
        result: Tensor = self._finish(output) if self._finish else output
        return result


class _Watch:
    """Counts the calls of layers during one pass and reads sizes from their arguments."""

    def __init__(
        self, module: nn.Module, layers: Sequence[str], read_sizes: CalledSizes | None
    ) -> None:
        self.sizes: dict[str, Mapping[str, int]] = {}
        self._layers, self._read = layers, read_sizes
        self._modules = dict(module.named_modules())
        self._handles: list[Any] = []

    def __enter__(self) -> _Watch:
        for layer in dict.fromkeys(self._layers):
            hook = self._hook(layer)
            module = self._modules[layer]
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def require_all(self) -> None:
        """Refuse layers that the pass did not use."""
        silent = [layer for layer in self._layers if layer not in self.sizes]
        if silent:
            raise InputError(
                f"layer {silent[0]!r} does not fire when the network runs",
                todo="Hook a module that the network's own forward pass calls",
            )

    def _hook(self, layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
            if layer in self.sizes:
                raise InputError(
                    f"layer {layer!r} fires twice in one forward pass",
                    todo="Hook a module that is called once, such as a block that holds it",
                )
            self.sizes[layer] = self._read(args, kwargs) if self._read else {}

        return hook


def _on_tokens(
    geometry: Geometry, replacement: tuple[str, Replacement], n: int, calls: _Watch
) -> Callable[[Tensor], Tensor]:
    """Return the replacement as it acts on the layer's own tensor."""
    layer, fn = replacement

    def on_output(values: Tensor) -> Tensor:
        sizes = calls.sizes[layer]
        tokens = geometry.to_tokens(layer, values, n, sizes)
        new = replaced_tokens(layer, fn, tokens)
        changed = geometry.from_tokens(layer, new.to(values.dtype), values, sizes)
        # In the memory layout of the original, so that the same kernels run on it.
        return torch.empty_like(values).copy_(changed)

    return on_output


def replaced_tokens(layer: str, fn: Replacement, tokens: Tensor) -> Tensor:
    """Return what ``fn`` makes of tokens ``(n, n_tokens, width)``, handed over as float32 rows."""
    rows = tokens.reshape(-1, tokens.shape[-1]).float()
    new = fn(rows)
    if not isinstance(new, Tensor) or new.shape != rows.shape:
        shape = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise InputError(
            f"the replacement of layer {layer!r} returned {shape}",
            allowed=f"a tensor of the shape {tuple(rows.shape)}",
        )
    return new.reshape(tokens.shape)


def _as_channels(inputs: Tensor, _hours: Tensor) -> Tensor:
    return inputs.flatten(1, 2)
