"""Sparse probes: planted unions, brute force, scikit-learn, and what nothing may depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import planted
import pytest
from sklearn import metrics

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.codes import dequantise
from sci_interp.enrichment import inputs, probe_fit, sparse_probes
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.probe_fit import Probe, fit_probes, select_forward
from sci_interp.enrichment.probe_scores import (
    SCORE_LEVELS,
    Scorecard,
    count_scores,
    freeze_thresholds,
)
from sci_interp.enrichment.probe_sums import ProbeUniverse, sum_products, sum_values
from sci_interp.enrichment.sparse_probes import (
    format_sparse_probes,
    measure_sparse_probes,
    probe_sources,
    summarise_sparse_probes,
)
from sci_interp.errors import InputError, StoreError

CHOSEN = ["label", "k", "features", "weights", "threshold"]


def union_world(seed=0, *, nuisance=()):
    """Label 0 is the union of features 2 and 5, label 1 is feature 3; others are noise."""
    rng = np.random.default_rng(seed)
    axis = planted.build_axis(rng, 90, largest=4, length=(60, 110))
    parts = planted.random_tracks(rng, axis, 3, share=0.6)
    tracks = [planted.paint(axis, part) for part in parts]
    noise = [rng.random(axis.n_tokens) < 0.05 for _ in range(6)]
    features = [noise[0], noise[1], tracks[0], tracks[2], noise[2], tracks[1], *noise[3:]]
    features = [track ^ (rng.random(axis.n_tokens) < 0.002) for track in features]
    runs = [sorted(parts[0] + parts[1]), parts[2]]
    return planted.make_world(rng, axis, runs, features, nuisance=nuisance)


@pytest.fixture(scope="module")
def world():
    return union_world()


@pytest.fixture(scope="module")
def table(world):
    return measure_sparse_probes(world.features, world.known, k=(1, 2, 5), n_candidates=8)


def universe(world, n_threads=1):
    return ProbeUniverse(world.features, world.known, 0, n_threads)


def tokens_of(world, split):
    first, last = world.axis.record_range([split])
    return np.arange(world.axis.record_starts[first], world.axis.record_starts[last])


def values_of(world, tokens):
    """Return relative activations by the library's own definition of a level."""
    level = world.level[tokens]
    feature = np.broadcast_to(np.arange(level.shape[1]), level.shape)
    scale = np.ones(level.shape[1], np.float32)
    return np.where(level > 0, dequantise(level, feature, scale).astype(float), 0.0)


def weights_of(world, tokens):
    lengths = np.diff(world.axis.record_starts)
    return np.repeat(world.axis.records["weight"].to_numpy(float), lengths)[tokens]


def row_of(table, label, k):
    return table[(table["label"] == label) & (table["k"] == k)].iloc[0]


def test_two_features_find_a_union_that_one_cannot(table):
    assert set(row_of(table, "L0", 2)["features"].split(",")) == {"2", "5"}
    assert row_of(table, "L0", 1)["features"] in {"2", "5"}
    assert row_of(table, "L0", 1)["f1"] < 0.8
    assert row_of(table, "L0", 2)["f1"] > 0.95
    assert row_of(table, "L0", 2)["auroc"] > row_of(table, "L0", 1)["auroc"] + 0.1
    assert row_of(table, "L1", 1)["features"] == "3"
    assert row_of(table, "L1", 1)["f1"] > 0.95
    assert list(table["k"]) == [1, 2, 5] * 2
    assert row_of(table, "L0", 5)["features"].startswith(row_of(table, "L0", 2)["features"])


def brute_force(values, target, weight, n_steps, ridge):
    """Add the feature with the least weighted, regularised squared error, fitted anew each time."""
    share = weight / weight.sum()
    mean = share @ values
    deviation = np.sqrt(share @ (values - mean) ** 2)
    standard = (values - mean) / deviation
    centred = (target - share @ target) / np.sqrt(share @ target * (1 - share @ target))
    root = np.sqrt(share)

    def fit(chosen):
        design = np.vstack(
            [standard[:, chosen] * root[:, None], np.sqrt(ridge) * np.eye(len(chosen))]
        )
        wanted = np.append(centred * root, np.zeros(len(chosen)))
        slope, *_ = np.linalg.lstsq(design, wanted, rcond=None)
        return float(((design @ slope - wanted) ** 2).sum()), slope

    chosen: list[int] = []
    for _ in range(n_steps):
        free = [at for at in range(values.shape[1]) if at not in chosen]
        chosen.append(min(free, key=lambda at: fit([*chosen, at])[0]))
    return chosen, fit(chosen)[1] / deviation[chosen]


