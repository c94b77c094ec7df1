"""The joint null equals exact enumeration; what shares families and region is regional."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import planted
import pytest
from null_reference import N_DRAWS, exchange_scores, share_of_exchanges

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment import enrich
from sci_interp.enrichment.draws import studentise
from sci_interp.enrichment.entries import read_entries
from sci_interp.enrichment.inputs import bin_of_level
from sci_interp.enrichment.joint_null import is_whole, restrict_to_owners
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.permutations import PermutationTest, permute_pairs
from sci_interp.enrichment.positions import read_activity
from sci_interp.enrichment.scores import PairList
from sci_interp.enrichment.tracks import read_labels
from sci_interp.schema import BIN_FLOORS

ALL_DISCOVERY = {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0}


def build(seed, owners, *, exchange=None, n_features=2, length=(20, 60)):
    """Return entries, tracks and the axis' order; families ``owners`` have the one label."""
    rng = np.random.default_rng(seed)
    n = len(owners)
    table = pd.DataFrame(
        {
            "record": [f"r{at:03d}" for at in range(n)],
            "block": [f"f{at:03d}" for at in range(n)],
            "n_tokens": rng.integers(*length, n),
        }
    )
    if exchange is not None:
        table["exchange"] = exchange
    axis = TokenAxis.build(table, ALL_DISCOVERY)
    order = axis.records["record"].str[1:].astype(int).to_numpy()
    runs = []
    for record in np.flatnonzero(np.asarray(owners)[order]):
        low, high = axis.record_starts[record : record + 2]
        start = int(rng.integers(low, high - 6))
        runs.append((0, int(record), start, start + 6))
    level = rng.integers(1, 256, (axis.n_tokens, n_features)).astype(np.uint8)
    level[rng.random(level.shape) < 0.7] = 0
    source = planted.annotations(axis, [Label("a", "g", "")], runs)
    tracks = read_labels(axis, source, "discovery", 0)
    entries = read_entries(
        MemoryFeatures(axis, planted.to_codes(level), n_features),
        tracks,
        chosen=np.arange(n_features),
        lowest_bin=np.zeros(n_features, np.uint8),
        n_entries=(level > 0).sum(0),
        floors=BIN_FLOORS,
    )
    assert bin_of_level(BIN_FLOORS)[level].max() > 0
    return entries, tracks, order


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_p_equals_exact_enumeration_over_the_owners(seed):
    owns = np.zeros(14, bool)
    owns[[1, 3, 4, 8, 9, 13]] = True
    entries, tracks, order = build(seed, owns)
    units = restrict_to_owners(tracks.units, tracks.runs, 0)
    assert sorted(units.member) == np.flatnonzero(owns[order]).tolist()
    activity = read_activity(entries, 0, 0, tracks.units)
    owners = np.flatnonzero(owns[order])
    scores = exchange_scores(activity, tracks.units, tracks.runs, 0)
    table = scores[np.ix_(owners, owners)]
    reached = []
    observed = studentise(np.trace(table), (np.diag(table) ** 2).sum())
    for partner in itertools.permutations(range(6)):
        scores = table[np.arange(6), partner]
        reached.append(studentise(scores.sum(), (scores**2).sum()) >= observed - 1e-9)
    share = share_of_exchanges(activity, units, tracks.runs, 0, seed)
    assert share == pytest.approx(np.mean(reached), abs=4 * np.sqrt(0.25 / N_DRAWS))


def test_owners_of_neighbouring_lengths_are_joined():
    rng = np.random.default_rng(0)
    owns = rng.random(300) < 0.3
    _, tracks, order = build(0, owns, length=(20, 400))
    units = restrict_to_owners(tracks.units, tracks.runs, 0)
    assert sorted(units.member) == np.flatnonzero(owns[order]).tolist()
    size = np.diff(units.stratum)
    assert size.sum() == owns.sum() and len(size) > 2
    assert size.min() >= tracks.units.fewest_owners
    length = np.diff(tracks.units.start)
    parts = [length[units.member[a:b]] for a, b in itertools.pairwise(units.stratum)]
    assert all(max(a) <= min(b) for a, b in itertools.pairwise(parts))


def test_groups_of_a_dataset_stay_apart():
    owns = np.arange(40) % 5 == 0
    season = np.where(np.arange(40) % 2 == 0, "winter", "summer")
    _, tracks, order = build(0, owns, exchange=season)
    units = restrict_to_owners(tracks.units, tracks.runs, 0)
    parts = [units.member[a:b] for a, b in itertools.pairwise(units.stratum)]
    assert [len(set(season[order][part])) for part in parts] == [1, 1]
    assert sorted(np.concatenate(parts)) == np.flatnonzero(owns[order]).tolist()


def test_nobody_owns_the_label():
    _, tracks, _ = build(0, np.zeros(5, bool))
    units = restrict_to_owners(tracks.units, tracks.runs, 0)
    assert len(units.member) == 0 and units.stratum.tolist() == [0]


@pytest.mark.parametrize("owns", [np.ones(12, bool), np.arange(12) % 2 == 0])
def test_the_joint_null_is_the_swap_null_where_all_families_own_the_label(owns):
    entries, tracks, _ = build(3, owns)
    units = restrict_to_owners(tracks.units, tracks.runs, 0)
    assert is_whole(units, tracks.units) == owns.all()
    test = PermutationTest(400, 1, direction=0, level=1.0, n_threads=1)
    pairs = PairList(*np.array([[0, 1], [0, 0], [0, 0]]))
    _, swap, joint = permute_pairs(entries, tracks, pairs, group=0, test=test)
    assert (swap == joint).all() == owns.all()


@pytest.fixture(scope="module", params=["bh", "maxt"])
def linked(request):
    """One label anywhere, one at the head; features on them, and one at its owners' heads."""
    rng = np.random.default_rng(7)
    axis = planted.build_axis(rng, 260, largest=3)
    starts = axis.record_starts
    anywhere = planted.family_layout(rng, axis, share=0.5, width=(6, 9))
    head, beside = [], np.zeros(axis.n_tokens, bool)
    for first, last in itertools.pairwise(axis.block_starts):
        if rng.random() < 0.5:
            at, apart = rng.integers(0, 16, 2)
            for start in starts[first:last]:
                head.append((int(start + at), int(start + at + 6)))
                beside[start + apart : start + apart + 6] = True
    tracks = [planted.paint(axis, anywhere), planted.paint(axis, head), beside]
    world = planted.make_world(rng, axis, [anywhere, head], tracks)
    return enrich(
        world.features,
        world.known,
        n_permutations=2_000,
        n_bootstrap=0,
        dependence=request.param,
        progress=False,
    ).table


def test_what_shares_families_and_region_is_regional(linked):
    row = linked[(linked["feature"] == 2) & (linked["label"] == "L1")].iloc[0]
    assert row["class"] == "regional"
    assert max(row["p_local"], row["p_swap"]) < 0.01 < row["p_joint"] == row["p"]
    assert row["q_class"] <= 0.05 < row["q"]


def test_what_follows_its_label_is_site_level_even_at_the_head(linked):
    for pair in ((0, "L0"), (1, "L1")):
        row = linked[(linked["feature"] == pair[0]) & (linked["label"] == pair[1])].iloc[0]
        assert row["class"] == "site" and row["p_joint"] < 0.01
