"""Feature tables: one feature a line (TSV), UniProt's wide TSV export, and GFF3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from sci_interp.errors import InputError

from .feature_rows import RowParser
from .feature_types import Entry, Feature
from .text_files import read_lines

__all__ = ["read_gff", "read_tsv"]

#: Accepted spellings of the columns of a feature table, in lower case.
COLUMN_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "protein_id": ("protein_id", "protein", "entry", "accession", "primary accession", "uniprot"),
    "feature": ("feature", "type", "feature key", "feature_type"),
    "start": ("start", "begin", "from", "start position"),
    "end": ("end", "stop", "to", "end position"),
    "note": ("note", "description"),
}
_LAYOUTS: Final = "protein_id feature start end note, separated by tabs; or UniProt's own export"
_AGAIN: Final = "Name the columns so, or export the table from uniprot.org again"
_CELL_FEATURE = re.compile(r"(?:^|; )([A-Z_]{4,8}) ([<>?\d]+)(?:\.\.([<>?\d]+))?(?=;|$)")
_CELL_NOTE = re.compile(r'; /(?:ligand|note)="([^"]*)"')


def read_tsv(path: Path) -> Iterator[Entry]:
    """Yield the proteins of a tab-separated feature file; neighbouring rows make one entry.

    Two layouts are told apart by the header: one feature a row (``protein_id feature start end
    note``, positions from 1, both included; ``note`` is optional), and the table that
    uniprot.org exports (a column ``Entry`` and one column a feature type, whose cells read
    ``HELIX 3..10; HELIX 15..20``).

    Raises
    ------
    InputError
        If the header or a row cannot be read.
    """
    lines = read_lines(path)
    first = next(lines, "")
    if not first.strip():
        raise InputError(f"the first line of {path} is empty", allowed=_LAYOUTS, todo=_AGAIN)
    header = first.lstrip("\ufeff").split("\t")
    names = [name.strip().lower() for name in header]
    columns = {
        column: next((names.index(name) for name in known if name in names), -1)
        for column, known in COLUMN_NAMES.items()
    }
    if min(columns[name] for name in ("protein_id", "feature", "start", "end")) >= 0:
        yield from _read_long(path, lines, columns)
    elif columns["protein_id"] >= 0 and len(header) > 1:
        yield from _read_wide(path, lines, columns["protein_id"], len(header))
    else:
        raise InputError(
            f"the first line of {path} names the columns {' '.join(names)[:200]!r}",
            allowed=_LAYOUTS,
            todo=_AGAIN,
        )


def _read_long(path: Path, lines: Iterator[str], columns: dict[str, int]) -> Iterator[Entry]:
    parser = RowParser(path)
    at_id, at_type, at_start, at_end, at_note = (columns[name] for name in COLUMN_NAMES)
    n_needed = max(at_id, at_type, at_start, at_end) + 1
    current, features = "", list[Feature]()
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) < n_needed:
            raise InputError(
                f"{path} line {number} has {len(cells)} columns",
                allowed=f"at least {n_needed}, separated by tabs",
            )
        protein = cells[at_id].strip()
        if protein != current:
            if current:
                yield Entry((current,), tuple(features))
            current, features = protein, []
        note = cells[at_note] if 0 <= at_note < len(cells) else ""
        feature = parser.parse(
            cells[at_type], (cells[at_start], cells[at_end]), note, protein=protein, line=number
        )
        if feature:
            features.append(feature)
    if current:
        yield Entry((current,), tuple(features))
    parser.warn()


def _read_wide(path: Path, lines: Iterator[str], at_id: int, n_columns: int) -> Iterator[Entry]:
    parser = RowParser(path)
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != n_columns:
            raise InputError(
                f"{path} line {number} has {len(cells)} columns", allowed=f"{n_columns}"
            )
        protein = cells[at_id].strip()
        features = [
            feature
            for at, cell in enumerate(cells)
            if at != at_id
            for feature in _cell_features(cell, parser, protein, number)
        ]
        yield Entry((protein,), tuple(features))
    parser.warn()


def _cell_features(cell: str, parser: RowParser, protein: str, line: int) -> Iterator[Feature]:
    found = list(_CELL_FEATURE.finditer(cell))
    for match, following in zip_longest(found, found[1:]):
        kind, first, last = match.groups()
        end = following.start() if following else len(cell)
        note = _CELL_NOTE.search(cell, match.end(), end)
        feature = parser.parse(
            kind, (first, last or first), note.group(1) if note else "", protein=protein, line=line
        )
        if feature:
            yield feature


def read_gff(path: Path) -> Iterator[Entry]:
    """Yield the proteins of a GFF3 file in UniProt's spelling, up to its ##FASTA part if any.

    A protein that has only its ``##sequence-region`` line was looked at and has no feature.

    Raises
    ------
    InputError
        If a row has not nine columns, or its positions cannot be read.
    """
    parser = RowParser(path)
    current, features, n_rows = "", list[Feature](), 0
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith("##FASTA"):
            break
        protein = _gff_protein(path, line, number)
        if protein is None:
            continue
        n_rows += 1
        if protein != current:
            if current:
                yield Entry((current,), tuple(features))
            current, features = protein, []
        if not line.startswith("#"):
            cells = line.split("\t")
            feature = parser.parse(
                cells[2], (cells[3], cells[4]), _gff_note(cells[8]), protein=protein, line=number
            )
            if feature:
                features.append(feature)
    if current:
        yield Entry((current,), tuple(features))
    if n_rows and parser.unknown_types.total() == n_rows:
        raise InputError(
            f"{path} has no feature type that UniProt knows, e.g. {min(parser.unknown_types)!r}",
            allowed="GFF3 as uniprot.org writes it",
        )
    parser.warn()


def _gff_protein(path: Path, line: str, number: int) -> str | None:
    """Return the protein of a GFF3 line; None for comments and empty lines."""
    if line.startswith("##sequence-region"):
        words = line.split()
        return unquote(words[1]) if len(words) > 1 else None
    if not line.strip() or line.startswith("#"):
        return None
    cells: Sequence[str] = line.split("\t")
    if len(cells) != 9 and not (len(cells) == 10 and not cells[9].strip()):
        raise InputError(
            f"{path} line {number} has {len(cells)} columns", allowed="the nine columns of GFF3"
        )
    return unquote(cells[0])


def _gff_note(attributes: str) -> str:
    pairs = {
        name.strip().lower(): unquote(value)
        for name, _, value in (item.partition("=") for item in attributes.split(";"))
    }
    return pairs.get("ligand") or pairs.get("note") or ""
