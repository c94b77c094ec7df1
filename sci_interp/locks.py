"""One writer per artefact: a lock file that names its holder, and survives a dead host.

The file appears whole or not at all, by a link to a file that was written before. A thread of the
holder touches it every few seconds. Others take it over once the holder's process is gone (where
they can see its processes), or once it was not touched for long; a holder that was only asleep
finds out before its next commit. Ages are told by the clock of the file system, so that the clocks
of two hosts need not agree.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LockedError, StoreError
from .holders import Holder, is_alive, parse_holder
from .schema import LOCK_FILE, PROGRESS_FILE

__all__ = [
    "acquire",
    "discard_stale",
    "is_held",
    "is_lock_name",
    "read_holder",
    "release",
    "report",
    "require_held",
]

#: Seconds between two touches of the files that this process holds.
BEAT_SECONDS = 5.0

_CANDIDATE = "lock-"
_ATTEMPTS = 20
#: What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclass(eq=False)
class _Held:
    """A lock that this process holds, and for which thread."""

    folder: Path
    holder: Holder
    thread: threading.Thread


_guard = threading.RLock()
_held: dict[Path, _Held] = {}
_progress: dict[threading.Thread, dict[str, Any]] = {}
_wake = threading.Event()
_beating: threading.Thread | None = None


def is_lock_name(name: str) -> bool:
    """Return whether a file of this name belongs to locking, and to no artefact."""
    candidate = name.startswith(_CANDIDATE) and name.endswith(".tmp")
    return candidate or name in (LOCK_FILE, PROGRESS_FILE, PROGRESS_FILE + ".tmp")


def acquire(folder: Path) -> None:
    """Take the lock of an artefact for this thread; what the thread holds already is kept.

    Parameters
    ----------
    folder
        The artefact; the folder exists.

    Raises
    ------
    LockedError
        If another process or thread holds it.
    StoreError
        If the disk refuses.
    """
    key = folder.resolve()
    with _guard:
        held = _held.get(key)
        if held is not None and _is_on_disk(held):
            if held.thread is not threading.current_thread() and held.thread.is_alive():
                raise _locked(folder, f"thread {held.thread.name!r} of this process")
            held.thread = threading.current_thread()
            return
        try:
            holder = _take(folder)
        except OSError as error:
            raise StoreError(
                f"{folder / LOCK_FILE} cannot be written: {error.strerror or error}",
                todo="Choose a folder where you may write, or mend the disk",
            ) from error
        _held[key] = _Held(folder, holder, threading.current_thread())
        _begin_beating()


def release(folder: Path) -> None:
    """Give back the lock of an artefact and of its parts, where this process holds any."""
    key = folder.resolve()
    with _guard:
        for each in [each for each in _held if each == key or key in each.parents]:
            held = _held.pop(each)
            with suppress(OSError):
                _remove(held.folder, token=held.holder.token)
        if not _held:
            _progress.clear()
            _wake.set()


def is_held(folder: Path) -> bool:
    """Return whether this process holds the lock of an artefact."""
    with _guard:
        held = _held.get(folder.resolve())
        return held is not None and _is_on_disk(held)


def require_held(folder: Path) -> None:
    """Refuse to go on where the lock was taken over by another process.

    Folders that this process never locked pass.

    Raises
    ------
    LockedError
        If the lock is another's now, or was removed.
    """
    key = folder.resolve()
    with _guard:
        held = _held.get(key)
        if held is None or _is_on_disk(held):
            return
        del _held[key]
    holder = _read(folder / LOCK_FILE)
    raise _locked(folder, holder.describe() if holder else "nobody; the lock was removed")


def read_holder(folder: Path) -> tuple[Holder | None, bool] | None:
    """Return who holds the lock of an artefact and whether it lives, or None without a lock.

    The holder is None where the file cannot be read.
    """
    path = folder / LOCK_FILE
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return None
    holder = _read(path)
    return holder, is_alive(holder, age)


def discard_stale(folder: Path) -> None:
    """Remove what a writer left that was killed between its last file and its lock's removal."""
    found = read_holder(folder)
    if found is not None and not found[1]:
        with suppress(OSError):
            _remove_stale(folder, now=time.time())
    if found is None or not found[1]:
        _sweep(folder)


