"""Feature files of every format, old and new, good and bad."""

from __future__ import annotations

import gzip
import json
import re
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_protein.feature_types import EXCLUDED_TYPES, GROUP_OF_TYPE, Feature, clean_note
from sci_interp_protein.text_files import MAX_LINE_BYTES, read_lines, read_text
from sci_interp_protein.uniprot import read_entries

HEADER = "protein_id\tfeature\tstart\tend\tnote\n"
NOTES = st.text("abcXYZ()'+-/ ", max_size=20).map(clean_note).filter(lambda n: clean_note(n) == n)
FEATURES = st.builds(
    lambda kind, a, b, note: Feature(kind, min(a, b), max(a, b), note),
    st.sampled_from(sorted(set(GROUP_OF_TYPE) - {"BINDING"})),
    st.integers(1, 900),
    st.integers(1, 900),
    NOTES,
)
PROTEINS = st.dictionaries(
    st.from_regex(r"[OPQ][0-9][A-Z0-9]{3}[0-9]", fullmatch=True),
    st.lists(FEATURES, min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)
RELAXED = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> dict[str, list[Feature]]:
    found: dict[str, list[Feature]] = {}
    for entry in read_entries(path):
        plain = (Feature(f.type, f.start, f.end, f.note) for f in entry.features)
        found.setdefault(entry.ids[0], []).extend(plain)
    return found


@RELAXED
@given(PROTEINS)
def test_tsv_round_trip(tmp_path: Path, proteins: dict[str, list[Feature]]) -> None:
    rows = [
        f"{protein}\t{f.type}\t{f.start}\t{f.end}\t{f.note}\n"
        for protein, features in proteins.items()
        for f in features
    ]
    path = tmp_path / "features.tsv.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(rows)).encode()))
    assert read(path) == proteins


@RELAXED
@given(PROTEINS)
def test_gff_round_trip(tmp_path: Path, proteins: dict[str, list[Feature]]) -> None:
    rows = [
        f"{p}\tUniProtKB\t{f.type}\t{f.start}\t{f.end}\t.\t.\t.\tID=x;Note={quote(f.note)}\n"
        for p, features in proteins.items()
        for f in features
    ]
    assert read(write(tmp_path, "f.gff", "##gff-version 3\n" + "".join(rows))) == proteins


@RELAXED
@given(PROTEINS)
def test_json_round_trip(tmp_path: Path, proteins: dict[str, list[Feature]]) -> None:
    results = [
        {
            "primaryAccession": protein,
            "features": [
                {
                    "type": f.type,
                    "location": {"start": {"value": f.start}, "end": {"value": f.end}},
                    "description": f.note,
                }
                for f in features
            ],
        }
        for protein, features in proteins.items()
    ]
    assert read(write(tmp_path, "f.json", json.dumps({"results": results}))) == proteins


def test_old_types_are_mapped_and_excluded_ones_dropped(tmp_path: Path) -> None:
    rows = [("METAL", "Zinc 1; via tele nitrogen"), ("NP_BIND", "ATP 2"), ("CA_BIND", "1")]
    rows += [
        ("REGION", "Interaction with X (By similarity)"),
        ("DISULFID", "Interchain (with C-5)"),
    ]
    rows += [(kind, "") for kind in EXCLUDED_TYPES]
    text = HEADER + "".join(f"P1\t{kind}\t3\t5\t{note}\n" for kind, note in rows)
    assert [(f.type, f.note) for f in read(write(tmp_path, "f.tsv", text))["P1"]] == [
        ("BINDING", "Zn(2+)"),
        ("BINDING", "ATP"),
        ("BINDING", "Ca(2+)"),
        ("REGION", "Interaction with X"),
        ("DISULFID", "Interchain"),
    ]


def test_uncertain_positions(tmp_path: Path) -> None:
    text = HEADER + "P1\tSIGNAL\t<1\t20\t\nP1\tTRANSIT\t1\t?\t\nP1\tPROPEP\t?21\t>30\t\n"
    path = write(tmp_path, "f.tsv", text + "P1\tHELIX\t22\t>30\t\n")
    with pytest.warns(UserWarning, match=r"f.tsv: 2 features of unknown position"):
        assert read(path) == {"P1": [Feature("SIGNAL", 1, 20), Feature("HELIX", 22, 30)]}


def test_unknown_types_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "f.tsv", HEADER + "P1\tHELIXX\t2\t4\t\nP1\tHELIX\t2\t4\t\n")
    with pytest.warns(
        UserWarning, match="1 rows left out, their types are not UniProt's: 'HELIXX'"
    ):
        assert read(path) == {"P1": [Feature("HELIX", 2, 4)]}


