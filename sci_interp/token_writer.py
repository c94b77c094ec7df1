"""Writing activations: shards in order, each durable before its line in the journal."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

from .disk import CONTINUE, digest_file, sync_file, sync_folder
from .errors import StoreError
from .journal import Journal
from .manifest import Manifest, finish_artefact
from .quarantine import Quarantined
from .schema import CHANNEL, JOURNAL_FILE, TOKEN
from .token_layout import (
    ACTIVATION,
    ARRAYS_FOLDER,
    COORDINATE_PREFIX,
    TokenLayout,
    describe_left_out,
    journal_left_out,
)

__all__ = ["ActivationWriter", "ShardBuffer", "create_arrays", "write_shard"]

#: Takes a whole shard: its number, rows and coordinates.
Keep: TypeAlias = Callable[[int, "NDArray[Any]", Mapping[str, "NDArray[np.float64]"]], None]


class ShardBuffer:
    """Collects the rows of consecutive tokens until a shard is whole.

    Parameters
    ----------
    layout
        Shape and sharding.
    shards
        Consecutive shards that are wanted; rows of others are skipped.
    keep
        Called with every shard that is whole, in order: its number, its rows in the stored number
        type, and every coordinate of its tokens. The arrays are used again afterwards.
    """

    def __init__(self, layout: TokenLayout, shards: range, keep: Keep) -> None:
        self._layout = layout
        self._stop = shards.stop
        self._shard = shards.start
        self._keep = keep
        self._position, _ = layout.shard_range(self._shard)
        self._values = np.empty(self._buffer_rows(layout.width), layout.numpy_dtype)
        self._coordinates = {
            name: np.empty(self._buffer_rows(1)[0], np.float64) for name in layout.coordinates
        }

    def _buffer_rows(self, width: int) -> tuple[int, int]:
        return min(self._layout.shard_tokens, self._layout.n_tokens), width

    @property
    def position(self) -> int:
        """First token that is still wanted: those before it are kept or held in memory."""
        return min(self._position, self._layout.n_tokens)

    def write(
        self, start: int, values: NDArray[Any], coordinates: Mapping[str, NDArray[np.float64]]
    ) -> None:
        """Take the rows of consecutive tokens; rows before :attr:`position` are known and skipped.

        Parameters
        ----------
        start
            Token of the first row, at most :attr:`position`.
        values : (n, width)
            Activations in the stored number type.
        coordinates
            Every coordinate of the same tokens ``(n,)``.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        if self._shard == self._stop:
            return
        assert start <= self.position, "rows must not be left out"
        taken = self.position - start
        while taken < len(values) and self._shard < self._stop:
            first, last = self._layout.shard_range(self._shard)
            n = min(len(values) - taken, last - self._position)
            place = slice(self._position - first, self._position - first + n)
            self._values[place] = values[taken : taken + n]
            for name, buffer in self._coordinates.items():
                buffer[place] = coordinates[name][taken : taken + n]
            taken += n
            self._position += n
            if self._position == last:
                rows = slice(0, last - first)
                found = {name: buffer[rows] for name, buffer in self._coordinates.items()}
                self._keep(self._shard, self._values[rows], found)
                self._shard += 1