@pytest.mark.parametrize("seed", range(3))
def test_probes_equal_least_squares_by_brute_force(seed):
    world = union_world(seed)
    tokens = tokens_of(world, "discovery")
    values, weight = values_of(world, tokens), weights_of(world, tokens)
    labels = np.arange(2)
    probes = fit_probes(universe(world), labels, k=(1, 3, 6), n_candidates=9, ridge=1e-3)
    for probe in probes:
        target = world.label_track[probe.label, tokens].astype(float)
        chosen, slope = brute_force(values, target, weight, probe.k, 1e-3)
        assert list(probe.features) == chosen
        np.testing.assert_allclose(probe.weights, slope, rtol=1e-5)


def test_sums_are_those_of_the_dense_matrix(world):
    tokens = tokens_of(world, "discovery")
    values, weight = values_of(world, tokens), weights_of(world, tokens)
    sums = sum_values(universe(world), np.arange(2))
    inside = world.label_track[:, tokens] * weight
    np.testing.assert_allclose(sums.weight[0], weight.sum(), rtol=1e-12)
    np.testing.assert_allclose(sums.first, weight @ values, rtol=1e-6)
    np.testing.assert_allclose(sums.second, weight @ values**2, rtol=1e-6)
    np.testing.assert_allclose(sums.positive, inside.sum(1), rtol=1e-12)
    np.testing.assert_allclose(sums.cross, inside @ values, rtol=1e-6)
    chosen = np.array([0, 2, 5, 8])
    dense = values[:, chosen]
    expected = dense.T @ (dense * weight[:, None])
    np.testing.assert_allclose(sum_products(universe(world), chosen), expected, rtol=1e-6)
    everything = sum_products(universe(world), np.arange(9))
    np.testing.assert_allclose(everything[np.ix_(chosen, chosen)], expected, rtol=1e-6)


def scores_by_hand(world, card, tokens):
    points = np.zeros(len(tokens), np.int64) + card.silent
    for feature, of_level in zip(card.probe.features, card.points, strict=True):
        points += of_level[world.level[tokens, feature]]
    return points


@pytest.mark.parametrize("seed", range(3))
def test_measures_equal_scikit_learn(seed):
    world = union_world(seed)
    found = measure_sparse_probes(world.features, world.known, k=(1, 2, 4), n_candidates=9)
    probes = fit_probes(universe(world), np.arange(2), k=(1, 2, 4), n_candidates=9, ridge=1e-3)
    halves = {split: tokens_of(world, split) for split in ("discovery", "test")}
    for probe, row in zip(probes, found.itertuples(), strict=True):
        card = Scorecard.of(probe)
        score = {split: scores_by_hand(world, card, tokens) for split, tokens in halves.items()}
        label = {split: world.label_track[probe.label, tokens] for split, tokens in halves.items()}
        truth, given = label["test"], score["test"]
        assert row.auroc == pytest.approx(metrics.roc_auc_score(truth, given), abs=1e-12)
        expected = metrics.average_precision_score(truth, given)
        assert row.average_precision == pytest.approx(expected, abs=1e-12)
        levels = np.unique(score["discovery"])
        f1 = [metrics.f1_score(label["discovery"], score["discovery"] >= x) for x in levels]
        threshold = levels[len(f1) - 1 - int(np.argmax(f1[::-1]))]
        assert row.threshold == card.value(threshold)
        fires = given >= threshold
        assert row.f1 == pytest.approx(metrics.f1_score(truth, fires), abs=1e-12)
        assert row.precision == pytest.approx(metrics.precision_score(truth, fires), abs=1e-12)
        assert row.token_recall == pytest.approx(metrics.recall_score(truth, fires), abs=1e-12)
        # Whole points stand for the weighted activations: what is rounded away hardly shows.
        exact = values_of(world, halves["test"])[:, probe.features] @ probe.weights
        assert row.auroc == pytest.approx(metrics.roc_auc_score(truth, exact), abs=2e-4)
        assert np.abs((given - card.silent) * card.unit - exact).max() <= probe.k * card.unit


def test_instances_are_counted_once_each(world):
    card = Scorecard.of(Probe(0, 1, np.array([2]), np.array([1.0])))
    counts = count_scores(universe(world), [card], np.array([card.silent + 1]), "test")
    tokens = tokens_of(world, "test")
    active = world.level[:, 2] > 0
    all_ = world.known.everything
    mine = (all_.label == 0) & (all_.start >= tokens[0]) & (all_.start <= tokens[-1])
    hits = [
        active[start:stop].any()
        for start, stop in zip(all_.start[mine], all_.stop[mine], strict=True)
    ]
    assert counts.instances[0] == mine.sum()
    assert counts.hit[0] == sum(hits)
    assert counts.known[0].sum() == len(tokens)
    assert counts.positive[0].sum() == world.label_track[0, tokens].sum()


