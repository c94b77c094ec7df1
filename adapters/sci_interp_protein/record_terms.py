"""Terms of whole proteins (GO terms, EC numbers, locations): tables of record and term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from sci_interp.adapter import Label
from sci_interp.errors import InputError

from .record_index import RecordIndex
from .text_files import read_lines

__all__ = ["RecordTerms", "Term", "TermRow", "collect_terms", "read_terms"]

_RECORD_COLUMNS: Final = ("record", "protein_id", "entry", "accession", "uniprotkb")
#: Columns of UniProt's own tables, and the group that their terms belong to.
_UNIPROT_COLUMNS: Final = {
    "ec number": "EC",
    "gene ontology (biological process)": "GO process",
    "gene ontology (cellular component)": "GO component",
    "gene ontology (molecular function)": "GO function",
    "gene ontology ids": "GO",
}
_ALLOWED: Final = (
    "a header with the columns record and term, and if wanted group and name; or a table of "
    "UniProt with Entry and some of EC number, Gene Ontology IDs, Gene Ontology (biological "
    "process), (cellular component), (molecular function)"
)
_GO: Final = re.compile(r"GO:\d{7}")
_NAMED_GO: Final = re.compile(r"(.*?)\s*\[(GO:\d{7})\]")
_EC: Final = re.compile(r"(?:EC[: ]?)?(\d+(?:\.(?:n?\d+|-)){1,3})")
_EC_LEVELS: Final = 4


class Term(NamedTuple):
    """A term of whole proteins.

    Attributes
    ----------
    group : str
        Terms of a group are assessed together: ``"GO process"``, ``"EC"``, ``"location"``.
    name : str
        ``"GO:0005739"``, ``"2.7.-.-"``, ``"Mitochondrion"``.
    """

    group: str
    name: str

    @property
    def label(self) -> str:
        """The label's name: the term after its group, unless it says the group itself."""
        return self.name if _GO.fullmatch(self.name) else f"{self.group}:{self.name}"


class TermRow(NamedTuple):
    """One statement of a file: a record has a term, or was assessed for a group and has none.

    Attributes
    ----------
    record : str
        The protein, as the file names it.
    group : str
        The group.
    term : str
        The term, empty where the record was assessed and none was found.
    meaning : str
        What the term means, in words; may be empty.
    """

    record: str
    group: str
    term: str
    meaning: str = ""


@dataclass(frozen=True, eq=False)
class RecordTerms:
    """Terms by record.

    Attributes
    ----------
    labels : tuple of Label
        Terms that are labels, by group and name.
    terms : mapping of record number to list of label names
        What each record has.
    groups : mapping of record number to list of group names
        What each record was assessed for.
    """

    labels: tuple[Label, ...] = ()
    terms: Mapping[int, list[str]] = field(default_factory=dict)
    groups: Mapping[int, list[str]] = field(default_factory=dict)


def read_terms(path: Path) -> Iterator[TermRow]:
    """Yield the statements of a table, plain or gzipped, separated by tabs.

    Either one line a term (columns ``record, term`` and if wanted ``group, name``), or one line a
    protein, as UniProt writes its tables, with terms separated by ``;``. Without a column
    ``group``, GO ids belong to ``GO``, EC numbers to ``EC`` and everything else to ``term``. An EC
    number states its classes as well: 2.7.11.1 is also 2.7.11.-, 2.7.-.- and 2.-.-.-. GO terms are
    taken as they are; their ancestors must be in the file to count.

    Raises
    ------
    InputError
        If a column is missing, or a line is short.
    """
    lines = ((number, line) for number, line in enumerate(read_lines(path), 1) if line.strip())
    number, header = next(lines, (1, ""))
    names = [cell.strip().lower() for cell in header.lstrip("\ufeff").split("\t")]
    at_record = next((names.index(name) for name in _RECORD_COLUMNS if name in names), -1)
    wide = {names.index(name): group for name, group in _UNIPROT_COLUMNS.items() if name in names}
    if at_record < 0 or not (wide or "term" in names):
        raise InputError(
            f"{path} line {number} is no header of a table of terms: {header[:60]!r}",
            allowed=_ALLOWED,
            todo="Give the columns these names",
        )
    for number, line in lines:
        cells = [cell.strip() for cell in line.split("\t")]
        cells += [""] * (len(names) - len(cells))  # trailing tabs are easily lost
        if len(cells) > len(names) or not cells[at_record]:
            raise InputError(
                f"{path} line {number} does not fit its header: {line[:60]!r}",
                allowed=f"{len(names)} cells, and a record",
            )
        if "term" in names:
            yield from _long_rows(dict(zip(names, cells, strict=True)), cells[at_record])
        else:
            for at, group in wide.items():
                yield from _cell_rows(cells[at_record], group, cells[at])