class ActivationWriter:
    """Appends shards to an unfinished store; continues after the last committed shard.

    Parameters
    ----------
    folder
        The artefact; its request is written.
    layout
        Shape and sharding.

    Raises
    ------
    StoreError
        If the journal or the arrays cannot be read, or a committed file is missing.
    """

    def __init__(self, folder: Path, layout: TokenLayout) -> None:
        self._folder = folder
        self._layout = layout
        self._journal = Journal(folder / JOURNAL_FILE)
        if self._journal.n_committed == 0:
            create_arrays(folder / ARRAYS_FOLDER, layout)
        else:
            _discard_uncommitted(folder, {*layout.metadata_files(), *self._journal.files})

    @property
    def n_committed(self) -> int:
        """Number of shards that are committed."""
        return self._journal.n_committed

    @property
    def left_out(self) -> dict[int, Quarantined]:
        """Records of the committed shards that were left out, by their first token."""
        return journal_left_out(self._journal)

    def append(
        self,
        shard: int,
        values: NDArray[Any],
        coordinates: Mapping[str, NDArray[np.float64]],
        left_out: Mapping[int, Quarantined],
    ) -> None:
        """Write and commit the next shard, as :class:`ShardBuffer` keeps it."""
        files = write_shard(self._folder, self._layout, shard, values, coordinates)
        self.commit(shard, files, left_out)

    def commit(
        self, shard: int, files: Mapping[str, str], left_out: Mapping[int, Quarantined]
    ) -> None:
        """Commit the next shard, whose files are durable.

        Parameters
        ----------
        shard, files
            As :meth:`Journal.commit` takes them.
        left_out
            Records that begin in the shard and are left out, by their first token.
        """
        assert shard == self.n_committed, "shards are committed in order"
        start, stop = self._layout.shard_range(shard)
        info = {"start": start, "stop": stop, **describe_left_out(left_out)}
        self._journal.commit(shard, files, info)

    def finish(self) -> Manifest:
        """Write the manifest of the complete store and return it."""
        assert self._journal.n_committed == self._layout.n_shards, "the store is not complete"
        return finish_artefact(self._folder, files=self._journal.files)


def write_shard(
    folder: Path,
    layout: TokenLayout,
    shard: int,
    values: NDArray[Any],
    coordinates: Mapping[str, NDArray[np.float64]],
) -> dict[str, str]:
    """Write one shard durably into a folder where :func:`create_arrays` was called.

    Returns
    -------
    dict of str to str
        SHA-256 of its files, by path inside the folder.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    arrays = folder / ARRAYS_FOLDER
    start, _ = layout.shard_range(shard)
    try:
        group = zarr.open_group(arrays, mode="r+", use_consolidated=False)
        _write_rows(group, ACTIVATION, start, values)
        for name, rows in coordinates.items():
            _write_rows(group, COORDINATE_PREFIX + name, start, rows)
        files = {}
        for name in layout.shard_files(shard):
            _make_durable(folder / name, arrays)
            files[name] = digest_file(folder / name)
    except OSError as error:
        raise StoreError(
            f"shard {shard} of {folder} cannot be written: {error.strerror or error}",
            todo=CONTINUE,
        ) from error
    return files


def create_arrays(path: Path, layout: TokenLayout) -> None:
    """Create empty arrays of the final shape; what an interrupted run left is removed."""
    try:
        if path.exists():
            shutil.rmtree(path)
        group = zarr.open_group(path, mode="w", zarr_format=3)
        chunk, shard = layout.chunk_tokens, layout.shard_tokens
        group.create_array(
            ACTIVATION,
            shape=(layout.n_tokens, layout.width),
            chunks=(chunk, layout.width),
            shards=(shard, layout.width),
            dtype=layout.numpy_dtype,
            compressors=None,
            filters=None,
            dimension_names=(TOKEN, CHANNEL),
            attributes={"dtype": layout.dtype},
        )
        for name in layout.coordinates:
            group.create_array(
                COORDINATE_PREFIX + name,
                shape=(layout.n_tokens,),
                chunks=(chunk,),
                shards=(shard,),
                dtype="float64",
                compressors=None,
                filters=None,
                dimension_names=(TOKEN,),
            )
        for name in layout.metadata_files():
            _make_durable(path.parent / name, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _discard_uncommitted(folder: Path, known: set[str]) -> None:
    """Remove what was written and never committed, so that a resumed store has no other file."""
    for path in sorted((folder / ARRAYS_FOLDER).rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in known:
            path.unlink()
    for name in sorted(known):
        if not (folder / name).is_file():
            raise StoreError(
                f"{folder / name} was committed and is missing",
                todo="Delete the unfinished store and make it again",
            )


def _write_rows(group: zarr.Group, name: str, start: int, rows: NDArray[Any]) -> None:
    # Chunks that hold zeros only are written too: a missing file always means damage.
    array = group[name]
    assert isinstance(array, zarr.Array)
    array.with_config({"write_empty_chunks": True})[start : start + len(rows)] = rows


def _make_durable(path: Path, root: Path) -> None:
    """Fsync a file and the folders from it up to ``root``."""
    sync_file(path)
    folder = path.parent
    while True:
        sync_folder(folder)
        if folder == root:
            return
        folder = folder.parent
