"""plan: hours and bytes are the pilot's speeds times the work, and nothing stays on disk."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from fake_adapter import FakeAdapter, make_dataset
from study_world import write_study

from sci_interp import planning, recipes
from sci_interp.cli import main
from sci_interp.errors import InputError
from sci_interp.pilot import Pilot, measure_pilot
from sci_interp.planning import plan
from sci_interp.study import read_study

SPEEDS = Pilot(
    n_records=4, n_tokens=1000, width=16, forward=100.0, annotate=1000.0, train=50.0, encode=200.0,
    dense_bytes=48.0, code_bytes=10.0, dense_shard_tokens=1024, code_shard_tokens=512, flops=1e9,
)  # fmt: skip


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "load_adapter", lambda name, model, **options: FakeAdapter())
    return read_study(write_study(tmp_path))


@pytest.fixture
def planned(study, monkeypatch):
    monkeypatch.setattr(planning, "measure_pilot", lambda *_, **__: SPEEDS)
    return study


def rows_of(made):
    return made.table.set_index("step")


def test_hours_bytes_and_shards_follow_from_the_pilot(planned):
    made = plan(planned, tokens=10_000)
    rows, seeds = rows_of(made), planned.sae.n_seeds
    assert made.n_tokens == 10_000 and len(rows) == 6
    assert rows.hours["annotate"] == pytest.approx(10_000 / 1000 / 3600)
    both = rows.loc["extract and of the shuffled network"]
    assert both.hours == pytest.approx(2 * 10_000 / 100 / 3600)
    assert (both.bytes, both.shards) == (2 * 48 * 10_000, 2 * 10)
    train = rows.loc[f"train, {2 * seeds} autoencoders"]
    assert train.hours == pytest.approx(planned.sae.n_tokens * 2 * seeds / 50 / 3600)
    encode = rows.loc[f"encode, {2 * seeds} autoencoders"]
    assert (encode.bytes, encode.shards) == (10_000 * 10 * 2 * seeds, 20 * 2 * seeds)
    n_decoys = planned.surface.n_decoys
    decoys = rows.loc[f"decoys, {n_decoys}: forward and encode"]
    assert decoys.hours == pytest.approx(n_decoys * 10_000 * (1 / 100 + 1 / 200) / 3600)
    total = rows.loc["all of these"]
    assert total.hours == pytest.approx(rows.hours[:-1].sum())
    assert total.bytes == rows.bytes[:-1].sum()


def test_workers_share_all_but_training(planned):
    one, four = rows_of(plan(planned)), rows_of(plan(planned, workers=4))
    for step in one.index[:-1]:
        share = 1 if step.startswith("train") else 4
        assert four.hours[step] == pytest.approx(one.hours[step] / share)


def test_without_a_control_one_network_is_planned(planned):
    use = tuple(name for name in planned.baselines.use if name != "shuffled")
    made = plan(replace(planned, baselines=replace(planned.baselines, use=use)), tokens=10_000)
    assert rows_of(made).shards["extract"] == 10


def test_records_scale_by_their_mean_length(planned):
    whole = plan(planned)
    twice = plan(planned, records=2 * whole.n_records)
    assert twice.n_tokens == pytest.approx(2 * whole.n_tokens, abs=1)
    assert plan(planned, tokens=2 * whole.n_tokens).n_records == 2 * whole.n_records


def test_the_paper_scales_have_their_known_sizes(planned):
    paper = plan(planned).paper.set_index("what")
    proteins, weather = paper.iloc[0], paper.iloc[1]
    assert proteins.dense_bytes == pytest.approx(51e12, rel=0.01)
    assert proteins.code_bytes == pytest.approx(1.9e12, rel=0.01)
    assert weather.dense_bytes == pytest.approx(2.45e12, rel=0.01)
    assert weather.code_bytes == pytest.approx(0.23e12, rel=0.01)
    # 2 x 650 M operations for each of 19.9e9 tokens, at 1 GFLOP/s
    assert proteins.forward_hours == pytest.approx(19.9e9 * 1.3e9 / 1e9 / 3600)


@pytest.mark.parametrize(
    "options",
    [{"tokens": 0}, {"records": -1}, {"workers": 0}, {"pilot_tokens": 0}],
)
def test_numbers_that_are_not_positive_are_refused(planned, options):
    with pytest.raises(InputError, match="is not usable"):
        plan(planned, **options)


def test_two_sizes_are_refused(planned):
    with pytest.raises(InputError, match="one of the two"):
        plan(planned, tokens=1, records=1)


def test_the_pilot_measures_the_study_and_leaves_nothing(study, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    adapter, dataset = FakeAdapter(), make_dataset(n_records=200)
    runs, run = [], adapter.activations
    adapter.activations = lambda data, records, layers: (
        runs.append(list(records)) or run(data, records, layers)
    )
    found = measure_pilot(study, adapter, dataset, n_tokens=1000)
    assert 500 < found.n_tokens < 2000
    assert found.n_records == len(runs[1]) and runs[0] == runs[1][:1]
    assert found.width == 16 and found.dense_bytes == 2 * 16 + 2 * 8
    assert found.code_bytes > 1
    speeds = (found.forward, found.annotate, found.train, found.encode, found.flops)
    assert min(speeds) > 0
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_command_prints_the_tables(study, capsys):
    assert main(["plan", str(study.path), "--tokens", "1000000", "--workers", "8"]) == 0
    said = capsys.readouterr().out
    assert "1,000,000 tokens" in said and "8 worker(s)" in said
    for word in ("annotate", "UniRef50 x ESM-2 650M", "50.9 TB", "2.45 TB", "all of these"):
        assert word in said
    assert not (Path(study.out) / "activations").exists()
