"""The two nulls equal brute force and exact enumeration on small cases."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import annotations, to_codes

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment.inputs import bin_of_level
from sci_interp.enrichment.kernel import next_below, pair_seeds
from sci_interp.enrichment.local_null import (
    local_exceedances,
    overlap_at_shifts,
    shift_scores,
    studentise,
)
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.positions import active_positions, split_by_record
from sci_interp.enrichment.scores import PairList, count_families, count_label_families, score_pairs
from sci_interp.enrichment.swap_null import exchange_score, map_run, swap_exceedances
from sci_interp.enrichment.tracks import read_entries, read_labels
from sci_interp.enrichment.units import weight_before
from sci_interp.schema import BIN_FLOORS

ALL_DISCOVERY = {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0}
LABEL = Label("a", "g", "")


def build(rng, sizes, *, known_share=1.0, n_features=2):
    """Return axis, tracks, entries and dense arrays; ``sizes`` lists record lengths by family."""
    rows = [(f"{f}.{r}", f"f{f}", n) for f, of in enumerate(sizes) for r, n in enumerate(of)]
    axis = TokenAxis.build(
        pd.DataFrame(rows, columns=["record", "block", "n_tokens"]), ALL_DISCOVERY
    )
    level = rng.integers(1, 256, (axis.n_tokens, n_features)).astype(np.uint8)
    level[rng.random(level.shape) < 0.6] = 0
    known = rng.random(axis.n_tokens) < known_share
    runs = []
    for low, high in itertools.pairwise(axis.record_starts):
        for _ in range(int(rng.integers(0, 3))):
            start = int(rng.integers(low, high))
            runs.append((0, len(runs), start, int(rng.integers(start + 1, high + 1))))
    ranges = [(0, int(t), int(t) + 1) for t in np.flatnonzero(known)]
    source = annotations(axis, [LABEL], runs, ranges)
    tracks = read_labels(axis, source, "discovery", 0)
    bins = bin_of_level(BIN_FLOORS)[level]
    n_entries = ((level > 0) & known[:, None]).sum(0)
    entries = read_entries(
        MemoryFeatures(axis, to_codes(level), n_features),
        tracks,
        chosen=np.arange(n_features),
        lowest_bin=np.zeros(n_features, np.uint8),
        n_entries=n_entries,
        floors=BIN_FLOORS,
    )
    label = np.zeros(axis.n_tokens, bool)
    for _, _, start, stop in runs:
        label[start:stop] = True
    return axis, tracks, entries, (level, bins, known, label, runs)


def family_tables(axis, dense, feature, lowest):
    """Return U, TP, X, Y and n of every family with known tokens, by brute force."""
    level, bins, known, label, _ = dense
    rows = []
    for first, last in itertools.pairwise(axis.block_starts):
        spans = list(itertools.pairwise(axis.record_starts[first : last + 1]))
        spans = [(a, b) for a, b in spans if known[a:b].any()]
        if not spans:
            continue
        row = np.zeros(5)
        for a, b in spans:
            mask = known[a:b]
            x = ((level[a:b, feature] > 0) & (bins[a:b, feature] >= lowest))[mask]
            y = label[a:b][mask]
            row += [
                ((x & y).sum() - x.sum() * y.sum() / len(x)) / len(spans),
                (x & y).sum(),
                x.sum(),
                y.sum(),
                len(x),
            ]
        rows.append(row)
    return np.array(rows).T


@pytest.mark.parametrize("seed", range(15))
def test_scores_and_family_counts_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    sizes = [list(rng.integers(1, 20, rng.integers(1, 4))) for _ in range(8)]
    axis, tracks, entries, dense = build(rng, sizes, known_share=rng.choice([0.2, 0.7, 1.0]))
    feature, lowest = 1, int(rng.integers(0, 8))
    pairs = PairList(*(np.array([value]) for value in (feature, lowest, 0)))
    score, both, active, positive, n_known = family_tables(axis, dense, feature, lowest)
    robust = score_pairs(entries, tracks, pairs, n_threads=1)
    assert robust.first[0] == pytest.approx(score.sum(), abs=1e-9)
    assert robust.second[0] == pytest.approx((score**2).sum(), abs=1e-9)
    assert robust.fourth[0] == pytest.approx((score**4).sum(), abs=1e-9)
    counts = count_families(entries, tracks, pairs, n_threads=1)[:, :, 0]
    np.testing.assert_array_equal(counts[0], both)
    np.testing.assert_array_equal(counts[1], active)
    totals = count_label_families(tracks, 0, len(tracks.labels))[:, 0]
    np.testing.assert_array_equal(totals[0], n_known)
    np.testing.assert_array_equal(totals[1], positive)
    level, bins, known, _, runs = dense
    hit = [
        ((level[a:b, feature] > 0) & (bins[a:b, feature] >= lowest) & known[a:b]).any()
        for _, _, a, b in runs
    ]
    assert counts[2].sum() == sum(hit)
    assert totals[2].sum() == sum(known[a:b].any() for _, _, a, b in runs)


def test_robust_p_is_student_and_one_where_nothing_varies():
    from scipy import stats

    rng = np.random.default_rng(5)
    _, tracks, entries, _ = build(rng, [[12]] * 12)
    pairs = PairList(np.array([0]), np.array([0]), np.array([0]))
    robust = score_pairs(entries, tracks, pairs, n_threads=1)
    expected = stats.t.sf(robust.statistic[0], robust.n_informative[0] - 1)
    assert robust.p[0] == pytest.approx(expected, rel=1e-10)
    assert 1 <= robust.kish[0] <= robust.n_informative[0]
    _, tracks, entries, _ = build(rng, [[12]])
    assert score_pairs(entries, tracks, pairs, n_threads=1).p[0] == 1


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_overlap_at_every_shift_equals_rolling(seed):
    rng = np.random.default_rng(seed)
    n_tokens = int(rng.integers(1, 25))
    feature, label = rng.random(n_tokens) < 0.4, rng.random(n_tokens) < 0.4
    edges = np.flatnonzero(np.diff(np.concatenate([[0], label.astype(int), [0]])))
    both = overlap_at_shifts(
        np.flatnonzero(feature), edges[::2].copy(), edges[1::2].copy(), n_tokens
    )
    expected = [(feature & np.roll(label, shift)).sum() for shift in range(n_tokens)]
    np.testing.assert_array_equal(both, expected)


def test_a_family_shares_its_shift():
    """Two records of 10 and 20 tokens: shift j of 20 moves them by j // 2 and by j."""
    rng = np.random.default_rng(8)
    axis, tracks, entries, dense = build(rng, [[10, 20]])
    level, _, _, label, _ = dense
    position = active_positions(entries, 0, 0)
    scores, n_of_family, _ = shift_scores(position, tracks.units, tracks.runs, 0, 256)
    assert n_of_family.tolist() == [20]
    for shift in range(20):
        total = 0.0
        for (a, b), moved in zip(
            itertools.pairwise(axis.record_starts), (shift // 2, shift), strict=True
        ):
            n = b - a
            x, y = level[a:b, 0] > 0, np.roll(label[a:b], moved)
            total += ((x & y).sum() - x.sum() * y.sum() / n) / 2
        assert scores[0, shift] == pytest.approx(total)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mapped_runs_stay_inside_and_keep_ends(data):
    n_from, n_to = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    start = data.draw(st.integers(0, n_from - 1))
    stop = data.draw(st.integers(start + 1, n_from))
    first, last = map_run(start, stop, n_from, n_to)
    assert 0 <= first < last <= n_to
    assert map_run(start, stop, n_from, n_from) == (start, stop)
    if start == 0:
        assert first == 0
    if stop == n_from:
        assert last == n_to
    if stop - start == n_from:
        assert last - first == n_to
    if (stop - start) ** 2 * abs(n_to - n_from) < 0.5 * n_from**2 and stop - start <= n_to:
        assert last - first == stop - start


def test_own_exchange_is_the_observed_score():
    rng = np.random.default_rng(2)
    axis, tracks, entries, dense = build(rng, [[9, 12], [15], [7, 7, 8]], known_share=0.8)
    expected = family_tables(axis, dense, 0, 0)[0]
    position = active_positions(entries, 0, 0)
    first = split_by_record(position, tracks.units)
    scores = [
        exchange_score(
            position,
            weight_before(position, tracks.units),
            first,
            tracks.units,
            tracks.runs,
            0,
            (family, family),
        )
        for family in range(len(expected))
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def exact_p(scores, observed):
    """Return the exact p of T over an iterable of score vectors."""
    reached = [studentise(sum(s), sum(x * x for x in s)) >= observed - 1e-9 for s in scores]
    return np.mean(reached)


N_DRAWS = 20_000


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_local_p_equals_exact_enumeration(seed):
    rng = np.random.default_rng(seed)
    _, tracks, entries, _ = build(rng, [[6], [7], [5], [8]])
    position = active_positions(entries, 0, 0)
    scores, n_shifts, _ = shift_scores(position, tracks.units, tracks.runs, 0, 256)
    rows = [row[:n] for row, n in zip(scores, n_shifts, strict=True)]
    observed = studentise(scores[:, 0].sum(), (scores[:, 0] ** 2).sum())
    exact = exact_p(itertools.product(*rows), observed)
    drawn = local_exceedances(
        entries,
        tracks.units,
        tracks.runs,
        (0, 0, 0),
        (256, N_DRAWS, N_DRAWS + 1),
        np.array([seed], np.uint64),
    )
    assert drawn[1] == N_DRAWS
    assert drawn[0] / N_DRAWS == pytest.approx(exact, abs=4 * np.sqrt(0.25 / N_DRAWS))


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_swap_p_equals_exact_enumeration(seed):
    rng = np.random.default_rng(seed)
    _, tracks, entries, _ = build(rng, [[6], [9, 8], [5], [8], [7], [7, 6]])
    position = active_positions(entries, 0, 0)
    first = split_by_record(position, tracks.units)
    units, runs = tracks.units, tracks.runs
    track = (position, weight_before(position, units), first)
    table = np.array(
        [[exchange_score(*track, units, runs, 0, (g, h)) for h in range(6)] for g in range(6)]
    )
    own = np.diag(table)
    orders = itertools.permutations(range(6))
    scores = ([table[g, h] for g, h in enumerate(order)] for order in orders)
    exact = exact_p(scores, studentise(own.sum(), (own**2).sum()))
    drawn = swap_exceedances(
        entries, units, runs, (0, 0, 0), (256, N_DRAWS, N_DRAWS + 1), np.array([seed], np.uint64)
    )
    assert drawn[0] / N_DRAWS == pytest.approx(exact, abs=4 * np.sqrt(0.25 / N_DRAWS))


def test_draws_stop_at_enough_exceedances():
    rng = np.random.default_rng(0)
    _, tracks, entries, _ = build(rng, [[8]] * 6)
    state = np.array([5], np.uint64)
    arguments = (entries, tracks.units, tracks.runs, (0, 0, 0))
    n_exceed, n_drawn = local_exceedances(*arguments, (256, 10_000, 3), state)
    assert n_exceed == 3
    assert n_drawn < 10_000


def test_random_integers_are_uniform_and_streams_differ():
    state = np.array([7], np.uint64)
    found = np.bincount([next_below(state, 5) for _ in range(20_000)], minlength=5)
    assert len(found) == 5
    assert (abs(found - 4_000) < 250).all()
    feature, label = np.meshgrid(np.arange(40), np.arange(40))
    seeds = [pair_seeds(0, feature.ravel(), label.ravel(), salt=salt) for salt in range(4)]
    assert len(np.unique(np.concatenate(seeds))) == 4 * 1600
    again = pair_seeds(0, feature.ravel()[::-1], label.ravel()[::-1], salt=0)
    np.testing.assert_array_equal(again[::-1], seeds[0])


def test_strata_hold_families_of_like_length():
    rng = np.random.default_rng(1)
    _, tracks, _, _ = build(rng, [[int(n)] for n in rng.integers(5, 60, 130)])
    units = tracks.units
    assert len(units.stratum) == 9
    length = np.diff(units.start)
    parts = [length[units.member[a:b]] for a, b in itertools.pairwise(units.stratum)]
    assert max(parts[0]) <= min(parts[1])
    assert sorted(units.member) == list(range(130))
