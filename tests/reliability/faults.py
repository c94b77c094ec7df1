"""A file layer that fails: the k-th open, write, fsync, link or rename below a folder is refused.

Python's own calls are replaced, so that everything the library and Zarr do with files passes here;
a write that is refused has written the first half of its bytes, as a full disk would.
"""

from __future__ import annotations

import builtins
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


class Faults:
    """Counts what is done with files below a folder, and refuses some of it.

    Parameters
    ----------
    folder
        What lies elsewhere is left alone.
    at
        The call that is refused, counted from 1; 0 refuses none.
    code
        The ``errno`` of the refusal.
    lasting
        Refuse everything after it too, as a disk that stays full.

    Attributes
    ----------
    calls : list of str
        What was done, by the names of the functions.
    n_refused : int
        How much of it was refused.
    """

    def __init__(self, folder: Path, at: int = 0, *, code: int = 5, lasting: bool = False) -> None:
        self.folder = str(folder.resolve())
        self.at = at
        self.code = code
        self.lasting = lasting
        self.calls: list[str] = []
        self.n_refused = 0
        self._lock = threading.Lock()

    def refuses(self, name: str, path: str) -> bool:
        """Count a call and return whether it is to fail."""
        # The heartbeat writes when it likes: counting it would number the calls differently.
        if not path.startswith(self.folder) or Path(path).name.startswith("progress"):
            return False
        with self._lock:
            self.calls.append(name)
            count = len(self.calls)
            refused = bool(self.at) and (count >= self.at if self.lasting else count == self.at)
            self.n_refused += refused
            return refused

    def require(self, name: str, path: str) -> None:
        """Count a call and raise if it is to fail."""
        if self.refuses(name, path):
            raise OSError(self.code, os.strerror(self.code), path)

    @contextmanager
    def installed(self) -> Iterator[Faults]:
        """Replace the calls while the block runs."""
        opened = _opener(self, io.open)
        with (
            patch.object(builtins, "open", opened),
            patch.object(io, "open", opened),
            patch.object(os, "write", _writer(self, os.write)),
            patch.object(os, "fsync", _by_handle(self, "fsync", os.fsync)),
            patch.object(os, "replace", _by_path(self, "replace", os.replace)),
            patch.object(os, "rename", _by_path(self, "rename", os.rename)),
            patch.object(os, "link", _by_path(self, "link", os.link)),
            patch.object(os, "mkdir", _by_path(self, "mkdir", os.mkdir)),
        ):
            yield self


class _FaultyFile(io.FileIO):
    """A file whose writes may be refused."""

    def __init__(self, path: str, mode: str, faults: Faults) -> None:
        super().__init__(path, mode)
        self._path, self._faults = path, faults

    def write(self, data: Any) -> int:
        if self._faults.refuses("write", self._path):
            super().write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
            raise OSError(self._faults.code, os.strerror(self._faults.code), self._path)
        return super().write(data)


def _opener(faults: Faults, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        is_path = isinstance(file, str | os.PathLike)
        path = _absolute(file) if is_path else ""
        if not (set(mode) & set("wax+") and path.startswith(faults.folder)):
            return real(file, mode, *arguments, **options)
        faults.require("open", path)
        raw = _FaultyFile(path, mode.replace("b", "").replace("t", ""), faults)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding=options.get("encoding"))

    return call


def _writer(faults: Faults, real: Callable[..., int]) -> Callable[..., int]:
    def call(handle: int, data: Any) -> int:
        path = _path_of(handle)
        if faults.refuses("write", path):
            real(handle, bytes(data)[: len(data) // 2])
            raise OSError(faults.code, os.strerror(faults.code), path)
        return real(handle, data)

    return call


def _by_handle(faults: Faults, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(handle: int) -> Any:
        faults.require(name, _path_of(handle))
        return real(handle)

    return call


def _by_path(faults: Faults, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        faults.require(name, _absolute(path))
        return real(path, *arguments, **options)

    return call


def _absolute(path: Any) -> str:
    return str(Path(path).absolute())


def _path_of(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())