def test_threads_slices_and_memory_change_nothing(world, table, monkeypatch):
    settings = {"k": (1, 2, 5), "n_candidates": 8}
    for n_threads in (1, 4):
        again = measure_sparse_probes(world.features, world.known, n_threads=n_threads, **settings)
        pd.testing.assert_frame_equal(again, table, check_exact=True)
    small = measure_sparse_probes(world.features, world.known, count_bytes=1, **settings)
    pd.testing.assert_frame_equal(small, table, check_exact=True)
    monkeypatch.setattr(probe_fit, "SUM_BYTES", 1)
    monkeypatch.setattr(probe_fit, "N_PRODUCTS", 1)
    small = measure_sparse_probes(world.features, world.known, **settings)
    pd.testing.assert_frame_equal(small, table, check_exact=True)
    monkeypatch.setattr(inputs, "SLICE_TOKENS", 700)
    small = measure_sparse_probes(world.features, world.known, **settings)
    # Sums of another order may differ in the last bit; the rounded weights do not.
    pd.testing.assert_frame_equal(small, table, check_exact=False, rtol=1e-9)


def test_unknown_tokens_are_ignored(world):
    """Hide the end of every record; what is active or annotated there then counts for nothing."""
    starts = world.axis.record_starts
    ranges = [(0, int(start), int(start) + 40) for start in starts[:-1]]
    inside = np.zeros(world.axis.n_tokens, bool)
    for _, start, stop in ranges:
        inside[start:stop] = True
    all_ = world.known.everything
    runs = np.stack([all_.label, all_.instance, all_.start, all_.stop], axis=1)
    known = planted.annotations(world.axis, world.known.labels, runs, ranges)
    found = measure_sparse_probes(world.features, known, k=(1, 2), n_candidates=8)
    level = world.level.copy()
    level[~inside] = np.random.default_rng(1).integers(0, 256, level[~inside].shape)
    loud = MemoryFeatures(world.axis, planted.to_codes(level), level.shape[1])
    again = measure_sparse_probes(loud, known, k=(1, 2), n_candidates=8)
    pd.testing.assert_frame_equal(found, again, check_exact=True)
    tokens = tokens_of(world, "test")
    row = row_of(found, "L1", 1)
    score = float(row["weights"]) * values_of(world, tokens)[:, int(row["features"])]
    fires = (score >= row["threshold"] * (1 - 1e-4)) & inside[tokens]
    truth = world.label_track[1, tokens] & inside[tokens]
    assert row["precision"] == pytest.approx((fires & truth).sum() / fires.sum())
    assert row["token_recall"] == pytest.approx((fires & truth).sum() / truth.sum())


def test_everything_is_chosen_on_discovery(world, table):
    """Labels and codes of the other splits change the measures, and nothing that is chosen."""
    rng = np.random.default_rng(2)
    first, last = tokens_of(world, "discovery")[[0, -1]]
    all_ = world.known.everything
    keep = (all_.start >= first) & (all_.start <= last) | (rng.random(len(all_.start)) < 0.6)
    columns = (all_.label, all_.instance, all_.start, all_.stop)
    runs = np.stack([column[keep] for column in columns], axis=1)
    known = planted.annotations(world.axis, world.known.labels, runs)
    level = world.level.copy()
    other = np.ones(len(level), bool)
    other[first : last + 1] = False
    level[other] = rng.permutation(level[other])
    changed = MemoryFeatures(world.axis, planted.to_codes(level), level.shape[1])
    found = measure_sparse_probes(changed, known, k=(1, 2, 5), n_candidates=8)
    pd.testing.assert_frame_equal(found[CHOSEN], table[CHOSEN], check_exact=True)
    assert (found["f1"] < table["f1"]).all()


def test_families_weigh_equally_in_the_fit():
    """One family of many records prefers another feature; a vote of families overrules it."""
    table = pd.DataFrame(
        [
            (f"f{family}r{member}", f"f{family}", 20)
            for family in range(100)
            for member in range(30 if family == 0 else 1)
        ],
        columns=["record", "block", "n_tokens"],
    )
    axis = TokenAxis.build(table, {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0})
    giant = np.repeat((axis.records["block"] == "f0").to_numpy(), 20)
    track = np.zeros(axis.n_tokens, bool)
    track[5::20] = True
    elsewhere = np.roll(track, 3)
    votes = (track & ~giant) | (elsewhere & giant)
    crowd = track & giant | (elsewhere & ~giant)
    runs = [[(int(at), int(at) + 1) for at in np.flatnonzero(track)]]
    world = planted.make_world(np.random.default_rng(0), axis, runs, [crowd, votes])
    probe = fit_probes(universe(world), np.array([0]), k=(1,), n_candidates=2, ridge=1e-3)[0]
    assert list(probe.features) == [1] and probe.weights[0] > 0


