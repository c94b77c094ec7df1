"""extract: Adapter x Dataset -> ActivationStore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .allocator import release_free_memory
from .axis import DEFAULT_FRACTIONS, TokenAxis
from .errors import InputError, NotFiniteError, SciInterpError, StoreError
from .manifest import begin_artefact, clear_on_mistake
from .progress import track
from .schema import RECORD, REQUEST_FILE, SHARD_TOKENS, Split
from .streams import STREAM_TOKENS, ActivationStream, require_layer, run_unit
from .token_layout import (
    UNIT_TOKENS,
    TokenLayout,
    choose_shard_tokens,
    require_dtype,
    to_stored,
    work_units,
)
from .token_writer import ActivationWriter
from .tokens import ActivationStore

__all__ = ["ActivationStream", "extract", "stream"]

#: Records after which free memory is given back to the system.
RELEASE_EVERY = 32


def stream(
    adapter: Adapter,
    dataset: Dataset,
    layer: str,
    *,
    fractions: Mapping[Split, float] | None = None,
    unit_tokens: int = STREAM_TOKENS,
    cached_units: int = 2,
) -> ActivationStream:
    """Return activations that are computed when they are read, and stored nowhere.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    layer
        The layer.
    fractions
        Shares of the splits; None takes the default.
    unit_tokens
        Tokens that the network is asked for at once.
    cached_units
        Units that are kept in memory after they were read.

    Raises
    ------
    UnknownNameError
        If there is no such layer; the message lists those there are.
    InputError
        If a size is not positive, or the dataset has no record.
    """
    return ActivationStream(
        adapter,
        dataset,
        layer,
        fractions=fractions,
        unit_tokens=unit_tokens,
        cached_units=cached_units,
    )


@overload
def extract(
    adapter: Adapter,
    dataset: Dataset,
    *,
    layer: str,
    out: Path | str,
    dtype: str = ...,
    fractions: Mapping[Split, float] | None = ...,
    progress: bool = ...,
    unit_tokens: int = ...,
    shard_tokens: int = ...,
) -> ActivationStore: ...
@overload
def extract(
    adapter: Adapter,
    dataset: Dataset,
    *,
    layer: list[str] | tuple[str, ...],
    out: Path | str,
    dtype: str = ...,
    fractions: Mapping[Split, float] | None = ...,
    progress: bool = ...,
    unit_tokens: int = ...,
    shard_tokens: int = ...,
) -> dict[str, ActivationStore]: ...


def extract(
    adapter: Adapter,
    dataset: Dataset,
    *,
    layer: str | list[str] | tuple[str, ...],
    out: Path | str,
    dtype: str = "float16",
    fractions: Mapping[Split, float] | None = None,
    progress: bool = True,
    unit_tokens: int = UNIT_TOKENS,
    shard_tokens: int = SHARD_TOKENS,
) -> ActivationStore | dict[str, ActivationStore]:
    """Run the network over a dataset and store the activations of one or more layers.

    An interrupted run continues after its last committed shard when it is called again, and ends
    in the same bytes as one that was not interrupted. Finished stores are opened, not made again.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    layer
        One layer; or several, which one forward pass feeds.
    out
        Folder of the store. Several layers have a folder each in it, named as the layer.
    dtype
        ``"float16"``, ``"bfloat16"`` (wider range, three digits) or ``"float32"``.
    fractions
        Shares of the splits; None takes the default.
    progress
        Show progress on standard error.
    unit_tokens
        Tokens that the network is asked for at once.
    shard_tokens
        Most tokens of a shard.

    Returns
    -------
    ActivationStore or dict of str to ActivationStore
        One store; or stores by layer where several layers were asked for.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    NotFiniteError
        If activations hold NaN or infinity, or exceed the range of ``dtype``.
    StoreError
        If ``out`` holds other work, or cannot be read or written.
    SciInterpError
        If the adapter yields something other than it was asked for.
    """
    if unit_tokens < 1:
        raise InputError(f"unit_tokens={unit_tokens} is not usable", allowed="a positive number")
    out = Path(out)
    folders = {layer: out} if isinstance(layer, str) else _layer_folders(layer, out)
    axis = TokenAxis.of(dataset, fractions)
    run = _Run(adapter, dataset, axis, unit_tokens)
    targets = {
        name: _plan(run, name, folder, dtype=dtype, shard_tokens=shard_tokens)
        for name, folder in folders.items()
    }
    shares = {str(key): float(value) for key, value in (fractions or DEFAULT_FRACTIONS).items()}
    with clear_on_mistake(*folders.values()):
        unfinished = [
            target for target in targets.values() if not _begin(run, target, fractions=shares)
        ]
        if unfinished:
            _fill(run, unfinished, progress=progress)
    stores = {name: ActivationStore.open(target.folder) for name, target in targets.items()}
    return stores[layer] if isinstance(layer, str) else stores


@dataclass(frozen=True, eq=False)
class _Run:
    """What every layer of one extraction shares."""

    adapter: Adapter
    dataset: Dataset
    axis: TokenAxis
    unit_tokens: int


@dataclass(frozen=True, eq=False)
class _Target:
    """One store to make."""

    layer: str
    folder: Path
    layout: TokenLayout


def _layer_folders(layers: Sequence[str], out: Path) -> dict[str, Path]:
    if not layers or len(set(layers)) < len(layers):
        raise InputError(f"the layers {list(layers)} are not usable", allowed="different names")
    for name in layers:
        if name in {".", ".."} or set(name) & set("/\\:\0"):
            raise InputError(f"layer {name!r} cannot name a folder", todo="Extract it by itself")
    if (out / REQUEST_FILE).exists():
        raise StoreError(
            f"{out} is an artefact and several layers need a folder of their own",
            todo="Choose another output folder",
        )
    return {name: out / name for name in layers}


def _plan(run: _Run, layer: str, folder: Path, *, dtype: str, shard_tokens: int) -> _Target:
    width = require_layer(run.adapter, layer)
    stored = require_dtype(dtype)
    layout = TokenLayout(
        n_tokens=run.axis.n_tokens,
        width=width,
        dtype=stored,
        shard_tokens=choose_shard_tokens(width, stored, most=shard_tokens),
        coordinates=tuple(run.adapter.coordinates),
    )
    return _Target(layer, folder, layout)


def _begin(run: _Run, target: _Target, *, fractions: Mapping[str, float]) -> bool:
    """Claim the folder of a store and return whether it is finished."""
    model, layout = run.adapter.model, target.layout
    inputs = {"axis": run.axis.digest, "dataset": run.dataset.digest, "model": model.digest}
    settings = {
        "adapter": run.adapter.name,
        "model": model.name,
        "arithmetic": model.dtype,
        "layer": target.layer,
        "width": layout.width,
        "dtype": layout.dtype,
        "n_tokens": layout.n_tokens,
        "shard_tokens": layout.shard_tokens,
        "unit_tokens": run.unit_tokens,
        "coordinates": list(layout.coordinates),
        "fractions": dict(fractions),
    }
    return begin_artefact(target.folder, "activations", inputs=inputs, settings=settings)


def _fill(run: _Run, targets: Sequence[_Target], *, progress: bool) -> None:
    """Run the units that are still wanted and finish the stores."""
    for target in targets:
        run.axis.write(target.folder)
    writers = {target.layer: ActivationWriter(target.folder, target.layout) for target in targets}
    done = min(writer.position for writer in writers.values())
    starts = run.axis.record_starts
    units = work_units(run.axis, run.unit_tokens)
    units = units[starts[units[:, 1]] > done]
    layouts = {target.layer: target.layout for target in targets}

    def records() -> Iterator[str]:
        for first, last in units.tolist():
            rows = _empty_rows(int(starts[last] - starts[first]), layouts)
            yield from _run_network(run, (first, last), layouts, rows)
            coordinates = _read_coordinates(run, (first, last))
            for layer, writer in writers.items():
                writer.write(int(starts[first]), rows.pop(layer), coordinates)

    n_records = int((units[:, 1] - units[:, 0]).sum())
    for _ in track(records(), "extract", total=n_records, show=progress):
        pass
    for writer in writers.values():
        writer.finish()


def _empty_rows(n: int, layouts: Mapping[str, TokenLayout]) -> dict[str, NDArray[Any]]:
    return {
        layer: np.empty((n, layout.width), layout.numpy_dtype) for layer, layout in layouts.items()
    }


def _run_network(
    run: _Run,
    unit: tuple[int, int],
    layouts: Mapping[str, TokenLayout],
    rows: Mapping[str, NDArray[Any]],
) -> Iterator[str]:
    """Put a unit's activations in their stored form into ``rows``; yield each record when done."""
    begin = int(run.axis.record_starts[unit[0]])
    widths = {layer: layout.width for layer, layout in layouts.items()}
    found_records = run_unit(run.adapter, run.dataset, run.axis, unit=unit, widths=widths)
    for index, (record, at, found) in enumerate(found_records):
        if index % RELEASE_EVERY == 0:
            release_free_memory()
        for layer, layout in layouts.items():
            values = np.ascontiguousarray(found.values[layer])
            place = slice(at - begin, at - begin + len(values))
            try:
                rows[layer][place] = to_stored(values, layout.dtype)
            except NotFiniteError as error:
                raise NotFiniteError(
                    f"record {record!r}, layer {layer!r}: {error.what}", todo=error.todo
                ) from error
        yield record


def _read_coordinates(run: _Run, unit: tuple[int, int]) -> dict[str, NDArray[np.float64]]:
    """Return every coordinate ``(n,)`` of a unit's tokens."""
    names = run.adapter.coordinates
    if not names:
        return {}
    starts = run.axis.record_starts
    begin = int(starts[unit[0]])
    values = {name: np.empty(int(starts[unit[1]]) - begin, np.float64) for name in names}
    for index in range(*unit):
        record = run.axis.records[RECORD].iloc[index]
        found = run.adapter.token_coordinates(run.dataset, record)
        start, stop = int(starts[index]), int(starts[index + 1])
        for name in names:
            if name not in found or np.shape(found[name]) != (stop - start,):
                raise SciInterpError(
                    f"adapter {run.adapter.name!r} gave no usable coordinate {name!r} of record "
                    f"{record!r}",
                    allowed=f"an array of the shape ({stop - start},)",
                )
            values[name][start - begin : stop - begin] = found[name]
    return values
