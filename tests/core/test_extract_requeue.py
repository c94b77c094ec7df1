"""A task of extract that is given again: what it made stays, and nothing is run twice."""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import Executor, Future
from contextlib import contextmanager

import pytest
from batch_world import FakeRecipe
from fake_adapter import FakeAdapter
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import read_tree

from sci_interp import extraction
from sci_interp.activations import extract, extract_share
from sci_interp.parts import Parts
from sci_interp.schema import RECORD
from sci_interp.token_layout import work_units
from sci_interp.tokens import ActivationStore

UNIT, SHARD = 150, 128
SMALL = {"unit_tokens": UNIT, "shard_tokens": SHARD, "progress": False}
ONE = {**SMALL, "layer": "embed"}
LAYERS = ["layers.0", "layers.1"]
N_SHARDS = 11


class Killed(BaseException):
    """Ends a task, as a signal does."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a store that one process made at once."""
    return extract(*FakeRecipe().open(), out=tmp_path_factory.mktemp("whole") / "a", **ONE)


@contextmanager
def watching():
    """Yield the list of the records that the network is run on."""
    found, activations = [], FakeAdapter.activations

    def note(self, dataset, records, layers):
        found.extend(records)
        yield from activations(self, dataset, records, layers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeAdapter, "activations", note)
        yield found


@pytest.fixture
def run():
    with watching() as found:
        yield found


def end_after(patch, n_parts):
    """Let what makes parts end when it has made so many."""
    make, n_made = Parts.make, itertools.count()

    def make_or_end(self, shard, write):
        if not self.has(shard) and next(n_made) == n_parts:
            raise Killed
        make(self, shard, write)

    patch.setattr(Parts, "make", make_or_end)


def make_share(out, index=0, of=1, **options):
    return extract_share(FakeRecipe(), out=out, shard=(index, of), **{**ONE, **options})


def take(out, **options):
    return extract(*FakeRecipe().open(), out=out, recipe=FakeRecipe(), **{**ONE, **options})


