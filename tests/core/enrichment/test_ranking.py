"""Areas under curves equal scikit-learn's, with ties, unknown tokens and inactive features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sci_interp.adapter import Label
from sci_interp.enrichment.chunks import LinkSettings, Study
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.ranking import area_under_roc, average_precision, rank_pairs
from sci_interp.enrichment.selection import select_thresholds


def histogram(level, chosen):
    return np.bincount(level[chosen], minlength=256)[None]


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_areas_are_those_of_scikit_learn(seed, n_levels):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    level = rng.choice(np.append(0, rng.integers(1, 256, n_levels)), n)
    truth = rng.random(n) < rng.random()
    positive, known = histogram(level, truth), histogram(level, np.ones(n, bool))
    if truth.any():
        expected = average_precision_score(truth, level)
        assert average_precision(positive, known)[0] == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(average_precision(positive, known)[0])
    if truth.any() and not truth.all():
        expected = roc_auc_score(truth, level)
        assert area_under_roc(positive, known)[0] == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(area_under_roc(positive, known)[0])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_pairs_are_ranked_over_the_known_tokens_of_their_group(seed):
    rng = np.random.default_rng(seed)
    axis = planted.build_axis(rng, 12, length=(5, 20))
    level = rng.integers(0, 256, (axis.n_tokens, 3)).astype(np.uint8)
    level[rng.random(level.shape) < 0.5] = 0
    labels = [Label("a", "g", ""), Label("b", "h", ""), Label("c", "g", "")]
    runs, painted = [], np.zeros((3, axis.n_tokens), bool)
    for at, start in enumerate(axis.record_starts[:-1].tolist()):
        for label in range(3):
            if rng.random() < 0.6:  # overlapping instances count a token once
                for shift in (0, 2):
                    runs.append((label, 10 * at + shift, start + shift, start + shift + 3))
                    painted[label, start + shift : start + shift + 3] = True
    known = rng.random((2, axis.n_tokens)) < 0.8
    ranges = [(g, int(t), int(t) + 1) for g in range(2) for t in np.flatnonzero(known[g])]
    source = planted.annotations(axis, labels, runs, ranges)
    features = MemoryFeatures(axis, planted.to_codes(level), 3)
    study = Study.alone(
        features, source, select_thresholds(features, source), LinkSettings(n_threads=2)
    )
    pairs = pd.DataFrame(
        [(f, x) for x in range(3) for f in range(3)], columns=["feature", "label"]
    ).sample(frac=1, random_state=seed)
    found = rank_pairs(study, pairs, "test")
    first, last = axis.token_range(["test"])
    for row, feature, label in pairs.itertuples():
        universe = np.flatnonzero(known[(0, 1, 0)[label], first:last]) + first
        truth = painted[label, universe]
        if 0 < truth.sum() < len(truth):
            area = roc_auc_score(truth, level[universe, feature])
            assert found.loc[row, "auroc"] == pytest.approx(area, abs=1e-12)
            area = average_precision_score(truth, level[universe, feature])
            assert found.loc[row, "average_precision"] == pytest.approx(area, abs=1e-12)
        else:
            assert np.isnan(found.loc[row, "auroc"])


def test_blocks_of_pairs_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    axis = planted.build_axis(rng, 20)
    runs = planted.random_tracks(rng, axis, 3)
    world = planted.make_world(rng, axis, runs, [planted.paint(axis, x) for x in runs])
    selection = select_thresholds(world.features, world.known)
    study = Study.alone(world.features, world.known, selection, LinkSettings())
    pairs = pd.DataFrame({"feature": [2, 0, 1, 0], "label": [1, 0, 2, 1]})
    whole = rank_pairs(study, pairs, "discovery")
    monkeypatch.setattr("sci_interp.enrichment.ranking.MAX_PAIRS", 1)
    pd.testing.assert_frame_equal(rank_pairs(study, pairs, "discovery"), whole)
    assert whole.loc[1, "auroc"] > 0.99


def test_rows_that_are_held_say_what_the_codes_say(monkeypatch):
    rng = np.random.default_rng(2)
    axis = planted.build_axis(rng, 20)
    runs = planted.random_tracks(rng, axis, 3)
    world = planted.make_world(rng, axis, runs, [rng.random(axis.n_tokens) < 0.6 for _ in range(4)])
    selection = select_thresholds(world.features, world.known)
    study = Study.alone(world.features, world.known, selection, LinkSettings())
    pairs = pd.DataFrame({"feature": [3, 0, 1, 0, 3], "label": [1, 0, 2, 1, 0]})
    found = rank_pairs(study, pairs, "test")
    study.rows.read(world.features, "test", np.array([0, 1, 3]), selection.floors)
    monkeypatch.delattr("sci_interp.enrichment.ranking.read_ahead")  # The rows are enough.
    pd.testing.assert_frame_equal(rank_pairs(study, pairs, "test"), found)