def report(label: str, done: int, total: int | None, seconds: float) -> None:
    """Keep how far this thread's work is; it is written beside its locks at the next touch."""
    if _held:
        _progress[threading.current_thread()] = {
            "label": label,
            "done": done,
            "total": total,
            "seconds": seconds,
        }


def _locked(folder: Path, who: str) -> LockedError:
    return LockedError(
        f"{folder} is being written by {who}",
        todo="Let it finish, or end it; then run the command again",
    )


def _take(folder: Path) -> Holder:
    path = folder / LOCK_FILE
    holder = Holder.here()
    candidate = folder / f"{_CANDIDATE}{holder.token}.tmp"
    for _ in range(_ATTEMPTS):
        try:
            candidate.write_text(holder.to_json(), encoding="utf-8")
            now = candidate.stat().st_mtime
            if _link(candidate, path):
                _sweep(folder)
                return holder
        except FileNotFoundError:
            continue  # The holder before swept the candidate away.
        finally:
            candidate.unlink(missing_ok=True)
        if not _remove_stale(folder, now=now):
            found = _read(path)
            raise _locked(folder, found.describe() if found else "another process")
    raise _locked(folder, "several processes")


def _link(candidate: Path, path: Path) -> bool:
    """Make the lock file of a candidate, whole, unless there is one."""
    try:
        os.link(candidate, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with path.open("x", encoding="utf-8") as handle:
                handle.write(candidate.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


def _remove_stale(folder: Path, *, now: float) -> bool:
    """Remove the lock unless its holder lives; return whether it is worth trying to take it."""
    with _opened(folder / LOCK_FILE) as handle:
        if handle is None:
            return True
        if is_alive(parse_holder(os.read(handle, 4096)), now - os.fstat(handle).st_mtime):
            return False
        (folder / LOCK_FILE).unlink(missing_ok=True)
        return True


def _remove(folder: Path, *, token: str) -> None:
    """Remove the lock if it is still the one with this token."""
    with _opened(folder / LOCK_FILE) as handle:
        if handle is None:
            return
        holder = parse_holder(os.read(handle, 4096))
        if holder is not None and holder.token == token:
            (folder / PROGRESS_FILE).unlink(missing_ok=True)
            (folder / LOCK_FILE).unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Open the lock file so that no other process removes it meanwhile; None if it is gone."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        with suppress(OSError):  # Some network file systems do not know this; the rest holds.
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            same = os.stat(path).st_ino == os.fstat(handle).st_ino  # noqa: PTH116 - both by os
        except FileNotFoundError:
            same = False
        yield handle if same else None
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what killed contenders and holders left beside the lock."""
    for path in folder.glob(f"{_CANDIDATE}*.tmp"):
        path.unlink(missing_ok=True)
    for name in (PROGRESS_FILE, PROGRESS_FILE + ".tmp"):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> Holder | None:
    try:
        return parse_holder(path.read_bytes())
    except OSError:
        return None


def _is_on_disk(held: _Held) -> bool:
    found = _read(held.folder / LOCK_FILE)
    return found is not None and found.token == held.holder.token


def _begin_beating() -> None:
    global _beating  # noqa: PLW0603 - one thread for all locks of the process
    _wake.clear()
    if _beating is None or not _beating.is_alive():
        _beating = threading.Thread(target=_beat, name="sci-interp locks", daemon=True)
        _beating.start()


def _beat() -> None:
    global _beating  # noqa: PLW0603
    while True:
        _wake.wait(BEAT_SECONDS)
        with _guard:
            if not _held:
                _beating = None
                return
            _wake.clear()
            for held in _held.values():
                with suppress(OSError):
                    if _is_on_disk(held):
                        os.utime(held.folder / LOCK_FILE)
                        _write_progress(held)


def _write_progress(held: _Held) -> None:
    found = _progress.get(held.thread)
    if found is not None:
        path = held.folder / PROGRESS_FILE
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(found), encoding="utf-8")
        temporary.replace(path)


def _forget() -> None:
    """A forked process holds nothing."""
    global _beating, _guard, _wake  # noqa: PLW0603
    _guard, _wake = threading.RLock(), threading.Event()
    _held.clear()
    _progress.clear()
    _beating = None


def _release_all() -> None:
    for held in list(_held.values()):
        release(held.folder)


os.register_at_fork(after_in_child=_forget)
atexit.register(_release_all)
