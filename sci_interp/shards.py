"""Shards of arrays: Zarr groups that appear whole or not at all, and are checked before use."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .disk import CONTINUE, UNREADABLE, digest_file, sync_file, sync_folder
from .errors import StoreError
from .manifest import Manifest, read_manifest
from .mirrors import ensure_file

__all__ = [
    "group_files",
    "read_group",
    "read_whole",
    "verify_file",
    "verify_folder",
    "write_group",
    "zstd_bytes",
]

#: Items of one inner chunk.
CHUNK_ITEMS = 2**20
#: An array may declare these bytes whatever its files hold, and these for every byte of them.
FREE_BYTES, MAX_EXPANSION = 64 * 2**20, 1000
_CODECS = frozenset({"bytes", "zstd"})


def write_group(
    root: Path,
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    dimensions: Mapping[str, str],
) -> dict[str, str]:
    """Write one-dimensional arrays as a Zarr v3 group and return the digests of its files.

    The group is written under a temporary name, made durable and renamed; what an interrupted
    run left under either name is replaced.

    Parameters
    ----------
    root
        Folder of the artefact.
    name
        Path of the group inside it.
    arrays
        Arrays by name.
    dimensions
        Name of the dimension of every array.

    Returns
    -------
    dict of str to str
        SHA-256 by path inside ``root``.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    final = root / name
    temporary = final.with_name(final.name + ".tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        for stale in (temporary, final):
            if stale.exists():
                shutil.rmtree(stale)
        _fill_group(temporary, arrays, dimensions)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        for path in files:
            sync_file(path)
        for folder in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
            sync_folder(folder)
        digests = {
            f"{name}/{path.relative_to(temporary).as_posix()}": digest_file(path) for path in files
        }
        temporary.replace(final)
        sync_folder(final.parent)
    except OSError as error:
        raise StoreError(
            f"{final} cannot be written: {error.strerror or error}",
            todo=CONTINUE,
        ) from error
    return digests


def read_group(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the named arrays of a group.

    Raises
    ------
    StoreError
        If the group cannot be read.
    """
    import zarr

    try:
        # The second format would choose its filters, of which one unpickles.
        group = zarr.open_group(store=path, mode="r", zarr_format=3, use_consolidated=False)
        return {name: _read_array(path / name, group[name]) for name in names}
    except UNREADABLE as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _read_array(path: Path, array: Any) -> NDArray[Any]:
    """Return a whole array of numbers; refuse one that declares more than its files can hold."""
    n_bytes = array.dtype.itemsize * math.prod(array.shape)
    n_held = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    codecs = {str(codec["name"]) for codec in array.metadata.to_dict()["codecs"]}
    if (
        array.ndim != 1
        or array.dtype.kind not in "iuf"
        or not codecs <= _CODECS
        or max(array.chunks) > CHUNK_ITEMS
        or n_bytes > FREE_BYTES + MAX_EXPANSION * n_held
    ):
        raise ValueError(
            f"{path.name!r} declares {n_bytes:,} bytes of {array.dtype} in {n_held:,}, by "
            f"{', '.join(sorted(codecs))}"
        )
    for file in path.rglob("c/*"):
        with file.open("rb") as handle:
            declared = zstd_bytes(handle.read(18))
        if not 0 <= declared <= CHUNK_ITEMS * array.dtype.itemsize:
            raise ValueError(f"{file} unpacks to {declared:,} bytes")
    return np.asarray(array[:])


def zstd_bytes(head: bytes) -> int:
    """Return the bytes that a Zstandard frame says it unpacks to, or -1 where it does not say.

    Parameters
    ----------
    head
        The first 18 bytes of the frame, as RFC 8878 lays them out.
    """
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return -1
    descriptor = head[4]
    single, dictionary = descriptor >> 5 & 1, descriptor & 3
    at = 5 + (not single) + (0, 1, 2, 4)[dictionary]
    length = (single, 2, 4, 8)[descriptor >> 6]
    declared = int.from_bytes(head[at : at + length], "little")
    return -1 if length == 0 else declared + 256 * (length == 2)


def verify_file(root: Path, name: str, digests: Mapping[str, str]) -> None:
    """Refuse a file whose bytes are not those that were committed.

    Raises
    ------
    StoreError
        If the file is missing, changed, or was never committed.
    """
    path = root / name
    if name not in digests:
        raise StoreError(f"{path} is not listed in the artefact's manifest")
    ensure_file(root, name, digests[name])
    try:
        found = digest_file(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != digests[name]:
        raise StoreError(
            f"{path} is damaged: its bytes are not those that were written",
            todo="Delete the artefact and make it again, or restore it from a copy",
        )


def read_whole(root: Path, kind: str) -> Manifest:
    """Return the manifest of a finished artefact, after a check of all its files.

    Raises
    ------
    StoreError
        If the folder is no artefact of the kind, is unfinished, or one of its files is damaged.
    """
    manifest = read_manifest(root, kind)
    for name in manifest.files:
        verify_file(root, name, manifest.files)
    return manifest


def verify_folder(root: Path, name: str, digests: Mapping[str, str]) -> None:
    """Refuse a shard of which any committed file is missing or changed.

    Raises
    ------
    StoreError
        As :func:`verify_file`; also if nothing was committed under the name.
    """
    prefix = f"{name}/"
    members = [file for file in digests if file.startswith(prefix)]
    if not members:
        raise StoreError(f"{root / name} is not listed in the artefact's manifest")
    for member in members:
        verify_file(root, member, digests)


def group_files(digests: Mapping[str, str], *, depth: int) -> dict[str, dict[str, str]]:
    """Return the digests by the first ``depth`` folders of their paths; shallower files are left.

    Parameters
    ----------
    digests
        SHA-256 by path.
    depth
        Number of folders that name a shard.
    """
    groups: dict[str, dict[str, str]] = {}
    for name, digest in digests.items():
        parts = name.split("/", depth)
        if len(parts) > depth:
            groups.setdefault("/".join(parts[:depth]), {})[name] = digest
    return groups


def _fill_group(
    folder: Path, arrays: Mapping[str, NDArray[Any]], dimensions: Mapping[str, str]
) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(store=folder, mode="w", zarr_format=3)
    for name, array in arrays.items():
        group.create_array(
            name,
            data=array,
            chunks=(max(1, min(len(array), CHUNK_ITEMS)),),
            compressors=ZstdCodec(level=1),
            dimension_names=(dimensions[name],),
        )
