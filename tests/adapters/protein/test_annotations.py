"""What is known of a protein: labels, instances, known ranges, refusals."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.adapter import RecordAnnotations
from sci_interp.errors import InputError
from sci_interp_protein.annotations import AnnotationBuilder, AnnotationSet, load_annotations
from sci_interp_protein.feature_types import Entry, Feature
from sci_interp_protein.labels import NUISANCE_LABELS, RESIDUE_CLASSES, nuisance_runs
from sci_interp_protein.residue_strings import StateTrack

SEQUENCES = {"P1": "MKVLAAGGCC" * 4, "P2": "ACDEFGHIKLMNPQRSTVWY", "P3": "M" * 12}
HEADER = "protein_id\tfeature\tstart\tend\tnote\n"
ASSESSED = {"processing", "topology", "domains", "sites", "modifications"}


def runs_of(found: RecordAnnotations, label: str) -> dict[str, list[tuple[int, int]]]:
    runs = defaultdict(list)
    for name, key, start, stop in found.runs:
        if name == label:
            runs[key].append((start, stop))
    return dict(runs)


def known_of(found: RecordAnnotations) -> dict[str, list[tuple[int, int]]]:
    known = defaultdict(list)
    for group, start, stop in found.known:
        known[group].append((start, stop))
    return dict(known)


def build(
    *entries: Entry, tracks: tuple[StateTrack, ...] = (), min_records: int = 1
) -> AnnotationSet:
    builder = AnnotationBuilder(SEQUENCES)
    if entries:
        builder.add_entries(entries, "features.tsv")
    if tracks:
        builder.add_tracks(tracks, "states.tsv")
    return builder.build(min_records=min_records)


def test_runs_and_known_ranges() -> None:
    features = (
        Feature("HELIX", 5, 9),
        Feature("STRAND", 20, 24),
        Feature("DISULFID", 9, 19),
        Feature("BINDING", 3, 3, "ATP"),
        Feature("BINDING", 3, 3, "Zn(2+)"),
    )
    known = build(Entry(("P1",), features), Entry(("P2",), ()))
    first = known.of("P1")
    assert runs_of(first, "HELIX") == {"5-9": [(4, 9)]}
    assert runs_of(first, "DISULFID") == {"9-19": [(8, 9), (18, 19)]}
    assert runs_of(first, "BINDING") == {"3-3": [(2, 3)]}
    assert runs_of(first, "BINDING:ATP") == {"3-3": [(2, 3)]}
    ranges = known_of(first)
    assert ranges["secondary_structure"] == ranges["turns"] == [(4, 24)]
    assert all(ranges[group] == [(0, 40)] for group in ASSESSED)
    second = known_of(known.of("P2"))
    assert set(second) == ASSESSED | {"amino_acid", "position"}
    assert set(known_of(known.of("P3"))) == {"amino_acid", "position"}


def test_labels_are_those_present_with_common_kinds() -> None:
    atp = Feature("BINDING", 3, 3, "ATP")
    zinc = Feature("BINDING", 4, 4, "Zn(2+)")
    helical = Feature("TRANSMEM", 1, 9, "Helical")
    entries = (
        Entry(("P1",), (atp, zinc, helical)),
        Entry(("P2",), (atp, helical, Feature("ACT_SITE", 1, 1))),
    )
    labels = build(*entries, min_records=2).labels
    own = [label.name for label in labels if not label.nuisance]
    assert own == ["TRANSMEM", "ACT_SITE", "BINDING", "BINDING:ATP"]
    assert labels[len(own) :] == NUISANCE_LABELS
    assert all(label.definition for label in labels)
    assert len({label.name for label in labels}) == len(labels)
    assert build(*reversed(entries), min_records=2).labels == labels


def test_every_run_has_a_label_and_lies_in_a_known_range() -> None:
    features = (Feature("TURN", 2, 3), Feature("CROSSLNK", 4, 4), Feature("COILED", 1, 20))
    track = StateTrack("P1", "?HHGGTTSEEB" + "C" * 29, fine=True)
    known = build(Entry(("P2",), features), tracks=(track,))
    group_of = {label.name: label.group for label in known.labels}
    for record in SEQUENCES:
        found = known.of(record)
        ranges = known_of(found)
        for name, _, start, stop in found.runs:
            spans = ranges[group_of[name]]
            assert any(low <= start < stop <= high for low, high in spans), (record, name)


def test_states_win_over_features_in_the_groups_they_assess() -> None:
    features = (Feature("HELIX", 1, 4), Feature("TURN", 6, 7), Feature("SIGNAL", 1, 3))
    coarse = StateTrack("P1", "??EEE" + "C" * 33 + "HH", fine=False)
    found = build(Entry(("P1",), features), tracks=(coarse,)).of("P1")
    assert runs_of(found, "HELIX") == {"39-40": [(38, 40)]}
    assert runs_of(found, "STRAND") == {"3-5": [(2, 5)]}
    assert runs_of(found, "TURN") == {"6-7": [(5, 7)]}
    assert runs_of(found, "SIGNAL") == {"1-3": [(0, 3)]}
    assert known_of(found)["secondary_structure"] == [(2, 40)]
    assert known_of(found)["turns"] == [(0, 7)]
    fine = StateTrack("P1", "GGHHT" + "C" * 35, fine=True)
    known = build(Entry(("P1",), features), tracks=(fine,))
    found = known.of("P1")
    assert runs_of(found, "HELIX") == {"1-4": [(0, 4)]}
    assert runs_of(found, "HELIX:3-10") == {"1-2": [(0, 2)]}
    assert runs_of(found, "TURN") == {"5-5": [(4, 5)]}
    assert known_of(found)["secondary_structure_fine"] == [(0, 40)]
    assert "BEND" in {label.name for label in known.labels}


@given(st.text("ACDEFGHIKLMNPQRSTVWYXBUZO", min_size=1, max_size=90))
def test_nuisance_runs_are_the_residues(sequence: str) -> None:
    painted = {label.name: np.zeros(len(sequence), bool) for label in NUISANCE_LABELS}
    for name, start, stop in nuisance_runs(sequence):
        assert not painted[name][start:stop].any()
        painted[name][start:stop] = True
    for at, letter in enumerate(sequence):
        for name, mask in painted.items():
            kind, _, what = name.partition("=")
            if kind == "amino_acid":
                expected = letter == what
            elif kind == "residue_class":
                expected = letter in RESIDUE_CLASSES[what]
            else:
                expected = at < 20 if what == "N-terminus" else at >= len(sequence) - 20
            assert mask[at] == expected


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["P1", "P2", "P9"]),
        st.sampled_from(["HELIX", "BINDING", "DISULFID", "DOMAIN"]),
        st.integers(1, 20),
        st.integers(0, 10),
        st.sampled_from(["", "ATP", "PH"]),
    ),
    min_size=1,
)


@given(ROWS, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows: list, random: object) -> None:
    def known(order: list) -> list:
        entries = [
            Entry((p,), (Feature(kind, start, min(start + more, 20), note),))
            for p, kind, start, more, note in order
        ]
        found = build(Entry(("P1",), ()), *entries)
        return [found.labels, *((x.runs, x.known) for x in map(found.of, SEQUENCES))]

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert known(rows) == known(shuffled)


def test_records_by_accession(tmp_path: Path) -> None:
    path = tmp_path / "f.tsv"
    path.write_text(HEADER + "P12345\tHELIX\t2\t4\t\ntr|Q1|X_Y\tHELIX\t1\t2\t\nA_B\tTURN\t6\t7\t\n")
    sequences = {"sp|P12345|A_B": "MKVLAAGG", "Q1": "MKV"}
    known = load_annotations(sequences, features=str(path))
    assert runs_of(known.of("sp|P12345|A_B"), "HELIX") == {"2-4": [(1, 4)]}
    assert runs_of(known.of("sp|P12345|A_B"), "TURN") == {"6-7": [(5, 7)]}
    assert runs_of(known.of("Q1"), "HELIX") == {"1-2": [(0, 2)]}


def test_several_files_add_up(tmp_path: Path) -> None:
    one, other, states = (tmp_path / name for name in ("a.tsv", "b.tsv", "c.fasta"))
    one.write_text(HEADER + "P1\tSIGNAL\t1\t5\t\n")
    other.write_text(HEADER + "P2\tDOMAIN\t1\t5\tPH\n")
    states.write_text(f">P3\n{'M' * 12}\nCCHHHHHHCCCC\n")
    known = load_annotations(SEQUENCES, features=[one, other], residue_strings=states)
    assert [label.name for label in known.labels[:4]] == ["HELIX", "STRAND", "SIGNAL", "DOMAIN"]
    assert runs_of(known.of("P3"), "HELIX") == {"3-8": [(2, 8)]}


def test_nothing_given_leaves_the_nuisances() -> None:
    assert load_annotations(SEQUENCES).labels == NUISANCE_LABELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "P9\tHELIX\t1\t2\t\n", "is for other proteins: none of its 1 ids"),
        (HEADER, "describes no protein"),
        (
            HEADER + "P2\tHELIX\t1\t2\t\nP2\tHELIX\t15\t21\t\n",
            "line 3: HELIX 15-21 of 'P2' ends past its last residue, 20",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "f.tsv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_annotations(SEQUENCES, features=path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_stated_sequences_must_fit() -> None:
    with pytest.raises(InputError, match=r"'P2' has 3 residues, 20 in the FASTA"):
        build(Entry(("P2",), (), "MKV"))
    with pytest.raises(InputError, match=r"'P2' is another sequence .*20 of 20 residues differ"):
        build(Entry(("P2",), (), "X" * 20))
    build(Entry(("P2",), (), "ACDEFGHIKLMNPQRSTVWX"))
    with pytest.raises(InputError, match="'P3' has 2 states and 12 residues"):
        build(tracks=(StateTrack("P3", "HH", fine=False),))
    with pytest.raises(InputError, match="other proteins"):
        build(tracks=(StateTrack("P9", "HH", fine=False),))
    with pytest.raises(InputError, match="there is no protein 'P9'"):
        build().of("P9")


def test_swissprot(shared_data: Path) -> None:
    features = shared_data / "protein" / "swissprot" / "features.tsv.gz"
    sequences = {"P60010": "M" * 375, "C0H419": "M" * 90}
    known = load_annotations(sequences, features=features)
    actin = known.of("P60010")
    assert runs_of(known.of("C0H419"), "HELIX")
    assert known_of(actin)["sites"] == [(0, 375)]
