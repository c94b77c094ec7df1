"""The reference set: a few hundred well-annotated proteins that come with the adapter.

``data/reference.tsv.gz`` states facts from UniProt (https://www.uniprot.org, CC BY 4.0) in the
project's own format: after comment lines that begin with ``#``, the columns ``accession name
cluster sequence features``. A feature reads ``TYPE:start-end:note`` (``TYPE:start`` for one
residue, the note may be missing), residues counted from 1; features are separated by ``;``.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sci_interp.errors import InputError

from .annotations import AnnotationBuilder, AnnotationSet
from .feature_types import GROUP_OF_TYPE, Entry, Feature
from .text_files import read_lines

__all__ = [
    "REFERENCE_PATH",
    "ReferenceProtein",
    "ReferenceSet",
    "read_proteins",
    "read_reference",
    "write_proteins",
]

REFERENCE_PATH: Final = Path(__file__).parent / "data" / "reference.tsv.gz"
COLUMNS: Final = ("accession", "name", "cluster", "sequence", "features")
#: Kinds of a type become labels from this many proteins on; the set is small.
_MIN_RECORDS = 10


@dataclass(frozen=True, slots=True)
class ReferenceProtein:
    """One protein of the reference set.

    Attributes
    ----------
    accession, name : str
        UniProt accession; entry name and protein name.
    cluster : str
        Homology family.
    sequence : str
        Residues.
    features : tuple of Feature
        What UniProt says of it, in today's types.
    """

    accession: str
    name: str
    cluster: str
    sequence: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The reference set, ready for use.

    Attributes
    ----------
    sequences : dict of str
        Residues by accession.
    names : dict of str
        Entry name and protein name by accession.
    clusters : dict of str
        Homology family by accession.
    annotations : AnnotationSet
        What is known of the proteins.
    """

    sequences: Mapping[str, str]
    names: Mapping[str, str]
    clusters: Mapping[str, str]
    annotations: AnnotationSet


def read_reference(path: Path = REFERENCE_PATH) -> ReferenceSet:
    """Return the reference set that comes with the adapter.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    proteins = list(read_proteins(path))
    sequences = {protein.accession: protein.sequence for protein in proteins}
    builder = AnnotationBuilder(sequences)
    entries = (Entry((protein.accession,), protein.features) for protein in proteins)
    builder.add_entries(entries, str(path))
    return ReferenceSet(
        sequences,
        {protein.accession: protein.name for protein in proteins},
        {protein.accession: protein.cluster for protein in proteins},
        builder.build(min_records=_MIN_RECORDS),
    )


def read_proteins(path: Path) -> Iterator[ReferenceProtein]:
    """Yield the proteins of a file in the format of the reference set.

    Raises
    ------
    InputError
        If the header or a row is not of that format.
    """
    rows = ((number, line) for number, line in enumerate(read_lines(path), start=1) if line)
    body = ((number, line) for number, line in rows if not line.startswith("#"))
    number, header = next(body, (1, ""))
    if tuple(header.split("\t")) != COLUMNS:
        raise InputError(f"{path} line {number} is no header", allowed=" ".join(COLUMNS))
    for number, line in body:
        cells = line.split("\t")
        if len(cells) != len(COLUMNS) or not all(cells[:4]):
            raise InputError(f"{path} line {number} lacks a column", allowed=" ".join(COLUMNS))
        items = (item for item in cells[4].split(";") if item)
        features = tuple(_read_feature(item, f"{path} line {number}", number) for item in items)
        yield ReferenceProtein(cells[0], cells[1], cells[2], cells[3], features)


def _read_feature(item: str, where: str, line: int) -> Feature:
    kind, _, rest = item.partition(":")
    span, _, note = rest.partition(":")
    start, _, end = span.partition("-")
    end = end or start
    if kind not in GROUP_OF_TYPE or not (start.isdecimal() and end.isdecimal()):
        raise InputError(f"{where}: {item[:60]!r} is no feature", allowed="TYPE:start-end:note")
    return Feature(kind, int(start), int(end), note, line)


def write_proteins(path: Path, proteins: Iterable[ReferenceProtein], comment: str) -> None:
    """Write a file in the format of the reference set; equal content gives equal bytes.

    Parameters
    ----------
    path
        Where to, gzipped.
    proteins
        The proteins, in the order to write.
    comment
        Source and licence, one line each.
    """
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in comment.splitlines())
    text.write("\t".join(COLUMNS) + "\n")
    for protein in proteins:
        features = ";".join(_write_feature(feature) for feature in protein.features)
        cells = (protein.accession, protein.name, protein.cluster, protein.sequence, features)
        text.write("\t".join(cells) + "\n")
    path.write_bytes(gzip.compress(text.getvalue().encode("utf-8"), compresslevel=9, mtime=0))


def _write_feature(feature: Feature) -> str:
    span = f"{feature.start}-{feature.end}" if feature.end > feature.start else f"{feature.start}"
    note = feature.note.replace(";", ",").replace("\t", " ")
    return f"{feature.type}:{span}:{note}" if note else f"{feature.type}:{span}"
