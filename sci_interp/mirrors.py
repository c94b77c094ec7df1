"""Mirrors: artefacts at an address (s3://, gs://, https://), read file by file when asked for.

A mirror is a folder of this machine. It holds what was read of the artefact so far; the manifest is
fetched at every opening, and each other file once, when it is first checked against its digest.
Anything that fsspec knows is an address; its package of the protocol has to be installed.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from .disk import digest_file, digest_json, is_inside
from .errors import InputError, MissingExtraError, SciInterpError, StoreError
from .manifest import read_manifest
from .schema import MANIFEST_FILE, REQUEST_FILE
from .study import is_address

__all__ = ["ensure_file", "is_mirror", "open_folder", "publish"]

#: Folder of the mirrors; by default beside other programs' caches.
CACHE_VARIABLE: Final = "SCI_INTERP_CACHE"
#: Holds the address of a mirror; named like a temporary file: no part of the artefact.
ORIGIN_FILE: Final = "origin.tmp"

_KEY_LETTERS = 24
#: Stores without folders, where making one would make a bucket.
_WITH_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss"}
#: What a disk of this machine says; a server says other things.
_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


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
    try:
        read_manifest(mirror)
    except StoreError as error:
        what = error.what.replace(str(mirror), address)
        raise StoreError(what, todo="Publish the artefact again") from None
    return mirror


def is_mirror(folder: Path) -> bool:
    """Return whether a folder is a mirror, whose files may not be there yet."""
    return (folder / ORIGIN_FILE).is_file()


def ensure_file(folder: Path, name: str, digest: str) -> None:
    """Fetch a file of a mirror that is not there yet; of other folders do nothing.

    Parameters
    ----------
    folder
        The artefact.
    name
        Path of the file inside of it.
    digest
        What the manifest says of its bytes. Others are not kept: they may be better next time.

    Raises
    ------
    StoreError
        If the name leaves the folder, or the file cannot be read or holds other bytes.
    """
    if (folder / name).is_file() or not is_mirror(folder):
        return
    if not is_inside(name):
        raise StoreError(f"the manifest of {folder} names the file {name!r}, outside of it")
    address = (folder / ORIGIN_FILE).read_text(encoding="utf-8")
    place = f"{address}/{name}"
    with _placed(folder, name) as temporary:
        with _typed_errors(place):
            _file_system(address).get_file(place, str(temporary))
        if digest_file(temporary) != digest:
            raise StoreError(
                f"{place} is damaged: its bytes are not those that were published",
                todo="Try again, or publish the artefact again",
            )


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
    _require_free(address, (folder / REQUEST_FILE).read_bytes())
    names = [name for name in manifest.files if name != REQUEST_FILE]
    for name in (REQUEST_FILE, *names, MANIFEST_FILE):
        if not (folder / name).is_file():
            raise StoreError(f"{folder / name} is missing", todo="Verify the artefact first")
        place = f"{address}/{name}"
        with _typed_errors(place, "written"):
            files = _file_system(address)
            if address.partition("://")[0] not in _WITH_BUCKETS:
                files.makedirs(place.rpartition("/")[0], exist_ok=True)
            files.put_file(str(folder / name), place)


def _require_free(address: str, request: bytes) -> None:
    """Refuse an address where the artefact of another request lies."""
    place = f"{address}/{REQUEST_FILE}"
    with _typed_errors(place):
        try:
            held: bytes = _file_system(address).cat_file(place)
        except FileNotFoundError:
            return
        if held != request:
            raise StoreError(f"{address} holds other work", todo="Choose another address")


def _cache() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "sci_interp"


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
def _typed_errors(place: str, what: str = "reached") -> Iterator[None]:
    """Name the address where a client fails; clients have errors of their own."""
    try:
        yield
    except SciInterpError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
            raise
        if isinstance(error, FileNotFoundError) and what == "reached":
            raise StoreError(
                f"there is no file {place}", todo="Name the address of a finished artefact"
            ) from None
        told = str(error) or type(error).__name__
        raise StoreError(
            f"{place} cannot be {what}: {told}",
            todo="Look at the address, your access and the server; then try again",
        ) from error


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
