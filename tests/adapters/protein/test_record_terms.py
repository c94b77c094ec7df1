"""Terms of whole proteins: tables read, classes added, what is known, refusals."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sci_interp as si
from sci_interp.errors import InputError, SciInterpError, UnknownNameError
from sci_interp_protein import ProteinAdapter
from sci_interp_protein.annotations import AnnotationSet, load_annotations
from sci_interp_protein.record_index import RecordIndex
from sci_interp_protein.record_terms import TermRow, collect_terms, read_terms

SEQUENCES = {"P1": "MKVLAAGGCC", "sp|P2|NAME_YEAST": "ACDEFGHIKL", "P3": "MMMMM", "P4": "AAAA"}
LONG = """record\tterm\tgroup\tname
P1\tGO:0005739\tcomponent\tmitochondrion
P1\t2.7.11.1
P2\tGO:0005739\tcomponent\t
P3\t\tcomponent
P4\tplasma membrane\tlocation
P1\tGO:0005739\tcomponent\tmitochondrion
other\tGO:0000001\tprocess
"""
WIDE = """Entry\tReviewed\tEC number\tGene Ontology (biological process)
P1\treviewed\t2.7.11.1; 1.1.1.-\tsporulation [GO:0030435]; a; b [with] comma [GO:0000002]
P2\treviewed\t\t
P3\treviewed\t2.7.n2\tsporulation [GO:0030435]
"""


def write(folder: Path, text: str, name: str = "terms.tsv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def terms_of(found: AnnotationSet, record: str) -> set[str]:
    whole = [run for run in found.of(record).runs if run[0] in term_labels(found)]
    length = len(SEQUENCES[record])
    assert all(run[1:] == (run[0], 0, length) for run in whole), "a record is one instance"
    return {run[0] for run in whole}


def term_labels(found: AnnotationSet) -> set[str]:
    return {label.name for label in found.labels if label.extent == "records"}


def groups_of(found: AnnotationSet, record: str) -> set[str]:
    known = [span for span in found.of(record).known if span[0].startswith("terms: ")]
    assert all(span[1:] == (0, len(SEQUENCES[record])) for span in known)
    return {span[0] for span in known}


def test_one_line_a_term(tmp_path: Path) -> None:
    found = load_annotations(SEQUENCES, terms=write(tmp_path, LONG), min_records=1)
    enzyme = {"EC:2.-.-.-", "EC:2.7.-.-", "EC:2.7.11.-", "EC:2.7.11.1"}
    assert terms_of(found, "P1") == enzyme | {"GO:0005739"}
    assert terms_of(found, "sp|P2|NAME_YEAST") == {"GO:0005739"}, "found by its accession"
    assert terms_of(found, "P4") == {"location:plasma membrane"}
    assert terms_of(found, "P3") == set()
    assert groups_of(found, "P1") == {"terms: component", "terms: EC"}
    assert groups_of(found, "P3") == {"terms: component"}, "assessed, and none found"
    assert groups_of(found, "P4") == {"terms: location"}
    label = next(label for label in found.labels if label.name == "GO:0005739")
    assert label.definition == "mitochondrion (component), of the whole protein"
    assert label.group == "terms: component" and not label.nuisance


def test_one_line_a_protein_as_uniprot_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "uniprot.tsv.gz"
    path.write_bytes(gzip.compress(WIDE.encode()))
    found = load_annotations(SEQUENCES, terms=path, min_records=1)
    enzyme = {"EC:2.-.-.-", "EC:2.7.-.-", "EC:2.7.11.-", "EC:2.7.11.1", "EC:1.-.-.-", "EC:1.1.-.-"}
    process = {"GO:0030435", "GO:0000002", "GO process:a"}
    assert terms_of(found, "P1") == enzyme | process | {"EC:1.1.1.-"}
    assert terms_of(found, "P3") == {"EC:2.-.-.-", "EC:2.7.-.-", "EC:2.7.n2.-", "GO:0030435"}
    assert groups_of(found, "sp|P2|NAME_YEAST") == set(), "an empty cell says nothing"
    names = {label.name: label.definition for label in found.labels}
    assert names["GO:0000002"].startswith("b [with] comma (GO process)")


def test_rare_terms_are_no_labels_and_their_groups_not_known(tmp_path: Path) -> None:
    found = load_annotations(SEQUENCES, terms=write(tmp_path, LONG), min_records=2)
    assert term_labels(found) == {"GO:0005739"}
    assert groups_of(found, "P4") == set()
    assert groups_of(found, "P1") == {"terms: component"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is no header"),
        ("protein\tterm\nP1\tx\n", "line 1 is no header"),
        ("record\tGO\nP1\tx\n", "columns record and term"),
        ("record\tterm\nP1\tx\ty\n", "line 2 does not fit its header"),
        ("record\tterm\n\tx\n", "line 2 does not fit its header"),
        ("record\tterm\nQ1\tx\nQ2\ty\n", "none of its 2 ids"),
        ("record\tterm\n", "describes no protein"),
        (
            "record\tterm\tgroup\nP1\tGO:0000001\ta\nP1\tGO:0000001\tb\n",
            "'GO:0000001' is in the groups 'a' and 'b'",
        ),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_annotations(SEQUENCES, terms=write(tmp_path, text), min_records=1)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "terms.tsv"
    for head in (b"", b"record\tterm\n", b"Entry\tEC number\tGene Ontology IDs\n"):
        path.write_bytes(head + data)
        try:
            rows = list(read_terms(path))
        except SciInterpError:
            continue
        assert all(row.record for row in rows)


@given(
    st.lists(
        st.tuples(st.sampled_from([*"abcd", "?"]), st.sampled_from("gh"), st.sampled_from("xyz")),
        max_size=40,
    ),
    st.integers(1, 3),
)
def test_labels_are_the_terms_of_enough_records(rows: list[tuple[str, str, str]], n: int) -> None:
    index = RecordIndex(dict.fromkeys("abcd", "MK"))
    given_ = [("a", "g", ""), *rows]
    found = collect_terms(index, [("t", [TermRow(*row) for row in given_])], min_records=n)
    owners: dict[str, set[str]] = {}
    for record, group, term in rows:
        if record in "abcd":
            owners.setdefault(f"{group}:{term}", set()).add(record)
    assert {label.name for label in found.labels} == {k for k, v in owners.items() if len(v) >= n}
    for name in {label.name for label in found.labels}:
        having = {index.records[at] for at, terms in found.terms.items() if name in terms}
        assert having == owners[name]
        group = name.partition(":")[0]
        assert all(
            f"terms: {group}" in found.groups[at]
            for at, terms in found.terms.items()
            if name in terms
        )


def test_terms_go_through_annotate_beside_features(tmp_path: Path) -> None:
    fasta = tmp_path / "p.fasta"
    fasta.write_text("".join(f">r{at}\nMKVLAAGGCC{'A' * at}\n" for at in range(30)))
    clusters = write(tmp_path, "".join(f"c{at}\tr{at}\n" for at in range(30)), "clusters.tsv")
    rows = "".join(f"r{at}\t{'GO:0000001' if at % 2 else ''}\tprocess\n" for at in range(25))
    terms = write(tmp_path, "record\tterm\tgroup\n" + rows)
    adapter = ProteinAdapter()
    data = adapter.open(fasta, clusters=clusters, terms=terms)
    known = si.annotate(adapter, data, out=tmp_path / "annotations", progress=False)
    label = next(at for at, label in enumerate(known.labels) if label.name == "GO:0000001")
    everything = known.read(0, known.axis.n_tokens)
    mine = everything.label == label
    assert mine.sum() == 12
    starts = known.axis.record_starts
    assert set(everything.start[mine]) <= set(starts[:-1]) and set(everything.stop[mine]) <= set(
        starts
    )
    group = known.groups.index("terms: process")
    assert (everything.known_group == group).sum() >= 1
    n_known = (everything.known_stop - everything.known_start)[everything.known_group == group]
    assert n_known.sum() == sum(10 + at for at in range(25)), "the last five are unknown"
    with pytest.raises(UnknownNameError, match="terms"):
        adapter.open(fasta, clusters=clusters, term=terms)
