"""Which labels are related, and how many unrelated ones a unit is linked with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from quality_world import enrichment_of, labelled_store, links

from sci_interp.annotations import AnnotationStore
from sci_interp.evaluation.polysemanticity import measure_polysemanticity
from sci_interp.evaluation.relatedness import count_unrelated, related_labels

#: 200 tokens. CHILD lies in PARENT; AWAY avoids both; CHANCE is in PARENT as often as anywhere;
#: HALF shares a half of its tokens with AWAY; ABSENT is assessed where the group "a" is not;
#: FAMILY:X and FAMILY:Y are apart, and of one hierarchy; ALL is everywhere.
LABELS = {
    "PARENT": ("a", set(range(40))),
    "CHILD": ("a", set(range(5, 15))),
    "AWAY": ("a", set(range(100, 140))),
    "CHANCE": ("a", set(range(0, 190, 5))),
    "HALF": ("a", set(range(130, 150))),
    "ABSENT": ("b", set(range(190, 200))),
    "FAMILY:X": ("a", set(range(60, 70))),
    "FAMILY:Y": ("a", set(range(70, 80))),
    "ALL": ("c", set(range(200))),
}
NAMES = list(LABELS)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> AnnotationStore:
    out = tmp_path_factory.mktemp("labels") / "known"
    unknown = {"a": {19}, "b": set(range(19))}
    return labelled_store(out, LABELS, unknown=unknown)


def test_related_labels_overlap_or_belong_together(known: AnnotationStore) -> None:
    found = related_labels(known)
    assert (found == found.T).all()
    assert found.diagonal().all()
    pairs = {
        (NAMES[row], NAMES[column])
        for row, column in zip(*np.nonzero(np.triu(found, 1)), strict=True)
        if "ABSENT" not in (NAMES[row], NAMES[column]) and NAMES[column] != "ALL"
    }
    assert pairs == {("PARENT", "CHILD"), ("AWAY", "HALF"), ("FAMILY:X", "FAMILY:Y")}
    assert found[NAMES.index("ABSENT")].all()
    assert found[NAMES.index("ALL")].all()


def test_slices_do_not_matter(known: AnnotationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = related_labels(known)
    monkeypatch.setattr("sci_interp.evaluation.relatedness.SLICE_TOKENS", 25)
    assert (related_labels(known) == whole).all()


def test_chains_of_related_labels_count_once() -> None:
    related = np.eye(6, dtype=bool)
    for row, column in ((0, 1), (1, 2), (4, 5)):
        related[row, column] = related[column, row] = True
    assert count_unrelated(np.array([0, 1, 2]), related) == 1
    assert count_unrelated(np.array([0, 2]), related) == 2
    assert count_unrelated(np.array([0, 2, 3, 4, 5]), related) == 4
    assert count_unrelated(np.array([], np.int64), related) == 0


def test_features_and_channels_are_counted_side_by_side(known: AnnotationStore) -> None:
    table = links(
        (0, "PARENT"), (0, "CHILD"), (1, "PARENT"), (1, "AWAY"), (1, "CHANCE"), (1, "AWAY")
    )
    weak = links((2, "PARENT"), (2, "AWAY"), kind="record")
    trivial = links((3, "PARENT"), (3, "AWAY"), nuisance=True)
    table = pd.concat([table, weak, trivial], ignore_index=True)
    channels = links((0, "PARENT"), (4, "AWAY"), (1, "FAMILY:X"), (5, "FAMILY:Y"), (7, "HALF"))
    result = enrichment_of(table, 10, baselines={"channels": channels})
    found = measure_polysemanticity(result, known, None, n_features=10, width=4)
    rows = {
        (row.source, row.unit): (row.n_labels, row.n_unrelated) for row in found.table.itertuples()
    }
    assert rows == {
        ("features", 0): (2, 1),
        ("features", 1): (3, 3),
        ("channels", 0): (2, 2),
        ("channels", 1): (2, 1),
        ("channels", 3): (1, 1),
        **{("one side of a channel", unit): (1, 1) for unit in (0, 1, 4, 5, 7)},
    }
    assert found.distribution["features"].tolist() == [8, 1, 0, 1, 0, 0, 0]
    assert found.distribution["channels"].tolist() == [1, 2, 1, 0, 0, 0, 0]
    assert found.distribution["one side of a channel"].tolist() == [3, 5, 0, 0, 0, 0, 0]


def test_given_channels_go_before_the_baseline(known: AnnotationStore) -> None:
    result = enrichment_of(links((0, "PARENT")), 2, baselines={"channels": links((0, "AWAY"))})
    given = enrichment_of(links((0, "AWAY"), (0, "PARENT")), 4)
    found = measure_polysemanticity(result, known, given, n_features=2, width=2)
    assert found.distribution["channels"].tolist() == [1, 0, 1, 0, 0, 0, 0]
    alone = measure_polysemanticity(
        enrichment_of(links((0, "PARENT")), 2), known, None, n_features=2, width=2
    )
    assert list(alone.distribution.columns) == ["n_unrelated", "features"]


def test_nothing_linked_is_a_distribution_of_zeros(known: AnnotationStore) -> None:
    found = measure_polysemanticity(enrichment_of(links(), 3), known, None, n_features=3, width=2)
    assert found.distribution["features"].tolist() == [3, 0, 0, 0, 0, 0, 0]
    assert len(found.of_features()) == 0
