"""ONNX networks through onnxruntime: inner tensors are made outputs, or inputs, of the graph."""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sci_interp.adapter import Replacement
from sci_interp.errors import InputError, MissingExtraError, UnknownNameError
from sci_interp_weather.grids import Grid

from .base import shuffled_name
from .grid_network import GridNetwork, geometry_of
from .module_network import replaced_tokens

__all__ = ["OnnxNetwork", "load_onnx"]

#: ``(inputs, hours) -> array`` of the graph's only input, or arrays by input name.
Prepare: TypeAlias = "Callable[[NDArray[np.float32], NDArray[np.float64]], Any]"
#: The graph's outputs, in order, ``-> (n, n_targets, n_rows, n_columns)``.
Finish: TypeAlias = "Callable[[list[NDArray[Any]]], NDArray[np.float32]]"

#: Largest file, in bytes: a protobuf cannot be larger.
LARGEST = 2 * 2**30
_BEFORE = "__before_replacement"
#: Operators whose floating-point initialisers are sizes, not weights.
_RESIZING = ("Resize", "Upsample")


class OnnxNetwork(GridNetwork):
    """A graph that onnxruntime runs; its layers are named tensors inside it.

    To read a tensor, it becomes an output. To replace one, the graph runs twice: once up to the
    tensor, and once more with the replaced tensor as an input in the place of what made it.
    Graph optimisations are off, so that all three graphs compute the same numbers.

    Parameters
    ----------
    model
        The graph, an ``onnx.ModelProto`` without external data.
    layers
        Tensor names and their layouts, as in
        :class:`~sci_interp_weather.networks.module_network.ModuleNetwork`.
    grid, variables, offsets, patch, levels, lead, targets, token_grids, south_first
        As there.
    first_longitude, default_layer, name
        As there.
    prepare
        ``prepare(inputs, hours)`` returns the array for the graph's input, or arrays by input
        name. By default times and variables become channels ``(n, C, n_rows, n_columns)``.
    finish
        Turns the list of the graph's outputs into ``(n, n_targets, n_rows, n_columns)``; by
        default the first output is that.
    threads
        Threads of onnxruntime.

    Raises
    ------
    MissingExtraError
        If onnxruntime is not installed.
    UnknownNameError
        If there is no tensor of that name.
    InputError
        If the graph cannot be run, or a layout does not fit.
    """

    def __init__(
        self,
        model: Any,
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
        default_layer: str | None = None,
        name: str = "onnx",
        threads: int = 1,
    ) -> None:
        known = [tensor for node in model.graph.node for tensor in node.output if tensor]
        for layer in layers:
            if layer not in known:
                raise UnknownNameError("tensor", layer, known)
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
            name,
            geometry,
            variables=variables,
            offsets=offsets,
            lead=lead,
            targets=targets,
            default_layer=default_layer,
        )
        self.model = model
        self._prepare = prepare or _as_channels
        self._finish = finish or _first_output
        self._threads = threads
        self._sessions: dict[tuple[tuple[str, ...], str | None], Any] = {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the whole graph with its weights."""
        return hashlib.sha256(self.model.SerializeToString(deterministic=True)).hexdigest()

    def shuffled(self, seed: int) -> OnnxNetwork:
        """Return a copy whose every floating-point initialiser is permuted within itself."""
        onnx = _import("onnx")
        other = copy.copy(self)
        other.model = onnx.ModelProto()
        other.model.CopyFrom(self.model)
        other._sessions = {}
        other.__dict__.pop("digest", None)
        other.name = shuffled_name(self.name, seed)
        generator = np.random.default_rng(seed)
        sizes = {
            tensor
            for node in self.model.graph.node
            if node.op_type in _RESIZING
            for tensor in node.input
        }
        for weight in sorted(other.model.graph.initializer, key=lambda item: str(item.name)):
            values = onnx.numpy_helper.to_array(weight)
            if np.issubdtype(values.dtype, np.floating) and weight.name not in sizes:
                mixed = generator.permutation(values.reshape(-1)).reshape(values.shape)
                weight.CopyFrom(onnx.numpy_helper.from_array(mixed, weight.name))
        return other

    def _run(
        self,
        fields: Tensor,
        hours: Tensor,
        layers: Sequence[str],
        replacement: tuple[str, Replacement] | None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        size = self._batch_size or len(fields)
        parts = [
            self._run_part(fields[at : at + size], hours[at : at + size], layers, replacement)
            for at in range(0, len(fields), size)
        ]
        outputs = [output for output, _ in parts if output is not None]
        tokens = {layer: torch.cat([part[layer] for _, part in parts]) for layer in layers}
        return torch.cat(outputs) if outputs else None, tokens

    def _run_part(
        self,
        fields: Tensor,
        hours: Tensor,
        layers: Sequence[str],
        replacement: tuple[str, Replacement] | None,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        n = len(fields)
        feed = self._feed(fields.numpy(), hours.numpy())
        given = None
        if replacement is not None:
            given, fn = replacement
            (before,) = self._call((given,), None, feed, only=True)
            values = torch.from_numpy(before)
            tokens = self.geometry.to_tokens(given, values, n)
            new = replaced_tokens(given, fn, tokens).to(values.dtype)
            changed = self.geometry.from_tokens(given, new, values)
            feed = {**feed, given: np.ascontiguousarray(changed.numpy())}
        wanted = tuple(layers)
        found = self._call(wanted, given, feed, only=not self.targets)
        n_outputs = len(found) - len(wanted)
        captured = {
            layer: self.geometry.to_tokens(layer, torch.from_numpy(values), n)
            for layer, values in zip(wanted, found[n_outputs:], strict=True)
        }
        if not self.targets:
            return None, captured
        finished = np.ascontiguousarray(self._finish(found[:n_outputs]), dtype=np.float32)
        return torch.from_numpy(finished), captured

    @cached_property
    def _batch_size(self) -> int | None:
        """Records of one call, where the graph fixes their number."""
        dims = self._inputs[0].type.tensor_type.shape.dim
        return int(dims[0].dim_value) or None if dims else None

    @property
    def _inputs(self) -> list[Any]:
        weights = {weight.name for weight in self.model.graph.initializer}
        return [item for item in self.model.graph.input if item.name not in weights]

    def _feed(
        self, fields: NDArray[np.float32], hours: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        prepared = self._prepare(fields, hours)
        if isinstance(prepared, Mapping):
            return {name: np.ascontiguousarray(values) for name, values in prepared.items()}
        return {self._inputs[0].name: np.ascontiguousarray(prepared)}

    def _call(
        self,
        layers: tuple[str, ...],
        given: str | None,
        feed: Mapping[str, NDArray[Any]],
        *,
        only: bool,
    ) -> list[NDArray[Any]]:
        """Return the graph's outputs (unless ``only``), then the tensors asked for."""
        key = (layers, given)
        if key not in self._sessions:
            self._sessions[key] = _session(_opened(self.model, layers, given), self._threads)
        outputs = [] if only else [item.name for item in self.model.graph.output]
        try:
            found: list[NDArray[Any]] = self._sessions[key].run([*outputs, *layers], dict(feed))
        except Exception as error:  # noqa: BLE001 - onnxruntime has its own types of errors
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self.name} cannot be run on these inputs: {reason}",
                allowed=", ".join(_described(item) for item in self._inputs),
                todo="Give prepare=, which makes the graph's inputs",
            ) from None
        return found


