"""Token ranges: their union, and tables of them on disk that are written and read in pieces."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .allocator import release_free_memory
from .disk import reading, sync_file, sync_folder
from .errors import StoreError
from .schema import START

__all__ = ["RangeReader", "RangeWriter", "merge_ranges"]

#: Rows of a row group: what is held in memory when writing, and read at once.
ROW_GROUP_ROWS = 65_536

_NARROW = ("label", "group")


def merge_ranges(
    key: NDArray[np.integer[Any]], start: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Join the ranges of each key that overlap or touch.

    Parameters
    ----------
    key : (n,)
        What the ranges belong to.
    start, stop : (n,)
        Half-open ranges.

    Returns
    -------
    key, start, stop : (n_merged,) int64
        Disjoint ranges, sorted by key, then start.
    """
    if len(key) == 0:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty
    order = np.lexsort((start, key))
    owner, start, stop = key[order].astype(np.int64), start[order], stop[order]
    del key, order  # as long as all that follows
    # Ranges of different keys are laid out apart, so that one running maximum serves all.
    span = int(stop.max()) + 1
    rank = np.append(0, np.cumsum(owner[1:] != owner[:-1]))
    reach = np.maximum.accumulate(stop + rank * span)
    opens = np.append(True, start[1:] + rank[1:] * span > reach[:-1])
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(owner)) - 1
    return owner[first], start[first].astype(np.int64), reach[last] - rank[last] * span


class RangeWriter:
    """Writes a parquet table in row groups of fixed size; it appears when the block is left.

    Parameters
    ----------
    path
        The file; it is written under a temporary name first.
    columns
        Column names; ``start`` must not descend from row to row.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._temporary = path.with_name(path.name + ".tmp")
        narrow = {name: pa.int32() if name in _NARROW else pa.int64() for name in columns}
        self._schema = pa.schema(list(narrow.items()))
        with _typed_errors(path):
            self._handle = self._temporary.open("wb")
            try:
                self._writer = pq.ParquetWriter(self._handle, self._schema, compression="zstd")
            except BaseException:
                self._handle.close()
                raise
        self._columns = [
            np.empty(ROW_GROUP_ROWS, kind.to_pandas_dtype()) for kind in self._schema.types
        ]
        self._n_rows = 0

    def __enter__(self) -> RangeWriter:
        return self

    def append(self, *columns: NDArray[np.int64]) -> None:
        """Append rows, given column by column."""
        taken, n_given = 0, len(columns[0])
        while taken < n_given:
            n = min(n_given - taken, len(self._columns[0]) - self._n_rows)
            for held, column in zip(self._columns, columns, strict=True):
                held[self._n_rows : self._n_rows + n] = column[taken : taken + n]
            taken += n
            self._n_rows += n
            if self._n_rows == len(self._columns[0]):
                with _typed_errors(self._path):
                    self._flush()

    def _flush(self) -> None:
        """Write the rows that are held as a row group."""
        import pyarrow as pa

        if self._n_rows == 0:
            return
        arrays = [pa.array(column[: self._n_rows]) for column in self._columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._n_rows = 0
        # The writer's own buffers are several times the rows.
        release_free_memory()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            with _typed_errors(self._path):
                self._flush()
                self._writer.close()
                self._handle.close()
                sync_file(self._temporary)
                self._temporary.replace(self._path)
                sync_folder(self._path.parent)
        except StoreError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Let go of the file; what the disk refuses now is of no more use."""
        for let_go in (self._writer.close, self._handle.close, self._temporary.unlink):
            with suppress(OSError):
                let_go()


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}",
            todo="Make room or mend the disk and run the command again",
        ) from error


class RangeReader:
    """Reads the rows of a range table that begin in a token range, a few row groups at a time.

    Parameters
    ----------
    path
        A file of :class:`RangeWriter`.
    columns
        Its columns.

    Raises
    ------
    StoreError
        If the file cannot be read or has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        self._path = path
        try:
            self._file = pq.ParquetFile(path)
            names = tuple(self._file.schema_arrow.names)
        except Exception as error:  # noqa: BLE001 - damaged bytes make pyarrow raise anything
            raise StoreError(f"{path} cannot be read: {error}") from None
        if names != tuple(columns):
            raise StoreError(f"{path} has the columns {names}")
        self._columns = tuple(columns)
        metadata = self._file.metadata
        with reading(path):
            sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
            if any(not 0 < size <= ROW_GROUP_ROWS for size in sizes):
                raise ValueError("a row group of another size")
        self._groups = range(len(sizes))
        self._first: dict[int, int] = {}
        self._cache: dict[int, dict[str, NDArray[np.int64]]] = {}

    @property
    def n_rows(self) -> int:
        """Number of rows of the table."""
        return int(self._file.metadata.num_rows)

    def read(self, start: int, stop: int) -> dict[str, NDArray[np.int64]]:
        """Return the rows that begin in ``start:stop``, as int64 columns by name."""
        begin, end = (bisect_left(self._groups, at, key=self._first_start) for at in (start, stop))
        parts = []
        for group in self._groups[max(0, begin - 1) : end]:
            rows = self._row_group(group)
            first, last = np.searchsorted(rows[START], (start, stop))
            parts.append({name: column[first:last] for name, column in rows.items()})
        if not parts:
            return {name: np.zeros(0, np.int64) for name in self._columns}
        return {name: np.concatenate([part[name] for part in parts]) for name in self._columns}

    def _first_start(self, group: int) -> int:
        """Return where the first row of a row group begins.

        The column is read: its statistics in the file's metadata end the process where they are
        damaged.
        """
        if group not in self._first:
            with reading(self._path):
                column = self._file.read_row_group(group, columns=[START]).column(START)
                self._first[group] = int(column[0].as_py())
        return self._first[group]

    def _row_group(self, group: int) -> dict[str, NDArray[np.int64]]:
        if group not in self._cache:
            with reading(self._path):
                table = self._file.read_row_group(group)
                columns = {
                    name: table.column(name).to_numpy().astype(np.int64) for name in self._columns
                }
            while len(self._cache) >= 2:
                del self._cache[next(iter(self._cache))]
            self._cache[group] = columns
        return self._cache[group]
