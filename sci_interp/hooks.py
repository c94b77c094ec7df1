"""Hooks on named layers of a network: capture what a layer gives, or put something in its place.

A layer may give a tensor, or a tuple, list or mapping whose first item is the tensor, in any layout
(batch or sequence first, padded or not): the hooks neither know nor change the layout.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .errors import SciInterpError, UnknownNameError

__all__ = ["capture", "declare_torchvision_operators", "layer_names", "replace"]

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
#: Declarations of operators live as long as this.
_declared: list[Any] = []


def layer_names(module: nn.Module) -> list[str]:
    """Return the dotted names of all submodules, in the order of their definition."""
    return [name for name, _ in module.named_modules() if name]


@contextmanager
def capture(module: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named layers during forward passes.

    Parameters
    ----------
    module
        The network.
    names
        Layers, as :func:`layer_names` gives them.

    Yields
    ------
    dict of str to Tensor
        Outputs by layer, filled at every forward pass. A later call of a layer overwrites an
        earlier one. Tensors are those of the network, not copies, with their gradients' history.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    SciInterpError
        At the forward pass, if a layer gives no tensor.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[name] = _first_tensor(output, name)

        return hook

    with ExitStack() as stack:
        for name in names:
            handle = _layer(module, name).register_forward_hook(keep(name))
            stack.callback(handle.remove)
        yield found


@contextmanager
def replace(module: nn.Module, name: str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put ``fn(output)`` in place of a layer's output during forward passes.

    Parameters
    ----------
    module
        The network.
    name
        The layer.
    fn
        Receives the layer's tensor and returns one of the same shape; the result takes the dtype
        and device of the original. The further items of a tuple, list or mapping stay.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    SciInterpError
        At the forward pass, if the layer gives no tensor or ``fn`` changes the shape.
    """

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        old = _first_tensor(output, name)
        new = fn(old)
        if not isinstance(new, Tensor) or new.shape != old.shape:
            shape = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise SciInterpError(
                f"the replacement of layer {name!r} returned {shape}",
                allowed=f"a tensor of the shape {tuple(old.shape)}",
            )
        return _with_first(output, new.to(device=old.device, dtype=old.dtype))

    handle = _layer(module, name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _layer(module: nn.Module, name: str) -> nn.Module:
    layers: dict[str, nn.Module] = {key: layer for key, layer in module.named_modules() if key}
    if name not in layers:
        raise UnknownNameError("layer", name, layers)
    return layers[name]


def _first_tensor(output: Any, name: str) -> Tensor:
    first = output
    if isinstance(output, Mapping):
        first = next(iter(output.values()), None)
    elif isinstance(output, (tuple, list)):
        first = output[0] if output else None
    if not isinstance(first, torch.Tensor):
        raise SciInterpError(
            f"layer {name!r} gives {type(output).__name__} and no tensor first",
            allowed="layers that give a tensor, or a container whose first item is one",
            todo="Choose another layer",
        )
    return first


def _with_first(output: Any, new: Tensor) -> Any:
    """Return ``output`` with its first tensor replaced; its container type is kept."""
    if isinstance(output, Tensor):
        return new
    if isinstance(output, Mapping):
        return type(output)(**{**output, next(iter(output)): new})
    if hasattr(output, "_replace"):
        return output._replace(**{output._fields[0]: new})
    return type(output)([new, *output[1:]])


def declare_torchvision_operators() -> None:
    """Let packages that import torchvision and use nothing of it be imported.

    A torchvision for CUDA beside a torch for the CPU cannot load its operators, and its import
    fails for want of the schemas of two of them (transformers and timm import it). They are
    declared here, only where that import would fail so.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, ImportError, OSError) as error:
        if "torchvision::nms" not in str(error):
            return  # the package that needs it says what is wrong
    else:
        return
    # What the failed import left behind is half made.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _OPERATORS:
        library.define(schema)
    _declared.append(library)