def load_onnx(path: Path, *, max_bytes: int = LARGEST, **settings: Any) -> OnnxNetwork:
    """Load an ONNX file, all of whose weights are inside it.

    Parameters
    ----------
    path
        The file.
    max_bytes
        Largest file that is read.
    **settings
        Those of :class:`OnnxNetwork`; ``layers``, ``grid`` and ``variables`` are needed. The
        grid may be a table of ``latitude`` and ``longitude``, as it stands in a study file.

    Raises
    ------
    MissingExtraError
        If onnx or onnxruntime is not installed.
    InputError
        If the file is missing, too large, damaged, or keeps weights in other files, or if a
        needed setting is missing.
    """
    onnx = _import("onnx")
    _import("onnxruntime")
    try:
        size = path.stat().st_size
        if size > min(max_bytes, LARGEST):
            raise InputError(
                f"{path} has {size:,} bytes",
                allowed=f"at most {min(max_bytes, LARGEST):,} bytes",
                todo="Raise max_bytes= if you trust the file",
            )
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(model)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - damage shows in many types; each is reported
        if "external" not in str(error):
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path} cannot be read as an ONNX model: {reason}") from None
    outside = [w.name for w in model.graph.initializer if w.data_location == w.EXTERNAL]
    if outside:
        raise InputError(
            f"{path} keeps weights in other files, among them {outside[0]!r}",
            allowed="a file that holds all of its weights",
            todo="Save it with onnx.save(..., save_as_external_data=False)",
        )
    missing = [key for key in ("layers", "grid", "variables") if key not in settings]
    if missing:
        tensors = [tensor for node in model.graph.node for tensor in node.output]
        raise InputError(
            f"the ONNX network {path.name} needs the options {', '.join(missing)}",
            allowed="layers={tensor: layout}, grid=Grid, variables=[names]; its tensors are "
            + ", ".join(tensors[:40]),
        )
    if isinstance(settings["grid"], Mapping):
        axes = (settings["grid"].get(axis, ()) for axis in ("latitude", "longitude"))
        settings["grid"] = Grid.regular(*axes)
    return OnnxNetwork(model, name=settings.pop("name", path.name), **settings)


