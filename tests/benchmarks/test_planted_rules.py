"""Rules, scores and tables of planted worlds agree with definitions and other libraries."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, t
from sklearn.metrics import matthews_corrcoef, roc_auc_score

import sci_interp as si
from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "planted"))
counts = pytest.importorskip("planted_counts")
data = pytest.importorskip("planted_data")
judgeable = pytest.importorskip("planted_judgeable")
replicates = pytest.importorskip("planted_replicates")
rules = pytest.importorskip("planted_rules")
run_planted = pytest.importorskip("run_planted")
scores = pytest.importorskip("planted_scores")
tables = pytest.importorskip("planted_tables")

N_FEATURES, N_LABELS = 5, 3


@pytest.fixture(scope="module")
def world():
    """A tiny world: the first feature is the first label's, the others are noise."""
    rng = np.random.default_rng(0)
    rows = [(f"b{block}r{at}", f"b{block}", 40) for block in range(60) for at in range(2)]
    axis = TokenAxis.build(
        pd.DataFrame(rows, columns=["record", "block", "n_tokens"]), data.FRACTIONS
    )
    known = np.stack([np.ones(120, bool), rng.random(120) < 0.8])
    runs = []
    for label in range(N_LABELS):
        for record in np.flatnonzero(known[label % 2] & (rng.random(120) < 0.7)):
            start = 40 * record + int(rng.integers(0, 34))
            runs.append((label, len(runs), start, start + int(rng.integers(2, 6))))
    label, instance, start, stop = np.array(runs).T
    runs = data.Runs(label, instance, start, stop, np.full(len(label), -1), known)
    true = data.tokens_of(start[label == 0], stop[label == 0])[1]
    true = true[rng.random(len(true)) < 0.8]
    drawn = [true, *(np.flatnonzero(rng.random(4800) < 0.1) for _ in range(N_FEATURES - 1))]
    activities = [
        data.Activity(token, rng.uniform(0.05, 1, len(token)).astype(np.float32)) for token in drawn
    ]
    labels = tuple(Label(f"L{at}", f"group {at % 2}", "planted") for at in range(N_LABELS))
    kinds = ("clear", *("noise",) * (N_FEATURES - 1))
    target = np.array([0, -1, -1, -1, -1])
    return data.World(axis, labels, runs, data.build_codes(axis, activities), kinds, target)


def dense(world, split, floor, label):
    """Return (levels, positive, record) of the known tokens of a label in a split."""
    first, last = world.axis.token_range([split])
    codes = world.features.read(first, last)
    level = np.zeros((last - first, N_FEATURES), int)
    level[np.repeat(np.arange(last - first), np.diff(codes.indptr)), codes.feature] = codes.value
    positive = np.zeros(last - first, bool)
    mine = world.runs.label == label
    for start, stop in zip(world.runs.start[mine], world.runs.stop[mine], strict=True):
        if first <= start < last:
            positive[start - first : stop - first] = True
    record = np.arange(first, last) // 40
    known = world.runs.known[label % 2][record]
    return np.where(level >= floor, level, 0)[known], positive[known], record[known]


@pytest.mark.parametrize("floor", [1, 224])
def test_counts_and_measures_are_those_of_other_libraries(world, floor):
    half = counts.Half(world, "test")
    table = half.confusion(floor)
    area = half.auroc()
    for label in range(N_LABELS):
        level, positive, _ = dense(world, "test", floor, label)
        whole, _, _ = dense(world, "test", 1, label)
        for feature in range(N_FEATURES):
            fires = level[:, feature] > 0
            assert table.true_positive[label, feature] == (fires & positive).sum()
            assert table.active[label, feature] == fires.sum()
            expected = matthews_corrcoef(positive, fires)
            assert table.mcc[label, feature] == pytest.approx(expected)
            expected = roc_auc_score(positive, whole[:, feature])
            assert area[label, feature] == pytest.approx(expected)


