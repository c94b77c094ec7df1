"""A sweep reads the data once, and makes of every run what training alone makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_adapter import FakeAdapter, make_dataset
from kills import read_tree, run_killed
from sae_world import planted_source

import sci_interp as si
from sci_interp.errors import InputError, NotFiniteError, StoreError, UnknownNameError
from sci_interp.manifest import read_manifest
from sci_interp.sae import Sweep, sweep, train
from sci_interp.source import ArraySource, StackedSource

COMMON: dict[str, Any] = {"features": 64, "n_tokens": 8000, "batch_size": 256, "dead_after": 1500}
COMMON |= {"progress": False, "checkpoint_every": 9}
RUNS = [
    {"k": 3},
    {"k": 5, "architecture": "batch_topk"},
    {"k": 3, "architecture": "gated", "penalty": 0.02, "features": 80},
    {"k": 3, "architecture": "jumprelu", "learning_rate": 0.002, "revival": "resampling"},
    {"k": 3, "seed": 1},
    {"k": 3, "seed": 1, "whitening": True},
]


class CountedSource:
    """A source that counts the tokens that were read."""

    def __init__(self, inner: ArraySource) -> None:
        self.inner, self.n_read = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, start: int, stop: int) -> np.ndarray:
        self.n_read += stop - start
        return self.inner.read(start, stop)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep(planted_source()[1], out=tmp_path_factory.mktemp("sweep"), runs=RUNS, **COMMON)


def test_every_run_is_what_training_alone_makes(made, tmp_path) -> None:
    _, source = planted_source()
    assert len(made.runs) == len(RUNS)
    for name, run in zip(made.runs, RUNS, strict=True):
        # The seed of the first run orders the blocks; a run of that seed needs no word of it.
        order = {} if run.get("seed", 0) == 0 else {"block_seed": 0}
        train(source, out=tmp_path / name, **{**COMMON, **run, **order})
        assert read_tree(made.path / name) == read_tree(tmp_path / name), name


def test_names_tell_what_differs(made) -> None:
    assert made.runs[1:] == (
        "batch_topk-features64-k5-seed0",
        "gated-features80-k3-seed0-penalty0.02",
        "jumprelu-features64-k3-seed0-learning_rate0.002-revivalresampling",
        "topk-features64-k3-seed1",
        "topk-features64-k3-seed1-whitening",
    )
    assert set(made.table.columns) >= {"penalty", "revival", "whitening", "learning_rate"}


def test_table_holds_what_fidelity_measures(made) -> None:
    _, source = planted_source()
    for row in made.table.itertuples():
        found = si.fidelity(si.load_sae(made.path / row.run), source)
        assert (row.fvu, row.l0, row.dead_fraction) == (found.fvu, found.l0, found.dead_fraction)
        assert row.seconds > 0
    table = made.table
    points = list(zip(table["fvu"], table["l0"], strict=True))
    beaten = [any(x <= f and y <= n and (x, y) != (f, n) for x, y in points) for f, n in points]
    assert table["pareto"].tolist() == [not each for each in beaten]
    assert 0 < table["pareto"].sum() < len(table)
    assert made.load(made.runs[4]).training["seed"] == 1
    with pytest.raises(UnknownNameError, match="there is no run 'topk'"):
        made.load("topk")


def test_data_are_read_once_for_any_number_of_runs(tmp_path) -> None:
    n_read = []
    for n_runs in (1, 5):
        source = CountedSource(planted_source()[1])
        grid = {"k": [2, 3, 4, 5, 6][:n_runs]}
        sweep(source, out=tmp_path / str(n_runs), grid=grid, **COMMON)
        n_read.append(source.n_read)
    assert n_read[0] == n_read[1]


def test_seeds_share_blocks_and_nothing_else(tmp_path) -> None:
    _, source = planted_source()
    counted = CountedSource(source)
    found = sweep(counted, out=tmp_path / "both", grid={"seed": [3, 4]}, k=3, **COMMON)
    alone = CountedSource(source)
    sweep(alone, out=tmp_path / "alone", grid={"seed": [3]}, k=3, **COMMON)
    assert counted.n_read == alone.n_read
    first, second = (found.load(run) for run in found.runs)
    assert first.digest != second.digest
    assert "block_seed" not in first.training and second.training["block_seed"] == 3
    cosine = np.abs(first.dictionary @ second.dictionary.T).max(axis=1)
    assert np.median(cosine) < 0.9999
    train(source, out=tmp_path / "train", seed=3, k=3, **COMMON)
    assert read_tree(tmp_path / "train") == read_tree(found.path / "seed3")


def test_killed_sweeps_end_with_the_same_bytes(tmp_path) -> None:
    counts = run_killed("sae_killed:sweep_three", tmp_path, n_trials=6)
    assert counts["n_kills"] > 0
    whole = read_tree(tmp_path / "whole")
    assert whole.pop("times.json")
    assert not [name for name in whole if name.endswith(".tmp")]
    for trial in range(6):
        found = read_tree(tmp_path / f"trial{trial}")
        found.pop("times.json")
        assert found == whole


def test_a_finished_sweep_is_opened_and_other_work_refused(made, tmp_path) -> None:
    _, source = planted_source()
    again = sweep(source, out=made.path, runs=RUNS, **COMMON)
    assert again.table.equals(made.table) and Sweep.open(made.path).table.equals(made.table)
    assert "sweep" in si.show(made.path)
    with pytest.raises(StoreError, match="batch_size was 256 there and is 200 now"):
        sweep(source, out=made.path, runs=RUNS, **{**COMMON, "batch_size": 200})
    assert read_manifest(made.path, "sweep").inputs == {"activations": source.digest}


def test_text_names_every_run_and_marks_the_best(made) -> None:
    text = made.format()
    assert text.startswith("6 autoencoders of array, layer array, 8000 training tokens each")
    assert all(run in text for run in made.runs) and "*" in text and str(made) == text


def test_progress_tells_every_run(tmp_path, capsys) -> None:
    _, source = planted_source()
    sweep(source, out=tmp_path / "s", grid={"k": [2, 3]}, **{**COMMON, "progress": True})
    said = capsys.readouterr().err
    assert "sweep: 32 of 32" in said and "k2: FVU" in said and "k3: FVU" in said


def test_several_layers_can_be_swept(tmp_path) -> None:
    _, source = planted_source()
    both = StackedSource([source, ArraySource(source.axis, source.values * 2 + 1, "second")])
    grid = {"architecture": ["transcoder", "crosscoder"]}
    found = sweep(both, out=tmp_path / "sweep", grid=grid, k=3, **COMMON)
    assert found.load("transcoder").dictionary.shape == (64, 32)
    assert found.load("crosscoder").dictionary.shape == (64, 64)


def test_a_run_that_is_not_finite_is_named_and_nothing_left(tmp_path) -> None:
    _, source = planted_source()
    grid = {"learning_rate": [0.001, 1e30]}
    with pytest.raises(NotFiniteError, match=r"learning_rate1e\+30: the loss of training step"):
        sweep(source, out=tmp_path / "sweep", grid=grid, k=3, **COMMON)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "needs either runs or a grid"),
        ({"runs": [], "grid": {"k": [3]}}, "needs either runs or a grid"),
        ({"runs": []}, "has no run"),
        ({"grid": {"k": []}}, "has no run"),
        ({"grid": {"k": 3}}, "k=3 of the grid is no list"),
        ({"grid": {"architecture": "topk"}}, "is no list"),
        ({"runs": [{"k": 3}, {"k": 3}]}, "the run 'topk' is given twice"),
        ({"runs": [{"k": 3, "n_tokens": 5}]}, "n_tokens is one for all runs"),
        ({"runs": [{"k": 3, "out": "x"}]}, "out is one for all runs"),
        ({"runs": [{"k": 3}, {"k": 4}, {"k": 4}]}, "the run 'k4' is given twice"),
        ({"grid": {"K": [3]}}, "'K'"),
        ({"grid": {"k": [3, 100]}}, "k=100 is more than the 64 features"),
        ({"grid": {"k": [3]}, "checkpoint_every": 0}, "checkpoint_every=0"),
        ({"grid": {"k": [3]}, "block_seed": -1}, "block_seed=-1"),
        ({"grid": {"k": [3]}, "measured_on": ("vault",)}, "hold no token"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(changes, message, tmp_path) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        sweep(planted_source()[1], out=tmp_path / "sweep", **{**COMMON, **changes})
    assert not (tmp_path / "sweep").exists()


def tree_of(path: Path) -> set[str]:
    return {each.name for each in path.iterdir()}


def test_members_are_ordinary_folders(made) -> None:
    wanted = {"manifest.json", "request.json", "sae.json", "sae.safetensors"}
    assert all(tree_of(made.path / run) == wanted for run in made.runs)


def test_layers_share_one_forward_pass_and_are_what_training_alone_makes(tmp_path) -> None:
    adapter, dataset = FakeAdapter(), make_dataset(n_records=150)
    options = {"features": 24, "n_tokens": 4000, "batch_size": 128, "progress": False}
    layers = ["layers.0", "layers.1"]
    streams = si.stream(adapter, dataset, layers, unit_tokens=500, cached_units=40)
    network = streams["layers.0"].network
    made = sweep(streams, out=tmp_path / "both", runs=[{"k": 2}, {"k": 4}], **options)
    assert made.runs == tuple(f"{layer}-k{k}" for layer in layers for k in (2, 4))
    n_units = network.n_run
    one = si.stream(adapter, dataset, "layers.1", unit_tokens=500, cached_units=40)
    sweep(one, out=tmp_path / "one", runs=[{"k": 2}, {"k": 4}], **options)
    assert n_units == one.network.n_run
    for k in (2, 4):
        alone = f"{tmp_path}/alone-{k}"
        train(one, out=alone, k=k, **options)
        for found in (made.path / f"layers.1-k{k}", tmp_path / "one" / f"k{k}"):
            assert read_tree(found) == read_tree(Path(alone))


@pytest.mark.parametrize("name", ["a/b", ".a", "a\\b", "a:b"])
def test_sources_whose_names_cannot_be_folders_are_refused(tmp_path, name) -> None:
    with pytest.raises(InputError, match="cannot name folders"):
        sweep({name: planted_source()[1]}, out=tmp_path / "a", runs=[{"k": 2}], **COMMON)


def test_sources_of_other_tokens_and_no_source_are_refused(tmp_path) -> None:
    sources = {"a": planted_source()[1], "b": planted_source(n_tokens=4000)[1]}
    with pytest.raises(InputError, match="lie on other tokens"):
        sweep(sources, out=tmp_path / "a", runs=[{"k": 2}], **COMMON)
    with pytest.raises(InputError, match="has no source"):
        sweep({}, out=tmp_path / "a", runs=[{"k": 2}], **COMMON)
