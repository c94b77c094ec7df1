"""annotate by many workers: the same bytes as by one process."""

from __future__ import annotations

import pytest
from batch_world import FakeRecipe, OddExecutor
from fake_adapter import FakeAdapter, FakeDataset
from kills import read_tree

from sci_interp import annotation_work
from sci_interp.adapter import RecordAnnotations
from sci_interp.annotations import AnnotationStore, annotate, annotate_share
from sci_interp.errors import InputError, StoreError

RECIPE = FakeRecipe(n_records=60)


class WithEvents(FakeAdapter):
    """Runs of three or more of the same length are one event, wherever they are."""

    def annotate(self, dataset, records):
        for found in super().annotate(dataset, records):
            events = {
                (label, key): f"length {stop - start}"
                for label, key, start, stop in found.runs
                if label == "RUN"
            }
            yield RecordAnnotations(found.record, found.runs, found.known, events)


class EventRecipe(FakeRecipe):
    def open(self) -> tuple[FakeAdapter, FakeDataset]:
        return WithEvents(), super().open()[1]


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    monkeypatch.setattr(annotation_work, "SHARD_TOKENS", 200)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "a"
    store = annotate(*EventRecipe(n_records=60).open(), out=out, progress=False)
    assert store.events.shape[1] > 3
    return read_tree(out)


def annotate_in(out, recipe=None, **options):
    recipe = recipe or EventRecipe(n_records=60)
    return annotate(*recipe.open(), out=out, recipe=recipe, progress=False, **options)


def test_an_executor_that_repeats_and_loses_tasks_makes_the_same_bytes(tmp_path, whole):
    odd = OddExecutor()
    annotate_in(tmp_path / "a", executor=odd)
    assert read_tree(tmp_path / "a") == whole and odd.n_run > 5
    assert not (tmp_path / "a.parts").exists()


def test_processes_make_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.undo()  # workers have the library as it is
    annotate(*RECIPE.open(), out=tmp_path / "a", progress=False)
    annotate_in(tmp_path / "b", RECIPE, workers=2)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


def test_arrays_with_requeues_and_a_gap(tmp_path, whole):
    out, recipe = tmp_path / "a", EventRecipe(n_records=60)
    for index in (2, 0, 2):
        assert annotate_share(recipe, out=out, shard=(index, 3), progress=False) > 1
    assert not out.exists()
    annotate_in(out)  # what no task made is made here
    assert read_tree(out) == whole
    assert annotate_share(recipe, out=out, shard=(1, 3), progress=False) == 0
    with pytest.raises(StoreError, match="holds other work"):
        annotate_share(FakeRecipe(n_records=61), out=out, shard=(1, 3), progress=False)


def test_what_workers_cannot_open_is_refused(tmp_path):
    adapter, dataset = RECIPE.open()
    with pytest.raises(InputError, match="no recipe"):
        annotate(adapter, dataset, out=tmp_path / "a", workers=2, progress=False)
    other = FakeRecipe(n_records=61)
    with pytest.raises(StoreError, match="a worker opened another model"):
        annotate(
            adapter, dataset, out=tmp_path / "a", recipe=other, executor=OddExecutor(),
            progress=False,
        )  # fmt: skip
    assert not (tmp_path / "a").exists()


def test_mistakes_of_an_adapter_in_a_worker_are_told(tmp_path):
    class Wrong(EventRecipe):
        def open(self):
            adapter, dataset = super().open()
            run = adapter.annotate

            def annotate_wrongly(dataset, records):
                for found in run(dataset, records):
                    yield RecordAnnotations(found.record, [("MOTIF", "x", 0, 10**6)], [])

            adapter.annotate = annotate_wrongly
            return adapter, dataset

    with pytest.raises(InputError, match=r"a run of 'MOTIF' in record .* covers the tokens"):
        annotate_in(tmp_path / "a", Wrong(n_records=60), executor=OddExecutor())
    with pytest.raises(StoreError, match="not an artefact"):
        AnnotationStore.open(tmp_path / "a")
