"""Files on disk: written whole or not at all, read as JSON, and known by their digests."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .errors import StoreError
from .locks import require_held

__all__ = [
    "CONTINUE",
    "digest_file",
    "digest_json",
    "read_json",
    "sync_file",
    "sync_folder",
    "write_atomically",
]

#: What to do after the disk refused.
CONTINUE = "Make room or mend the disk and run the command again; it continues here"


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    sync_file(folder)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write ``data`` under a temporary name, fsync, rename, and fsync the folder.

    Raises
    ------
    StoreError
        If the disk refuses, or another process has taken over the folder's lock.
    """
    require_held(path.parent)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data.encode() if isinstance(data, str) else data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}",
            todo=CONTINUE,
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises
    ------
    StoreError
        If it cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} does not hold a JSON object")
    return value
