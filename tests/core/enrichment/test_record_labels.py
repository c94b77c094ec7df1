"""Labels of whole records: families of a length are compared, and no link is more than that."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from sci_interp.adapter import Label
from sci_interp.enrichment import calibrate, enrich
from sci_interp.enrichment.calibration import shift_annotations
from sci_interp.enrichment.chunks import LinkSettings, Study, each_chunk
from sci_interp.enrichment.draws import draw_statistics, observe
from sci_interp.enrichment.family_swap import family_table
from sci_interp.enrichment.linking import link_pairs
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.permutations import PermutationTest, permute_pairs
from sci_interp.enrichment.positions import read_activity
from sci_interp.enrichment.scores import score_pairs
from sci_interp.enrichment.selection import select_thresholds
from sci_interp.errors import InputError

FAST = {"n_permutations": 400, "max_permutations": 2000, "n_bootstrap": 100, "progress": False}


def record_world(axis, owned, feature_tracks, rng, *, more=(), more_runs=()):
    """Labels of whole records, ``owned`` (n_labels, n_records), beside labels inside records."""
    labels = [Label(f"T{at}", "terms", "planted", extent="records") for at in range(len(owned))]
    labels += [Label(f"L{at}", "sites", "planted") for at in range(len(more_runs))]
    labels += more
    starts = axis.record_starts
    rows = [
        (label, 10_000 * label + record, int(starts[record]), int(starts[record + 1]))
        for label, of in enumerate(owned)
        for record in np.flatnonzero(of).tolist()
    ]
    for at, runs in enumerate(more_runs):
        label = len(owned) + at
        rows += [(label, 10_000 * label + n, a, b) for n, (a, b) in enumerate(runs)]
    level = np.zeros((axis.n_tokens, len(feature_tracks)), np.uint8)
    for at, track in enumerate(feature_tracks):
        level[track, at] = rng.integers(180, 256, int(track.sum()))
    features = MemoryFeatures(axis, planted.to_codes(level), level.shape[1])
    return features, planted.annotations(axis, labels, rows), level


def by_family(axis, values):
    """Spread one value of every family over its records."""
    return np.repeat(values, np.diff(axis.block_starts))


def n_families(axis):
    return len(axis.block_starts) - 1


def fire(axis, rng, rate):
    """Activity with a rate of its own in every record ``(n_records,)``."""
    return rng.random(axis.n_tokens) < np.repeat(rate, np.diff(axis.record_starts))


def means_by_hand(axis, split, active, owned):
    """Family means of the share of active tokens and of labelled records, and family lengths."""
    first, last = axis.record_range([split])
    starts, blocks = axis.record_starts, axis.block_starts
    rows = []
    for a, b in itertools.pairwise(blocks[(blocks >= first) & (blocks <= last)]):
        shares = [active[starts[r] : starts[r + 1]].mean() for r in range(a, b)]
        length = np.mean([starts[r + 1] - starts[r] for r in range(a, b)])
        rows.append((np.mean(shares), owned[a:b].mean(), length))
    return np.array(rows).T


def chunk_of(features, known, axis):
    selection = select_thresholds(features, known, n_threads=1)
    study = Study.alone(features, known, selection, LinkSettings(n_threads=1))
    pairs = pd.DataFrame({"feature": [0], "label": [0], "bin": [0]})
    return next(each_chunk(study, "discovery", pairs))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_scores_and_draws_are_those_by_hand(seed):
    rng = np.random.default_rng(seed)
    axis = planted.build_axis(rng, 70, largest=4, length=(8, 60))
    owned = rng.random((1, axis.n_records)) < rng.uniform(0.05, 0.9)
    active = fire(axis, rng, rng.beta(0.3, 2, axis.n_records))
    features, known, _ = record_world(axis, owned, [active], rng)
    tracks, entries, listed, _ = chunk_of(features, known, axis)
    assert tracks.by_family
    x, y, length = means_by_hand(axis, "discovery", active, owned[0])
    units = tracks.units
    members = [units.member[a:b] for a, b in itertools.pairwise(units.stratum)]
    assert all(  # strata are of neighbours in length
        length[low].max() <= length[high].min() + 1e-9 for low, high in itertools.pairwise(members)
    )
    score = np.zeros(len(x))
    for at in members:
        x[at] = (rankdata(np.round(x[at], 12)) - (len(at) + 1) / 2) / len(at)
        if np.ptp(x[at]) > 1e-12 and np.ptp(y[at]) > 1e-12:
            score[at] = x[at] * (y[at] - y[at].mean())
    robust = score_pairs(entries, tracks, listed, n_threads=1)
    assert robust.first[0] == pytest.approx(score.sum(), abs=1e-9)
    assert robust.second[0] == pytest.approx((score**2).sum(), abs=1e-9)
    n_draws = 50
    deck = np.zeros((2 * len(x), n_draws), np.uint8)
    for a, b in itertools.pairwise(units.stratum):
        deck[a:b] = rng.permuted(np.tile(np.arange(b - a), (n_draws, 1)), axis=1).T
        deck[len(x) + a : len(x) + b] = np.argsort(deck[a:b], axis=0)
    table = family_table(read_activity(entries, 0, 0, units), units, tracks.runs, 0)
    out = np.empty(1 + n_draws)
    out[0] = observe(table)
    draw_statistics(table, deck, 0, n_draws, out[1:])
    expected = []
    for draw in range(-1, n_draws):
        total, squares = 0.0, 0.0
        for a, b in itertools.pairwise(units.stratum):
            at = units.member[a:b]
            if np.ptp(x[at]) < 1e-12 or np.ptp(y[at]) < 1e-12:
                continue
            other = at if draw < 0 else at[deck[a:b, draw]]
            u = x[at] * (y[other] - y[at].mean())
            total, squares = total + u.sum(), squares + (u**2).sum()
        expected.append(total / np.sqrt(squares) if squares > 1e-18 else 0.0)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_p_is_uniform_where_labels_are_dealt_at_random():
    rng = np.random.default_rng(0)
    axis = planted.build_axis(rng, 100, largest=3, length=(20, 60))
    p = []
    for _ in range(200):
        owned = by_family(axis, rng.random(n_families(axis)) < 0.3)[None]
        active = fire(axis, rng, by_family(axis, rng.beta(0.3, 3, n_families(axis))))
        features, known, _ = record_world(axis, owned, [active], rng)
        tracks, entries, pairs, _ = chunk_of(features, known, axis)
        test = PermutationTest(199, int(rng.integers(2**63)), direction=0, level=1.0, n_threads=1)
        p.append(permute_pairs(entries, tracks, pairs, group=0, test=test).swap[0])
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(p) <= level)
        assert abs(share - level) <= 3 * np.sqrt(level * (1 - level) / len(p)) + 0.005


@pytest.fixture(scope="module")
def world():
    """Three terms with true features, and the traps; sites that the first feature also marks."""
    rng = np.random.default_rng(3)
    axis = planted.build_axis(rng, 260, largest=3, n_giant=2, length=(30, 300))
    length = np.diff(axis.record_starts)
    owned = [by_family(axis, rng.random(n_families(axis)) < share) for share in (0.3, 0.15, 0.5)]
    long = rng.random(axis.n_records) < 1 / (1 + np.exp(-(length - 165) / 25))
    giant = np.zeros(axis.n_records, bool)
    giant_of = by_family(axis, np.diff(axis.block_starts) == 12)
    giant[giant_of] = True
    sparse = by_family(axis, rng.random(n_families(axis)) < 0.08)
    owned += [long, giant | sparse]
    tracks = [
        fire(
            axis,
            rng,
            np.where(of, 0.06, 0.004) * by_family(axis, rng.uniform(0.3, 1.7, n_families(axis))),
        )
        for of in owned[:3]
    ]
    tracks.append(fire(axis, rng, length / 3000))  # more often on long records
    tracks.append(fire(axis, rng, np.where(giant_of, 0.5, 0.0)))  # one family's own
    tracks += [
        fire(axis, rng, by_family(axis, rng.beta(0.3, 6, n_families(axis)))) for _ in range(30)
    ]
    runs = [planted.family_layout(rng, axis, share=0.5, width=(4, 8)) for _ in range(2)]
    tracks.append(planted.paint(axis, runs[0]) & (rng.random(axis.n_tokens) < 0.7))
    return axis, *record_world(axis, owned, tracks, rng, more_runs=runs)[:2]


@pytest.fixture(scope="module")
def result(world):
    _, features, known = world
    return enrich(features, known, **FAST)


def test_terms_are_linked_to_their_features_and_to_no_trap(result):
    of_records = result.table[result.table["extent"] == "records"]
    linked = of_records[of_records["class"].isin(["site", "record", "positional"])]
    assert set(linked["class"]) == {"record"}, "no link of a whole record is more or other"
    found = set(zip(linked["feature"], linked["label"], strict=True))
    truth = {(at, f"T{at}") for at in range(3)}
    assert truth <= found
    assert len(found - truth) <= 1, "5 % of the links may be false"
    traps = {(3, "T3"), (4, "T4")}
    assert not traps & found
    site = result.table[(result.table["class"] == "site")]
    assert (35, "L0") in set(zip(site["feature"], site["label"], strict=True))
    assert set(site["extent"]) == {"tokens"}


def test_the_table_says_what_was_tested(result, world):
    tested = result.tested.merge(
        result.table[["label", "extent"]].drop_duplicates(), on="label", how="left"
    )
    whole = tested["extent"] == "records"
    assert tested.loc[whole, "p_local"].isna().all()
    pd.testing.assert_series_equal(
        tested.loc[whole, "p"], tested.loc[whole, "p_swap"], check_names=False
    )
    linked = whole & (tested["class"] == "record")
    pd.testing.assert_series_equal(
        tested.loc[linked, "q"], tested.loc[linked, "q_class"], check_names=False
    )
    above = result.format().partition("n_instances")[0]
    assert "labels of whole records have the swap null alone" in above
    assert "5 cover whole records" in above
    row = result.summary.iloc[0]
    of_records = result.links[result.links["extent"] == "records"]
    assert row["n_labels_record"] >= of_records["label"].nunique() >= 3
    axis, _, known = world
    row = result.table[(result.table["feature"] == 0) & (result.table["label"] == "T0")].iloc[0]
    first, last = axis.token_range([row["direction"].split()[-1]])
    every = known.everything
    mine = (every.label == 0) & (every.start >= first) & (every.start < last)
    assert row["n_instances"] == mine.sum(), "a record is an instance"
    assert row["n_positive"] == (every.stop - every.start)[mine].sum()


def test_family_wise_error_serves_both_extents(world):
    _, features, known = world
    made = enrich(features, known, dependence="maxt", **FAST | {"max_permutations": 400})
    linked = made.links[~made.links["nuisance"]]
    assert {(0, "T0"), (2, "T2"), (35, "L0")} <= set(
        zip(linked["feature"], linked["label"], strict=True)
    )
    assert set(linked.loc[linked["extent"] == "records", "class"]) == {"record"}
    assert not {(3, "T3"), (4, "T4")} & set(zip(linked["feature"], linked["label"], strict=True))


def null_world(run):
    rng = np.random.default_rng([21, run])
    axis = planted.build_axis(rng, 120, length=(30, 200))
    owned = [by_family(axis, rng.random(n_families(axis)) < share) for share in (0.2, 0.4, 0.7)]
    owned += [  # homologues that lost or gained a term
        of ^ (rng.random(axis.n_records) < 0.1) for of in owned
    ]
    rates = [rng.beta(0.2, 4, n_families(axis)) for _ in range(20)]
    tracks = [fire(axis, rng, by_family(axis, rate)) for rate in rates]
    tracks += [np.ones(axis.n_tokens, bool), rng.random(axis.n_tokens) < 0.5]
    runs = planted.random_tracks(rng, axis, 3)
    return record_world(axis, owned, tracks, rng, more_runs=runs)[:2]


def test_pure_nulls_fire_in_at_most_q_of_runs():
    n_runs, fired, q = 40, 0, 0.05
    for run in range(n_runs):
        features, known = null_world(run)
        selection = select_thresholds(features, known)
        study = Study.alone(
            features, known, selection, LinkSettings(q=q, seed=run, n_permutations=400)
        )
        table = link_pairs(study).table
        whole = study.by_family[table["label"].to_numpy()]
        fired += bool(((table["class"] == "site") | (whole & (table["class"] == "record"))).any())
    assert fired / n_runs <= q + 2 * np.sqrt(q * (1 - q) / n_runs)


def test_calibrate_counts_links_of_whole_records(world):
    _, features, known = world
    found = calibrate(features, known, n_runs=12, n_permutations=200, progress=False)
    assert found.passed and "site-level, record-level (whole records) or" in found.format()
    kept = calibrate(features, known, n_runs=3, n_permutations=400, null="shift", progress=False)
    assert (kept.runs["n_whole"] >= 3).all(), "shifted inside records, a term stays where it was"
    assert "whole" not in kept.format()
    shifted = shift_annotations(known, np.random.default_rng(0)).everything
    starts = features.axis.record_starts
    for at in np.flatnonzero(shifted.label < 5):
        assert shifted.start[at] in starts and shifted.stop[at] in starts


def test_a_label_that_covers_a_part_of_a_record_is_refused(world):
    axis, features, known = world
    every = known.everything
    runs = np.stack([every.label, every.instance, every.start, every.stop], axis=1)
    first = np.flatnonzero(every.label == 2)[-1]
    runs[first, 3] -= 1
    part = planted.annotations(axis, known.labels, runs)
    with pytest.raises(
        InputError, match=r"'T2' covers \d+ of the \d+ tokens of the record 'f\d+r\d+'"
    ):
        enrich(features, part, **FAST)