def test_the_t_over_records_is_that_of_their_scores(world):
    statistic, freedom = counts.Half(world, "test").record_t(1)
    for label in range(N_LABELS):
        level, positive, record = dense(world, "test", 1, label)
        for feature in range(N_FEATURES):
            score = []
            for at in np.unique(record):
                fires, is_label = level[record == at, feature] > 0, positive[record == at]
                if 0 < fires.sum() < 40 and 0 < is_label.sum() < 40:
                    score.append((fires & is_label).sum() - fires.sum() * is_label.mean())
            expected = np.sum(score) / np.sqrt(np.sum(np.square(score)))
            assert statistic[label, feature] == pytest.approx(expected)
            assert freedom[label, feature] == len(score) - 1
    assert t.sf(statistic[0, 0], freedom[0, 0]) < 1e-6


def test_rules_call_what_is_planted(world, tmp_path):
    counted = rules.Counted(world, world.annotate(tmp_path / "annotations"))
    found = rules.apply_rules(counted, rules.RULES)
    assert set(found) == set(rules.RULES)
    for name, calls in found.items():
        assert calls.linked[0, 0], name
        assert calls.linked.shape == (N_LABELS, N_FEATURES)
    table = counted.tables[1][0]
    both, active, positive, known = (
        np.broadcast_to(getattr(table, name), (N_LABELS, N_FEATURES))[0, 0].astype(int)
        for name in ("true_positive", "active", "positive", "known")
    )
    cells = [[both, active - both], [positive - both, known - active - positive + both]]
    assert fisher_exact(cells, alternative="greater").pvalue < 1e-6
    assert counted.best_f1[0] > 0.5 > counted.best_f1[1:].max()