def test_features_may_speak_against_a_label():
    rng = np.random.default_rng(5)
    axis = planted.build_axis(rng, 90)
    runs = planted.random_tracks(rng, axis, 1, share=0.8)
    track = planted.paint(axis, runs[0])
    noise = rng.random(axis.n_tokens) < 0.05
    world = planted.make_world(rng, axis, runs, [noise, ~track])
    row = measure_sparse_probes(world.features, world.known, k=(1,)).iloc[0]
    assert row["features"] == "1" and row["weights"].startswith("-")
    assert row["auroc"] == 1 and row["f1"] == 1


def test_labels_that_are_left_out():
    """Nuisance labels, and those of too few families, have no rows."""
    world = union_world(nuisance=(1,))
    found = measure_sparse_probes(world.features, world.known, k=(1,))
    assert list(found["label"]) == ["L0"]
    few = planted.annotations(world.axis, world.known.labels, [(0, 0, 0, 5)])
    empty = measure_sparse_probes(world.features, few)
    assert empty.empty and list(empty.columns) == list(sparse_probes.COLUMNS)
    empty.insert(0, "source", "features")
    assert "no label occurs in 8 families" in format_sparse_probes(empty)
    assert summarise_sparse_probes(empty).empty


def test_a_label_that_nothing_tells_is_at_chance(world):
    """Everything is positive: no feature correlates, and the score is the same everywhere."""
    starts = world.axis.record_starts
    rows = [(0, at, int(starts[at]), int(starts[at + 1])) for at in range(len(starts) - 1)]
    known = planted.annotations(world.axis, [Label("ALL", "g", "")], rows)
    row = measure_sparse_probes(world.features, known, k=(2,)).iloc[0]
    assert row["features"] == "" and row["weights"] == ""
    assert row["auroc"] == 0.5 and row["f1"] == 1 and row["average_precision"] == 1


def test_forward_selection_ends_where_no_feature_helps():
    correlation = np.eye(3)
    target = np.array([0.5, 0.0, -0.6])
    assert list(select_forward(correlation, target, 3, ridge=1e-3)) == [2, 0]


def test_scores_stay_in_their_levels():
    rng = np.random.default_rng(3)
    for size in (1, 2, 10):
        card = Scorecard.of(Probe(0, size, np.arange(size), rng.normal(size=size)))
        least = card.silent + np.minimum(card.points[:, 255], 0).sum()
        most = card.silent + np.maximum(card.points[:, 255], 0).sum()
        assert least == 0 and most < SCORE_LEVELS
        assert (card.points[:, 0] == 0).all()


def test_the_threshold_is_the_highest_of_equals(world):
    card = Scorecard.of(Probe(1, 1, np.array([3]), np.array([1.0])))
    counts = count_scores(universe(world), [card], np.zeros(1, np.int64), "discovery")
    threshold = freeze_thresholds(counts)[0]
    assert counts.known[0, threshold] > 0


def test_sources_are_kept_and_opened_again(tmp_path, world):
    sources = {"features": world.features, "=channels": world.features}
    made = probe_sources(sources, world.known, out=tmp_path / "a", progress=False)
    assert list(made["source"].unique()) == ["features", "=channels"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    loaded = probe_sources(sources, world.known, out=tmp_path / "a", progress=False)
    pd.testing.assert_frame_equal(loaded, made)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert {path.name for path in before} == {
        "manifest.json", "request.json", "probes.csv", "probes.parquet",
    }  # fmt: skip
    with pytest.raises(StoreError, match="holds other work"):
        probe_sources({"features": world.features}, world.known, out=tmp_path / "a")
    summary = summarise_sparse_probes(made)
    assert list(summary["k"]) == [1, 2, 5, 10] * 2
    assert (summary["n_labels"] == 2).all()
    assert "n_labels_f1" in format_sparse_probes(made)


def test_damaged_tables_are_refused(tmp_path, world):
    probe_sources({"features": world.features}, world.known, out=tmp_path / "a", progress=False)
    path = tmp_path / "a" / "probes.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        probe_sources({"features": world.features}, world.known, out=tmp_path / "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": ()}, "k is"),
        ({"k": (0, 1)}, "k is"),
        ({"k": (1, 5), "n_candidates": 4}, "n_candidates is 4"),
        ({"ridge": 0.0}, "the ridge is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(world, settings, message):
    with pytest.raises(InputError, match=message):
        measure_sparse_probes(world.features, world.known, **settings)


def test_other_splits_are_refused(world):
    records = world.axis.records.assign(split="discovery")
    moved = replace(world.known, axis=TokenAxis(records))
    with pytest.raises(StoreError, match="divide the records differently"):
        measure_sparse_probes(world.features, moved)
