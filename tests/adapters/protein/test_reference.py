"""The reference set, its format and its origin."""

from __future__ import annotations

import gzip
import runpy
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_protein.clusters import read_clusters
from sci_interp_protein.feature_types import GROUP_OF_TYPE, Feature
from sci_interp_protein.reference import (
    COLUMNS,
    REFERENCE_PATH,
    ReferenceProtein,
    read_proteins,
    read_reference,
    write_proteins,
)
from sci_interp_protein.uniprot import read_entries

HEADER = "\t".join(COLUMNS)
#: Labels that the study must be able to test, and the families that it needs for each.
NEEDED = {
    "HELIX": 250,
    "STRAND": 250,
    "TURN": 200,
    "BINDING": 120,
    "ACT_SITE": 80,
    "SIGNAL": 60,
    "TRANSMEM": 80,
    "MOTIF": 40,
    "COILED": 35,
    "TRANSIT": 40,
    "DISULFID": 40,
    "MOD_RES": 100,
    "DOMAIN": 100,
}


def test_size_and_speed() -> None:
    assert REFERENCE_PATH.stat().st_size < 400_000
    begin = time.perf_counter()
    reference = read_reference()
    assert time.perf_counter() - begin < 0.5
    assert 300 <= len(reference.sequences) <= 600
    assert set(reference.names) == set(reference.clusters) == set(reference.sequences)
    assert 450 <= len(set(reference.clusters.values())) < len(reference.sequences)


def test_source_is_named() -> None:
    with gzip.open(REFERENCE_PATH, "rt") as handle:
        head = handle.read(2000)
    assert head.startswith("# ")
    assert "UniProt" in head
    assert "CC BY 4.0" in head


def test_labels_have_enough_families() -> None:
    reference = read_reference()
    families = defaultdict(set)
    for record, sequence in reference.sequences.items():
        found = reference.annotations.of(record)
        for name, _, start, stop in found.runs:
            assert 0 <= start < stop <= len(sequence)
            families[name].add(reference.clusters[record])
    assert {name: n for name, n in NEEDED.items() if len(families[name]) < n} == {}
    assert {label.name for label in reference.annotations.labels} >= {*NEEDED, "BINDING:Zn(2+)"}


FEATURES = st.builds(
    lambda kind, a, b, note: Feature(kind, min(a, b), max(a, b), note),
    st.sampled_from(sorted(GROUP_OF_TYPE)),
    st.integers(1, 999),
    st.integers(1, 999),
    st.text("abcXYZ:-, ()|'", max_size=9),
)
PROTEINS = st.lists(
    st.builds(
        ReferenceProtein,
        st.from_regex(r"[A-Z0-9]{6}", fullmatch=True),
        st.text("ab #_", min_size=1, max_size=9),
        st.from_regex(r"[A-Z0-9]{6}", fullmatch=True),
        st.text("ACDEFX", min_size=1, max_size=20),
        st.lists(FEATURES, max_size=5).map(tuple),
    ),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(PROTEINS)
def test_round_trip(tmp_path: Path, proteins: list[ReferenceProtein]) -> None:
    path = tmp_path / "set.tsv.gz"
    write_proteins(path, proteins, "Source: none.\nSecond line.")
    first = path.read_bytes()
    plain = [
        ReferenceProtein(
            p.accession,
            p.name,
            p.cluster,
            p.sequence,
            tuple(Feature(f.type, f.start, f.end, f.note) for f in p.features),
        )
        for p in read_proteins(path)
    ]
    assert plain == proteins
    write_proteins(path, proteins, "Source: none.\nSecond line.")
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is no header"),
        (f"# x\n{HEADER}\nP1\tx\tP1\tMKV\n", "line 3 lacks a column"),
        (f"{HEADER}\nP1\tx\t\tMKV\t\n", "line 2 lacks a column"),
        (f"{HEADER}\nP1\tx\tP1\tMKV\tHELIX:a-3\n", "line 2: 'HELIX:a-3' is no feature"),
        (f"{HEADER}\nP1\tx\tP1\tMKV\tNO:1-3\n", "'NO:1-3' is no feature"),
        (f"{HEADER}\nP1\tx\tP1\tMKV\tHELIX:2-4\n", "line 2: HELIX 2-4 of 'P1' ends past"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "set.tsv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_reference(path)
    assert message in str(error.value)


def test_facts_agree_with_the_source(shared_data: Path) -> None:
    folder = shared_data / "protein" / "swissprot"
    proteins = {protein.accession: protein for protein in read_proteins(REFERENCE_PATH)}
    clusters = read_clusters(dict.fromkeys(proteins, ""), folder / "clusters.tsv.gz")
    assert clusters == {accession: p.cluster for accession, p in proteins.items()}
    n_compared = 0
    for entry in read_entries(folder / "features.tsv.gz"):
        protein = proteins.get(entry.ids[0])
        if protein:
            n_compared += 1
            ours = [(f.type, f.start, f.end, f.note) for f in protein.features]
            assert ours == [(f.type, f.start, f.end, f.note) for f in entry.features]
    assert n_compared == len(proteins)


def test_the_script_makes_the_same_file(
    shared_data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data / "protein" / "swissprot"
    script = repository / "benchmarks" / "reference" / "build_protein_reference.py"
    made = tmp_path / "made.tsv.gz"
    monkeypatch.setattr(sys, "argv", [str(script), str(folder), str(made)])
    runpy.run_path(str(script), run_name="__main__")
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(REFERENCE_PATH.read_bytes())
