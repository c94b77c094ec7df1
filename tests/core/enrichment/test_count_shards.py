"""Counting in shards: any partition, any workers, any requeue: the same numbers and bytes."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from batch_world import OddExecutor
from count_world import FAST, LABELS, random_world, run_or_die, write_features, write_stores
from grid_world import grid_axis, smooth_fields, to_annotations, to_features
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import read_tree, run_killed
from planted_world import World

from sci_interp import executors
from sci_interp.cli import main
from sci_interp.enrichment import count_plan, count_shards, enrich
from sci_interp.enrichment.count_parts import COUNTS_GROUP, add_counts, write_counts
from sci_interp.enrichment.count_plan import COUNTED, CountPlan
from sci_interp.enrichment.count_shards import SourceCounts
from sci_interp.enrichment.counts import Counts, count_records, count_split
from sci_interp.enrichment.protocol import enrich_share
from sci_interp.errors import InputError, StoreError
from sci_interp.executors import Workers
from sci_interp.feature_subsets import split_families
from sci_interp.schema import BIN_FLOORS
from sci_interp.shards import write_group

N_TRIALS = 4


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(count_plan, "FEWEST_TOKENS", 800)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return write_stores(tmp_path_factory.mktemp("stores"), World(n_families=48))


@pytest.fixture(scope="module")
def whole(stores, tmp_path_factory):
    """Return the bytes of what one process makes, which counts in memory."""
    out = tmp_path_factory.mktemp("whole") / "a"
    run(stores, out)
    return read_tree(out)


def run(stores, out, **more):
    return enrich(
        stores.features,
        stores.known,
        out=out,
        baselines=split_families(stores.baseline),
        **FAST,
        **more,
    )


def run_share(stores, out, shard):
    return enrich_share(
        stores.features,
        stores.known,
        out=out,
        shard=shard,
        baselines=split_families(stores.baseline),
        max_entries=FAST["max_entries"],
        progress=False,
    )


def assert_equal(left, right):
    for name, value in vars(right).items():
        np.testing.assert_array_equal(getattr(left, name), value, err_msg=name)


def plan_of(stores, *, max_entries=FAST["max_entries"]):
    given = {"floors": BIN_FLOORS, "count_bytes": 16 * max_entries}
    return CountPlan.of(stores.features, stores.known, **given)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 9)), st.randoms(use_true_random=False))
def test_counts_of_any_partition_into_shards_add_up(seed, cuts, random):
    _, features, known, _ = random_world(seed, n_records=10)
    edges = [0, *sorted(cuts - {0}), 10]
    shards = [range(a, b) for a, b in itertools.pairwise(edges)]
    random.shuffle(shards)
    total = Counts.of(features, known)
    for records in shards:
        count_records(total, features, known, records, n_threads=1)
    assert_equal(total, count_split(features, known, "discovery", n_threads=1))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 9), max_size=3), st.booleans())
def test_counts_of_parts_on_disk_add_up(seed, cuts, active):
    _, features, known, _ = random_world(seed, n_records=10)
    labels = np.array([1, 3])
    total = Counts.of(features, known, labels=labels)
    edges = [0, *sorted(cuts - {0}), 10]
    with tempfile.TemporaryDirectory() as folder:
        for first, last in itertools.pairwise(edges):
            part = Counts.of(features, known, labels=labels)
            records = range(first, last)
            count_records(part, features, known, records, n_threads=1, active=active)
            write_counts(Path(folder), part, active=active)
            add_counts(Path(folder) / COUNTS_GROUP, total, active=active)
    expected = count_split(features, known, "discovery", labels=labels, active=active)
    assert_equal(total, expected)


def test_counts_by_area_add_up_over_parts(tmp_path):
    rng = np.random.default_rng(0)
    axis = grid_axis(4, 3, fractions={"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0})
    fields = smooth_fields(axis, rng)
    features = to_features(axis, [fields, -fields])
    known = to_annotations(axis, {"low": rng.random(fields.shape) < 0.3})
    total = Counts.of(features, known)
    for first in range(0, axis.n_records, 5):
        part = Counts.of(features, known)
        records = range(first, min(first + 5, axis.n_records))
        count_records(part, features, known, records, n_threads=1)
        write_counts(tmp_path, part, active=True)
        add_counts(tmp_path / COUNTS_GROUP, total, active=True)
    whole = count_split(features, known, "discovery")
    assert (whole.active > whole.entries).any(), "cells weigh more than 1"
    assert_equal(total, whole)


def test_cells_cover_every_label_and_record_once(stores):
    plan, axis = plan_of(stores), stores.features.axis
    assert len(plan.blocks) == 2 and len(plan.shards) > 3
    assert [label for block in plan.blocks for label in block] == [0, 1, 2]
    for split in COUNTED:
        first, last = axis.record_range([split])
        for block in range(len(plan.blocks)):
            cells = [plan.cell(number) for number in plan.numbers(block, split)]
            assert {cell.block for cell in cells} == {block}
            records = [record for cell in cells for record in cell.records]
            assert records == list(range(first, last))
    numbers = [n for b in range(2) for split in COUNTED for n in plan.numbers(b, split)]
    assert sorted(numbers) == list(range(plan.n_cells))
    large = plan_of(stores, max_entries=2**21)
    assert len(large.blocks) == 1


def test_a_split_without_records_has_no_cells(tmp_path):
    _, features, known, _ = random_world(1)
    plan = CountPlan.of(features, known, floors=BIN_FLOORS, count_bytes=2**20)
    assert plan.numbers(0, "vault") == range(0)
    counts = SourceCounts(features, known, plan, tmp_path / "a").count(0, "vault")
    assert not counts.tokens.any() and len(counts.labels) == len(LABELS)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_processes_makes_the_same_bytes(tmp_path, stores, whole, workers):
    run(stores, tmp_path / "a", workers=workers)
    assert read_tree(tmp_path / "a") == whole and not (tmp_path / "a.parts").exists()


def test_processes_that_are_killed_are_replaced(tmp_path, stores, whole, monkeypatch):
    marks = tmp_path / "marks"
    marks.mkdir()
    # The first of two, and another of those that follow them.
    monkeypatch.setattr(executors, "_run_task", partial(run_or_die, marks, 2))
    run(stores, tmp_path / "a", workers=2)
    assert len(list(marks.iterdir())) == 2
    assert read_tree(tmp_path / "a") == whole


def test_executors_of_threads_and_such_that_repeat_and_lose_tasks(tmp_path, stores, whole):
    with ThreadPoolExecutor(3) as threads:
        for name, executor in (("a", OddExecutor()), ("b", threads)):
            run(stores, tmp_path / name, executor=executor)
            assert read_tree(tmp_path / name) == whole


def test_an_array_whose_tasks_are_requeued_and_half_missing(tmp_path, stores, whole):
    out = tmp_path / "a"
    made = [run_share(stores, out, (index, 4)) for index in (2, 0, 2, 0)]
    assert made[0] == made[2] > 1 and made[1] == made[3] and not out.exists()
    run(stores, out)
    assert read_tree(out) == whole and not (tmp_path / "a.parts").exists()
    assert run_share(stores, out, (1, 4)) == 0
    swapped = replace(stores, features=stores.baseline)
    with pytest.raises(StoreError, match="holds other work"):
        run_share(swapped, out, (1, 4))


def parts_of(out):
    return sorted(out.parent.glob(f"{out.name}.parts/*/[0-9]*"))


def test_a_requeued_task_counts_only_what_is_not_there_or_damaged(
    tmp_path, stores, whole, monkeypatch
):
    out = tmp_path / "a"
    n_own = run_share(stores, out, (0, 2))
    places = parts_of(out)
    assert len(places) == n_own
    damaged, missing = places[0], places[3]
    (file,) = damaged.glob(f"{COUNTS_GROUP}/number/c/0")
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    shutil.rmtree(missing)
    counted = []

    def count(counts, features, known, records, **options):
        counted.append(records)
        count_records(counts, features, known, records, **options)

    monkeypatch.setattr(count_shards, "count_records", count)
    assert run_share(stores, out, (0, 2)) == n_own
    assert len(counted) == 2
    run_share(stores, out, (1, 2))
    counted.clear()
    run(stores, out, workers=1)
    assert not counted, "all parts were there"
    assert read_tree(out) == whole


def test_what_was_counted_before_an_interruption_is_kept(tmp_path, stores, whole, monkeypatch):
    out, counted = tmp_path / "a", []

    def count(counts, features, known, records, **options):
        if len(counted) == 7:
            raise KeyboardInterrupt
        counted.append(records)
        count_records(counts, features, known, records, **options)

    monkeypatch.setattr(count_shards, "count_records", count)
    with pytest.raises(KeyboardInterrupt):
        run(stores, out, workers=1)
    assert len(parts_of(out)) == 7
    monkeypatch.undo()
    monkeypatch.setattr(count_plan, "FEWEST_TOKENS", 800)
    run(stores, out)
    assert read_tree(out) == whole


def test_killed_counting_ends_in_the_same_bytes(tmp_path):
    counts = run_killed("counts_killed:run_counts", tmp_path, n_trials=N_TRIALS)
    assert counts["n_kills"] >= N_TRIALS // 2
    whole = read_tree(tmp_path / "whole")
    assert set(whole) >= {"enrichment/links.csv", "enrichment/baseline_0.parquet"}
    assert not [name for name in whole if ".parts" in name]
    for trial in range(N_TRIALS):
        assert read_tree(tmp_path / f"trial{trial}") == whole


def test_the_published_variant_counts_in_shards_too(tmp_path, stores):
    given = {"protocol": "interplm", **FAST}
    enrich(stores.features, stores.known, out=tmp_path / "a", **given)
    enrich(stores.features, stores.known, out=tmp_path / "b", executor=OddExecutor(), **given)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


def test_what_workers_cannot_open_or_have_no_place_for_is_refused(tmp_path, stores):
    _, features, known, _ = random_world(0)
    plan = CountPlan.of(features, known, floors=BIN_FLOORS, count_bytes=2**20)
    others = Workers(2)
    in_memory = SourceCounts(features, known, plan, tmp_path / "a")
    with pytest.raises(InputError, match=r"cannot open a MemoryFeatures in memory.*encode makes"):
        in_memory.task(range(1), others)
    stored = replace(
        in_memory, features=write_features(tmp_path / "f", features.axis, features.codes, 4)
    )
    with pytest.raises(InputError, match=r"cannot open a MemoryAnnotations.*annotate makes"):
        stored.task(range(1), others)
    in_memory.task(range(1), Workers(1))()
    assert len(in_memory.absent()) == plan.n_cells - 1
    with pytest.raises(InputError, match="it has no folder"):
        run(stores, None, workers=2)
    with pytest.raises(InputError, match="one of the two"):
        run(stores, tmp_path / "b", workers=2, executor=OddExecutor())
    assert not (tmp_path / "b").exists()


def test_a_worker_that_opens_other_stores_is_refused(tmp_path, stores):
    counts = SourceCounts(stores.features, stores.known, plan_of(stores), tmp_path / "a")
    task = counts.task(range(2), Workers(2))
    with pytest.raises(StoreError, match="a worker opened"):
        replace(task, key="0" * 64)()
    task()
    assert len(parts_of(tmp_path / "a")) == 2


@pytest.mark.parametrize(
    ("occupied", "number"),
    [
        ([255], [1] * 8),  # too few bits
        ([0] * 21, [1]),  # more numbers than bits
        ([*[0] * 20, 64], [1]),  # a bit behind the last cell
        ([*[0] * 20, 1], [1.5]),  # no integers
    ],
)
def test_counts_of_another_shape_are_refused(tmp_path, occupied, number):
    _, features, known, _ = random_world(0, n_features=4)
    counts = Counts.of(features, known, labels=np.array([0]), floors=(1, 100, 200))
    kind = np.float32 if isinstance(number[0], float) else np.int32
    arrays = {"occupied": np.array(occupied, np.uint8), "number": np.array(number, kind)}
    write_group(tmp_path, COUNTS_GROUP, arrays, {"occupied": "byte", "number": "cell"})
    with pytest.raises(StoreError, match="counts of another shape"):
        add_counts(tmp_path / COUNTS_GROUP, counts, active=False)
    assert not counts.tokens.any()


def test_the_command_line_takes_shards_and_workers(tmp_path, stores, capsys):
    words = ["enrich", str(stores.features.path), str(stores.known.path)]
    words += ["--baseline", f"another={stores.baseline.path}"]
    words += ["--n-permutations", "40", "--n-bootstrap", "20"]
    shared, alone, pool = (str(tmp_path / name) for name in ("shared", "alone", "pool"))
    assert main([*words, "--out", shared, "--shard", "1/2"]) == 0
    assert "shards are there; the last step is without --shard" in capsys.readouterr().out
    assert parts_of(tmp_path / "shared") and not (tmp_path / "shared").exists()
    assert main([*words, "--out", shared]) == 0
    assert main([*words, "--out", alone]) == 0
    assert main([*words, "--out", pool, "--workers", "2"]) == 0
    kept = [name for name in read_tree(tmp_path / "alone") if name != "manifest.json"]
    trees = [read_tree(tmp_path / name) for name in ("shared", "alone", "pool")]
    assert len({tuple(tree[name] for name in kept) for tree in trees}) == 1
    assert main(["sbatch", "--tasks", "3", "--", *words, "--out", shared]) == 0
    assert '--shard "$SLURM_ARRAY_TASK_ID/3"' in capsys.readouterr().out
