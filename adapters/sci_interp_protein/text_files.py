"""Reading of text files, plain or gzipped, that refuses what no honest file holds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, cast

from sci_interp.errors import InputError

__all__ = [
    "MAX_EXPANSION",
    "MAX_LINE_BYTES",
    "content_suffix",
    "limited",
    "read_lines",
    "read_text",
]

#: A longer line is taken for damage: the longest known protein has 45,000 residues.
MAX_LINE_BYTES = 16 * 2**20
#: Gzipped biological text shrinks 3 to 20 times; a file that grows more is taken for a bomb.
MAX_EXPANSION = 200
_FREE_BYTES = 16 * 2**20
_LARGER = "If it is the file you mean, open it with a larger limit="
#: What the user allows in place of these limits; None for none.
_LIMIT: ContextVar[int | None] = ContextVar("limit", default=None)
_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Let files take as many bytes as the user allows: a line, a whole text, what gzip unpacks.

    Parameters
    ----------
    limit
        Bytes; None keeps the limits of the readers.
    """
    token = _LIMIT.set(limit)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def content_suffix(path: Path) -> str:
    """Return the lower-case suffix that tells the format: ``.tsv`` of ``features.tsv.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file without their line ends, one in memory at a time.

    Gzip is recognised by content, not by name.

    Raises
    ------
    InputError
        If the file is missing, damaged or not UTF-8, has a line above :data:`MAX_LINE_BYTES`, or
        expands more than :data:`MAX_EXPANSION` times.
    """
    try:
        yield from _decoded_lines(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read: it is a damaged or truncated gzip file ({error})",
            todo="Copy or download it again",
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", todo="Check the path"
        ) from None


def read_text(path: Path, *, max_bytes: int) -> str:
    """Return a whole text file of at most ``max_bytes`` characters.

    Raises
    ------
    InputError
        As :func:`read_lines`, and if the file is longer.
    """
    lines: list[str] = []
    n_read = 0
    max_bytes = _LIMIT.get() or max_bytes
    for line in read_lines(path):
        n_read += len(line) + 1
        if n_read > max_bytes:
            raise InputError(
                f"{path} is longer than {max_bytes:,} characters",
                todo=f"Split the file, or give a TSV, which is read line by line. {_LARGER}",
            )
        lines.append(line)
    return "\n".join(lines) + "\n"


def _decoded_lines(path: Path) -> Iterator[str]:
    n_packed = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        handle = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        longest = _LIMIT.get() or MAX_LINE_BYTES
        limit = (_LIMIT.get() or _FREE_BYTES) + MAX_EXPANSION * n_packed
        n_read = 0
        number = 0
        while line := handle.readline(longest + 1):
            number += 1
            n_read += len(line)
            if len(line) > longest:
                raise InputError(
                    f"{path} line {number} is longer than {longest:,} bytes", todo=_LARGER
                )
            if n_read > limit:
                raise InputError(
                    f"{path} expands to more than {MAX_EXPANSION} times its size",
                    todo=f"Unpack it yourself. {_LARGER}",
                )
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise InputError(
                    f"{path} line {number} is not UTF-8 text",
                    todo="Name a text file, or save this one as UTF-8",
                ) from None
