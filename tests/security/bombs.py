"""Small files that declare, or unpack to, much more than they hold."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import resource
import struct
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numcodecs.checksum32 import JenkinsLookup3

__all__ = [
    "entity_bomb",
    "gzip_bomb",
    "hdf5_bomb",
    "long_line",
    "memory_limit",
    "npz_bomb",
    "npz_of_shape",
    "parquet_bomb",
    "torch_bomb",
    "torch_view",
    "zarr_bomb",
]

UNDEFINED = b"\xff" * 8


@contextmanager
def memory_limit(megabytes: int) -> Iterator[None]:
    """Let this process take so much more memory than it has; more is a ``MemoryError``.

    Only Linux counts what a process may write to; elsewhere nothing is limited.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    status = Path("/proc/self/status").read_text()
    now = 1024 * int(status.partition("VmData:")[2].split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + megabytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def long_line(path: Path, before: bytes = b"", n_bytes: int = 200_000_000) -> Path:
    """Write a file whose last line has 200 MB; it takes no room on most disks."""
    with path.open("wb") as handle:
        handle.write(before + b"M")
        handle.truncate(n_bytes)
    return path


def gzip_bomb(path: Path, before: bytes = b"", n_bytes: int = 100_000_000) -> Path:
    """Write a gzip file that unpacks to a thousand times its size, in short lines."""
    block = (b"#" * 999 + b"\n") * 1000
    with gzip.open(path, "wb", compresslevel=9) as handle:
        handle.write(before)
        for _ in range(n_bytes // len(block)):
            handle.write(block)
    return path


def entity_bomb(path: Path) -> Path:
    """Write XML whose nine nested entities stand for a billion words."""
    names = [f"e{depth}" for depth in range(10)]
    lines = [f'<!ENTITY {names[0]} "lol">']
    lines += [
        f'<!ENTITY {name} "{f"&{inner};" * 10}">' for inner, name in itertools.pairwise(names)
    ]
    text = (
        f'<?xml version="1.0"?>\n<!DOCTYPE lolz [{"".join(lines)}]>\n<lolz>&{names[-1]};</lolz>\n'
    )
    path.write_text(text)
    return path


def npz_bomb(path: Path, n_bytes: int = 2**27) -> Path:
    """Write an npz file whose one array is deflated zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bias.npy", _npy_header((n_bytes // 4,)) + b"\0" * n_bytes)
    return path


def npz_of_shape(path: Path, shape: tuple[int, ...] = (2**20, 2**20)) -> Path:
    """Write an npz file whose one array declares a shape and holds nothing."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bias.npy", _npy_header(shape))
    return path


def _npy_header(shape: tuple[int, ...]) -> bytes:
    target = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(target, described)  # type: ignore[arg-type]
    return target.getvalue()


def torch_bomb(path: Path, n_bytes: int = 2**27) -> Path:
    """Write a torch file whose one tensor is deflated zeros."""
    whole = io.BytesIO()
    torch.save({"bias": torch.zeros(n_bytes // 4)}, whole)
    with zipfile.ZipFile(whole) as stored, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for each in stored.infolist():
            out.writestr(each.filename, stored.read(each))
    return path


def torch_view(path: Path) -> Path:
    """Write a torch file whose tensor repeats one number 2^40 times."""
    torch.save({"bias": torch.zeros(1).expand(2**20, 2**20)}, path)
    return path


def parquet_bomb(path: Path, n_rows: int = 2**25) -> Path:
    """Write a table of equal rows, which take next to nothing."""
    table = pa.table({"record": pa.array(np.zeros(n_rows, np.int8))})
    pq.write_table(table, path, row_group_size=n_rows, data_page_size=2**30, compression="zstd")
    return path


def zarr_bomb(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Path:
    """Write a Zarr array ``msl`` that declares much and has no chunk."""
    array = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {"units": "Pa"},
        "dimension_names": ["time", "latitude", "longitude"],
    }
    (folder / "msl").mkdir(parents=True)
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (folder / "zarr.json").write_text(json.dumps(group))
    (folder / "msl" / "zarr.json").write_text(json.dumps(array))
    return folder


def hdf5_bomb(path: Path, shape: tuple[int, ...] = (250_000, 100_000, 100_000)) -> Path:
    """Write an HDF5 file of some hundred bytes whose array ``msl`` declares 8.9 PiB.

    Superblock, root group and dataset stand as in version 2 of the format
    (https://docs.hdfgroup.org/hdf5/develop/_f_m_t3.html); the dataset has no storage.
    """
    space = bytes([2, len(shape), 0, 1]) + struct.pack(f"<{len(shape)}Q", *shape)
    single = bytes([0x11, 0x20, 0x1F, 0]) + struct.pack("<IHHBBBBI", 4, 0, 32, 23, 8, 0, 23, 127)
    storage = bytes([3, 1]) + UNDEFINED + struct.pack("<Q", 4 * int(np.prod(shape)))
    messages = [(0x01, space), (0x03, single), (0x05, bytes([3, 0x0A])), (0x08, storage)]
    dataset = _object_header(messages)
    at_dataset = 48
    link = bytes([1, 0, 3]) + b"msl" + struct.pack("<Q", at_dataset)
    group = _object_header([(0x02, bytes(2) + 2 * UNDEFINED), (0x0A, bytes(2)), (0x06, link)])
    at_group = at_dataset + len(dataset)
    ends = at_group + len(group)
    block = b"\x89HDF\r\n\x1a\n" + bytes([2, 8, 8, 0]) + struct.pack("<Q", 0) + UNDEFINED
    block += struct.pack("<QQ", ends, at_group)
    path.write_bytes(block + _checksum(block) + dataset + group)
    return path


def _object_header(messages: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(bytes([kind]) + struct.pack("<HB", len(m), 0) + m for kind, m in messages)
    head = b"OHDR" + bytes([2, 0, len(body)]) + body
    return head + _checksum(head)


def _checksum(data: bytes) -> bytes:
    return bytes(JenkinsLookup3(initval=0, prefix=None).encode(data))[-4:]
