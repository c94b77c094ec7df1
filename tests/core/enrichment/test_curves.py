"""Curves and tested pairs say what the codes and annotations say, by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import planted
import pytest
from sklearn.metrics import precision_recall_curve

from sci_interp.enrichment import enrich, load_enrichment
from sci_interp.enrichment.curves import CURVE_COLUMNS
from sci_interp.enrichment.tested import TESTED_COLUMNS

FAST = {"n_permutations": 200, "max_permutations": 200, "n_bootstrap": 0, "progress": False}


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(5)
    axis = planted.build_axis(rng, 90, largest=3, length=(40, 80))
    runs = planted.random_tracks(rng, axis, 3, share=0.6)
    tracks = [planted.paint(axis, of_label) for of_label in runs]
    features = [track & (rng.random(axis.n_tokens) < 0.7) for track in tracks]
    features += [planted.paint(axis, of) for of in planted.random_tracks(rng, axis, 24)]
    return planted.make_world(rng, axis, runs, features, nuisance=(2,))


@pytest.fixture(scope="module")
def rivals(world):
    rng = np.random.default_rng(6)
    features = [rng.random(world.axis.n_tokens) < 0.3 for _ in range(2)]
    return planted.make_world(rng, world.axis, [[(0, 1)]], features)


@pytest.fixture(scope="module")
def result(world, rivals, tmp_path_factory):
    out = tmp_path_factory.mktemp("curves") / "links"
    baselines = {"chance": rivals.features}
    made = enrich(world.features, world.known, baselines=baselines, out=out, **FAST)
    loaded = load_enrichment(out)
    pd.testing.assert_frame_equal(loaded.tested, made.tested)
    pd.testing.assert_frame_equal(loaded.curves, made.curves)
    return made


def half_of(world, direction):
    split = direction.split()[-1]
    first, last = world.axis.record_range([split])
    return slice(*world.axis.record_starts[[first, last]])


def test_every_curve_is_a_part_of_scikit_learns(world, rivals, result):
    levels = {"features": world.level, "chance": rivals.level}
    assert tuple(result.curves.columns) == CURVE_COLUMNS
    assert set(result.curves["source"]) == set(levels)
    for key, curve in result.curves.groupby(["source", "label", "feature", "direction"]):
        source, label, feature, direction = key
        half = half_of(world, direction)
        truth = world.label_track[int(label[1:]), half]
        level = levels[source][half, feature]
        precision, recall, at = precision_recall_curve(truth, level)
        whole = {(round(r, 9), round(p, 9)) for p, r in zip(precision, recall, strict=True)}
        drawn = curve[["recall", "precision"]].round(9).to_numpy()
        assert {tuple(point) for point in drawn} <= whole
        assert (np.diff(curve["recall"]) >= 0).all()
        lowest = np.flatnonzero(at >= 1)[0]  # below it is silence
        assert tuple(drawn[-1]) == (round(recall[lowest], 9), round(precision[lowest], 9))
        assert curve["prevalence"].iloc[0] == pytest.approx(truth.mean())


def test_curves_are_of_printed_rows_and_of_findings_alone(result):
    first = result.table[~result.table["nuisance"]].drop_duplicates("label")
    own = result.curves[result.curves["source"] == "features"].drop_duplicates("label")
    keys = ["label", "feature", "direction"]
    assert set(own[keys].itertuples(index=False)) == set(first[keys].itertuples(index=False))
    assert "L2" not in set(result.curves["label"]), "a nuisance is no finding"


def test_linked_rows_are_among_the_tested_with_the_same_numbers(result):
    assert tuple(result.tested.columns) == TESTED_COLUMNS
    keys = ["feature", "label"]
    linked = result.links.set_index(keys).sort_index()
    tested = result.tested.set_index(keys).loc[linked.index]
    for name in set(TESTED_COLUMNS) - set(keys):
        pd.testing.assert_series_equal(tested[name], linked[name], check_dtype=False)
    assert (result.tested["class"] == "none").any(), "pairs without a link are there too"
    assert not result.tested.duplicated(keys).any()


def test_a_protocol_that_tests_nothing_has_curves_and_no_tested_pair(world):
    made = enrich(world.features, world.known, protocol="interplm", progress=False)
    assert made.tested.empty
    assert set(made.curves["label"]) == {"L0", "L1"}
