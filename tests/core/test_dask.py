"""Dask: a local cluster whose workers are killed on the way makes the same bytes."""

from __future__ import annotations

import warnings

import pytest
from batch_world import DyingRecipe, FakeRecipe
from count_world import FAST, DyingExecutor, write_stores
from kills import read_tree
from planted_world import World

from sci_interp.activations import extract
from sci_interp.annotations import AnnotationStore
from sci_interp.cli import main
from sci_interp.enrichment import count_plan, enrich
from sci_interp.executors import open_dask

distributed = pytest.importorskip("distributed", reason="distributed is not installed")
SMALL = {"unit_tokens": 150, "shard_tokens": 128, "progress": False}


@pytest.fixture(scope="module")
def address():
    """Return the address of a scheduler with two worker processes, whose nannies restart them."""
    settings = {
        "distributed.scheduler.allowed-failures": 10,
        "distributed.admin.log-format": "%(message)s",
    }
    with (
        warnings.catch_warnings(action="ignore"),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            config=settings,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.mark.filterwarnings("ignore")  # of the scheduler, of workers that end
def test_half_of_the_workers_are_killed(tmp_path, address):
    adapter, dataset = FakeRecipe().open()
    recipe = DyingRecipe(marks=tmp_path / "marks", n_deaths=1)
    recipe.marks.mkdir()
    options = {**SMALL, "layer": "embed"}
    extract(adapter, dataset, out=tmp_path / "a", **options)
    with open_dask(address) as executor:
        extract(adapter, dataset, out=tmp_path / "b", recipe=recipe, executor=executor, **options)
    assert len(list(recipe.marks.iterdir())) == 1
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


@pytest.mark.filterwarnings("ignore")
def test_counting_outlives_half_of_the_workers(tmp_path, address, monkeypatch):
    monkeypatch.setattr(count_plan, "FEWEST_TOKENS", 800)
    stores, marks = write_stores(tmp_path, World(n_families=24)), tmp_path / "marks"
    marks.mkdir()
    enrich(stores.features, stores.known, out=tmp_path / "a", **FAST)
    with open_dask(address) as executor:
        dying = DyingExecutor(executor, marks, n_deaths=1)
        enrich(stores.features, stores.known, out=tmp_path / "b", executor=dying, **FAST)
    assert len(list(marks.iterdir())) == 1
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


@pytest.mark.filterwarnings("ignore")
def test_the_command_line_asks_a_scheduler(tmp_path, address):
    data = ["annotate", "--adapter", "protein"]
    assert main([*data, "--out", str(tmp_path / "a")]) == 0
    assert main([*data, "--out", str(tmp_path / "b"), "--dask", address]) == 0
    digests = [AnnotationStore.open(tmp_path / name).digest for name in "ab"]
    assert digests[0] == digests[1]
