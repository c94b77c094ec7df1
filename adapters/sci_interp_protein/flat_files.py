"""Whole UniProt entries: the flat file, through Bio.SwissProt, and the JSON of uniprot.org."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sci_interp.errors import InputError

from .feature_rows import RowParser
from .feature_types import Entry, Feature
from .text_files import read_lines, read_text

__all__ = ["MAX_ENTRY_LINES", "MAX_JSON_BYTES", "read_flat_file", "read_json"]

#: The longest entry of UniProtKB has some 20,000 lines.
MAX_ENTRY_LINES = 500_000
#: What the parser raises on damaged entries.
_PARSER_FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError),
    *(TypeError, ValueError),
)
#: JSON is parsed whole; larger sets come as flat files or TSV.
MAX_JSON_BYTES = 256 * 2**20


def read_flat_file(path: Path) -> Iterator[Entry]:
    """Yield the entries of a UniProt flat file, in today's and in the older FT syntax.

    Features of other isoforms (``P12345-2:7..9``) are left out: they count along another
    sequence.

    Raises
    ------
    InputError
        If an entry does not parse; the message names the entry and its lines.
    """
    from Bio import SwissProt

    parse: Any = SwissProt.parse
    parser = RowParser(path)
    for first, lines in _entry_lines(path):
        try:
            record = next(parse(io.StringIO("".join(lines))))
        except _PARSER_FAILURES as error:
            raise InputError(
                f"{path} lines {first}-{first + len(lines) - 1}: no UniProt entry: {error}",
                allowed="flat files as uniprot.org writes them: entries from ID to //",
            ) from None
        ids = (*record.accessions[:1], record.entry_name, *record.accessions[1:])
        features = (_flat_feature(feature, parser, ids[0], first) for feature in record.features)
        yield Entry(ids, tuple(feature for feature in features if feature), record.sequence)
    parser.warn()


def _entry_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line number and the lines of every entry."""
    lines: list[str] = []
    number = 0
    for number, line in enumerate(read_lines(path), start=1):
        if not lines and not line.strip():
            continue
        lines.append(line + "\n")
        if len(lines) > MAX_ENTRY_LINES:
            raise InputError(f"{path} line {number}: an entry of over {MAX_ENTRY_LINES:,} lines")
        if line.startswith("//"):
            yield number - len(lines) + 1, lines
            lines = []
    if lines:
        raise InputError(
            f"{path} ends inside an entry, the one that begins at line {number - len(lines) + 1}",
            todo="Fetch the file again",
        )


def _flat_feature(feature: Any, parser: RowParser, protein: str, line: int) -> Feature | None:
    location = feature.location
    if location.ref is not None:
        return None
    note = feature.qualifiers.get("ligand") or feature.qualifiers.get("note")
    note = note or feature.qualifiers.get("description") or ""
    start, end = _flat_position(location.start, 1), _flat_position(location.end, 0)
    return parser.parse(feature.type, (start, end), str(note), protein=protein, line=line)


def _flat_position(position: Any, shift: int) -> str:
    """Return a Biopython position as UniProt writes it, counted from 1."""
    from Bio.SeqFeature import ExactPosition, UncertainPosition, UnknownPosition

    if isinstance(position, UnknownPosition):
        return "?"
    number = int(position) + shift
    if isinstance(position, UncertainPosition):
        return f"?{number}"
    return str(number) if isinstance(position, ExactPosition) else f"<{number}"


def read_json(path: Path) -> Iterator[Entry]:
    """Yield the entries of UniProt JSON: one entry, a list, or an object with ``results``.

    Raises
    ------
    InputError
        If it is no JSON, not UniProt's, or longer than :data:`MAX_JSON_BYTES`.
    """
    try:
        document = json.loads(read_text(path, max_bytes=MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no JSON: {error}") from None
    if isinstance(document, Mapping):
        document = document.get("results", [document])
    parser = RowParser(path)
    if not isinstance(document, list):
        raise InputError(f"{path} holds no list of entries", allowed="UniProt JSON")
    for number, entry in enumerate(document, start=1):
        try:
            yield _json_entry(entry, parser)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"entry {number} of {path} is not a UniProt entry: {type(error).__name__} {error}",
                allowed="UniProt JSON with primaryAccession and features",
            ) from None
    parser.warn()


def _json_entry(entry: Mapping[str, Any], parser: RowParser) -> Entry:
    accession = entry["primaryAccession"]
    if not isinstance(accession, str):
        raise TypeError("primaryAccession is no text")
    features = []
    for row in entry.get("features", []):
        location = row["location"]
        if location.get("sequence", accession) != accession:
            continue
        note = row.get("ligand", {}).get("name") or row.get("description") or ""
        start, end = (_json_position(location[name]) for name in ("start", "end"))
        feature = parser.parse(str(row["type"]), (start, end), str(note), protein=accession)
        if feature:
            features.append(feature)
    ids = (accession, entry.get("uniProtkbId", ""), *entry.get("secondaryAccessions", ()))
    sequence = entry.get("sequence", {}).get("value", "")
    return Entry(tuple(filter(None, ids)), tuple(features), sequence)


def _json_position(position: Mapping[str, Any]) -> str:
    value, modifier = position.get("value"), position.get("modifier", "EXACT")
    if value is None or modifier in ("UNKNOWN", "UNSURE"):
        return "?"
    return f"<{value}" if modifier == "OUTSIDE" else str(value)
