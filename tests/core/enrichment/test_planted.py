"""Planted truth: true features are site-level links, deceptive ones are not; nulls stay silent."""

from __future__ import annotations

import itertools

import numpy as np
import planted
import pytest

from sci_interp.enrichment import calibrate, enrich
from sci_interp.enrichment.calibration import shift_annotations
from sci_interp.enrichment.chunks import LinkSettings, Study
from sci_interp.enrichment.linking import link_pairs
from sci_interp.enrichment.selection import select_thresholds
from sci_interp.errors import InputError

N_TRUE = 4
TRAPS = ("family only", "first tokens", "dense", "one giant family")


def deceptive_features(rng, axis, tracks):
    """Return the traps, as named in ``TRAPS``; the first label has no true feature but them."""
    starts = axis.record_starts
    family_only = np.zeros(axis.n_tokens, bool)
    for first, last in itertools.pairwise(axis.block_starts):
        span = slice(starts[first], starts[last])
        if tracks[0][span].any():
            family_only[span] = rng.random(span.stop - span.start) < 0.2
    first_tokens = np.zeros(axis.n_tokens, bool)
    for start in starts[:-1][rng.random(axis.n_records) < 0.7]:
        first_tokens[start : start + 8] = True
    dense = rng.random(axis.n_tokens) < 0.6
    giant = np.zeros(axis.n_tokens, bool)
    for first in axis.block_starts[:-1][np.diff(axis.block_starts) == 12]:
        span = slice(starts[first], starts[first + 12])
        giant[span] = tracks[1][span]
    return [family_only, first_tokens, dense, giant]


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(11)
    axis = planted.build_axis(rng, 220, largest=3, n_giant=2)
    runs = planted.random_tracks(rng, axis, 1 + N_TRUE, share=0.5)
    runs.append(planted.family_layout(rng, axis, share=0.7, width=(5, 8), position=0))
    tracks = [planted.paint(axis, of_label) for of_label in runs]
    true = [
        (track & (rng.random(axis.n_tokens) < 0.6)) | (rng.random(axis.n_tokens) < 0.003)
        for track in tracks[1 : 1 + N_TRUE]
    ]
    noise = [planted.paint(axis, of) for of in planted.random_tracks(rng, axis, 30)]
    features = [*true, *deceptive_features(rng, axis, tracks), *noise]
    return planted.make_world(rng, axis, runs, features)


@pytest.fixture(scope="module")
def result(world):
    return enrich(world.features, world.known, n_permutations=1000, progress=False)


def test_true_features_are_site_level(result):
    site = result.table[result.table["class"] == "site"]
    found = set(zip(site["feature"], site["label"], strict=True))
    truth = {(feature, f"L{feature + 1}") for feature in range(N_TRUE)}
    assert truth <= found
    assert len(found - truth) <= 1, "5 % of the links may be false"
    traps = set(range(N_TRUE, N_TRUE + len(TRAPS)))
    assert not {pair for pair in found if pair[0] in traps}
    assert (site["q"] <= 0.05).all()
    assert (site["hybrid_f1"][site["feature"] < N_TRUE] > 0.85).all()
    assert result.replication_rate > 0.5


def test_a_shared_position_is_positional_at_most(result):
    row = result.table.query("feature == @N_TRUE + 1 and label == 'L5'").iloc[0]
    assert row["class"] in ("positional", "none")
    assert row["hybrid_f1"] > 0.5, "InterPLM's rule would link it"
    assert row["p_local"] < 0.01


def test_summary_counts_by_both_rules(result, world):
    row = result.summary.iloc[0]
    assert row["n_labels_site"] == N_TRUE
    assert row["n_labels_f1"] == N_TRUE + 1
    assert row["n_labels"] == len(world.known.labels)


def test_table_holds_the_best_feature_of_every_label(result, world):
    best = result.table[result.table["best"]]
    assert set(best["label"]) == {label.name for label in world.known.labels}
    assert not best.duplicated(["label", "direction"]).any()
    inside = (best["hybrid_f1_low"] <= best["hybrid_f1"]) & (
        best["hybrid_f1"] <= best["hybrid_f1_high"]
    )
    assert inside.mean() > 0.8
    test = best[best["direction"] == "discovery to test"]
    precision = test["n_both"] / test["n_active"]
    np.testing.assert_allclose(test["precision"], precision)