def records_for(axis, shards, size=SHARD):
    """Return the records of all units of which a token lies in one of the shards."""
    names, starts = axis.records[RECORD].tolist(), axis.record_starts
    found = []
    for first, last in work_units(axis, UNIT).tolist():
        touched = range(starts[first] // size, (starts[last] - 1) // size + 1)
        if set(touched) & set(shards):
            found += names[first:last]
    return found


def parts_of(out):
    return sorted(out.with_name(out.name + ".parts").glob("*/[0-9]*"))


@pytest.mark.parametrize("k", range(N_SHARDS))
def test_a_killed_share_goes_on_where_it_ended(tmp_path, monkeypatch, whole, run, k):
    out = tmp_path / "a"
    with monkeypatch.context() as patch:
        end_after(patch, k)
        with pytest.raises(Killed):
            make_share(out)
    assert [int(path.name) for path in parts_of(out)] == list(range(k))
    run.clear()
    assert make_share(out) == N_SHARDS
    assert sorted(run) == sorted(records_for(whole.axis, range(k, N_SHARDS)))
    run.clear()
    assert make_share(out) == N_SHARDS and take(out).digest == whole.digest
    assert run == [] and read_tree(out) == read_tree(whole.path)


class MortalExecutor(Executor):
    """Runs tasks in this process; where one is killed, its worker is gone."""

    def submit(self, function, /, *arguments, **options):
        future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Killed:
            future.set_exception(ConnectionError("the worker is gone"))
        return future


@pytest.mark.parametrize("k", range(N_SHARDS))
def test_a_killed_task_that_is_given_again_goes_on(tmp_path, monkeypatch, whole, run, k):
    monkeypatch.setattr("sci_interp.executors.TASKS_OF_EXECUTOR", 1)
    end_after(monkeypatch, k)
    store = take(tmp_path / "a", executor=MortalExecutor())
    assert store.digest == whole.digest and read_tree(store.path) == read_tree(whole.path)
    missing = records_for(whole.axis, range(k, N_SHARDS))
    # The first time all units up to that of the part at which it ended are run.
    n_twice = len(run) - len(set(run))
    assert n_twice <= len(records_for(whole.axis, [k])) and set(run[-len(missing) :]) == {*missing}


@pytest.mark.parametrize("k", range(5))
def test_several_layers_of_different_shards_go_on(tmp_path, monkeypatch, run, k):
    sizes = itertools.cycle([SHARD, 48])
    monkeypatch.setattr(extraction, "choose_shard_tokens", lambda *_, **__: next(sizes))
    options = {**SMALL, "layer": LAYERS}
    stores = extract(*FakeRecipe().open(), out=tmp_path / "whole", **options)
    n_shards = {name: len(list(store.shards())) for name, store in stores.items()}
    assert n_shards["layers.0"] < n_shards["layers.1"]
    out, at = tmp_path / "a", k * sum(n_shards.values()) // 5
    with monkeypatch.context() as patch:
        end_after(patch, at)
        with pytest.raises(Killed):
            make_share(out, **options)
    needed = set()
    for layer, size in zip(LAYERS, (SHARD, 48), strict=True):
        made = {int(path.name) for path in parts_of(out / layer)}
        axis = stores[layer].axis
        needed |= {*records_for(axis, set(range(n_shards[layer])) - made, size)}
    run.clear()
    make_share(out, **options)
    assert sorted(run) == sorted(needed)
    take(out, **options)
    assert read_tree(out) == read_tree(tmp_path / "whole")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "bit": lambda part: flip(part / "activations.zarr/activation/c" / str(int(part.name)) / "0"),
    "cut": lambda part: cut(part / "activations.zarr/coordinate_place/c" / str(int(part.name))),
    "receipt": lambda part: flip(part / "receipt.json"),
    "no receipt": lambda part: (part / "receipt.json").unlink(),
    "gone": shutil.rmtree,
}


@settings(max_examples=12)
@given(
    damage=st.dictionaries(st.integers(0, N_SHARDS - 1), st.sampled_from(sorted(DAMAGE))),
    by_take=st.booleans(),
)
def test_damaged_parts_alone_are_made_again(whole, tmp_path_factory, damage, by_take):
    out = tmp_path_factory.mktemp("damaged") / "a"
    make_share(out)
    parts = parts_of(out)
    for shard, kind in damage.items():
        DAMAGE[kind](parts[shard])
    with watching() as found:
        if not by_take:
            make_share(out)
            assert sorted(found) == sorted(records_for(whole.axis, damage))
        store = take(out)
    assert set(found) == {*records_for(whole.axis, damage)}
    assert store.digest == whole.digest == ActivationStore.open(out).digest
    assert read_tree(out) == read_tree(whole.path)


def test_shards_that_are_in_the_store_by_now_are_not_made_again(tmp_path, monkeypatch, whole, run):
    out = tmp_path / "a"
    make_share(out)
    drop, n_dropped = Parts.drop, itertools.count()

    def drop_or_end(self, shard):
        drop(self, shard)
        if next(n_dropped) == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "drop", drop_or_end)
        with pytest.raises(Killed):
            take(out)
    run.clear()
    assert make_share(out) == N_SHARDS and run == []
    assert take(out).digest == whole.digest


def test_a_part_of_other_settings_is_made_again(tmp_path, whole, run):
    make_share(tmp_path / "other", dtype="float32")
    out = tmp_path / "a"
    make_share(out)
    (other,), (own,) = ((tmp_path / f"{name}.parts").iterdir() for name in ("other", "a"))
    shutil.rmtree(own / "000003")
    shutil.copytree(other / "000003", own / "000003")
    run.clear()
    make_share(out)
    assert sorted(run) == sorted(records_for(whole.axis, [3]))
    assert take(out).digest == whole.digest
