"""Proteins read from FASTA, with their homology blocks and what is known of them."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sci_interp.adapter import Refusal
from sci_interp.errors import InputError, MissingExtraError, UnknownNameError
from sci_interp.schema import BLOCK, N_TOKENS, RECORD, STRATUM

from .alphabet import RESIDUES
from .text_files import read_lines

if TYPE_CHECKING:
    from .annotations import AnnotationSet

__all__ = ["UNIPROT_ACCESSION", "ProteinDataset", "ProteinRecord", "read_fasta"]

#: An accession of UniProtKB (https://www.uniprot.org/help/accession_numbers).
UNIPROT_ACCESSION = re.compile(
    r"[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9]([A-Z][A-Z0-9]{2}[0-9]){1,2}"
)
_UNIPROT_HEADER = re.compile(r"(?:sp|tr)\|([^|\s]+)\|(\S*)\s*(.*)")
_FOREIGN = re.compile(f"[^{RESIDUES}]")
_GAPS = "-."
_FASTA = "FASTA, plain or gzipped: '>id description', then lines of residue letters"


@dataclass(frozen=True)
class ProteinRecord:
    """One protein.

    Attributes
    ----------
    record : str
        Its id: the accession of a UniProt header, else the header's first word.
    name : str
        What a reader calls it: the entry name, else the rest of the header; may be empty.
    sequence : str
        Upper-case residue letters.
    """

    record: str
    name: str
    sequence: str


@dataclass(frozen=True, eq=False)
class ProteinDataset:
    """Proteins in a fixed order.

    Attributes
    ----------
    sequences : mapping of str to str
        Residue letters by record.
    blocks : mapping of str to str
        Homology block by record.
    annotations : AnnotationSet or None
        What is known of them; None for decoys.
    names : mapping of str to str
        Names for the reader, by record.
    refused : tuple of Refusal
        Proteins of the file that cannot be used; they are in none of the others.
    """

    sequences: Mapping[str, str]
    blocks: Mapping[str, str]
    annotations: AnnotationSet | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, sequences and blocks, in order."""
        state = hashlib.sha256()
        for record, sequence in self.sequences.items():
            state.update(f"{record}\t{self.blocks[record]}\t{sequence}\n".encode())
        return state.hexdigest()

    @cached_property
    def table(self) -> pd.DataFrame:
        """Columns ``record, block, n_tokens, stratum``; a protein's stratum is its length."""
        lengths = [len(sequence) for sequence in self.sequences.values()]
        return pd.DataFrame(
            {
                RECORD: list(self.sequences),
                BLOCK: [self.blocks[record] for record in self.sequences],
                N_TOKENS: pd.Series(lengths, dtype="int64"),
                STRATUM: pd.Series(lengths, dtype="float64"),
            }
        )

    def sequence_of(self, record: str) -> str:
        """Return a record's letters.

        Raises
        ------
        UnknownNameError
            If the dataset has no such record.
        """
        try:
            return self.sequences[record]
        except KeyError:
            raise UnknownNameError("record", record, self.sequences) from None


def read_fasta(path: Path) -> tuple[dict[str, ProteinRecord], tuple[Refusal, ...]]:
    """Read proteins from FASTA, plain or gzipped.

    Lower-case letters count as upper-case; one ``*`` at the end of a sequence is dropped.

    Returns
    -------
    records : dict
        Proteins by id, in the order of the file.
    refused : tuple of Refusal
        Those whose sequence is empty, or holds a letter that is no residue.

    Raises
    ------
    InputError
        If the file is missing, damaged, not FASTA or holds no protein that can be used, or an id
        occurs twice or is missing.
    MissingExtraError
        If Biopython is not installed.
    """
    try:
        from Bio.SeqIO.FastaIO import SimpleFastaParser
    except ImportError:
        raise MissingExtraError("biopython", "protein") from None
    parse: Callable[[Iterator[str]], Iterator[tuple[str, str]]] = SimpleFastaParser
    records: dict[str, ProteinRecord] = {}
    refused: dict[str, Refusal] = {}
    headers: deque[int] = deque()
    for title, letters in parse(_fasta_lines(path, headers)):
        line = headers.popleft()
        found = _read_record(f"{path} line {line}", title, letters)
        if found.record in records or found.record in refused:
            raise InputError(
                f"{path} line {line}: the id {found.record!r} occurs more than once",
                allowed="ids that differ",
                todo="Give every protein an id of its own, or leave the repetition out",
            )
        # Of the path the name alone: what is made of a file is the same wherever it lies.
        if refusal := _refuse(f"{path.name} line {line}", found):
            refused[found.record] = refusal
        else:
            records[found.record] = found
    if not records:
        first = next(iter(refused.values()), None)
        raise InputError(
            f"{path} holds no protein"
            + (f" that can be used: {first.record!r}, {first.reason}" if first else ""),
            allowed=_FASTA,
            todo="Look whether the file was written or downloaded whole",
        )
    return records, tuple(refused.values())


def _fasta_lines(path: Path, headers: deque[int]) -> Iterator[str]:
    """Yield the lines from the first header on, each with a line end; refuse other formats.

    The parser reads ahead, so the numbers of the header lines wait in ``headers``.
    """
    started = False
    for number, line in enumerate(read_lines(path), start=1):
        if not started and line.strip() and not line.startswith(">"):
            raise InputError(
                f"{path} line {number} is not FASTA: {line.strip()[:40]!r} stands before any '>'",
                allowed=_FASTA,
                todo="Convert the file, or remove what stands before the first '>'",
            )
        started = started or line.startswith(">")
        if line.startswith(">"):
            headers.append(number)
        if started:
            yield line + "\n"


def _read_record(where: str, title: str, letters: str) -> ProteinRecord:
    words = title.split(maxsplit=1)
    if not words:
        raise InputError(
            f"{where} is a header without an id",
            allowed="'>id description'",
            todo="Give every protein an id of its own",
        )
    record, name = words[0], words[1] if len(words) > 1 else ""
    if match := _UNIPROT_HEADER.match(title):
        record, name = match[1], match[2] or match[3]
    return ProteinRecord(record, name, "".join(letters.split()).upper().removesuffix("*"))


def _refuse(where: str, found: ProteinRecord) -> Refusal | None:
    """Return why a protein cannot be used, if it cannot."""
    if not found.sequence:
        return Refusal(found.record, 0, f"{where}: it has no residue")
    if not (wrong := _FOREIGN.search(found.sequence)):
        return None
    letter, at = wrong[0], wrong.start()
    hint = "remove the gaps of an alignment" if letter in _GAPS else "X is a residue not known"
    reason = f"{where}: {letter!r} at residue {at + 1} is none of {RESIDUES}; {hint}"
    return Refusal(found.record, len(found.sequence), reason, at)
