"""Choose the proteins of the reference set from reviewed Swiss-Prot entries.

    python benchmarks/reference/build_protein_reference.py FOLDER OUT.tsv.gz

FOLDER holds ``sequences.fasta.gz``, ``features.tsv.gz`` and ``clusters.tsv.gz``. The choice is
greedy and deterministic: each step takes the protein that adds most to labels which still lack
families, per square root of its length; then some families get further members, so that the
families of the set are not all of size one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sci_interp_protein.clusters import read_clusters
from sci_interp_protein.feature_types import Feature
from sci_interp_protein.reference import ReferenceProtein, write_proteins
from sci_interp_protein.text_files import read_lines
from sci_interp_protein.uniprot import read_entries

N_FAMILIES, N_RELATIVES = 540, 60
MIN_LENGTH, MAX_LENGTH = 60, 450
#: Families wanted per type and per kind of a type; secondary structure is wanted everywhere.
WANTED_TYPE, WANTED_KIND = 70, 36
WANTED = {
    "HELIX": 360,
    "STRAND": 340,
    "TURN": 300,
    "DISULFID": 90,
    "COILED": 120,
    "TRANSIT": 120,
    "SIGNAL": 100,
    "TRANSMEM": 110,
    "ACT_SITE": 110,
}
#: Kinds with fewer families in the source cannot be shown and are not aimed at.
MIN_FAMILIES = 12
MAX_MEMBERS = 4
COMMENT = """Reference set of sci_interp: facts about {n} proteins of {s}.
Source: UniProtKB/Swiss-Prot, https://www.uniprot.org, licence CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/); The UniProt Consortium. Chosen, types brought to
today's names and notes shortened by benchmarks/reference/build_protein_reference.py.
Clusters: MMseqs2, 30 % identity, 50 % coverage, named by their representative.
Columns after the header; features: TYPE:start-end:note, residues from 1, both ends included."""
SPECIES = "Saccharomyces cerevisiae and Bacillus subtilis"


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates: ``has`` bool ``(n_proteins, n_labels)``, ``family`` ``(n_proteins,)``."""

    proteins: list[ReferenceProtein]
    labels: list[str]
    has: NDArray[np.bool_]
    family: NDArray[np.int64]
    wanted: NDArray[np.float64]


def read_pool(folder: Path) -> Pool:
    """Read the proteins of acceptable length and the labels worth aiming at."""
    names, sequences = {}, {}
    for accession, name, sequence in read_fasta(folder / "sequences.fasta.gz"):
        names[accession], sequences[accession] = name, sequence
    clusters = read_clusters(sequences, folder / "clusters.tsv.gz")
    features = dict[str, tuple[Feature, ...]]()
    for entry in read_entries(folder / "features.tsv.gz"):
        features[entry.ids[0]] = entry.features
    proteins = [
        ReferenceProtein(name, names[name], clusters[name], sequence, features[name])
        for name, sequence in sorted(sequences.items())
        if MIN_LENGTH <= len(sequence) <= MAX_LENGTH
        and features.get(name)
        and not set(sequence) - set("ACDEFGHIKLMNPQRSTVWY")
    ]
    return make_pool(proteins)


def read_fasta(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield accession, entry name with protein name, and residues of UniProt FASTA."""
    header, body = "", list[str]()
    for line in (*read_lines(path), ">"):
        if line.startswith(">"):
            if header:
                identifier, _, rest = header.partition(" ")
                _, accession, name = identifier.split("|")
                yield accession, f"{name} {rest.partition(' OS=')[0]}", "".join(body)
            header, body = line[1:], []
        else:
            body.append(line)


def make_pool(proteins: list[ReferenceProtein]) -> Pool:
    """Index the labels of the candidates."""
    of_protein = [
        {name for f in p.features for name in (f.type, f"{f.type}:{f.note}" if f.note else f.type)}
        for p in proteins
    ]
    both = zip(proteins, of_protein, strict=True)
    pairs = {(protein.cluster, label) for protein, own in both for label in own}
    n_families = Counter(label for _, label in pairs)
    labels = sorted(label for label, n in n_families.items() if n >= MIN_FAMILIES)
    has = np.array([[label in own for label in labels] for own in of_protein])
    family = np.unique([p.cluster for p in proteins], return_inverse=True)[1]
    wanted = [WANTED.get(label, WANTED_KIND if ":" in label else WANTED_TYPE) for label in labels]
    return Pool(proteins, labels, has, family, np.array(wanted, np.float64))


def choose(pool: Pool) -> list[int]:
    """Return the chosen proteins' places in the pool, ascending."""
    root_length = np.sqrt([len(p.sequence) for p in pool.proteins])
    have = np.zeros(len(pool.labels))
    open_ = np.ones(len(pool.proteins), np.bool_)
    chosen: list[int] = []
    for _ in range(N_FAMILIES):
        need = np.clip(1 - have / pool.wanted, 0.005, None)
        gain = np.where(open_, ((pool.has @ need) / root_length).round(9), -1.0)
        best = int(np.argmax(gain))
        chosen.append(best)
        have += pool.has[best]
        open_ &= pool.family != pool.family[best]
    size = Counter(pool.family[chosen].tolist())
    worth = pool.has.sum(axis=1) / root_length
    for place in np.argsort(-worth, kind="stable").tolist():
        family = int(pool.family[place])
        if place not in chosen and 1 <= size[family] < MAX_MEMBERS:
            chosen.append(place)
            size[family] += 1
        if len(chosen) == N_FAMILIES + N_RELATIVES:
            break
    return sorted(chosen)


def main() -> None:
    """Choose, write and print what the set holds."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("out", type=Path)
    options = arguments.parse_args()
    pool = read_pool(options.folder)
    chosen = choose(pool)
    proteins = [pool.proteins[place] for place in chosen]
    write_proteins(options.out, proteins, COMMENT.format(n=len(proteins), s=SPECIES))
    n_residues = sum(len(protein.sequence) for protein in proteins)
    families = pool.family[chosen]
    print(f"{len(proteins)} proteins, {len(set(families))} families, {n_residues} residues")
    print(f"{options.out.stat().st_size} bytes")
    for at, label in enumerate(pool.labels):
        found = len(set(families[pool.has[chosen, at]]))
        print(f"{found:4d} of {len(set(pool.family[pool.has[:, at]])):4d} families  {label}")


if __name__ == "__main__":
    main()