def test_shifted_labels_keep_tracks_and_what_is_known(world):
    shifted = shift_annotations(world.known, np.random.default_rng(0))
    before, after = world.known.everything, shifted.everything
    linking = world.axis.records["split"] != "train"
    assert linking.all()
    assert (after.stop > after.start).all()
    record = np.searchsorted(world.axis.record_starts, after.start, side="right")
    np.testing.assert_array_equal(
        record, np.searchsorted(world.axis.record_starts, after.stop, side="left")
    )
    n_tokens = [(part.stop - part.start).sum() for part in (before, after)]
    assert n_tokens[1] == pytest.approx(n_tokens[0], rel=0.15)
    assert (before.known_stop - before.known_start).sum() == world.axis.n_tokens
    known = np.zeros(world.axis.n_tokens, int)
    for start, stop in zip(after.known_start, after.known_stop, strict=True):
        known[start:stop] += 1
    assert (known == 1).all()


def test_calibrate_is_silent_on_planted_links(world):
    found = calibrate(world.features, world.known, n_runs=30, n_permutations=500, progress=False)
    assert found.passed, found.format()
    assert len(found.runs) == 30
    assert found.format().endswith("as it should.")


def site_world(seed, *, n_families=100):
    """A label with a feature on it, a record-level and a positional pair, and noise."""
    rng = np.random.default_rng(seed)
    axis = planted.build_axis(rng, n_families)
    runs = planted.random_tracks(rng, axis, 2, share=0.6)
    runs.append(planted.family_layout(rng, axis, share=0.7, width=(5, 8), position=0))
    tracks = [planted.paint(axis, of_label) for of_label in runs]
    features = [tracks[0], *deceptive_features(rng, axis, tracks)[:2]]
    features += [planted.paint(axis, of) for of in planted.random_tracks(rng, axis, 12)]
    return planted.make_world(rng, axis, runs, features)


@pytest.mark.parametrize("null", ["exchange", "shift"])
def test_a_single_null_leaves_its_own_classes_silent(null):
    world = site_world(6)
    found = calibrate(
        world.features, world.known, null=null, n_runs=30, n_permutations=300, progress=False
    )
    assert found.passed, found.format()
    assert found.null == null
    if null == "exchange":
        assert (found.runs["n_positional"] > 0).mean() > 0.5, "places in the chain were kept"
    words = {
        "exchange": "site-level, regional or record-level",
        "shift": "site-level, regional or positional",
    }
    assert words[null] in found.format()


def test_single_nulls_keep_what_they_should(world):
    starts = world.axis.record_starts

    def count(known):
        out = np.zeros((len(known.labels), world.axis.n_records), int)
        record = np.searchsorted(starts, known.everything.start, side="right") - 1
        size = known.everything.stop - known.everything.start
        np.add.at(out, (known.everything.label, record), size)
        return out

    before = count(world.known)
    shifted = count(shift_annotations(world.known, np.random.default_rng(0), null="shift"))
    np.testing.assert_array_equal(shifted, before)
    swapped = shift_annotations(world.known, np.random.default_rng(0), null="exchange")
    assert (count(swapped) != before).any()
    first = swapped.everything.label == N_TRUE + 1
    offset = (
        swapped.everything.start[first]
        - starts[np.searchsorted(starts, swapped.everything.start[first], side="right") - 1]
    )
    assert (offset == 0).all(), "a label at the first tokens stays there"


def test_calibration_draws_other_permutations_with_another_seed(world, monkeypatch):
    seen = []

    def spy(study):
        seen.append(study.settings.seed)
        return link_pairs(study)

    monkeypatch.setattr("sci_interp.enrichment.calibration.link_pairs", spy)
    for seed in (0, 1):
        calibrate(
            world.features, world.known, n_runs=2, n_features=2, seed=seed, n_permutations=50,
            progress=False,
        )  # fmt: skip
    assert len(set(seen)) == 4
    with pytest.raises(InputError, match="'exchange' or 'shift'"):
        calibrate(world.features, world.known, null="none", progress=False)


def test_pure_nulls_fire_in_at_most_q_of_runs():
    """Features and labels that share nothing, with homologues, runs and dense features."""
    n_runs, fired, q = 40, 0, 0.05
    for run in range(n_runs):
        rng = np.random.default_rng([3, run])
        axis = planted.build_axis(rng, 120)
        labels = [
            *planted.random_tracks(rng, axis, 5, share=0.6),
            *planted.random_tracks(rng, axis, 2, share=0.5, width=(1, 2)),
            *planted.random_tracks(rng, axis, 1, share=0.9, width=(15, 40)),
        ]
        tracks = planted.random_tracks(rng, axis, 30, share=0.7)
        features = [planted.paint(axis, runs) for runs in tracks]
        features += [rng.random(axis.n_tokens) < rate for rate in (0.5, 0.1, 0.02)]
        world = planted.make_world(rng, axis, labels, features)
        selection = select_thresholds(world.features, world.known)
        settings = LinkSettings(q=q, seed=run, n_permutations=500)
        links = link_pairs(Study.alone(world.features, world.known, selection, settings))
        fired += bool((links.table["class"] == "site").any())
    assert fired / n_runs <= q + 2 * np.sqrt(q * (1 - q) / n_runs)
