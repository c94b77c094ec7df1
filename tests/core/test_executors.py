"""Executors and recipes: tasks are shared out whole, given away again, and their errors arrive."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from batch_world import OddExecutor
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.errors import InputError, MissingExtraError, StoreError, UnknownNameError
from sci_interp.executors import Workers, open_dask, parse_shard, share, spans
from sci_interp.recipes import Last, Recipe


def touch(path: Path) -> None:
    path.touch()


def refuse() -> None:
    raise UnknownNameError("layer", "embd", ["embed"])


def fail() -> None:
    raise ZeroDivisionError("by zero")


@given(n=st.integers(0, 300), of=st.integers(1, 40))
def test_shares_cover_every_item_once_and_differ_by_one(n, of):
    shares = [share(n, (index, of)) for index in range(of)]
    assert [item for each in shares for item in each] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(items=st.sets(st.integers(0, 200)), n=st.integers(1, 20))
def test_spans_cover_every_item_once_in_ranges_of_a_size(items, n):
    found = spans(items, n)
    assert [item for each in found for item in each] == sorted(items)
    assert all(len(each) <= -(-len(items) // n) for each in found)
    n_gaps = len(spans(items, 1))
    assert len(found) <= n + n_gaps


def test_shards_are_read():
    assert parse_shard("0/1") == (0, 1)
    assert parse_shard("15/16") == (15, 16)


@pytest.mark.parametrize("text", ["", "3", "3/", "/3", "3/3", "-1/3", "a/b", "1/2/3", "1.5/2"])
def test_other_shards_are_refused(text):
    with pytest.raises(InputError, match="cannot be read"):
        parse_shard(text)


def test_alone_tasks_run_in_this_process(tmp_path):
    ran = []
    tasks = [functools.partial(ran.append, index) for index in range(5)]
    assert list(Workers().run(tasks)) == [0, 1, 2, 3, 4] == ran


def test_an_executor_that_loses_and_repeats_tasks_does_all(tmp_path):
    executor = OddExecutor()
    tasks = [functools.partial(touch, tmp_path / str(index)) for index in range(20)]
    done = list(Workers(executor=executor).run(tasks))
    assert sorted(done) == list(range(20)) == sorted(int(path.name) for path in tmp_path.iterdir())
    assert executor.n_submitted > 20 and executor.n_run > 20


def test_workers_that_only_end_are_told_of():
    class Gone(OddExecutor):
        def submit(self, function, /, *arguments, **options):
            self.n_submitted = 2
            return super().submit(function)

    with pytest.raises(StoreError, match=r"ended 3 times.*ConnectionError: the worker is gone"):
        list(Workers(executor=Gone()).run([fail]))


def test_a_pool_that_cannot_be_submitted_to_is_told_of():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(StoreError, match="cannot schedule new futures"):
        list(Workers(executor=pool).run([fail]))


def test_a_mistake_in_a_worker_is_the_same_error_here():
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(UnknownNameError, match=r"no layer 'embd'.*mean 'embed'") as found,
    ):
        list(Workers(executor=pool).run([refuse]))
    assert found.value.allowed == "embed"


def test_a_fault_in_a_worker_comes_with_its_place():
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match=r"(?s)in fail.*ZeroDivisionError: by zero"),
    ):
        list(Workers(executor=pool).run([fail]))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="workers=0"):
        Workers(0)
    with pytest.raises(InputError, match="one of the two"):
        Workers(2, OddExecutor())
    with pytest.raises(InputError, match="control='both'"):
        Recipe("protein", control="both")


def test_dask_is_asked_for_where_it_is_missing_and_where_nobody_answers(monkeypatch):
    distributed = pytest.importorskip("distributed")
    with (
        pytest.raises(InputError, match="no Dask scheduler answers at 'nowhere://1'"),
        open_dask("nowhere://1"),
    ):
        pytest.fail("there is none")
    monkeypatch.setitem(__import__("sys").modules, distributed.__name__, None)
    with (
        pytest.raises(MissingExtraError, match=r"sci-interp\[cluster\]"),
        open_dask("tcp://127.0.0.1:1"),
    ):
        pytest.fail("there is none")


def test_what_was_made_last_is_made_once():
    made = []
    last = Last()
    for key in ("a", "a", "b", "b", "a"):
        assert last.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b", "a"]


def test_threads_share_nothing_that_was_made_last():
    last, barrier = Last(), threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return [last.get("a", object) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert all(len(set(map(id, of_thread))) == 1 for of_thread in found)
    assert len({id(of_thread[0]) for of_thread in found}) == 4


def test_a_recipe_opens_what_it_says_and_its_controls():
    plain, shuffled = Recipe("protein"), Recipe("protein", control="weights", seed=1)
    (adapter, dataset), (other, same) = plain.open_once(), shuffled.open()
    assert plain.open_once()[0] is adapter
    assert other.model.digest != adapter.model.digest and same.digest == dataset.digest
    decoys = Recipe("protein", control="inputs", seed=1).open()[1]
    assert decoys.digest != dataset.digest
    assert len({plain.key, shuffled.key, Recipe("protein", model="x").key}) == 3


def test_workers_compute_on_one_thread_and_a_process_alone_on_its_own():
    torch = pytest.importorskip("torch")
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Workers().threads():
            assert torch.get_num_threads() == 3
        with Workers(1).threads():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)
