"""Who holds a lock, and whether that process still lives."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from .errors import InputError

__all__ = ["STALE_SECONDS", "STALE_VARIABLE", "Holder", "is_alive", "parse_holder", "stale_seconds"]

#: Seconds without a touch after which a holder is taken for dead, and what overrides them.
STALE_SECONDS = 300.0
STALE_VARIABLE = "SCI_INTERP_LOCK_SECONDS"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes
    ----------
    host : str
        Name of the computer.
    place : str
        What tells apart computers, starts of one, and containers: processes of the same place see
        each other.
    pid : int
        The process.
    born : str
        When the process began, by the system's count; pids are used again.
    started : float
        When the lock was taken, in seconds since 1970 by the host's clock.
    token : str
        No two locks share it.
    """

    host: str
    place: str
    pid: int
    born: str
    started: float
    token: str

    @classmethod
    def here(cls) -> Holder:
        """Return this process, about to take a lock."""
        return cls(
            host=socket.gethostname(),
            place=_place(),
            pid=os.getpid(),
            born=_born(os.getpid()),
            started=time.time(),
            token=uuid.uuid4().hex,
        )

    def to_json(self) -> str:
        """Return the contents of a lock file; :func:`parse_holder` reads them."""
        return json.dumps(asdict(self)) + "\n"

    def describe(self) -> str:
        """Return who it is in words."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"process {self.pid} on {self.host} since {since}"


def parse_holder(data: bytes) -> Holder | None:
    """Return the holder that a lock file names, or None where it cannot be read."""
    try:
        raw = json.loads(data)
        time.localtime(float(raw["started"]))  # it is shown, and may be no time
        return Holder(
            host=str(raw["host"]),
            place=str(raw["place"]),
            pid=int(raw["pid"]),
            born=str(raw["born"]),
            started=float(raw["started"]),
            token=str(raw["token"]),
        )
    except (ValueError, KeyError, TypeError, OSError, OverflowError, RecursionError):
        return None


def is_alive(holder: Holder | None, age: float) -> bool:
    """Return whether a lock's holder is taken to be at work.

    Parameters
    ----------
    holder
        Who holds it, or None where the file cannot be read.
    age
        Seconds since the lock was touched.
    """
    if age > stale_seconds():
        return False
    if holder is None or holder.place != _place():
        return True
    return _exists(holder.pid) and _born(holder.pid) == holder.born


def stale_seconds() -> float:
    """Return the seconds without a touch after which a holder is taken for dead.

    Raises
    ------
    InputError
        If the environment variable holds no positive number.
    """
    value = os.environ.get(STALE_VARIABLE, "")
    try:
        seconds = float(value or STALE_SECONDS)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InputError(f"{STALE_VARIABLE}={value!r} is not usable", allowed="a number of seconds")
    return seconds


@cache
def _place() -> str:
    """Return the host, when it started, and which processes are seen."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _born(pid: int) -> str:
    """Return the start of a process in the system's ticks; empty where it is gone or unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name stands in parentheses and may hold anything; state and start time follow it.
    words = stat.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[19]
