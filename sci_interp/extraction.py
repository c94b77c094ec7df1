"""Extraction: a network over a dataset, into the stores of one or more layers, or into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .axis import DEFAULT_FRACTIONS, TokenAxis
from .errors import InputError, StoreError
from .executors import Shard, Workers, share, spans
from .forward_pass import ForwardPass
from .manifest import begin_artefact
from .parts import Parts
from .progress import track
from .recipes import Last, Recipe
from .schema import REQUEST_FILE, Split
from .streams import require_layer
from .threads import one_torch_thread
from .token_layout import (
    ARRAYS_FOLDER,
    TokenLayout,
    choose_shard_tokens,
    require_dtype,
)
from .token_writer import ActivationWriter, ShardBuffer, create_arrays, write_shard

__all__ = ["Extraction", "Target", "Wanted"]

KIND = "activations"


@dataclass(frozen=True)
class Wanted:
    """What is extracted, in words that a worker can be sent.

    Attributes
    ----------
    folders : tuple of (str, Path)
        The layers, and the folder of each one's store.
    dtype : str
        Stored number type.
    fractions : mapping or None
        Shares of the splits.
    unit_tokens, shard_tokens : int
        Tokens that the network is asked for at once, and most tokens of a shard.
    """

    folders: tuple[tuple[str, Path], ...]
    dtype: str
    fractions: Mapping[Split, float] | None
    unit_tokens: int
    shard_tokens: int

    def __post_init__(self) -> None:
        if self.unit_tokens < 1:
            raise InputError(
                f"unit_tokens={self.unit_tokens} is not usable", allowed="a positive number"
            )

    @staticmethod
    def folders_of(
        layer: str | list[str] | tuple[str, ...], out: Path
    ) -> tuple[tuple[str, Path], ...]:
        """Return the layers and their folders: ``out``, or of several layers, folders in it.

        Raises
        ------
        InputError
            If layers repeat, or cannot name folders.
        StoreError
            If ``out`` is an artefact and several layers need folders in it.
        """
        if isinstance(layer, str):
            return ((layer, out),)
        if not layer or len(set(layer)) < len(layer):
            raise InputError(f"the layers {list(layer)} are not usable", allowed="different names")
        for name in layer:
            if name in {".", ".."} or set(name) & set("/\\:\0"):
                raise InputError(
                    f"layer {name!r} cannot name a folder", todo="Extract it by itself"
                )
        if (out / REQUEST_FILE).exists():
            raise StoreError(
                f"{out} is an artefact and several layers need a folder of their own",
                todo="Choose another output folder",
            )
        return tuple((name, out / name) for name in layer)


@dataclass(frozen=True, eq=False)
class Target:
    """One store to make.

    Attributes
    ----------
    layer : str
        The layer.
    folder : Path
        The store.
    layout : TokenLayout
        Its shape and sharding.
    inputs, settings : mapping
        Its request.
    """

    layer: str
    folder: Path
    layout: TokenLayout
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]

    @cached_property
    def parts(self) -> Parts:
        """Shards that were made beside the store."""
        return Parts(self.folder, KIND, inputs=self.inputs, settings=self.settings)

    def claim(self) -> bool:
        """Claim the folder, and return whether the store is finished."""
        return begin_artefact(self.folder, KIND, inputs=self.inputs, settings=self.settings)

    def make_part(
        self, shard: int, values: NDArray[Any], coordinates: Mapping[str, NDArray[np.float64]]
    ) -> None:
        """Write a shard as a part."""

        def write(folder: Path) -> tuple[Mapping[str, str], Mapping[str, Any]]:
            create_arrays(folder / ARRAYS_FOLDER, self.layout)
            return write_shard(folder, self.layout, shard, values, coordinates), {}

        self.parts.make(shard, write)

    def shards_from(self, begin: int, end: int) -> range:
        """Return the shards that begin in a token range."""
        size = self.layout.shard_tokens
        return range(-(-begin // size), -(-end // size))


class Extraction:
    """A network, a dataset, and the stores that are made of them.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    wanted
        What is extracted.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    targets : tuple of Target
        The stores, in the order of the layers.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    InputError
        If a size or a number type is not usable.
    """

    def __init__(self, adapter: Adapter, dataset: Dataset, wanted: Wanted) -> None:
        self._adapter = adapter
        self._dataset = dataset
        self._wanted = wanted
        self.axis = TokenAxis.of(dataset, wanted.fractions)
        self.targets = tuple(self._plan(layer, folder) for layer, folder in wanted.folders)

    def _plan(self, layer: str, folder: Path) -> Target:
        adapter, wanted, model = self._adapter, self._wanted, self._adapter.model
        width = require_layer(adapter, layer)
        stored = require_dtype(wanted.dtype)
        layout = TokenLayout(
            n_tokens=self.axis.n_tokens,
            width=width,
            dtype=stored,
            shard_tokens=choose_shard_tokens(width, stored, most=wanted.shard_tokens),
            coordinates=tuple(adapter.coordinates),
        )
        inputs = {
            "axis": self.axis.digest,
            "dataset": self._dataset.digest,
            "model": model.digest,
        }
        shares = wanted.fractions or DEFAULT_FRACTIONS
        settings = {
            "adapter": adapter.name,
            "model": model.name,
            "arithmetic": model.dtype,
            "layer": layer,
            "width": width,
            "dtype": stored,
            "n_tokens": layout.n_tokens,
            "shard_tokens": layout.shard_tokens,
            "unit_tokens": wanted.unit_tokens,
            "coordinates": list(layout.coordinates),
            "fractions": {str(key): float(value) for key, value in shares.items()},
        }
        return Target(layer, folder, layout, inputs, settings)

    def fill(self, targets: Sequence[Target], *, progress: bool) -> None:
        """Run the units that are still wanted and finish the stores."""
        writers = self._open_writers(targets)
        buffers = {
            target.layer: ShardBuffer(
                target.layout,
                range(writers[target.layer].n_committed, target.layout.n_shards),
                writers[target.layer].append,
            )
            for target in targets
        }
        self._run(buffers, stop=self.axis.n_tokens, progress=progress)
        for writer in writers.values():
            writer.finish()

    def fill_from_parts(
        self,
        targets: Sequence[Target],
        *,
        workers: Workers,
        recipe: Recipe | None,
        progress: bool,
    ) -> None:
        """Let workers make the missing parts, take all parts in order, and finish the stores.

        Raises
        ------
        InputError
            If the workers are other processes, and there is no recipe for them.
        """
        writers = self._open_writers(targets)
        while not all(_take(target, writers[target.layer]) for target in targets):
            present = {
                target.layer: {*range(writers[target.layer].n_committed), *target.parts.names()}
                for target in targets
            }
            wanted = self._missing(targets, present, n_spans=workers.n_tasks)
            tasks = [self._task(shards, recipe, workers) for shards in wanted]
            for _ in track(workers.run(tasks), "extract", total=len(tasks), show=progress):
                pass
        for target in targets:
            writers[target.layer].finish()
            target.parts.discard()

    def make_share(self, shard: Shard, *, progress: bool) -> int:
        """Make the parts of one task of an array, and return how many shards are its own."""
        targets = [target for target in self.targets if target.parts.is_needed()]
        if not targets:
            return 0
        present = {target.layer: target.parts.names() for target in targets}
        own = share(_coarsest(targets).layout.n_shards, shard)
        for shards in self._missing(targets, present, n_spans=1, among=own):
            self.make_parts(shards, progress=progress)
        return len(own)

    def make_parts(self, shards: Mapping[str, range], *, progress: bool = False) -> None:
        """Run the network and write shards as parts.

        Parameters
        ----------
        shards
            Consecutive shards by layer.
        progress
            Show progress.
        """
        chosen = [target for target in self.targets if target.layer in shards]
        buffers = {
            target.layer: ShardBuffer(target.layout, shards[target.layer], target.make_part)
            for target in chosen
        }
        stop = max(target.layout.shard_range(shards[target.layer][-1])[1] for target in chosen)
        # Whoever makes a part, it is the same.
        with one_torch_thread():
            self._run(buffers, stop=stop, progress=progress)

    def require_keys(self, keys: Mapping[str, str]) -> None:
        """Refuse to work where this process opened something else than who gave the task."""
        for target in self.targets:
            target.parts.require_key(keys[target.layer])

    def _run(self, buffers: Mapping[str, ShardBuffer], *, stop: int, progress: bool) -> None:
        layouts = {
            target.layer: target.layout for target in self.targets if target.layer in buffers
        }
        forward = ForwardPass(self._adapter, self._dataset, self.axis, self._wanted.unit_tokens)
        forward.fill(buffers, layouts, stop=stop, progress=progress)

    def _open_writers(self, targets: Sequence[Target]) -> dict[str, ActivationWriter]:
        for target in targets:
            self.axis.write(target.folder)
        return {target.layer: ActivationWriter(target.folder, target.layout) for target in targets}

    def _task(
        self, shards: Mapping[str, range], recipe: Recipe | None, workers: Workers
    ) -> Callable[[], None]:
        if not workers.are_others:
            return partial(self.make_parts, shards)
        if recipe is None:
            raise InputError(
                "workers open the model and the data for themselves, and have no recipe for it",
                todo="recipe = si.Recipe(...); adapter, dataset = recipe.open(); and recipe=recipe",
            )
        keys = {target.layer: target.parts.key for target in self.targets}
        return _PartsTask(recipe, self._wanted, keys, shards)

    def _missing(
        self,
        targets: Sequence[Target],
        present: Mapping[str, set[int]],
        *,
        n_spans: int,
        among: range | None = None,
    ) -> Iterator[dict[str, range]]:
        """Yield the shards, by layer, that are not present, in pieces of the token axis.

        Pieces are cut where a shard of the layer with the largest begins: a unit of the network
        that reaches over such a cut is run on both sides.
        """
        layout = _coarsest(targets).layout

        def missing_of(pieces: range) -> dict[str, range]:
            begin, end = layout.shard_range(pieces[0])[0], layout.shard_range(pieces[-1])[1]
            found = {}
            for target in targets:
                absent = set(target.shards_from(begin, end)) - present[target.layer]
                if absent:
                    found[target.layer] = range(min(absent), max(absent) + 1)
            return found

        wanted = [
            piece
            for piece in (range(layout.n_shards) if among is None else among)
            if missing_of(range(piece, piece + 1))
        ]
        for span in spans(wanted, n_spans):
            yield missing_of(span)


@dataclass(frozen=True)
class _PartsTask:
    """Opens model and data in a worker, and makes consecutive shards."""

    recipe: Recipe
    wanted: Wanted
    keys: Mapping[str, str]
    shards: Mapping[str, range]

    def __call__(self) -> None:
        key = f"{self.recipe.key} {self.wanted}"
        extraction = _last.get(key, lambda: Extraction(*self.recipe.open_once(), self.wanted))
        extraction.require_keys(self.keys)
        extraction.make_parts(self.shards)


_last: Last[Extraction] = Last()


def _coarsest(targets: Sequence[Target]) -> Target:
    return min(targets, key=lambda target: target.layout.n_shards)


def _take(target: Target, writer: ActivationWriter) -> bool:
    """Take parts as far as they go, and return whether the store is complete."""
    while (shard := writer.n_committed) < target.layout.n_shards:
        commit = target.parts.take(shard)
        if commit is None:
            return False
        writer.commit(shard, commit.files)
        target.parts.drop(shard)
    return True