def test_wide_export(tmp_path: Path) -> None:
    cell = 'BINDING 10..12; /ligand="ATP"; /evidence="ECO:1"; BINDING 40; /ligand="Zn(2+)"'
    text = f"Entry\tHelix\tBinding site\nP1\tHELIX 3..9; HELIX 20..30\t{cell}\nP2\t\t\n"
    assert read(write(tmp_path, "f.tsv", text)) == {
        "P1": [
            Feature("HELIX", 3, 9),
            Feature("HELIX", 20, 30),
            Feature("BINDING", 10, 12, "ATP"),
            Feature("BINDING", 40, 40, "Zn(2+)"),
        ],
        "P2": [],
    }


def test_gff_of_a_protein_without_features(tmp_path: Path) -> None:
    text = (
        "##gff-version 3\n##sequence-region P1 1 90\n##sequence-region P2 1 90\n# comment\n"
        "P2\tUniProtKB\tBeta strand\t3\t5\t.\t.\t.\tNote=x\t\n"
        "P2\tUniProtKB\tBinding site\t7\t7\t.\t.\t.\tNote=y;ligand=ATP\n##FASTA\n>P3\nAAA\n"
    )
    assert read(write(tmp_path, "f.gff3", text)) == {
        "P1": [],
        "P2": [Feature("STRAND", 3, 5, "x"), Feature("BINDING", 7, 7, "ATP")],
    }


def test_json_isoforms_and_modifiers(tmp_path: Path) -> None:
    def row(kind: str, start: dict, end: dict, **more: object) -> dict:
        return {"type": kind, "location": {"start": start, "end": end, **more}}

    entry = {
        "primaryAccession": "P1",
        "uniProtkbId": "A_B",
        "secondaryAccessions": ["Q1"],
        "sequence": {"value": "MKV"},
        "features": [
            row("Helix", {"value": 1, "modifier": "OUTSIDE"}, {"value": 2, "modifier": "EXACT"}),
            row("Helix", {"value": 1}, {"value": 3}, sequence="P1-2"),
            row("Signal", {"value": 1}, {"value": None, "modifier": "UNKNOWN"}),
            {**row("Binding site", {"value": 3}, {"value": 3}), "ligand": {"name": "ATP"}},
        ],
    }
    path = write(tmp_path, "x.txt", json.dumps(entry))
    with pytest.warns(UserWarning, match="1 features of unknown position"):
        (found,) = read_entries(path)
    assert found.ids == ("P1", "A_B", "Q1")
    assert found.sequence == "MKV"
    assert found.features == (Feature("HELIX", 1, 2), Feature("BINDING", 3, 3, "ATP"))


