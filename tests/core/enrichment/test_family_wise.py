"""maxT: draws are shared by all pairs, follow the nulls exactly, and bound any false link."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import planted
import pytest
from null_reference import N_DRAWS, exchange_scores

from sci_interp.enrichment import enrich
from sci_interp.enrichment.chunks import LinkSettings, Study, each_chunk
from sci_interp.enrichment.draws import (
    draw_shifts,
    draw_statistics,
    observe,
    seed_decks,
    shuffle_strata,
    studentise,
)
from sci_interp.enrichment.family_wise import adjust_by_maxima
from sci_interp.enrichment.joint_null import restrict_to_owners
from sci_interp.enrichment.kernel import mix_seeds
from sci_interp.enrichment.linking import link_pairs
from sci_interp.enrichment.local_null import count_shifts, shift_table
from sci_interp.enrichment.positions import read_activity
from sci_interp.enrichment.selection import DIRECTIONS, select_thresholds
from sci_interp.enrichment.swap_null import exchange_table


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(5)
    axis = planted.build_axis(rng, 60, length=(12, 30))
    runs = planted.random_tracks(rng, axis, 3, share=0.6)
    tracks = [planted.paint(axis, runs[0]), rng.random(axis.n_tokens) < 0.2]
    tracks.append(planted.paint(axis, runs[1]) & (rng.random(axis.n_tokens) < 0.5))
    world = planted.make_world(rng, axis, runs, tracks)
    selection = select_thresholds(world.features, world.known)
    settings = LinkSettings(n_permutations=400, dependence="maxt")
    return Study.alone(world.features, world.known, selection, settings)


def all_pairs(study):
    pairs = pd.DataFrame(list(itertools.product(range(3), range(3))), columns=["feature", "label"])
    bins = study.selection.bin[0][pairs["label"], pairs["feature"]].astype(np.int64)
    return pairs.assign(bin=bins, p=0.5)


def test_statistics_of_every_draw_follow_from_the_shared_permutation(study):
    (chunk,) = each_chunk(study, "test", all_pairs(study))
    units, runs = chunk.tracks.units, chunk.tracks.runs
    deck = shuffle_strata(units, np.uint64(3), 0, 30)
    n_families = len(units.first) - 1
    partner = np.empty((30, n_families), np.int64)
    for first, last in itertools.pairwise(units.stratum):
        members = units.member[first:last]
        partner[:, members] = members[deck[first:last].T]
        assert sorted(partner[0, members]) == sorted(members)
    for row, lowest, label in zip(*chunk.pairs, strict=True):
        activity = read_activity(chunk.entries, row, lowest, units)
        expected = exchange_scores(activity, units, runs, label)
        table = exchange_table(activity, units, runs, label)
        found = np.empty(31)
        found[0] = observe(table)
        draw_statistics(table, deck, 0, 30, found[1:])
        for draw, order in enumerate([np.arange(n_families), *partner]):
            scores = expected[np.arange(n_families), order]
            one = studentise(scores.sum(), (scores**2).sum())
            assert found[draw] == pytest.approx(one, abs=1e-9)


def test_shifts_are_uniform(study):
    (chunk,) = each_chunk(study, "test", all_pairs(study))
    units, runs = chunk.tracks.units, chunk.tracks.runs
    row, lowest, label = (int(column[0]) for column in chunk.pairs)
    n_shifts = count_shifts(units)
    activity = read_activity(chunk.entries, row, lowest, units)
    table = shift_table(activity, units, runs, label, n_shifts)
    drawn = np.empty(N_DRAWS)
    draw_statistics(table, draw_shifts(n_shifts, np.uint64(7), 0, N_DRAWS), 0, N_DRAWS, drawn)
    rng = np.random.default_rng(0)
    total, squares = np.zeros((2, N_DRAWS))
    for first, family in zip(table.first, table.deck, strict=True):
        score = table.value[first + rng.integers(0, n_shifts[family], N_DRAWS)]
        total += score
        squares += score**2
    reference = np.divide(total, np.sqrt(squares), out=np.zeros(N_DRAWS), where=squares > 0)
    for level in (0.5, 0.9, 0.99):
        cut = np.quantile(reference, level)
        error = 4 * np.sqrt(2 * level * (1 - level) / N_DRAWS)
        assert (drawn <= cut).mean() == pytest.approx(level, abs=error)


def test_maxima_are_those_of_all_pairs_draw_by_draw(study):
    """Made again from the decks, pair by pair, without chunks, windows or threads."""
    pairs = all_pairs(study)
    found = adjust_by_maxima(study, DIRECTIONS[0], pairs)
    (chunk,) = each_chunk(study, "test", pairs)
    tracks, n_draws = chunk.tracks, study.settings.n_permutations
    seeds = seed_decks(study.settings.seed, 0, 0)
    n_shifts = count_shifts(tracks.units)
    of_label = mix_seeds(seeds[2], tracks.labels)
    observed, drawn = np.empty((3, 9)), np.empty((3, 9, n_draws))
    for at, (row, lowest, label) in enumerate(zip(*chunk.pairs, strict=True)):
        activity = read_activity(chunk.entries, row, lowest, tracks.units)
        owners = restrict_to_owners(tracks.units, tracks.runs, label)
        made = [
            (
                exchange_table(activity, tracks.units, tracks.runs, label),
                shuffle_strata(tracks.units, seeds[1], 0, n_draws),
            ),
            (
                shift_table(activity, tracks.units, tracks.runs, label, n_shifts),
                draw_shifts(n_shifts, seeds[0], 0, n_draws),
            ),
            (
                exchange_table(activity, owners, tracks.runs, label),
                shuffle_strata(owners, of_label[label], 0, n_draws),
            ),
        ]
        for null, (table, deck) in enumerate(made):
            observed[null, at] = observe(table)
            draw_statistics(table, deck, 0, n_draws, drawn[null, at])
    reach = (drawn.max(axis=1)[:, None] >= observed[:, :, None] - 1e-9).sum(axis=2)
    adjusted = np.minimum(6 * (1 + reach) / (1 + n_draws), 1)
    place = pd.Series(range(9), index=chunk.piece.index)[pairs.index].to_numpy()
    np.testing.assert_allclose(found["p_swap"], adjusted[0, place])
    np.testing.assert_allclose(found["p_local"], adjusted[1, place])
    np.testing.assert_allclose(found["p"], adjusted.max(axis=0)[place])


def test_adjusted_p_is_the_share_of_maxima_that_reach_the_pair(study):
    pairs = all_pairs(study)
    found = adjust_by_maxima(study, DIRECTIONS[0], pairs)
    region = np.maximum(found["p_local"], found["p_swap"])
    np.testing.assert_array_equal(found["p_region"], region)
    assert (found["p"] >= region).all()
    least = 6 / (1 + study.settings.n_permutations)
    assert found["p"].min() == pytest.approx(least)  # feature 0 is label 0
    assert found["p"][0] == found["p"].min() and (found["p"] <= 1).all()
    fewer = adjust_by_maxima(study, DIRECTIONS[0], pairs.iloc[:4])
    assert (fewer["p"] <= found["p"][:4]).all()  # the more pairs, the larger the maxima
    unknown = pairs.assign(p=pairs["p"].where(pairs.index != 0))
    without = adjust_by_maxima(study, DIRECTIONS[0], unknown)
    assert without["p"][0] == 1


def test_threads_and_chunks_change_nothing(study):
    pairs = all_pairs(study)
    whole = adjust_by_maxima(study, DIRECTIONS[1], pairs)
    small = replace(study, settings=replace(study.settings, n_threads=3, max_entries=1))
    for name, values in adjust_by_maxima(small, DIRECTIONS[1], pairs).items():
        np.testing.assert_array_equal(values, whole[name])


def test_true_links_are_found_and_pure_nulls_rarely_linked():
    n_runs, n_false, n_found = 40, 0, 0
    for seed in range(n_runs):
        rng = np.random.default_rng(100 + seed)
        axis = planted.build_axis(rng, 100, largest=2)
        runs = planted.random_tracks(rng, axis, 4, share=0.6)
        others = planted.random_tracks(rng, axis, 4, share=0.6)
        true = planted.paint(axis, runs[0])
        tracks = [true, *(planted.paint(axis, of) for of in others)]
        world = planted.make_world(rng, axis, runs, tracks)
        result = enrich(
            world.features,
            world.known,
            n_permutations=200,
            n_bootstrap=0,
            dependence="maxt",
            progress=False,
            seed=seed,
        )
        linked = result.table[result.table["class"] == "site"]
        truth = (linked["feature"] == 0) & (linked["label"] == "L0")
        n_found += bool(truth.any())
        n_false += bool((~truth).any())
    assert n_false <= 0.05 * n_runs + 2 * np.sqrt(0.05 * 0.95 * n_runs)
    assert n_found >= 0.9 * n_runs


def test_links_are_fewer_than_at_a_false_discovery_rate(study):
    rates = {
        name: link_pairs(replace(study, settings=replace(study.settings, dependence=name)))
        for name in ("bh", "maxt")
    }
    site = {
        name: set(
            links.table.loc[links.table["class"] == "site", ["feature", "label"]].itertuples(
                index=False, name=None
            )
        )
        for name, links in rates.items()
    }
    assert site["maxt"] <= site["bh"] and (0, 0) in site["maxt"]
