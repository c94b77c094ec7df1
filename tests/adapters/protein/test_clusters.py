"""Families: tables, the outside program, and the fallback."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_protein.alphabet import AMINO_ACIDS
from sci_interp_protein.clusters import assign_blocks, cluster_with_mmseqs, read_clusters
from sci_interp_protein.families import name_families
from sci_interp_protein.kmer_families import join_by_kmers

SEQUENCES = {"P1": "MKV", "P2": "MKL", "sp|P3|C_D": "AAA"}


def write(folder: Path, text: str) -> Path:
    path = folder / "clusters.tsv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "A\tP1\nA\tP2\nB\tP3\nB\tP9\n",
        "cluster\tprotein_id\nA\tP1\nA\tP2\nB\tP3\n",
        "protein_id\tcluster\nP1\tA\nP2\tA\nsp|P3|C_D\tB\n",
        "Cluster ID\tCluster Name\tMembers\nA\tx\tP1; P2\nB\ty\tP3\n\n",
        "A\tP1\nC\tP1\nC\tP2\nB\tP3\n",
    ],
)
def test_tables(tmp_path: Path, text: str) -> None:
    found = assign_blocks(SEQUENCES, write(tmp_path, text))
    assert found == {"P1": "A", "P2": "A", "sp|P3|C_D": "B"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\tP1\n", "has no cluster for 2 of 3 proteins, the first is 'P2'"),
        ("A\tP1\nP2\n", "line 2 has no cluster and protein: 'P2'"),
        ("", "has no cluster for 3 of 3"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_clusters(SEQUENCES, write(tmp_path, text))


def program(folder: Path, body: str) -> None:
    path = folder / "mmseqs"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_mmseqs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, 'printf "0\\t0\\n0\\t2\\n1\\t1\\n" > "$3_cluster.tsv"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert assign_blocks(SEQUENCES) == {"P1": "P1", "P2": "P2", "sp|P3|C_D": "P1"}
    program(tmp_path, "echo out of memory >&2; exit 3")
    with pytest.raises(InputError, match="failed with status 3: out of memory"):
        cluster_with_mmseqs(SEQUENCES, str(tmp_path / "mmseqs"))


@given(st.integers(1, 30), st.data())
def test_components_against_search(n: int, data: st.DataObject) -> None:
    record = st.integers(0, n - 1)
    pairs = data.draw(st.lists(st.tuples(record, record)))
    names = [f"r{number}" for number in range(n)]
    reach = {at: {at} for at in range(n)}
    for _ in range(n):
        for a, b in pairs:
            both = reach[a] | reach[b]
            for member in both:
                reach[member] = both
    assert name_families(names, pairs) == {names[at]: names[min(reach[at])] for at in range(n)}


def random_protein(rng: random.Random, n: int) -> str:
    return "".join(rng.choices(AMINO_ACIDS, k=n))


def mutate(sequence: str, share: float, rng: random.Random) -> str:
    return "".join(rng.choice(AMINO_ACIDS) if rng.random() < share else c for c in sequence)


def test_fallback_joins_relatives_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = random.Random(1)
    sequences, family = {}, {}
    for number in range(40):
        parent = random_protein(rng, 200 + 5 * number)
        letters = list(parent)
        rng.shuffle(letters)
        members = {"": parent, "near": mutate(parent, 0.1, rng), "cut": parent[30:150]}
        members["far"] = mutate(parent, 0.35, rng)
        for name, sequence in members.items():
            sequences[f"p{number}{name}"] = sequence
            family[f"p{number}{name}"] = f"p{number}"
        sequences[f"p{number}shuffled"] = "".join(letters)
        family[f"p{number}shuffled"] = f"p{number}shuffled"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match="mmseqs is not on the PATH"):
        assert assign_blocks(sequences) == family


def test_fallback_on_large_families_and_biased_stretches() -> None:
    rng = random.Random(2)
    parent = random_protein(rng, 120)
    sequences = {f"copy{n}": mutate(parent, 0.02, rng) for n in range(150)}
    tail = "".join(rng.choices("STQN", k=40))
    sequences |= {f"lone{n}": random_protein(rng, 300) + tail for n in range(120)}
    sequences |= {"short": "MKV", "shorter": "M", "unknown": "X" * 30}
    families = join_by_kmers(sequences)
    assert {families[f"copy{n}"] for n in range(150)} == {"copy0"}
    assert {families[f"lone{n}"] for n in range(120)} == {f"lone{n}" for n in range(120)}
    assert [families[name] for name in ("short", "shorter", "unknown")] == [
        "short",
        "shorter",
        "unknown",
    ]
    assert join_by_kmers({"a": "MKV"}) == {"a": "a"}


def test_swissprot_families(shared_data: Path) -> None:
    from sci_interp_protein.text_files import read_lines

    folder = shared_data / "protein" / "swissprot"
    names = [
        line.split("|")[1] for line in read_lines(folder / "sequences.fasta.gz") if line[0] == ">"
    ]
    families = assign_blocks(dict.fromkeys(names, "M"), folder / "clusters.tsv.gz")
    assert len(families) == 8237
    assert len(set(families.values())) == 6288
