"""The commit journal: a shard counts only once its line, with its files' digests, is on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .disk import CONTINUE, is_inside, sync_folder
from .errors import StoreError
from .locks import require_held

__all__ = ["Commit", "Journal"]

#: A longer line is taken for one that was never completed: a shard has few files.
MAX_LINE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Commit:
    """One line of the journal.

    Attributes
    ----------
    shard : int
        The shard.
    files : mapping of str to str
        SHA-256 of each of its files, by path inside the artefact.
    info : mapping
        What else its writer wants to know again, for example the number of rows.
    """

    shard: int
    files: Mapping[str, str]
    info: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Commits of shards, one JSON line each, appended and made durable one at a time.

    Parameters
    ----------
    path
        The file; it need not exist yet.

    Attributes
    ----------
    entries : dict of int to Commit
        Commits by shard, in the order of the file. A torn last line (the writer was killed inside
        it) is not among them; the next commit removes it.

    Raises
    ------
    StoreError
        If a line other than the last cannot be read, or a shard occurs twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[int, Commit] = {}
        self._n_bytes = 0
        for number, line in enumerate(_lines(path), start=1):
            commit = _parse(line, f"{path}, line {number}")
            if commit.shard in self.entries:
                raise StoreError(
                    f"{path}, line {number}: shard {commit.shard} was committed before"
                )
            self.entries[commit.shard] = commit
            self._n_bytes += len(line)

    @property
    def n_committed(self) -> int:
        """Number of leading shards (0, 1, 2, ...) that are committed without a gap."""
        n = 0
        while n in self.entries:
            n += 1
        return n

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every committed file, by path inside the artefact."""
        return {
            name: digest for entry in self.entries.values() for name, digest in entry.files.items()
        }

    def commit(
        self, shard: int, files: Mapping[str, str], info: Mapping[str, Any] | None = None
    ) -> Commit:
        """Append one commit and return once it is durable.

        Parameters
        ----------
        shard
            The shard; it is not committed yet, and its files are durable.
        files
            SHA-256 of each of its files, by path inside the artefact.
        info
            JSON values to keep with it.

        Raises
        ------
        StoreError
            If the shard is already committed, another process writes the same journal, or the
            disk refuses.
        """
        if shard in self.entries:
            raise StoreError(f"{self._path}: shard {shard} is already committed")
        require_held(self._path.parent)
        entry = Commit(shard, dict(sorted(files.items())), dict(info or {}))
        line = json.dumps(
            {"shard": entry.shard, "files": entry.files, "info": entry.info}, sort_keys=True
        )
        data = line.encode() + b"\n"
        try:
            self._append(data)
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be written: {error.strerror or error}",
                todo=CONTINUE,
            ) from error
        self.entries[shard] = entry
        return entry

    def _append(self, data: bytes) -> None:
        is_new = not self._path.exists()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size < self._n_bytes or b"\n" in os.pread(handle, size, self._n_bytes):
                raise StoreError(
                    f"{self._path} is being written by another process",
                    todo="Let one of them finish, then run the command again",
                )
            os.ftruncate(handle, self._n_bytes)
            os.lseek(handle, self._n_bytes, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            sync_folder(self._path.parent)
        self._n_bytes += len(data)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines; what follows the last line feed was never completed."""
    try:
        if not path.exists():
            return
        with path.open("rb") as handle:
            while line := handle.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    return
                yield line
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(line: bytes, where: str) -> Commit:
    try:
        raw = json.loads(line)
        files, info = raw["files"], raw["info"]
        if not (isinstance(files, dict) and isinstance(info, dict)):
            raise TypeError("files and info must be objects")
        if not all(is_inside(name) and isinstance(files[name], str) for name in files):
            raise ValueError("it lists a file outside the artefact, or without a digest")
        return Commit(int(raw["shard"]), files, info)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"{where} is no commit: {error}", todo="Make the artefact again"
        ) from error
