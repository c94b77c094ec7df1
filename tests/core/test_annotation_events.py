"""Events: instances of several records that are one, kept beside the runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import pytest

from sci_interp.adapter import Label, RecordAnnotations
from sci_interp.annotations import AnnotationStore, annotate
from sci_interp.errors import InputError

LABELS = (Label("low", "pressure", "a low"), Label("high", "pressure", "a high"))


@dataclass
class Days:
    digest: str = "days"
    table: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(
            {"record": ["d1", "d2", "d3"], "block": "season", "n_tokens": 6}
        )
    )


@dataclass
class Notes:
    runs: dict[str, list]
    events: dict[str, dict]
    stated: tuple[Label, ...] = LABELS
    name: str = "notes"

    def labels(self, dataset):
        return self.stated

    def annotate(self, dataset, records):
        for record in records:
            events = self.events.get(record, {})
            yield RecordAnnotations(record, self.runs.get(record, ()), (), events)


def test_instances_of_an_event_share_its_number(tmp_path):
    runs = {
        "d1": [("low", "A", 3, 5), ("low", "B", 0, 1), ("high", "A", 4, 6)],
        "d2": [("low", "A", 2, 4), ("low", "C", 5, 6)],
    }
    events = {
        "d1": {("low", "A"): "storm", ("high", "A"): "storm"},
        "d2": {("low", "A"): "storm"},
    }
    store = annotate(Notes(runs, events), Days(), out=tmp_path / "a", progress=False)
    found = store.read(0, store.axis.n_tokens)
    number = {
        (LABELS[label].name, start): instance
        for label, instance, start in zip(found.label, found.instance, found.start, strict=True)
    }
    first, second = store.axis.record_starts[:2].tolist()
    listed = dict(store.events.T.tolist())
    assert set(listed) == {number["low", first + 3], number["high", first + 4],
                           number["low", second + 2]}  # fmt: skip
    assert listed[number["low", first + 3]] == listed[number["low", second + 2]]
    assert listed[number["high", first + 4]] != listed[number["low", first + 3]]
    assert (AnnotationStore.open(tmp_path / "a").events == store.events).all()


def test_an_event_without_a_run_is_refused(tmp_path):
    notes = Notes({"d1": [("low", "A", 3, 5)]}, {"d1": {("low", "B"): "storm"}})
    with pytest.raises(InputError, match=r"event 'storm' of the label 'low'.* has no run"):
        annotate(notes, Days(), out=tmp_path / "a", progress=False)


def test_a_group_has_one_extent(tmp_path):
    mixed = (LABELS[0], Label("regime", "pressure", "a regime", extent="records"))
    with pytest.raises(InputError, match="of its group 'pressure' cover records"):
        annotate(Notes({}, {}, mixed), Days(), out=tmp_path / "a", progress=False)
    one = (Label("regime", "index", "a regime", extent="records"),)
    store = annotate(Notes({}, {}, one), Days(), out=tmp_path / "b", progress=False)
    assert AnnotationStore.open(store.path).labels == one