GFF = "##gff-version 3\n"
BAD = [
    ("a.tsv", "", "the first line of"),
    ("a.tsv", "id\tx\n", "the first line of"),
    ("a.tsv", HEADER + "P1\tHELIX\t3\n", "line 2 has 3 columns"),
    ("a.tsv", HEADER + "P1\tHELIX\tx\t5\t\n", "line 2: protein 'P1': the position 'x' of HELIX"),
    ("a.tsv", HEADER + "P1\tHELIX\t9\t5\t\n", "line 2: protein 'P1': HELIX 9-5 is no range"),
    ("a.tsv", HEADER + "P1\tHELIX\t0\t5\t\n", "HELIX 0-5 is no range"),
    ("a.tsv", HEADER + "P1\tHELIX\t-1\t5\t\n", "the position '-1'"),
    ("a.tsv", "Entry\tHelix\nP1\n", "line 2 has 1 columns"),
    ("a.gff", GFF + "P1\tx\tHelix\t1\t2\n", "line 2 has 5 columns"),
    ("a.gff", GFF + "P1\tx\tgene\t1\t2\t.\t.\t.\t.\n", "no feature type that UniProt knows"),
    ("a.json", "{", "is no JSON"),
    ("a.json", "[" * 100_000, "is no JSON"),
    ("a.json", "3", "holds no list"),
    ("a.json", '[{"x": 1}]', "entry 1 of"),
    ("a.json", '[{"primaryAccession": 7}]', "entry 1 of"),
    ("a.json", '[{"primaryAccession": "P1", "features": [{"type": "Helix"}]}]', "KeyError"),
    ("a.dat", "ID   BROKEN\n//\n", "lines 1-2: no UniProt entry"),
    ("a.dat", "ID   A_B   Reviewed;   3 AA.\nAC   P1;\n", "ends inside an entry"),
    ("a.txt", "hello\n", "is no feature file"),
    ("a.txt", "", "is no feature file"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        list(read_entries(write(tmp_path, name, text)))
    assert message in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_damaged_bytes(tmp_path: Path) -> None:
    good = gzip.compress((HEADER + "P1\tHELIX\t1\t2\t\n" * 99).encode())
    cases = {
        "cut.tsv.gz": (good[:-12], "cannot be read"),
        "latin.tsv": (HEADER.encode() + b"P1\tHELIX\t1\t2\t\xe9\n", "line 2 is not UTF-8"),
        "long.tsv": (b"x" * (MAX_LINE_BYTES + 2), "line 1 is longer"),
        "bomb.tsv.gz": (gzip.compress((b"#" * 9_999 + b"\n") * 6_000), "expands to more than"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            list(read_lines(tmp_path / name))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(read_entries(tmp_path / "absent.tsv"))
    with pytest.raises(InputError, match="longer than 50 characters"):
        read_text(write(tmp_path, "b.txt", "line\n" * 11), max_bytes=50)


def test_flat_files_of_every_age(shared_data: Path) -> None:
    folder = shared_data / "protein" / "fixtures" / "swissprot_flatfiles"
    types = "|".join(["METAL", "NP_BIND", "CA_BIND", *GROUP_OF_TYPE])
    located = re.compile(rf"^FT   ({types}) +[<>]?\d++(?! *(?:\.\.)?\?|:)", re.MULTILINE)
    n_entries, n_features, n_expected, refused = 0, 0, 0, []
    for path in sorted(folder.iterdir()):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*unknown position")
            try:
                entries = list(read_entries(path))
            except InputError:
                refused.append(path.name)
                continue
        n_entries += len(entries)
        n_expected += len(located.findall(path.read_text()))
        n_features += sum(len(entry.features) for entry in entries)
        for entry in entries:
            assert all(f.end <= len(entry.sequence) for f in entry.features)
    assert refused == [
        "core_A8EZU1_ERROR_D6RDV7.dat",
        "core_ERROR_ERROR.dat",
        "core_entryReader2",
        "core_entryReader2.dat",
    ]
    assert n_entries == 71
    assert n_features == n_expected


def test_flat_file_old_and_new_syntax_agree(tmp_path: Path) -> None:
    frame = (
        "ID   A_B                     Reviewed;           9 AA.\nAC   P1; Q1;\n"
        "DT   01-JAN-2000, integrated into UniProtKB/Swiss-Prot.\n{}"
        "SQ   SEQUENCE   9 AA;  900 MW;  0000000000000000 CRC64;\n     MKVLAAGGC\n//\n"
    )
    old = "FT   METAL         3      3       Zinc 1 (By similarity).\nFT   HELIX         4      7\n"
    new = (
        'FT   BINDING         3\nFT                   /ligand="Zn(2+)"\n'
        "FT   HELIX           4..7\nFT   HELIX           P1-2:5..6\n"
    )
    expected = (Feature("BINDING", 3, 3, "Zn(2+)", 1), Feature("HELIX", 4, 7, "", 1))
    for name, body in (("old.dat", old), ("new.txt", new)):
        (entry,) = read_entries(write(tmp_path, name, frame.format(body)))
        assert entry.features == expected
        assert entry.ids == ("P1", "A_B", "Q1")
        assert entry.sequence == "MKVLAAGGC"