def _opened(model: Any, layers: Sequence[str], given: str | None) -> Any:
    """Return a copy whose ``layers`` are outputs, and whose tensor ``given`` is an input."""
    onnx = _import("onnx")
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    types = _element_types(model)
    present = {item.name for item in opened.graph.output}
    for layer in layers:
        if layer not in present:
            opened.graph.output.append(
                onnx.helper.make_tensor_value_info(layer, types.get(layer, 1), None)
            )
    if given is not None:
        for node in opened.graph.node:
            for index, tensor in enumerate(node.output):
                if tensor == given:
                    node.output[index] = given + _BEFORE
        opened.graph.input.append(
            onnx.helper.make_tensor_value_info(given, types.get(given, 1), None)
        )
    return opened


def _element_types(model: Any) -> dict[str, int]:
    onnx = _import("onnx")
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {i.name: i.type.tensor_type.elem_type for i in [*graph.value_info, *graph.output]}


def _session(model: Any, threads: int) -> Any:
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime has its own types of errors
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"onnxruntime cannot run this graph: {reason}") from None


def _described(item: Any) -> str:
    dims = [dim.dim_param or str(dim.dim_value) for dim in item.type.tensor_type.shape.dim]
    return f"{item.name} ({', '.join(dims)})"


def _import(package: str) -> Any:
    try:
        module = importlib.import_module(package)
        if package == "onnx":
            for part in ("checker", "helper", "numpy_helper", "shape_inference"):
                importlib.import_module(f"onnx.{part}")
    except ImportError:
        raise MissingExtraError(package, "onnx") from None
    return module


def _as_channels(inputs: NDArray[np.float32], _hours: NDArray[np.float64]) -> NDArray[np.float32]:
    n, _, _, n_rows, n_columns = inputs.shape
    return inputs.reshape(n, -1, n_rows, n_columns)


def _first_output(outputs: list[NDArray[Any]]) -> NDArray[np.float32]:
    return np.asarray(outputs[0], dtype=np.float32)
