"""UniProt features in any of the formats that UniProt gives them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sci_interp.errors import InputError

from .feature_tables import read_gff, read_tsv
from .feature_types import Entry
from .flat_files import read_flat_file, read_json
from .text_files import content_suffix, read_lines

__all__ = ["read_entries"]

_READERS: Final[dict[str, Callable[[Path], Iterator[Entry]]]] = {
    ".tsv": read_tsv,
    ".tab": read_tsv,
    ".gff": read_gff,
    ".gff3": read_gff,
    ".dat": read_flat_file,
    ".json": read_json,
}


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield what a feature file says of every protein, in the order of the file.

    The format follows from the name (``.tsv .gff .gff3 .dat .json``, each also gzipped) and for
    ``.txt`` and other names from the first line.

    Raises
    ------
    InputError
        If the file cannot be read, or its format is none of these.
    """
    reader = _READERS.get(content_suffix(path)) or _guess_reader(path)
    return reader(path)


def _guess_reader(path: Path) -> Callable[[Path], Iterator[Entry]]:
    first = next((line for line in read_lines(path) if line.strip()), "").lstrip("\ufeff")
    if first.startswith("ID   "):
        return read_flat_file
    if first.startswith("##gff-version"):
        return read_gff
    if first.lstrip().startswith(("{", "[")):
        return read_json
    if "\t" in first:
        return read_tsv
    raise InputError(
        f"{path} is no feature file: its first line is {first[:60]!r}",
        allowed="TSV, GFF3, a UniProt flat file (.txt, .dat) or UniProt JSON, plain or gzipped",
        todo="Give one of these, or leave it out",
    )
