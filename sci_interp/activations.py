"""extract: Adapter x Dataset -> ActivationStore."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import overload

from .adapter import Adapter, Dataset
from .executors import Shard, Workers
from .extraction import Extraction, Wanted
from .manifest import clear_on_mistake
from .recipes import Recipe
from .schema import SHARD_TOKENS, Split
from .streams import STREAM_TOKENS, ActivationStream, NetworkPass
from .token_layout import UNIT_TOKENS
from .tokens import ActivationStore

__all__ = ["ActivationStream", "extract", "extract_share", "stream"]


@overload
def stream(
    adapter: Adapter,
    dataset: Dataset,
    layer: str,
    *,
    fractions: Mapping[Split, float] | None = ...,
    unit_tokens: int = ...,
    cached_units: int = ...,
) -> ActivationStream: ...
@overload
def stream(
    adapter: Adapter,
    dataset: Dataset,
    layer: list[str] | tuple[str, ...],
    *,
    fractions: Mapping[Split, float] | None = ...,
    unit_tokens: int = ...,
    cached_units: int = ...,
) -> dict[str, ActivationStream]: ...


def stream(
    adapter: Adapter,
    dataset: Dataset,
    layer: str | list[str] | tuple[str, ...],
    *,
    fractions: Mapping[Split, float] | None = None,
    unit_tokens: int = STREAM_TOKENS,
    cached_units: int = 2,
) -> ActivationStream | dict[str, ActivationStream]:
    """Return activations that are computed when they are read, and stored nowhere.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    layer
        One layer; or several, which share one forward pass where they are read side by side.
    fractions
        Shares of the splits; None takes the default.
    unit_tokens
        Tokens that the network is asked for at once.
    cached_units
        Units that are kept in memory after they were read.

    Returns
    -------
    ActivationStream or dict of str to ActivationStream
        One stream; or streams by layer where several layers were asked for.

    Raises
    ------
    UnknownNameError
        If there is no such layer; the message lists those there are.
    InputError
        If a size is not positive, a layer repeats, or the dataset has no record.
    """
    layers = [layer] if isinstance(layer, str) else layer
    network = NetworkPass(
        adapter,
        dataset,
        layers,
        fractions=fractions,
        unit_tokens=unit_tokens,
        cached_units=cached_units,
    )
    streams = {name: ActivationStream.of_pass(network, name) for name in layers}
    return streams[layer] if isinstance(layer, str) else streams


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
    workers: int | None = ...,
    executor: Executor | None = ...,
    recipe: Recipe | None = ...,
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
    workers: int | None = ...,
    executor: Executor | None = ...,
    recipe: Recipe | None = ...,
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
    workers: int | None = None,
    executor: Executor | None = None,
    recipe: Recipe | None = None,
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
    workers
        Processes that share the shards, on one thread each; the bytes are the same with any number.
        None takes this process with all its threads, where a network may round otherwise.
    executor
        In place of ``workers``: whose workers share the shards, for example those of Dask.
    recipe
        How workers open the same model and data for themselves; only they need it.
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
    folders = Wanted.folders_of(layer, Path(out))
    wanted = Wanted(folders, dtype, fractions, unit_tokens, shard_tokens)
    extraction = Extraction(adapter, dataset, wanted)
    makers = Workers(workers, executor)
    with clear_on_mistake(*(folder for _, folder in folders)):
        unfinished = [target for target in extraction.targets if not target.claim()]
        if makers.are_others or any(target.parts.names() for target in unfinished):
            extraction.fill_from_parts(unfinished, workers=makers, recipe=recipe, progress=progress)
        elif unfinished:
            with makers.threads():
                extraction.fill(unfinished, progress=progress)
    stores = {layer: ActivationStore.open(folder) for layer, folder in folders}
    return stores[layer] if isinstance(layer, str) else stores


def extract_share(
    recipe: Recipe,
    *,
    layer: str | list[str] | tuple[str, ...],
    out: Path | str,
    shard: Shard,
    dtype: str = "float16",
    fractions: Mapping[Split, float] | None = None,
    progress: bool = True,
    unit_tokens: int = UNIT_TOKENS,
    shard_tokens: int = SHARD_TOKENS,
) -> int:
    """Make one task's shards of an array; :func:`extract` with the same settings takes them in.

    Tasks of an array share nothing but the disk: they run in any order, several times, and are
    killed and given again.

    Parameters
    ----------
    recipe
        Opens model and data.
    layer, out, dtype, fractions, progress, unit_tokens, shard_tokens
        As for :func:`extract`.
    shard
        ``(i, n)``: which task of how many.

    Returns
    -------
    int
        Number of shards that are this task's; 0 where the store is finished.

    Raises
    ------
    SciInterpError
        As :func:`extract`.
    """
    folders = Wanted.folders_of(layer, Path(out))
    wanted = Wanted(folders, dtype, fractions, unit_tokens, shard_tokens)
    return Extraction(*recipe.open_once(), wanted).make_share(shard, progress=progress)
