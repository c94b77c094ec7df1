"""Mirrors: artefacts at an address (s3://, gs://, https://), read file by file when asked for.

A mirror is a folder of this machine. It holds what was read of the artefact so far; the manifest is
fetched at every opening, and each other file once, when it is first checked against its digest.
Anything that fsspec knows is an address; its package of the protocol has to be installed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from .disk import digest_json, is_inside
from .errors import InputError, MissingExtraError, StoreError
from .manifest import read_manifest
from .schema import MANIFEST_FILE, REQUEST_FILE
from .study import is_address

__all__ = ["ensure_file", "is_mirror", "open_folder", "publish"]

#: Folder of the mirrors; by default beside other programs' caches.
CACHE_VARIABLE: Final = "SCI_INTERP_CACHE"
#: Holds the address of a mirror; named like a temporary file: no part of the artefact.
ORIGIN_FILE: Final = "origin.tmp"

_KEY_LETTERS = 24


def open_folder(path: Path | str) -> Path:
    """Return a folder as it is, or the mirror of an artefact at an address.

    Parameters
    ----------
    path
        A folder, or an address: ``"s3://bucket/run/features"``.

    Raises
    ------
    MissingExtraError
        If fsspec is not installed.
    InputError
        If the package of the protocol is not installed, or there is no such protocol.
    StoreError
        If there is no finished artefact at the address, or it cannot be read.
    """
    if not is_address(str(path)):
        return Path(path)
    address = str(path).rstrip("/")
    mirror = _cache() / digest_json(address)[:_KEY_LETTERS]
    fresh = {name: _fetch(address, name) for name in (REQUEST_FILE, MANIFEST_FILE)}
    known = mirror / MANIFEST_FILE
    if known.is_file() and known.read_bytes() != fresh[MANIFEST_FILE]:
        # What was at the address is there no more.
        shutil.rmtree(mirror, ignore_errors=True)
    mirror.mkdir(parents=True, exist_ok=True)
    _place(mirror, ORIGIN_FILE, address.encode())
    for name, data in fresh.items():
        _place(mirror, name, data)
    return mirror


def is_mirror(folder: Path) -> bool:
    """Return whether a folder is a mirror, whose files may not be there yet."""
    return (folder / ORIGIN_FILE).is_file()


def ensure_file(folder: Path, name: str) -> None:
    """Fetch a file of a mirror that is not there yet; of other folders do nothing.

    Raises
    ------
    StoreError
        If the name leaves the folder, or the file cannot be read.
    """
    if (folder / name).is_file() or not is_mirror(folder):
        return
    if not is_inside(name):
        raise StoreError(f"the manifest of {folder} names the file {name!r}, outside of it")
    address = (folder / ORIGIN_FILE).read_text(encoding="utf-8")
    with _placed(folder, name) as temporary, _typed_errors(f"{address}/{name}"):
        _file_system(address).get_file(f"{address}/{name}", str(temporary))


def publish(path: Path | str, address: str) -> None:
    """Copy a finished artefact to an address; its manifest comes last.

    Parameters
    ----------
    path
        Folder of the artefact.
    address
        Where to: ``"s3://bucket/run/features"``.

    Raises
    ------
    InputError
        If the address is none, or its protocol's package is not installed.
    StoreError
        If the artefact is unfinished, a file is missing or changed, other work lies at the address,
        or it refuses.
    """
    if not is_address(address):
        raise InputError(f"{address!r} is not an address", allowed="s3://bucket/folder, gs://...")
    folder, address = Path(path), address.rstrip("/")
    manifest = read_manifest(folder)
    with _typed_errors(address):
        files = _file_system(address)
        held = f"{address}/{REQUEST_FILE}"
        if files.exists(held) and files.cat_file(held) != (folder / REQUEST_FILE).read_bytes():
            raise StoreError(f"{address} holds other work", todo="Choose another address")
        names = [name for name in manifest.files if name != REQUEST_FILE]
        for name in (REQUEST_FILE, *names, MANIFEST_FILE):
            if not (folder / name).is_file():
                raise StoreError(f"{folder / name} is missing", todo="Verify the artefact first")
            place = f"{address}/{name}"
            files.makedirs(place.rpartition("/")[0], exist_ok=True)
            files.put_file(str(folder / name), place)


def _cache() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "sci_interp"


@lru_cache(maxsize=8)
def _file_system(address: str) -> Any:
    try:
        fsspec: Any = import_module("fsspec")
    except ImportError:
        raise MissingExtraError("fsspec", "remote") from None
    try:
        return fsspec.core.url_to_fs(address)[0]
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{address} cannot be opened: {error}",
            todo="Install the package of its protocol, e.g. pip install s3fs",
        ) from None


def _fetch(address: str, name: str) -> bytes:
    with _typed_errors(f"{address}/{name}"):
        data: bytes = _file_system(address).cat_file(f"{address}/{name}")
        return data


@contextmanager
def _typed_errors(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StoreError(
            f"there is no file {place}", todo="Name the address of a finished artefact"
        ) from None
    except OSError as error:
        raise StoreError(f"{place} cannot be reached: {error}") from error


def _place(folder: Path, name: str, data: bytes) -> None:
    with _placed(folder, name) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _placed(folder: Path, name: str) -> Iterator[Path]:
    """Yield where to write a file, which then appears whole; other processes may do the same."""
    path = folder / name
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}",
            todo=f"Make room, or set {CACHE_VARIABLE} to a folder where you may write",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
