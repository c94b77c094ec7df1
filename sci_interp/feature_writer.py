"""Writing feature stores: shards in order into the artefact, or parts beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from . import shards
from .codes import Codes
from .executors import Shard, Workers, share, spans
from .feature_store import FeatureLayout, FeatureStore, shard_name, shard_ranges
from .journal import Journal
from .manifest import begin_artefact, clear_on_mistake, digest_json, finish_artefact
from .parts import Parts
from .progress import track
from .schema import JOURNAL_FILE
from .threads import one_torch_thread

__all__ = ["FeatureWriter", "PartsTask"]

KIND: Final = "features"

#: One dimension a array: of a shard's tokens there is one boundary more.
DIMENSIONS: Final = {"indptr": "token_boundary", "feature": "entry", "value": "entry"}

#: Makes a task that makes parts in a worker: of a store with this key, these shards.
PartsTask = Callable[[str, range], Callable[[], None]]


@dataclass(frozen=True, eq=False)
class FeatureWriter:
    """A feature store that is to be made.

    Attributes
    ----------
    out : Path
        Folder of the artefact.
    layout : FeatureLayout
        What it holds beside the codes.
    read_codes : callable
        Returns the quantised codes of a token range; valid by
        :func:`~sci_interp.feature_store.require_valid`.
    inputs, given : mapping
        What the codes follow from.
    """

    out: Path
    layout: FeatureLayout
    read_codes: Callable[[int, int], Codes]
    inputs: Mapping[str, str]
    given: Mapping[str, Any]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings of the request."""
        layout = self.layout
        return {
            **self.given,
            "axis": layout.axis.digest,
            "layout": digest_json([layout.describe(), layout.scale.tolist()]),
            "n_features": layout.n_features,
        }

    @cached_property
    def parts(self) -> Parts:
        """Shards that were made beside the store."""
        return Parts(self.out, KIND, inputs=self.inputs, settings=self.settings)

    @cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """Token range of every shard."""
        return list(shard_ranges(self.layout.axis.n_tokens, self.layout.shard_tokens))

    def write(
        self,
        *,
        progress: bool,
        workers: Workers | None = None,
        task: PartsTask | None = None,
    ) -> FeatureStore:
        """Write the store; shards that an interrupted run or other workers made are kept.

        Parameters
        ----------
        progress
            Show progress.
        workers
            Who makes the shards; this process by default.
        task
            Makes the tasks of other processes.

        Raises
        ------
        StoreError
            If the folder holds other work, a committed shard is damaged, or the disk refuses.
        """
        if begin_artefact(self.out, KIND, inputs=self.inputs, settings=self.settings):
            return FeatureStore.open(self.out)
        with clear_on_mistake(self.out):
            self.layout.write(self.out)
            journal = Journal(self.out / JOURNAL_FILE)
            if workers is not None and workers.are_others:
                assert task is not None, "other processes are given tasks"
                self._share_out(journal, workers, task, progress=progress)
            # What no worker made is made as workers do.
            with one_torch_thread() if self.parts.names() else nullcontext():
                self._write_shards(journal, progress=progress)
            finish_artefact(self.out, files=journal.files)
            self.parts.discard()
        return FeatureStore.open(self.out)

    def make_share(self, shard: Shard, *, progress: bool) -> int:
        """Make the parts of one task of an array, and return how many shards are its own."""
        if not self.parts.is_needed():
            return 0
        own = share(len(self.ranges), shard)
        self.make_parts(track(own, "encode", show=progress))
        return len(own)

    def make_parts(self, wanted: Iterable[int]) -> None:
        """Encode shards and write them as parts, unless they are there."""
        with one_torch_thread():
            for index in wanted:
                if not self.parts.has(index):
                    self.parts.make(index, partial(self._write_shard, index))

    def _share_out(
        self, journal: Journal, workers: Workers, task: PartsTask, *, progress: bool
    ) -> None:
        everything = range(len(self.ranges))
        absent = [n for n in everything if n not in journal.entries and not self.parts.has(n)]
        wanted = spans(absent, workers.n_tasks)
        tasks = [task(self.parts.key, each) for each in wanted]
        for _ in track(workers.run(tasks), "encode", total=len(tasks), show=progress):
            pass

    def _write_shards(self, journal: Journal, *, progress: bool) -> None:
        for index in track(range(len(self.ranges)), "encode", show=progress):
            if index in journal.entries:
                shards.verify_folder(self.out, shard_name(index), journal.entries[index].files)
                continue
            part = self.parts.take(index)
            files, info = (
                self._write_shard(index, self.out) if part is None else (part.files, part.info)
            )
            journal.commit(index, files, info)
            self.parts.drop(index)

    def _write_shard(self, index: int, root: Path) -> tuple[Mapping[str, str], Mapping[str, Any]]:
        start, stop = self.ranges[index]
        codes = self.read_codes(start, stop)
        arrays = {"indptr": codes.indptr, "feature": codes.feature, "value": codes.value}
        files = shards.write_group(root, shard_name(index), arrays, DIMENSIONS)
        return files, {"n_tokens": stop - start, "n_entries": len(codes.feature)}
