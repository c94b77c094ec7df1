"""Extraction: a network over a dataset, into the stores of one or more layers, or into parts."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .axis import DEFAULT_FRACTIONS, TokenAxis
from .errors import InputError, StoreError
from .executors import Shard, Workers, share, spans
from .forward_pass import ForwardPass
from .progress import track
from .quarantine import Quarantined
from .recipes import Last, Recipe
from .screening import Screening
from .streams import require_layer
from .targets import Target, Wanted
from .threads import one_torch_thread
from .token_layout import (
    TokenLayout,
    choose_shard_tokens,
    read_left_out,
    require_dtype,
    work_units,
)
from .token_writer import ActivationWriter, ShardBuffer

__all__ = ["Extraction", "Target", "Wanted"]

#: Keeps a whole shard: its number, rows, coordinates, and which records of it were left out.
_Keep: TypeAlias = Callable[
    [int, "NDArray[Any]", Mapping[str, "NDArray[np.float64]"], Mapping[int, Quarantined]], None
]


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
        The records that are read.
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
        self.axis = TokenAxis.of(
            dataset, wanted.fractions, left_out=wanted.left_out, tolerance=wanted.tolerance
        )
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
        wanted = {
            target.layer: range(writers[target.layer].n_committed, target.layout.n_shards)
            for target in targets
        }
        keep = {layer: writer.append for layer, writer in writers.items()}
        self._run(wanted, keep, stop=self.axis.n_tokens, progress=progress)
        self._finish(targets, writers)

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
        while not all(self._take(target, writers[target.layer]) for target in targets):
            layout = _coarsest(targets).layout
            missing = self._missing(targets, range(layout.n_shards))
            begun = {
                target.layout.shard_range(shard)[0] // layout.shard_tokens
                for target in targets
                for shard in missing[target.layer]
            }
            tasks = [
                self._task(_within(targets, missing, pieces), recipe, workers)
                for pieces in spans(begun, workers.n_tasks)
            ]
            for _ in track(workers.run(tasks), "extract", total=len(tasks), show=progress):
                pass
        self._finish(targets, writers)
        for target in targets:
            target.parts.discard()

    def make_share(self, shard: Shard, *, progress: bool) -> int:
        """Make the parts of one task of an array, and return how many shards are its own."""
        targets = [target for target in self.targets if target.parts.is_needed()]
        if not targets:
            return 0
        own = share(_coarsest(targets).layout.n_shards, shard)
        self.make_parts(self._missing(targets, own), progress=progress)
        return len(own)

    def make_parts(self, shards: Mapping[str, Set[int]], *, progress: bool = False) -> None:
        """Run the network and write shards as parts, unless they are there.

        Parameters
        ----------
        shards
            Shards by layer.
        progress
            Show progress.
        """
        for stretch in self._stretches(shards):
            chosen = [target for target in self.targets if target.layer in stretch]
            keep = {target.layer: target.make_part for target in chosen}
            stop = max(target.layout.shard_range(stretch[target.layer][-1])[1] for target in chosen)
            # Whoever makes a part, it is the same.
            with one_torch_thread():
                self._run(stretch, keep, stop=stop, progress=progress)

    def require_keys(self, keys: Mapping[str, str]) -> None:
        """Refuse to work where this process opened something else than who gave the task."""
        for target in self.targets:
            target.parts.require_key(keys[target.layer])

    def require_allowed(self, left_out: Sequence[Quarantined], folder: Path) -> None:
        """Refuse records that an earlier call left out, where this one allows none, or fewer.

        Raises
        ------
        StoreError
            If bad records shall stop the run.
        InputError
            If there are more than the largest share.
        """
        tolerance = self._wanted.tolerance
        if left_out and not tolerance.quarantines:
            raise StoreError(
                f"{folder} leaves out {len(left_out)} records that cannot be used, one of them "
                f"{left_out[0].format()}",
                todo='Give on_error="quarantine", or --on-error quarantine, or another folder',
            )
        if tolerance.quarantines:
            tolerance.require_few((*self.axis.quarantine, *left_out), self.axis.n_read)

    def _run(
        self, shards: Mapping[str, range], keep: Mapping[str, _Keep], *, stop: int, progress: bool
    ) -> None:
        """Run the network over what shards of layers want, and give each whole shard away."""
        screening = Screening(self.axis, self._wanted.tolerance)
        buffers = {
            target.layer: ShardBuffer(
                target.layout,
                shards[target.layer],
                partial(_keep_shard, target.layout, keep[target.layer], screening),
            )
            for target in self.targets
            if target.layer in shards
        }
        # A record that is bad in one layer is left out of all, whichever are still to be made.
        layouts = {
            target.layer: target.layout
            for target in self.targets
            if target.layer in buffers or self._wanted.tolerance.quarantines
        }
        unit_tokens = self._wanted.unit_tokens
        forward = ForwardPass(self._adapter, self._dataset, self.axis, unit_tokens, screening)
        forward.fill(buffers, layouts, stop=stop, progress=progress)

    def _take(self, target: Target, writer: ActivationWriter) -> bool:
        """Take parts as far as they go, and return whether the store is complete."""
        while (shard := writer.n_committed) < target.layout.n_shards:
            commit = target.parts.take(shard)
            if commit is None:
                return False
            left_out = read_left_out(commit)
            self.require_allowed(list(left_out.values()), target.parts.folder)
            writer.commit(shard, commit.files, left_out)
            target.parts.drop(shard)
        return True

    def _finish(self, targets: Sequence[Target], writers: Mapping[str, ActivationWriter]) -> None:
        """Write which records are used, and then the manifests."""
        for target in targets:
            left_out = list(writers[target.layer].left_out.values())
            self.require_allowed(left_out, target.folder)
            if left_out:
                self.axis.without(left_out).write(target.folder)
            writers[target.layer].finish()

    def _open_writers(self, targets: Sequence[Target]) -> dict[str, ActivationWriter]:
        for target in targets:
            self.axis.write(target.folder)
        writers = {
            target.layer: ActivationWriter(target.folder, target.layout) for target in targets
        }
        for target in targets:
            self.require_allowed(list(writers[target.layer].left_out.values()), target.folder)
        return writers

    def _task(
        self, shards: Mapping[str, Set[int]], recipe: Recipe | None, workers: Workers
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

    def _missing(self, targets: Sequence[Target], pieces: range) -> dict[str, set[int]]:
        """Return the shards, by layer, that are neither committed nor a part.

        Pieces of the token axis are cut where a shard of the layer with the largest begins.
        """
        everything = {each.layer: range(each.layout.n_shards) for each in targets}
        asked = _within(targets, everything, pieces)
        return {each.layer: each.missing(asked[each.layer]) for each in targets}

    def _stretches(self, shards: Mapping[str, Set[int]]) -> Iterator[dict[str, range]]:
        """Yield what is missing of some shards, so that no unit is run without need, or twice.

        A stretch holds, by layer, the shards that one run of consecutive units feeds; those
        between them that are there already are kept as they are.
        """
        wanted = []
        for target in self.targets:
            for shard in target.missing(shards.get(target.layer, ())):
                begin, end = self._units_of(*target.layout.shard_range(shard))
                wanted.append((begin, end, target.layer, shard))
        stretch: dict[str, range] = {}
        reach = 0
        for begin, end, layer, shard in sorted(wanted):
            if stretch and begin > reach:
                yield stretch
                stretch = {}
            first = stretch[layer].start if layer in stretch else shard
            stretch[layer] = range(first, shard + 1)
            reach = max(reach, end)
        if stretch:
            yield stretch

    def _units_of(self, start: int, stop: int) -> tuple[int, int]:
        """Return where the units of the network begin and end that hold a token range."""
        edges = self._unit_edges
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        return int(edges[first]), int(edges[last])

    @cached_property
    def _unit_edges(self) -> NDArray[np.int64]:
        """First token of every unit, and the end of the axis."""
        units = work_units(self.axis, self._wanted.unit_tokens)
        edges: NDArray[np.int64] = self.axis.record_starts[np.append(units[:, 0], units[-1:, 1])]
        return edges


@dataclass(frozen=True)
class _PartsTask:
    """Opens model and data in a worker, and makes shards; given again, those that are missing."""

    recipe: Recipe
    wanted: Wanted
    keys: Mapping[str, str]
    shards: Mapping[str, Set[int]]

    def __call__(self) -> None:
        key = f"{self.recipe.key} {self.wanted}"
        extraction = _last.get(key, lambda: Extraction(*self.recipe.open_once(), self.wanted))
        extraction.require_keys(self.keys)
        extraction.make_parts(self.shards)


_last: Last[Extraction] = Last()


def _coarsest(targets: Sequence[Target]) -> Target:
    return min(targets, key=lambda target: target.layout.n_shards)


def _within(
    targets: Sequence[Target], shards: Mapping[str, Container[int]], pieces: range
) -> dict[str, set[int]]:
    """Return those of some shards, by layer, that begin in consecutive pieces of the token axis."""
    size = _coarsest(targets).layout.shard_tokens
    begin, end = pieces.start * size, pieces.stop * size
    return {
        each.layer: {n for n in each.shards_from(begin, end) if n in shards[each.layer]}
        for each in targets
    }


def _keep_shard(
    layout: TokenLayout,
    keep: _Keep,
    screening: Screening,
    shard: int,
    values: NDArray[Any],
    coordinates: Mapping[str, NDArray[np.float64]],
) -> None:
    """Keep a shard together with the bad records that begin in it."""
    keep(shard, values, coordinates, screening.beginning_in(*layout.shard_range(shard)))
