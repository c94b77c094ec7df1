"""Per-residue strings of secondary structure."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_protein.labels import state_runs
from sci_interp_protein.residue_strings import StateTrack, read_residue_strings


def read(folder: Path, name: str, text: str) -> list[StateTrack]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return list(read_residue_strings(path))


ROWS = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ACDK"), st.sampled_from("HGIEBTSC"), st.booleans()), min_size=1
    ),
    min_size=1,
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(ROWS)
def test_round_trip(tmp_path: Path, rows: list[list[tuple[str, str, bool]]]) -> None:
    expected, table, fasta = [], ["protein_id\tsequence\tq8\tresolved\n"], []
    for number, row in enumerate(rows):
        sequence, states = ("".join(part) for part in list(zip(*row, strict=True))[:2])
        marks = "".join(str(int(known)) for *_, known in row)
        table.append(f"p{number}\t{sequence}\t{states}\t{marks}\n")
        fasta.append(f">p{number} more\n{sequence}\n{states}\n{marks}\n")
        seen = "".join(state if known else "?" for _, state, known in row)
        expected.append((f"p{number}", seen, sequence))
    for name, text in (("s.tsv", table), ("s.fasta", fasta)):
        found = read(tmp_path, name, "".join(text))
        assert [(t.protein, t.states, t.sequence) for t in found] == expected
    assert all(track.fine for track in read(tmp_path, "s.tsv", "".join(table)))


def test_spellings_of_coil_and_unknown(tmp_path: Path) -> None:
    assert read(tmp_path, "s.txt", ">a\nhh--EE L._X*!?\n>b\nMKT\nHTC\n") == [
        StateTrack("a", "HHCCEECCCC????", fine=False),
        StateTrack("b", "HTC", fine=True, sequence="MKT"),
    ]
    assert read(tmp_path, "s.tsv", "id\tq3\nx\tHEC\n") == [StateTrack("x", "HEC", fine=False)]


def test_runs_of_states() -> None:
    coarse = list(state_runs("HHGEEB?HC", fine=False))
    assert coarse == [("HELIX", 0, 3), ("HELIX", 7, 8), ("STRAND", 3, 6)]
    fine = set(state_runs("HHGTTSPEB", fine=True)) - set(state_runs("HHGTTSPEB", fine=False))
    assert fine == {
        ("TURN", 3, 5),
        ("HELIX:alpha", 0, 2),
        ("HELIX:3-10", 2, 3),
        ("POLYPROLINE", 6, 7),
        ("STRAND:extended", 7, 8),
        ("STRAND:bridge", 8, 9),
        ("BEND", 5, 6),
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.tsv", "id\tletters\n", "the first line of"),
        ("s.tsv", "id\tq3\na\n", "line 2 has 1 columns"),
        ("s.tsv", "id\tq3\na\tHZ\n", "line 2: state 'Z' at residue 2 of 'a'"),
        ("s.tsv", "id\tsequence\tq3\na\tM\tHH\n", "'a' has 2 states and 1 residues"),
        ("s.tsv", "id\tq3\tresolved\na\tHH\t1\n", "'a' has 2 states and 1 resolved marks"),
        ("s.tsv", "id\tq3\tresolved\na\tHH\t12\n", "is not a string of 0 and 1"),
        ("s.fasta", "MKV\n", "line 1 comes before the first '>' line"),
        ("s.fasta", ">a\n", "'a' is followed by 0 lines"),
        ("s.fasta", ">a\nM\nH\n1\n1\n", "'a' is followed by 4 lines"),
        ("s.fasta", ">\nM\nH\n", "line 1: ''"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, name, text)
    assert message in str(error.value)


def test_netsurfp(shared_data: Path) -> None:
    path = shared_data / "protein" / "secondary_structure" / "netsurfp2_validation.tsv.gz"
    tracks = list(read_residue_strings(path))
    assert len(tracks) == 1080
    with gzip.open(path, "rt") as handle:
        marks = [line.rstrip("\n").split("\t")[3] for line in handle][1:]
    for track, resolved in zip(tracks, marks, strict=True):
        assert not track.fine
        assert len(track.sequence) == len(track.states)
        assert track.states.count("?") == resolved.count("0")
