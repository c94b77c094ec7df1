"""Stretches, top windows and coherence against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_world import (
    DOMAIN,
    RARE,
    SUBTYPE,
    UNEXPLAINED,
    ArrayCodes,
    World,
    WorldAdapter,
    planted_levels,
)

from sci_interp.axis import TokenAxis
from sci_interp.candidates import coherence, stretches
from sci_interp.candidates.windows import FIRING_FLOORS, HALVES, find_windows

WORLD = World(n_families=60)


def random_codes(seed: int, n_records: int = 40, n_features: int = 4) -> ArrayCodes:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "record": [f"r{i}" for i in range(n_records)],
            "block": [f"b{i}" for i in rng.integers(0, n_records // 2, n_records)],
            "n_tokens": rng.integers(1, 12, n_records),
        }
    )
    axis = TokenAxis.build(table)
    levels = rng.integers(1, 256, (axis.n_tokens, n_features))
    levels[rng.random(levels.shape) < 0.7] = 0
    return ArrayCodes.of(axis, levels)


@given(st.integers(1, 60), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_stretches_hold_whole_records_once(n_tokens: int, seed: int) -> None:
    axis = random_codes(seed).axis
    parts = list(stretches.stretches(axis, 0, axis.n_records, n_tokens=n_tokens))
    assert parts[0].start == 0 and parts[-1].stop == axis.n_tokens
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    assert all(p.n_tokens <= n_tokens or p.last - p.first == 1 for p in parts)
    record = np.concatenate([p.record for p in parts])
    weight = np.concatenate([p.weight for p in parts])
    assert np.array_equal(axis.records["weight"].to_numpy()[record], weight)
    block = axis.records["block"].to_numpy()[record]
    number = np.concatenate([p.block for p in parts])
    assert len(set(zip(block, number, strict=True))) == len(set(block))


def brute_windows(codes: ArrayCodes, n_top: int) -> dict[int, list[tuple[int, int]]]:
    """Strongest (level, token) of each family in discovery and test, per feature."""
    records = codes.axis.records
    best: dict[int, dict[str, tuple[int, int]]] = {f: {} for f in range(codes.n_features)}
    for row in records.itertuples():
        if row.split not in HALVES:
            continue
        for token in range(row.start, row.stop):
            part = codes.codes.rows(token, token + 1)
            for feature, level in zip(part.feature, part.value, strict=True):
                old = best[int(feature)].get(row.block, (0, 0))
                if (int(level), -token) > (old[0], -old[1]):
                    best[int(feature)][row.block] = (int(level), token)
    return {
        feature: sorted(found.values(), key=lambda pair: (-pair[0], pair[1]))[:n_top]
        for feature, found in best.items()
    }


@pytest.mark.parametrize("n_tokens", [5, 40, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_windows_equal_brute_force(monkeypatch, n_tokens: int, seed: int) -> None:
    monkeypatch.setattr(stretches, "STRETCH_TOKENS", n_tokens)
    codes = random_codes(seed)
    windows = find_windows(codes, n_top=3)
    wanted = brute_windows(codes, 3)
    for feature in range(codes.n_features):
        at = windows.of(feature)
        found = list(zip(windows.level[at].tolist(), windows.token[at].tolist(), strict=True))
        assert found == wanted[feature]
    blocks = codes.axis.records
    for row, split in enumerate(HALVES):
        inside = blocks[blocks["split"] == split]
        for floor_row, floor in enumerate(FIRING_FLOORS):
            for feature in range(codes.n_features):
                families = set()
                for record in inside.itertuples():
                    part = codes.codes.rows(record.start, record.stop)
                    if ((part.feature == feature) & (part.value >= floor)).any():
                        families.add(record.block)
                assert windows.n_families[row, floor_row, feature] == len(families)


def test_firing_level_is_the_highest_that_enough_families_reach() -> None:
    levels = planted_levels(WORLD)
    levels[:, DOMAIN] = np.where(levels[:, DOMAIN] > 0, 170, 0)
    windows = find_windows(ArrayCodes.of(WORLD.axis, levels))
    chosen = windows.firing_levels(8)
    assert chosen[UNEXPLAINED] == 224
    assert chosen[DOMAIN] == 160
    assert chosen[RARE] == 0
    reached = windows.reached(chosen)
    assert reached[RARE] == 0
    assert reached[DOMAIN] >= 8


def test_mean_similarity_leaves_out_pairs_of_one_family() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(5, 5)).astype(np.float32)
    block = np.array([0, 1, 1, 2, 0])
    pairs = [
        similarity[i, j] for i in range(5) for j in range(5) if i != j and block[i] != block[j]
    ]
    assert coherence.mean_similarity(similarity, block) == pytest.approx(np.mean(pairs), rel=1e-6)
    assert coherence.mean_similarity(similarity, np.zeros(5, np.int64)) == 0


def test_coherence_finds_motifs_and_not_position_or_noise() -> None:
    codes = ArrayCodes.of(WORLD.axis, planted_levels(WORLD, n_noise=30))
    windows = find_windows(codes)
    chosen = np.flatnonzero(windows.firing_levels(8))
    settings_ = {"axis": WORLD.axis, "adapter": WorldAdapter(), "dataset": WORLD, "n_sets": 1000}
    found = coherence.measure_coherence(windows, chosen, **settings_)
    p = dict(zip(chosen.tolist(), found.p.tolist(), strict=True))
    assert p[UNEXPLAINED] == pytest.approx(1 / 1001)
    assert p[SUBTYPE] == pytest.approx(1 / 1001) if SUBTYPE in p else True
    assert p[4] > 0.05  # fires on the first tokens, and resembles nothing but other first tokens
    noise = np.array([p[feature] for feature in chosen.tolist() if feature >= 8])
    assert (noise <= 0.05).mean() < 0.2
    again = coherence.measure_coherence(windows, chosen, **settings_)
    assert np.array_equal(found.p, again.p) and np.array_equal(found.cosine, again.cosine)


def test_no_feature_to_test_gives_no_result() -> None:
    windows = find_windows(ArrayCodes.of(WORLD.axis, np.zeros((WORLD.axis.n_tokens, 3), int)))
    found = coherence.measure_coherence(
        windows, [], axis=WORLD.axis, adapter=WorldAdapter(), dataset=WORLD
    )
    assert found.p.shape == found.cosine.shape == (0,)
