"""Proteins that cannot be used: one bad sequence is one bad record, not a bad file."""

from __future__ import annotations

import pytest

import sci_interp as si
from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError
from sci_interp.quarantine import Tolerance
from sci_interp_protein.datasets import open_dataset
from sci_interp_protein.records import read_fasta

#: Twelve proteins of one family each, so that one in ten may be bad.
GOOD = {f"P{n:02}": "MKVLAG" + "ACDEFGHIKLMNPQRSTVWY"[n:] for n in range(12)}
BAD = {"gap": "MK-V", "letter": "MKVJ", "empty": ""}
QUARANTINE = {"on_error": "quarantine", "most_quarantined": 0.3}


def write(folder, text, name):
    path = folder / name
    path.write_text(text)
    return path


def fasta(records):
    return "".join(f">{name}\n{sequence}\n" for name, sequence in records.items())


def mixed():
    """Return good and bad records in turns."""
    good = list(GOOD.items())
    return dict(
        [("gap", BAD["gap"]), *good[:6], ("letter", BAD["letter"]), *good[6:], ("empty", "")]
    )


def open_both(folder, **files):
    """Return data with bad records, and data that never had them; annotations name all."""
    given = {name: write(folder, text, f"{name}.tsv") for name, text in files.items()}
    for name, records in (("mixed", mixed()), ("good", GOOD)):
        yield open_dataset(write(folder, fasta(records), f"{name}.fasta"), **given)


CLUSTERS = "".join(f"c{name}\t{name}\n" for name in mixed())
FEATURES = "protein_id\tfeature\tstart\tend\tnote\n" + "".join(
    f"{name}\tHELIX\t1\t{end}\t\n"
    for name, end in {**dict.fromkeys(GOOD, 4), "gap": 900, "letter": 2, "empty": 1}.items()
)
STATES = "protein_id\tq3\n" + "".join(
    f"{name}\t{'H' * (len(text) or 3)}\n" for name, text in mixed().items()
)
TERMS = "record\tterm\tgroup\n" + "".join(f"{name}\tthing\tplace\n" for name in mixed())


def test_bad_records_are_listed_and_the_rest_is_as_without_them(tmp_path):
    files = {"features": FEATURES, "residue_strings": STATES, "terms": TERMS, "clusters": CLUSTERS}
    found, expected = open_both(tmp_path, **files)
    assert found.sequences == expected.sequences and found.digest == expected.digest
    assert found.blocks == expected.blocks and found.table.equals(expected.table)
    assert found.annotations.labels == expected.annotations.labels
    for record in GOOD:
        ours, theirs = found.annotations.of(record), expected.annotations.of(record)
        assert (ours.runs, ours.known) == (theirs.runs, theirs.known)
    assert [(each.record, each.n_tokens, each.token) for each in found.refused] == [
        ("gap", 4, 2),
        ("letter", 4, 3),
        ("empty", 0, None),
    ]
    reasons = [each.reason for each in found.refused]
    assert reasons[0].startswith("mixed.fasta line 1: '-' at residue 3")
    assert reasons[1].startswith("mixed.fasta line 15: 'J' at residue 4")
    assert reasons[2] == "mixed.fasta line 29: it has no residue"
    assert expected.refused == ()


def test_bad_records_stop_a_verb_or_are_left_out(tmp_path):
    found, expected = open_both(tmp_path, clusters=CLUSTERS)
    with pytest.raises(InputError, match=r"3 records cannot be used, .*'gap': mixed.fasta line 1"):
        TokenAxis.of(found)
    axis = TokenAxis.of(found, tolerance=Tolerance(**QUARANTINE))
    assert axis.digest == TokenAxis.of(expected).digest
    assert (axis.n_records, axis.n_read) == (12, 15)


@pytest.mark.parametrize("name", ["features", "residue_strings", "terms"])
def test_a_file_that_names_bad_records_alone_is_not_for_other_proteins(tmp_path, name):
    texts = {"features": FEATURES, "residue_strings": STATES, "terms": TERMS}
    header, *lines = texts[name].splitlines()
    kept = [line for line in lines if line.split("\t")[0] in BAD]
    given = {
        name: write(tmp_path, "\n".join([header, *kept]) + "\n", f"{name}.tsv"),
        "clusters": write(tmp_path, CLUSTERS, "clusters.tsv"),
    }
    assert len(open_dataset(write(tmp_path, fasta(mixed()), "mixed.fasta"), **given).refused) == 3
    with pytest.raises(InputError, match="is for other proteins"):
        open_dataset(write(tmp_path, fasta(GOOD), "good.fasta"), **given)


def test_decoys_leave_the_same_out(tmp_path):
    found, _ = open_both(tmp_path, clusters=CLUSTERS)
    decoys = si.load_adapter("protein").decoy(found, 0)
    assert decoys.refused == found.refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\nMK\n>b\nMKJ\n>b\nMV\n", "the id 'b' occurs more than once"),
        (">b\nMV\n>b\nMKJ\n", "the id 'b' occurs more than once"),
        (">b\n\n>b\n\n>a\nMK\n", "the id 'b' occurs more than once"),
        (">a\nMK\n>\nMKJ\n", "header without an id"),
        (">a\nMKJ\n>b\n\n", "no protein that can be used: 'a', x.fasta line 1: 'J' at residue 3"),
    ],
)
def test_what_makes_the_file_ambiguous_stays_an_error(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_fasta(write(tmp_path, text, "x.fasta"))


def test_a_command_leaves_them_out(tmp_path, capsys):
    from sci_interp.cli import main

    data = write(tmp_path, fasta(mixed()), "mixed.fasta")
    clusters = write(tmp_path, CLUSTERS, "clusters.tsv")
    given = ["--adapter", "protein", "--data", str(data), "--option", f"clusters={clusters}"]
    acts, known = str(tmp_path / "acts"), str(tmp_path / "known")
    assert main(["extract", *given, "--out", acts]) == 2
    assert "the first of them 'gap'" in capsys.readouterr().err
    leave = ["--on-error", "quarantine", "--most-quarantined", "0.3"]
    assert main(["extract", *given, *leave, "--out", acts]) == 0
    said = capsys.readouterr().err
    assert "15 read = 12 used + 3 quarantined" in said and "mixed.fasta line 29" in said
    assert main(["annotate", *given, "--out", known]) == 2
    assert main(["annotate", *given, "--like", acts, "--out", known]) == 0
    assert si.AnnotationStore.open(known).axis.n_read == 15
