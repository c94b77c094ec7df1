"""extract: Adapter x Dataset -> ActivationStore."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import overload

from .adapter import Adapter, Dataset
from .axis import OnAxis, TokenAxis, quarantine_of
from .errors import StoreError
from .executors import Shard, Workers
from .extraction import Extraction
from .manifest import clear_on_mistake
from .quarantine import MOST_QUARANTINED, Tolerance
from .recipes import Recipe
from .schema import SHARD_TOKENS, Split
from .streams import STREAM_TOKENS, ActivationStream, NetworkPass
from .targets import Wanted
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
    on_error: str = ...,
    most_quarantined: float = ...,
    like: OnAxis | None = ...,
    progress: bool = ...,
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
    on_error: str = ...,
    most_quarantined: float = ...,
    like: OnAxis | None = ...,
    progress: bool = ...,
) -> dict[str, ActivationStream]: ...


def stream(
    adapter: Adapter,
    dataset: Dataset,
    layer: str | list[str] | tuple[str, ...],
    *,
    fractions: Mapping[Split, float] | None = None,
    unit_tokens: int = STREAM_TOKENS,
    cached_units: int = 2,
    on_error: str = "raise",
    most_quarantined: float = MOST_QUARANTINED,
    like: OnAxis | None = None,
    progress: bool = True,
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
    on_error
        ``"raise"``, or ``"quarantine"``: records that cannot be used are left out, and listed in
        ``axis.quarantine``. The network is then run once over all records before the stream is
        returned.
    most_quarantined
        Largest share of the records that may be left out.
    like
        A store or stream whose records in quarantine are left out beforehand.
    progress
        Show how far the network is in that first run.

    Returns
    -------
    ActivationStream or dict of str to ActivationStream
        One stream; or streams by layer where several layers were asked for.

    Raises
    ------
    UnknownNameError
        If there is no such layer; the message lists those there are.
    InputError
        If a size is not positive, a layer repeats, the dataset has no record, or more of its
        records than ``most_quarantined`` cannot be used.
    """
    layers = [layer] if isinstance(layer, str) else layer
    network = NetworkPass(
        adapter,
        dataset,
        layers,
        fractions=fractions,
        unit_tokens=unit_tokens,
        cached_units=cached_units,
        tolerance=Tolerance(on_error, most_quarantined),
        left_out=quarantine_of(like),
        progress=progress,
    )
    _tell(network.axis, progress=progress)
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
    on_error: str = ...,
    most_quarantined: float = ...,
    like: OnAxis | None = ...,
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
    on_error: str = ...,
    most_quarantined: float = ...,
    like: OnAxis | None = ...,
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
    on_error: str = "raise",
    most_quarantined: float = MOST_QUARANTINED,
    like: OnAxis | None = None,
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
    on_error
        ``"raise"`` stops at a record that cannot be used: whose activations hold NaN or infinity
        or exceed ``dtype``, or which the adapter refuses to read. ``"quarantine"`` leaves it out of
        all layers, lists it in ``axis.quarantine`` of the store, and goes on. The next verbs are
        then given the store as ``like``, and leave out the same.
    most_quarantined
        Largest share of the records that may be left out.
    like
        A store or stream whose records in quarantine are left out beforehand.

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
    InputError
        If more of the records than ``most_quarantined`` cannot be used.
    StoreError
        If ``out`` holds other work, or cannot be read or written; or if an earlier call left
        records out that shall stop this one.
    SciInterpError
        If the adapter yields something other than it was asked for.
    """
    folders = Wanted.folders_of(layer, Path(out))
    tolerance = Tolerance(on_error, most_quarantined)
    sizes = (unit_tokens, shard_tokens)
    wanted = Wanted(folders, dtype, fractions, *sizes, tolerance, quarantine_of(like))
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
    _require_alike(extraction, list(stores.values()))
    _tell(next(iter(stores.values())).axis, progress=progress)
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
    on_error: str = "raise",
    most_quarantined: float = MOST_QUARANTINED,
    like: OnAxis | None = None,
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
    on_error, most_quarantined, like
        As for :func:`extract`.

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
    tolerance = Tolerance(on_error, most_quarantined)
    sizes = (unit_tokens, shard_tokens)
    wanted = Wanted(folders, dtype, fractions, *sizes, tolerance, quarantine_of(like))
    return Extraction(*recipe.open_once(), wanted).make_share(shard, progress=progress)


def _require_alike(extraction: Extraction, stores: Sequence[ActivationStore]) -> None:
    """Refuse stores that earlier calls made with records that this one would not use."""
    known = {each.record for each in extraction.axis.quarantine}
    for store in stores:
        extraction.require_allowed(
            [each for each in store.axis.quarantine if each.record not in known], store.path
        )
        if store.axis.digest != stores[0].axis.digest:
            raise StoreError(
                f"{store.path} leaves out other records than {stores[0].path}: they were made "
                "by calls for other layers",
                todo="Make all layers in one call, in another folder",
            )


def _tell(axis: TokenAxis, *, progress: bool) -> None:
    """Say what was left out."""
    if progress:
        for line in axis.describe_quarantine():
            sys.stderr.write(line + "\n")
