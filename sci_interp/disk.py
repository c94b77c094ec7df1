"""Files on disk: written whole or not at all, read as JSON, and known by their digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .errors import SciInterpError, StoreError
from .locks import require_held

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONTINUE",
    "UNREADABLE",
    "digest_file",
    "digest_json",
    "is_inside",
    "read_json",
    "read_parquet",
    "reading",
    "sync_file",
    "sync_folder",
    "write_atomically",
]

#: What to do after the disk refused.
CONTINUE = "Make room or mend the disk and run the command again; it continues here"


#: What readers of formats raise on contents that are not what they expect.
UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(OSError, RuntimeError, SystemError, TypeError, ValueError),
)
#: A manifest of a million files takes about 100 MB.
MAX_JSON_BYTES = 128 * 2**20
#: Rows of a table that are read of any file, and further ones for each of its bytes: a row that
#: repeats the one before takes next to nothing.
FREE_ROWS, MAX_ROWS_PER_BYTE = 2**20, 20


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
        If it cannot be read, holds something else, or is larger than any that is written here.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise StoreError(
                f"{path} has {path.stat().st_size:,} bytes", allowed=f"at most {MAX_JSON_BYTES:,}"
            )
        value = json.loads(path.read_text(encoding="utf-8"))
    except StoreError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} does not hold a JSON object")
    return value


def read_parquet(path: Path) -> pd.DataFrame:
    """Return the table in a parquet file.

    Raises
    ------
    StoreError
        If it cannot be read, or declares more rows than a file of its size can hold.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        n_rows, n_bytes = pq.read_metadata(path).num_rows, path.stat().st_size
        if not 0 <= n_rows <= FREE_ROWS + MAX_ROWS_PER_BYTE * n_bytes:
            raise StoreError(f"{path} has {n_bytes:,} bytes and declares {n_rows:,} rows")
        table = pd.read_parquet(path)
        for name in table.columns[[pd.api.types.is_string_dtype(kind) for kind in table.dtypes]]:
            _require_text(table[name])
        return table
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes make pyarrow raise anything
        raise StoreError(f"{path} cannot be read: {error}") from None


def _require_text(column: pd.Series) -> None:
    """Raise for texts that are no UTF-8 what would else be raised where they are used."""
    import pyarrow as pa

    pa.array(column, from_pandas=True).validate(full=True)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Refuse a file whose contents are not what is written here; its digest may agree all the same.

    What others made is made by anyone: it can lack a key, or hold another type under it.

    Raises
    ------
    StoreError
        In place of what the block raises on such contents.
    """
    try:
        yield
    except SciInterpError:
        raise
    except Exception as error:
        raise StoreError(
            f"{path} holds something else than this library writes: {error!r}",
            todo="Make the artefact again, or restore it from a copy",
        ) from error


def is_inside(name: object) -> bool:
    """Return whether a value is the path of a file inside a folder, and leads nowhere else."""
    if not isinstance(name, str) or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