def test_the_shift_in_time_is_the_circular_one():
    climate = pytest.importorskip("weather_worlds")
    small = climate.Climate({"smooth null": 2}, n_labels=1, n_years=12, n_days=6, n_columns=8)
    world = climate.build_weather(small, (0, 1))
    half = counts.Half(world, "test")
    names = world.axis.records["record"].to_numpy()[slice(*half.records)]
    place = np.argsort(np.argsort(names, kind="stable"))
    one, other = half.tokens_of_label[0], half.active(1).tocsc()[:, [0]].indices
    products = (rules._spectrum(half, place, one).conj() * rules._spectrum(half, place, other)).sum(
        1
    )
    overlap = np.rint(np.fft.irfft(products, len(place)))
    size = int(half.bounds[1])
    tracks = np.zeros((2, len(place), size))
    for track, tokens in zip(tracks, (one, other), strict=True):
        track[place[tokens // size], tokens % size] = 1
    expected = [(np.roll(tracks[0], k, axis=0) * tracks[1]).sum() for k in range(len(place))]
    np.testing.assert_array_equal(overlap, expected)


def test_intervals_are_asked_at_the_threshold_that_was_chosen(world, tmp_path):
    known = world.annotate(tmp_path / "annotations")
    result = si.enrich(world.features, known, n_threads=1, progress=False)
    assert rules.call_ours(world, result)[0, 0]
    population = scores.measure_population([world])
    assert scores.score_intervals(world, result.table, population)["f1"] == [1, 1]
    far = {name: (np.array(values) + 5).tolist() for name, values in population.items()}
    assert scores.score_intervals(world, result.table, far)["f1"] == [0, 1]
    halves = {half.split: half for half in rules.Counted(world, known).halves}
    units = scores.score_units(world, result.table, population, halves)
    assert set(units) == set(scores.UNITS)
    assert all(total == 1 for _, total in units.values())
    row = result.table[(result.table["feature"] == 0) & (result.table["label"] == "L0")].iloc[0]
    level = scores._floors(np.array([row["threshold"]]))[0]
    half = halves[row["direction"].split(" to ")[1]]
    value, _ = scores._errors(half, scores.record_counts(half, 0, 0, level))["records"]
    assert value == pytest.approx(row["f1"])


def test_scores_count_pairs_by_kind(world):
    linked = np.zeros((N_LABELS, N_FEATURES), bool)
    linked[0, 0] = linked[1, 0] = linked[2, 3] = True
    found = scores.score_calls(world, rules.Calls(linked, 1.0))
    assert (found["n_calls"], found["n_false"]) == (3, 2)
    assert found["own"] == {"clear": 1}
    assert found["false_by_kind"] == {"clear": 1, "noise": 1}


def test_means_and_ratios_have_the_errors_of_replicates():
    values = np.random.default_rng(0).uniform(size=50)
    found = tables.mean_of(values)
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    same = tables.ratio_of(zip(values, np.ones(50), strict=True))
    assert same == pytest.approx(found)
    assert str(tables.mean_of([])) == "nothing to judge"
    sizes = np.arange(1, 51)
    ratio = tables.ratio_of(zip(2 * sizes, sizes, strict=True))
    assert ratio == pytest.approx((2.0, 0.0))


@pytest.fixture
def quick(monkeypatch):
    """A world whose replicates take no time."""
    made = []

    class Quick:
        title = "quick"

        def run(self, seed, replicate, folder):
            made.append(replicate)
            score = {"n_calls": 1 + replicate, "n_false": 1, "seconds": 0.1}
            score |= {"own": {"clear": replicate}, "false_by_kind": {"noise": 1}}
            return {
                "replicate": replicate, "seed": seed, "n_tokens": 10, "n_labels": 1, "gb": 0.5,
                "planted": {"clear": 4, "noise": 2}, "rules": {rules.OURS: score}, "seconds": 0.1,
                "judgeable": {"clear": [3, replicate]},
            }  # fmt: skip

        def format(self, found):
            return [*tables.format_linking(found), *tables.format_nulls(found)]

    monkeypatch.setitem(replicates.WORLDS, "quick", Quick())
    return made


def test_replicates_go_on_after_an_interruption(quick, tmp_path):
    run_planted.run_replicates("quick", 4, tmp_path / "whole")
    whole = (tmp_path / "whole" / "quick.jsonl").read_text()
    (tmp_path / "cut").mkdir()
    lines = whole.splitlines(keepends=True)
    (tmp_path / "cut" / "quick.jsonl").write_text("".join(lines[:2]) + lines[2][:15])
    quick.clear()
    run_planted.run_replicates("quick", 4, tmp_path / "cut")
    assert quick == [2, 3]
    assert (tmp_path / "cut" / "quick.jsonl").read_text() == whole
    run_planted.run_replicates("quick", 3, tmp_path / "cut")
    assert quick == [2, 3]
    assert [json.loads(line)["world"] for line in whole.splitlines()] == ["quick"] * 4


def test_the_report_has_every_number_with_its_error(quick, tmp_path):
    run_planted.run_replicates("quick", 4, tmp_path)
    found = run_planted.read_replicates(tmp_path / "quick.jsonl")
    text = tables.format_planted({"quick": found}, ["- date: 2001-01-01"])
    assert "## Quick" in text
    assert "| **our protocol** | 0.521 ± 0.168 | 1.000 ± 0.000 | 0.375 ± 0.161 |" in text
    assert "| **our protocol** | 1.000 ± 0.000 | 2.50 ± 0.65 | 0.1 |" in text
    assert "| **our protocol** | 0.5000 |" in text
    assert "- date: 2001-01-01" in text
    assert "| clear | 0.750 ± 0.000 | 0.500 ± 0.215 |" in text


def test_links_that_few_families_show_cannot_be_judged(world, tmp_path, monkeypatch):
    known = world.annotate(tmp_path / "annotations")
    result = si.enrich(world.features, known, n_threads=1, progress=False)
    called = rules.call_ours(world, result)
    halves = {half.split: half for half in rules.Counted(world, known).halves}
    found = judgeable.count_judgeable(world, result.tested, called, halves)
    assert found["clear"] == [1, 1]
    nobody = np.zeros_like(called)
    assert judgeable.count_judgeable(world, result.tested, nobody, halves)["clear"] == [1, 0]
    unknown = result.tested.assign(p=np.nan)
    assert judgeable.count_judgeable(world, unknown, nobody, halves)["clear"] == [0, 0]
    monkeypatch.setattr(judgeable, "FEWEST_SHOWING", 10**6)
    assert judgeable.count_judgeable(world, result.tested, nobody, halves)["clear"] == [0, 0]
