"""What the null keeps and breaks; how numbers do not depend on slices and threads; artefacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kills import read_tree, run_killed
from matching_world import PassThrough, make_axis, source_of, sparse_values
from sae_world import random_sae

import sci_interp as si
from sci_interp.matching import FeatureMatch, match
from sci_interp.matching.rotation import random_rotation, rotate_autoencoder, rotate_rows
from sci_interp.matching.shared import SharedTokens
from sci_interp.source import ArraySource

TEST = ("test",)


def shared_of(axis, n_tokens: int = 10**6) -> SharedTokens:
    return SharedTokens.choose(axis, TEST, n_tokens)


def test_every_block_meets_another_of_its_stratum() -> None:
    axis = make_axis(n_records=150, per_block=3, spread=40)
    shared = shared_of(axis)
    block = np.repeat(np.arange(50), np.diff(shared.start[shared.block]))
    for draw in range(5):
        place = shared.exchanged_places(np.random.default_rng(draw))
        assert (block[place] != block).all()
        assert (shared.stratum[block[place]] == shared.stratum[block]).all()
    assert set(np.bincount(shared.stratum)) == {16, 17}


def test_equal_lengths_keep_every_position() -> None:
    axis = make_axis(steps=(1, 2, 3), exchange=3)
    shared = shared_of(axis)
    offset = np.arange(axis.n_tokens) % 60
    season = np.repeat(axis.records["exchange"].to_numpy(), 60)
    place = shared.exchanged_places(np.random.default_rng(0))
    assert (offset[place] == offset).all()
    assert (season[place] == season).all()
    assert sorted(place) == list(range(axis.n_tokens))


def test_other_lengths_keep_the_share_of_the_length_and_the_row() -> None:
    axis = make_axis(n_records=40, steps=(1, 2), spread=30)
    shared = shared_of(axis)
    record = np.repeat(np.arange(40), np.diff(shared.start))
    offset = np.arange(axis.n_tokens) - shared.start[record]
    share = (offset // 2 + 0.5) / (np.diff(shared.start)[record] / 2)
    place = shared.exchanged_places(np.random.default_rng(1))
    assert (offset[place] % 2 == offset % 2).all()
    n_steps = np.diff(shared.start)[record[place]] / 2
    assert (np.abs(share[place] - share) * n_steps <= 0.5 + 1e-9).all()


def test_blocks_without_an_equal_are_left_out() -> None:
    axis = make_axis(n_records=9, exchange=8)
    shared = shared_of(axis)
    assert shared.n_lonely == 7
    assert shared.n_blocks == 2
    with pytest.raises(si.SciInterpError, match="hold no two blocks"):
        shared_of(make_axis(n_records=8, exchange=8))


def test_records_are_spread_evenly_and_weighted_by_family() -> None:
    axis = make_axis(n_records=100, per_block=2)
    shared = shared_of(axis, 700)
    assert shared.record.tolist() == list(range(0, 100, 3))
    assert shared.n_tokens == 680
    assert np.allclose(shared.weight, 0.5)


def test_a_rotation_keeps_the_second_moment() -> None:
    rng = np.random.default_rng(0)
    rotation = random_rotation(12, rng)
    assert np.allclose(rotation @ rotation.T, np.eye(12))
    rows = rng.standard_normal((80, 12)) @ rng.standard_normal((12, 12))
    rotated = rotate_rows(rows, rng)
    assert np.allclose(rotated.T @ rotated, rows.T @ rows)
    assert not np.allclose(rotated, rows)


def test_random_directions_keep_the_variance_of_what_features_read() -> None:
    axis = make_axis(n_records=200)
    rng = np.random.default_rng(2)
    values = rng.standard_normal((axis.n_tokens, 16)) @ rng.standard_normal((16, 16)) + 1.0
    source = ArraySource(axis, values.astype(np.float32), "layers.1")
    sae = random_sae()
    rotated = rotate_autoencoder(sae, source, shared_of(axis), 0)
    inputs = sae.normalisation.apply(torch.from_numpy(source.values)).numpy()
    before, after = (inputs @ each.weights.encoder.numpy().T for each in (sae, rotated))
    assert np.allclose(before.var(axis=0), after.var(axis=0), rtol=1e-3)
    cosine = (sae.weights.encoder * rotated.weights.encoder).sum(1) / (
        sae.weights.encoder.norm(dim=1) * rotated.weights.encoder.norm(dim=1)
    )
    assert cosine.abs().mean() < 0.6


def small_match(**changes) -> FeatureMatch:
    axis = make_axis(n_records=60, spread=9, per_block=2)
    a, b = sparse_values(axis, 70), sparse_values(axis, 75, seed=1)
    b[:, :40] += a[:, :40]
    return match(
        PassThrough(70), PassThrough(75), source_of(axis, a), acts_b=source_of(axis, b),
        n_permutations=9, progress=False, **changes,
    )  # fmt: skip


def test_slices_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small_match(n_threads=1)
    monkeypatch.setattr("sci_interp.matching.coding.SLICE_TOKENS", 100)
    monkeypatch.setattr("sci_interp.matching.correlation.PIECE", 3)
    for n_threads in (1, 2, 8):
        again = small_match(n_threads=n_threads)
        assert again.table.equals(whole.table)
        assert again.summary == whole.summary


def test_the_seed_moves_the_null_and_nothing_else() -> None:
    first, second = small_match(), small_match(seed=1)
    kept = ["partner", "correlation", "one_to_one", "one_to_one_correlation", "mutual"]
    assert first.table[kept].equals(second.table[kept])
    assert not first.table["null_mean"].equals(second.table["null_mean"])


def test_a_finished_match_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = small_match(out=tmp_path / "match")
    before = read_tree(tmp_path)
    monkeypatch.setattr("sci_interp.matching.pairing.compare", None)
    again = small_match(out=tmp_path / "match")
    assert str(again) == str(found) == str(FeatureMatch.open(tmp_path / "match"))
    assert again.table.equals(found.table)
    assert read_tree(tmp_path) == before
    with pytest.raises(si.SciInterpError, match="seed was 0 there and is 3 now"):
        small_match(out=tmp_path / "match", seed=3)
    (tmp_path / "match" / "features.parquet").write_bytes(b"no")
    with pytest.raises(si.SciInterpError, match=r"features\.parquet"):
        FeatureMatch.open(tmp_path / "match")


def test_a_refused_match_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sci_interp.matching.coding.MAX_ENTRIES", 10)
    with pytest.raises(si.SciInterpError, match="held in memory"):
        small_match(out=tmp_path / "match")
    assert not (tmp_path / "match").exists()


def test_a_killed_match_ends_in_the_same_bytes(tmp_path: Path) -> None:
    counts = run_killed("quality_killed:match_small", tmp_path, n_trials=4)
    assert counts["n_kills"] >= 2
    whole = read_tree(tmp_path / "whole")
    assert {"features.csv", "features.parquet", "summary.json", "manifest.json"} <= set(whole)
    for trial in range(4):
        assert read_tree(tmp_path / f"trial{trial}") == whole