def _long_rows(cells: Mapping[str, str], record: str) -> Iterator[TermRow]:
    term = cells["term"]
    number = _EC.fullmatch(term)
    default = "GO" if _GO.fullmatch(term) else "EC" if number else "term"
    group = cells.get("group") or default
    if number and group.upper().startswith("EC"):
        yield from (TermRow(record, group, name) for name in _ec_classes(number[1]))
    else:
        yield TermRow(record, group, term, cells.get("name", ""))


def _cell_rows(record: str, group: str, cell: str) -> Iterator[TermRow]:
    for item in filter(None, (part.strip() for part in cell.split(";"))):
        if group == "EC":
            number = _EC.fullmatch(item)
            classes = _ec_classes(number[1]) if number else [item]
            yield from (TermRow(record, group, name) for name in classes)
        elif named := _NAMED_GO.fullmatch(item):
            yield TermRow(record, group, named[2], named[1])
        else:
            yield TermRow(record, group, item)


def _ec_classes(number: str) -> list[str]:
    """Return an EC number after its classes, each of four parts."""
    parts = [part for part in number.split(".") if part != "-"]
    return [
        ".".join([*parts[:depth], *["-"] * (_EC_LEVELS - depth)])
        for depth in range(1, len(parts) + 1)
    ]


def collect_terms(
    index: RecordIndex, tables: Iterable[tuple[str, Iterable[TermRow]]], *, min_records: int
) -> RecordTerms:
    """Return the terms of the records; proteins that are no record are passed over.

    A record is assessed for a group where a table states a term of the group, or an empty one; for
    every other record the group is unknown.

    Parameters
    ----------
    index
        The records.
    tables
        Name and rows of every file.
    min_records
        Terms become labels from this many records on.

    Raises
    ------
    InputError
        If a table is for other proteins, or a term is in two groups.
    """
    found: dict[int, dict[Term, None]] = {}
    groups: dict[int, dict[str, None]] = {}
    meanings: dict[Term, str] = {}
    for where, rows in tables:
        seen: dict[str, int | None] = {}
        for row in rows:
            if row.record not in seen:
                seen[row.record] = index.find((row.record,))
            at = seen[row.record]
            if at is None:
                continue
            groups.setdefault(at, {})[row.group] = None
            if row.term:
                term = Term(row.group, row.term)
                found.setdefault(at, {})[term] = None
                meanings[term] = meanings.get(term) or row.meaning
        n_found = sum(index.knows((record,)) for record in seen)
        index.refuse_strangers(where, len(seen), n_found, next(iter(seen), ""))
    n_records = Counter(term for of_record in found.values() for term in of_record)
    chosen = sorted(term for term, n in n_records.items() if n >= min_records)
    _require_one_group(chosen)
    kept = {term.group for term in chosen}
    return RecordTerms(
        labels=tuple(_term_label(term, meanings[term]) for term in chosen),
        terms={
            at: [term.label for term in chosen if term in of_record]
            for at, of_record in found.items()
        },
        groups={
            at: [_group_name(group) for group in sorted(of_record) if group in kept]
            for at, of_record in groups.items()
        },
    )


def _require_one_group(terms: Iterable[Term]) -> None:
    group_of: dict[str, str] = {}
    for term in terms:
        other = group_of.setdefault(term.label, term.group)
        if other != term.group:
            raise InputError(
                f"the term {term.name!r} is in the groups {other!r} and {term.group!r}",
                allowed="one group for a term",
                todo="Leave one of the columns or files out",
            )


def _term_label(term: Term, meaning: str) -> Label:
    words = meaning or term.name
    definition = f"{words} ({term.group}), of the whole protein"
    return Label(term.label, _group_name(term.group), definition, extent="records")


def _group_name(group: str) -> str:
    return f"terms: {group}"
