"""The nulls equal brute force and exact enumeration on small cases."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from null_reference import N_DRAWS, exchange_scores, share_of_exchanges, to_words
from planted import annotations, to_codes

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment import permutations
from sci_interp.enrichment.draws import (
    count_exceedances,
    draw_shifts,
    draw_statistics,
    each_window,
    observe,
    shuffle_strata,
    studentise,
)
from sci_interp.enrichment.entries import read_entries, read_rows, row_bytes
from sci_interp.enrichment.inputs import bin_of_level
from sci_interp.enrichment.kernel import mix_seeds, next_below
from sci_interp.enrichment.local_null import count_shifts, overlap_at_shifts, shift_table
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.permutations import PermutationTest, permute_pairs
from sci_interp.enrichment.positions import active_positions, count_before, read_activity
from sci_interp.enrichment.scores import PairList, count_families, count_label_families, score_pairs
from sci_interp.enrichment.swap_null import exchange_table, map_run
from sci_interp.enrichment.tracks import read_labels
from sci_interp.enrichment.units import _strata
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
    origin, n_tokens = int(rng.integers(0, 130)), int(rng.integers(1, 90))
    feature, label = rng.random(n_tokens) < 0.4, rng.random(n_tokens) < 0.4
    edges = origin + np.flatnonzero(np.diff(np.concatenate([[0], label.astype(int), [0]])))
    words = to_words(np.concatenate([rng.random(origin) < 0.5, feature]))
    room, both = np.empty(2 * n_tokens + 9, np.int64), np.empty(n_tokens + 4, np.int64)
    runs = edges[::2].copy(), edges[1::2].copy()
    overlap_at_shifts(words, (origin, origin + n_tokens), *runs, room, both)
    expected = [(feature & np.roll(label, shift)).sum() for shift in range(n_tokens)]
    np.testing.assert_array_equal(both[:n_tokens], expected)


@pytest.mark.parametrize("seed", range(12))
def test_activity_is_the_same_from_rows_and_lists(seed):
    rng = np.random.default_rng(seed)
    sizes = [list(rng.integers(1, 90, rng.integers(1, 3))) for _ in range(6)]
    axis, tracks, entries, dense = build(rng, sizes, known_share=rng.choice([0.3, 0.9, 1.0]))
    level, bins, known, _, _ = dense
    source = MemoryFeatures(axis, to_codes(level), 2)
    buffer = np.empty(2 * row_bytes(source, "discovery"), np.uint8)
    held = read_rows(source, "discovery", np.arange(2), BIN_FLOORS, buffer)
    rows = held.at(tracks, np.arange(2))
    for feature, lowest in itertools.product((0, 1), (0, 3, 15)):
        mask = ((level[:, feature] > 0) & (bins[:, feature] >= lowest))[known]
        for held in (entries, rows):
            activity = read_activity(held, feature, lowest, tracks.units)
            np.testing.assert_array_equal(activity.word, to_words(mask))
            begin, end = sorted(rng.integers(0, len(mask) + 1, 2).tolist())
            inside = np.flatnonzero(mask[begin:end]) + begin
            np.testing.assert_array_equal(active_positions(activity, begin, end), inside)
            assert count_before(activity.word, end) == mask[:end].sum()
            before = [mask[:edge].sum() for edge in tracks.units.start]
            np.testing.assert_array_equal(activity.first, before)


def test_a_family_shares_its_shift():
    """Two records of 10 and 20 tokens: shift j of 20 moves them by j // 2 and by j."""
    rng = np.random.default_rng(8)
    axis, tracks, entries, dense = build(rng, [[10, 20]])
    level, _, _, label, _ = dense
    activity = read_activity(entries, 0, 0, tracks.units)
    n_shifts = count_shifts(tracks.units)
    assert n_shifts.tolist() == [20]
    scores = shift_table(activity, tracks.units, tracks.runs, 0, n_shifts).value
    for shift in range(20):
        total = 0.0
        for (a, b), moved in zip(
            itertools.pairwise(axis.record_starts), (shift // 2, shift), strict=True
        ):
            n = b - a
            x, y = level[a:b, 0] > 0, np.roll(label[a:b], moved)
            total += ((x & y).sum() - x.sum() * y.sum() / n) / 2
        assert scores[shift] == pytest.approx(total)


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
    activity = read_activity(entries, 0, 0, tracks.units)
    scores = exchange_scores(activity, tracks.units, tracks.runs, 0)
    np.testing.assert_allclose(np.diag(scores), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_every_exchange_scores_what_brute_force_says(seed):
    rng = np.random.default_rng(seed)
    sizes = [list(rng.integers(3, 80, rng.integers(1, 4))) for _ in range(9)]
    _, tracks, entries, _ = build(rng, sizes, known_share=rng.choice([0.5, 1.0]))
    units = tracks.units
    activity = read_activity(entries, 1, int(rng.integers(0, 12)), units)
    expected = exchange_scores(activity, units, tracks.runs, 0)
    table = exchange_table(activity, units, tracks.runs, 0)
    n, (begin, end) = len(units.member), units.stratum
    for row, deck in enumerate(table.deck):
        family = units.member[deck % n]
        of_row = expected[family] if deck < n else expected[:, family]
        found = table.value[table.first[row] : table.first[row] + end - begin]
        np.testing.assert_allclose(found, of_row[units.member], atol=1e-12)
        own = expected[family, family]
        assert table.value[table.own[row]] == pytest.approx(own)
    scored = units.member[table.deck % n]
    others = np.setdiff1d(units.member, scored)
    side = expected[others] if (table.deck < n).all() else expected[:, others]
    np.testing.assert_array_equal(side, 0.0)


def exact_p(scores, observed):
    """Return the exact p of T over an iterable of score vectors."""
    reached = [studentise(sum(s), sum(x * x for x in s)) >= observed - 1e-9 for s in scores]
    return np.mean(reached)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_local_p_equals_exact_enumeration(seed):
    rng = np.random.default_rng(seed)
    _, tracks, entries, _ = build(rng, [[6], [7], [5], [8]])
    n_shifts = count_shifts(tracks.units)
    activity = read_activity(entries, 0, 0, tracks.units)
    table = shift_table(activity, tracks.units, tracks.runs, 0, n_shifts)
    rows = [
        table.value[first : first + n_shifts[family]]
        for first, family in zip(table.first, table.deck, strict=True)
    ]
    exact = exact_p(itertools.product(*rows), observe(table))
    counts = np.zeros(2, np.int64)
    deck = draw_shifts(n_shifts, np.uint64(seed), 0, N_DRAWS)
    count_exceedances(table, deck, N_DRAWS + 1, counts)
    assert counts[1] == N_DRAWS
    assert counts[0] / N_DRAWS == pytest.approx(exact, abs=4 * np.sqrt(0.25 / N_DRAWS))


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_swap_p_equals_exact_enumeration(seed):
    rng = np.random.default_rng(seed)
    _, tracks, entries, _ = build(rng, [[6], [9, 8], [5], [8], [7], [7, 6]])
    activity = read_activity(entries, 0, 0, tracks.units)
    table = exchange_scores(activity, tracks.units, tracks.runs, 0)
    own = np.diag(table)
    orders = itertools.permutations(range(6))
    scores = ([table[g, h] for g, h in enumerate(order)] for order in orders)
    exact = exact_p(scores, studentise(own.sum(), (own**2).sum()))
    share = share_of_exchanges(activity, tracks.units, tracks.runs, 0, seed)
    assert share == pytest.approx(exact, abs=4 * np.sqrt(0.25 / N_DRAWS))


def test_draws_stop_at_enough_exceedances_whatever_the_window():
    rng = np.random.default_rng(0)
    _, tracks, entries, _ = build(rng, [[8]] * 6)
    activity = read_activity(entries, 0, 0, tracks.units)
    n_shifts = count_shifts(tracks.units)
    table = shift_table(activity, tracks.units, tracks.runs, 0, n_shifts)
    deck = draw_shifts(n_shifts, np.uint64(5), 0, 5_000)
    drawn = np.empty(5_000)
    draw_statistics(table, deck, 0, 5_000, drawn)
    reach = drawn >= observe(table) - 1e-9
    for enough in (1, 3, 50, 5_001):
        expected = reach.sum() if enough > reach.sum() else enough
        at = 5_000 if enough > reach.sum() else np.flatnonzero(reach)[enough - 1] + 1
        counts, apart = np.zeros((2, 2), np.int64)
        count_exceedances(table, deck, enough, counts)
        for first, last in each_window(5_000, len(n_shifts), 777 * len(n_shifts)):
            window = draw_shifts(n_shifts, np.uint64(5), first, last)
            np.testing.assert_array_equal(window, deck[:, first:last])
            count_exceedances(table, window, enough, apart)
        assert counts.tolist() == apart.tolist() == [expected, at]


def test_every_permutation_is_as_likely_and_says_whose_partner_each_is():
    rng = np.random.default_rng(3)
    _, tracks, _, _ = build(rng, [[5], [6], [7], [8]])
    deck = shuffle_strata(tracks.units, np.uint64(1), 0, 24_000)
    n = len(tracks.units.member)
    assert n == 4 and len(tracks.units.stratum) == 2
    _, count = np.unique(deck[:n].T, axis=0, return_counts=True)
    assert len(count) == 24
    assert (abs(count - 1_000) < 4.5 * np.sqrt(1_000)).all()
    np.testing.assert_array_equal(np.take_along_axis(deck[n:], deck[:n], 0).T, [range(n)] * 24_000)
    later = shuffle_strata(tracks.units, np.uint64(1), 7, 50)
    np.testing.assert_array_equal(later, deck[:, 7:50])


@pytest.mark.parametrize("n_threads", [1, 3])
def test_p_does_not_depend_on_windows_threads_or_company(monkeypatch, n_threads):
    rng = np.random.default_rng(6)
    sizes = [[int(n)] for n in rng.integers(20, 60, 50)]
    _, tracks, entries, _ = build(rng, sizes)
    pairs = PairList(*np.array(list(itertools.product((0, 1), (0, 4, 9), (0,)))).T.copy())
    test = PermutationTest(900, 4, direction=1, level=1.0, n_threads=n_threads)
    whole = np.array(permute_pairs(entries, tracks, pairs, group=0, test=test))
    assert not np.isnan(whole).any() and (whole.min(axis=0) < 1).all()
    monkeypatch.setattr(permutations, "DECK_BYTES", 1)
    np.testing.assert_array_equal(permute_pairs(entries, tracks, pairs, group=0, test=test), whole)
    alone = permute_pairs(entries, tracks, pairs.part(2, 3), group=0, test=test)
    np.testing.assert_array_equal(np.array(alone)[:, 0], whole[:, 2])
    other = permute_pairs(entries, tracks, pairs, group=1, test=test)
    assert (np.array(other) != whole).any()


def test_random_integers_are_uniform_and_streams_differ():
    state = np.array([7], np.uint64)
    found = np.bincount([next_below(state, 5) for _ in range(20_000)], minlength=5)
    assert len(found) == 5
    assert (abs(found - 4_000) < 250).all()
    seeds = [mix_seeds(np.uint64(seed), np.arange(1600)) for seed in (0, 1, 2**64 - 1)]
    assert len(np.unique(np.concatenate(seeds))) == 3 * 1600
    np.testing.assert_array_equal(mix_seeds(np.uint64(1), np.array([7])), seeds[1][7:8])


def test_strata_hold_families_of_like_length():
    rng = np.random.default_rng(1)
    _, tracks, _, _ = build(rng, [[int(n)] for n in rng.integers(5, 60, 130)])
    units = tracks.units
    assert len(units.stratum) == 9
    length = np.diff(units.start)
    parts = [length[units.member[a:b]] for a, b in itertools.pairwise(units.stratum)]
    assert max(parts[0]) <= min(parts[1])
    assert sorted(units.member) == list(range(130))


def test_groups_of_a_dataset_are_divided_where_they_are_too_large():
    rng = np.random.default_rng(2)
    covariate = rng.permutation(700).astype(float)
    group = np.where(np.arange(700) % 7 == 0, "small", "large")
    member, bounds = _strata(covariate, group)
    assert np.diff(bounds).max() <= 256 and bounds[-1] == 700 and len(bounds) == 5
    assert sorted(member) == list(range(700))
    parts = [member[a:b] for a, b in itertools.pairwise(bounds)]
    assert [set(group[part]) for part in parts] == [{"large"}] * 3 + [{"small"}]
    assert all(covariate[a].max() < covariate[b].min() for a, b in itertools.pairwise(parts[:3]))
