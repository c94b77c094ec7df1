"""The header of a NetCDF file of the classic formats, walked before a library believes it.

The library in C makes room for as many names and values as a header counts, whatever the file
holds. The layout is that of the format's specification
(https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sci_interp.errors import InputError

__all__ = ["check_classic_header"]

MAX_HEADER_BYTES: Final = 16 * 2**20
_ATTRIBUTES, _VARIABLES, _DIMENSIONS = 12, 11, 10
#: Bytes of a value by its type: byte, char, short, int, float, double, and those of version 5.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


def check_classic_header(path: Path) -> None:
    """Refuse a classic file whose header counts more than it holds; other formats pass.

    Raises
    ------
    InputError
        If a count runs past the end of the file, or a part is not what the format has there.
    """
    with path.open("rb") as file:
        data = file.read(MAX_HEADER_BYTES)
    if data[:3] != b"CDF" or len(data) < 4 or data[3] not in (1, 2, 5):
        return
    try:
        _Header(data, data[3]).walk()
    except ValueError as error:
        raise InputError(
            f"{path} cannot be read as NetCDF: its header {error}",
            todo="Copy or download it again",
        ) from None


class _Header:
    """Walks a header; a ``ValueError`` says what is wrong with it."""

    def __init__(self, data: bytes, version: int) -> None:
        self._data = data
        self._at = 4
        self._count_bytes = 8 if version == 5 else 4
        self._offset_bytes = 4 if version == 1 else 8

    def walk(self) -> None:
        """Walk dimensions, attributes and variables."""
        self._skip(self._count_bytes)
        for _ in range(self._list(_DIMENSIONS)):
            self._name()
            self._skip(self._count_bytes)
        self._attributes()
        for _ in range(self._list(_VARIABLES)):
            self._name()
            self._skip(self._count() * self._count_bytes)
            self._attributes()
            self._skip(4 + self._count_bytes + self._offset_bytes)

    def _attributes(self) -> None:
        for _ in range(self._list(_ATTRIBUTES)):
            self._name()
            kind = self._number(4)
            if kind not in _SIZES:
                raise ValueError(f"names the type {kind}")
            self._padded(self._count() * _SIZES[kind])

    def _list(self, wanted: int) -> int:
        """Return how many items a list has, each of which takes at least four bytes."""
        tag, length = self._number(4), self._count()
        if tag != wanted and (tag or length):
            raise ValueError(f"has a list of kind {tag} in place of {wanted}")
        if 4 * length > len(self._data) - self._at:
            raise ValueError(f"counts {length:,} items")
        return length

    def _name(self) -> None:
        self._padded(self._count())

    def _count(self) -> int:
        return self._number(self._count_bytes)

    def _number(self, n_bytes: int) -> int:
        start = self._at
        self._skip(n_bytes)
        return int.from_bytes(self._data[start : self._at], "big")

    def _padded(self, n_bytes: int) -> None:
        self._skip(n_bytes + -n_bytes % 4)

    def _skip(self, n_bytes: int) -> None:
        self._at += n_bytes
        if self._at > len(self._data):
            raise ValueError(f"runs {self._at - len(self._data):,} bytes past its end")
