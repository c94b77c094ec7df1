"""Homology families of proteins: the blocks that never straddle two splits."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from sci_interp.errors import InputError

from .families import DisjointSets, name_families
from .kmer_families import join_by_kmers
from .record_index import RecordIndex
from .text_files import read_lines

__all__ = ["assign_blocks", "cluster_with_mmseqs", "read_clusters"]

#: Families by MMseqs2: at least 30 % identity over at least half of both sequences.
MMSEQS_OPTIONS: Final = ("--min-seq-id", "0.3", "-c", "0.5", "--cov-mode", "0")
_CLUSTER_NAMES: Final = ("cluster", "cluster_id", "cluster id", "representative", "uniref", "block")
_MEMBER_NAMES: Final = ("protein_id", "member", "members", "entry", "accession", "uniprotkb")


def assign_blocks(sequences: Mapping[str, str], path: Path | str | None = None) -> dict[str, str]:
    """Return the homology family of every protein.

    Without a table, ``mmseqs easy-cluster`` (30 % identity, half coverage) makes the families
    where that program is on the PATH; otherwise shared k-mers do, with a warning: they join
    close homologues only.

    Parameters
    ----------
    sequences
        Residues by record id.
    path
        Clusters table, see :func:`read_clusters`.

    Raises
    ------
    InputError
        If the table lacks a protein, or ``mmseqs`` fails.
    """
    if path is not None:
        return read_clusters(sequences, Path(path))
    program = shutil.which("mmseqs")
    if program:
        return cluster_with_mmseqs(sequences, program)
    warnings.warn(
        "no clusters table was given and mmseqs is not on the PATH: families are made from shared "
        "k-mers and miss distant homologues, so links may look more certain than they are. Give a "
        "table of MMseqs2 or UniRef50 clusters",
        UserWarning,
        stacklevel=2,
    )
    return join_by_kmers(sequences)


def read_clusters(sequences: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return the family of every protein from a table of two columns, plain or gzipped.

    ``cluster<TAB>member`` a line, as MMseqs2 writes it; with a header the columns are found by
    name (``cluster protein_id``, ``Cluster ID`` and ``Members`` of UniRef, where one cell may
    list members separated by ``;``). A protein in several clusters joins them.

    Raises
    ------
    InputError
        If a line has one column, or proteins are missing from the table.
    """
    index = RecordIndex(sequences)
    cluster_of: dict[str, str] = {}
    joined = DisjointSets()
    for cluster, members in _read_pairs(path):
        for member in members:
            found = index.find((member,))
            if found is None:
                continue
            record = index.records[found]
            if record in cluster_of:
                joined.join(cluster_of[record], cluster)
            else:
                cluster_of[record] = cluster
    missing = [record for record in sequences if record not in cluster_of]
    if missing:
        raise InputError(
            f"{path} has no cluster for {len(missing)} of {len(sequences)} proteins, "
            f"the first is {missing[0]!r}",
            allowed="two columns, cluster and protein, with every protein of the FASTA",
            todo="Cluster the same FASTA, or leave the table out",
        )
    return {record: joined.root(cluster_of[record]) for record in sequences}


def _read_pairs(path: Path) -> Iterator[tuple[str, list[str]]]:
    at_cluster, at_member = 0, 1
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.lstrip("\ufeff").split("\t")]
        if number == 1:
            names = [cell.lower() for cell in cells]
            known = [
                [names.index(n) for n in ns if n in names] for ns in (_CLUSTER_NAMES, _MEMBER_NAMES)
            ]
            if all(known):
                at_cluster, at_member = known[0][0], known[1][0]
                continue
        if len(cells) <= max(at_cluster, at_member) or not cells[at_cluster]:
            raise InputError(
                f"{path} line {number} has no cluster and protein: {line[:60]!r}",
                allowed="two columns, cluster and protein, separated by a tab",
                todo="Give the table that mmseqs writes as *_cluster.tsv, or leave it out",
            )
        yield cells[at_cluster], [name.strip() for name in cells[at_member].split(";")]


def cluster_with_mmseqs(sequences: Mapping[str, str], program: str) -> dict[str, str]:
    """Return families made by ``mmseqs easy-cluster``, named by their first protein.

    Raises
    ------
    InputError
        If the program fails; the message ends with what it said.
    """
    records = list(sequences)
    with tempfile.TemporaryDirectory(prefix="sci_interp_") as folder:
        fasta, result, scratch = (Path(folder, name) for name in ("in.fasta", "result", "scratch"))
        with fasta.open("w", encoding="ascii") as handle:
            handle.writelines(f">{n}\n{sequences[r]}\n" for n, r in enumerate(records))
        command = [program, "easy-cluster", str(fasta), str(result), str(scratch), *MMSEQS_OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        table = Path(folder, "result_cluster.tsv")
        if done.returncode or not table.exists():
            said = (done.stderr or done.stdout).strip()[-300:]
            raise InputError(
                f"mmseqs easy-cluster failed with status {done.returncode}: {said}",
                todo="Give a clusters table, or mend the installation of mmseqs",
            )
        pairs = [line.split("\t") for line in read_lines(table)]
    return name_families(records, ((int(a), int(b)) for a, b in pairs))
