"""extract by many workers: any number, order, repetition or death of them, the same bytes."""

from __future__ import annotations

import random

import pytest
import torch
from batch_world import DyingRecipe, FakeRecipe, OddExecutor
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import read_tree, run_killed

from sci_interp.activations import extract, extract_share
from sci_interp.errors import InputError, StoreError
from sci_interp.tokens import ActivationStore

SMALL = {"unit_tokens": 150, "shard_tokens": 128, "progress": False}
N_SHARDS = 11
LAYERS = ["layers.0", "layers.1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a store that one process made."""
    out = tmp_path_factory.mktemp("whole") / "a"
    adapter, dataset = FakeRecipe().open()
    store = extract(adapter, dataset, layer="embed", out=out, **SMALL)
    assert len(list(store.shards())) == N_SHARDS
    return read_tree(out)


def extract_in(out, recipe=None, **options):
    recipe = recipe or FakeRecipe()
    adapter, dataset = FakeRecipe().open()
    return extract(adapter, dataset, layer="embed", out=out, recipe=recipe, **SMALL, **options)


def make_share(out, index, of, recipe=None, **options):
    wanted = {**SMALL, "layer": "embed", **options}
    return extract_share(recipe or FakeRecipe(), out=out, shard=(index, of), **wanted)


def share_for_kills(out):
    """Make an array's parts and take them in; run in a process that is killed."""
    for index in range(3):
        make_share(out, index, 3)
    extract_in(out)


@pytest.mark.parametrize("n", [2, 8])
def test_processes_of_this_machine_make_the_same_bytes(tmp_path, whole, n):
    extract_in(tmp_path / "a", workers=n)
    assert read_tree(tmp_path / "a") == whole
    assert not (tmp_path / "a.parts").exists()


def test_processes_that_are_killed_are_replaced(tmp_path, whole):
    marks = tmp_path / "marks"
    marks.mkdir()
    extract_in(tmp_path / "a", DyingRecipe(marks=marks), workers=2)
    assert len(list(marks.iterdir())) == 2
    assert read_tree(tmp_path / "a") == whole


def test_an_executor_that_repeats_and_loses_tasks_makes_the_same_bytes(tmp_path, whole):
    extract_in(tmp_path / "a", executor=OddExecutor())
    assert read_tree(tmp_path / "a") == whole


def test_several_layers_of_different_shards_by_workers(tmp_path, monkeypatch):
    recipe = FakeRecipe()
    adapter, dataset = recipe.open()
    options = {**SMALL, "layer": LAYERS}
    extract(adapter, dataset, out=tmp_path / "a", **options)
    extract(adapter, dataset, out=tmp_path / "b", recipe=recipe, executor=OddExecutor(), **options)
    for index in (1, 0):
        extract_share(recipe, out=tmp_path / "c", shard=(index, 2), **options)
    extract(adapter, dataset, out=tmp_path / "c", **options)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b") == read_tree(tmp_path / "c")
    assert {path.name for path in (tmp_path / "c").iterdir()} == set(LAYERS)


@settings(max_examples=4)
@given(n=st.integers(1, 9), seed=st.integers(0, 99))
def test_arrays_in_any_order_with_requeues_and_gaps(whole, tmp_path_factory, n, seed):
    out = tmp_path_factory.mktemp("array") / "a"
    rng = random.Random(seed)
    tasks = [*range(n), *rng.choices(range(n), k=n // 2)]
    rng.shuffle(tasks)
    absent = rng.randrange(n)
    for index in tasks:
        if index != absent:
            make_share(out, index, n)
    assert not out.exists()
    store = extract_in(out)  # what no task made is made here
    assert read_tree(out) == whole
    assert make_share(out, absent, n) == 0
    assert (
        store.digest == ActivationStore.open(out).digest and not out.with_name("a.parts").exists()
    )


def test_killed_tasks_and_killed_taking_end_in_the_same_bytes(tmp_path, whole):
    counts = run_killed("test_extract_batch:share_for_kills", tmp_path, n_trials=4)
    assert counts["n_kills"] >= 2
    for trial in range(4):
        assert read_tree(tmp_path / f"trial{trial}") == whole


def test_a_run_that_was_begun_alone_is_ended_by_workers(tmp_path, whole):
    adapter, dataset = FakeRecipe().open()
    out, run, n_calls = tmp_path / "a", adapter.activations, 0

    def stop_late(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 5:
            raise KeyboardInterrupt
        yield from run(*arguments)

    adapter.activations = stop_late
    with pytest.raises(KeyboardInterrupt):
        extract(adapter, dataset, layer="embed", out=out, **SMALL)
    n_begun = len((out / "journal.jsonl").read_text().splitlines())
    assert 0 < n_begun < N_SHARDS
    extract_in(out, executor=OddExecutor())
    assert read_tree(out) == whole


def test_parts_of_other_settings_never_meet(tmp_path, whole):
    out = tmp_path / "a"
    make_share(out, 0, 1, dtype="float32")
    make_share(out, 0, 1, FakeRecipe(network_seed=1))
    make_share(out, 0, 2)
    assert len(list((tmp_path / "a.parts").iterdir())) == 3
    extract_in(out)
    assert read_tree(out) == whole
    with pytest.raises(StoreError, match=r"holds other work: .*model was"):
        make_share(out, 1, 2, FakeRecipe(network_seed=1))


def test_workers_that_open_something_else_are_refused(tmp_path):
    with pytest.raises(StoreError, match="a worker opened another model"):
        extract_in(tmp_path / "a", FakeRecipe(network_seed=1), executor=OddExecutor())
    with pytest.raises(InputError, match="no recipe"):
        extract(
            FakeAdapter(), make_dataset(), layer="embed", out=tmp_path / "b", workers=2, **SMALL
        )
    assert not (tmp_path / "b").exists()


def test_a_part_that_lost_a_file_is_made_again(tmp_path, whole):
    out = tmp_path / "a"
    make_share(out, 0, 1)
    parts = sorted((tmp_path / "a.parts").glob("*/*"))
    next(parts[3].glob("activations.zarr/activation/c/*/0")).unlink()
    (parts[5] / "receipt.json").unlink()
    extract_in(out)
    assert read_tree(out) == whole


def test_whoever_is_a_worker_runs_the_network_on_one_thread(tmp_path, monkeypatch):
    seen = []
    run = FakeAdapter.activations

    def activations(self, *arguments):
        seen.append(torch.get_num_threads())
        yield from run(self, *arguments)

    monkeypatch.setattr(FakeAdapter, "activations", activations)
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for name, options in (("a", {}), ("b", {"workers": 1}), ("c", {"executor": OddExecutor()})):
            seen.clear()
            extract_in(tmp_path / name, **options)
            assert set(seen) == ({3} if name == "a" else {1})
        seen.clear()
        make_share(tmp_path / "d", 0, 2)
        extract_in(tmp_path / "d")  # what no task made is made as by one
        assert set(seen) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)
