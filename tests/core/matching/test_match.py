"""Matching finds planted partners, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from matching_world import PassThrough, make_axis, source_of, sparse_values
from sae_world import random_sae

import sci_interp as si
from sci_interp.matching import match
from sci_interp.source import ArraySource

QUIET = {"progress": False, "n_permutations": 40}


def test_a_permuted_dictionary_with_noise_is_matched_exactly() -> None:
    axis = make_axis(spread=8)
    rng = np.random.default_rng(5)
    a = sparse_values(axis, 30)
    order = rng.permutation(30)
    b = a[:, order] * rng.uniform(0.7, 1.3, a.shape) + sparse_values(axis, 30, rate=0.02, seed=9)
    found = match(
        PassThrough(30), PassThrough(30), source_of(axis, a), acts_b=source_of(axis, b), **QUIET
    )
    partner = np.argsort(order)
    assert found.table["partner"].tolist() == partner.tolist()
    assert found.table["one_to_one"].tolist() == partner.tolist()
    assert found.table["mutual"].all()
    assert found.matched_share == 1.0
    assert found.summary["matched_one_to_one"] == 1.0
    assert found.summary["significant"] == 1.0


def test_an_autoencoder_and_its_permutation_are_one_dictionary() -> None:
    axis = make_axis()
    values = np.random.default_rng(0).standard_normal((axis.n_tokens, 16)).astype(np.float32)
    sae = random_sae()
    order = np.random.default_rng(1).permutation(sae.n_features)
    source = ArraySource(axis, values, "layers.1")
    found = match(sae, permuted(sae, order), source, **QUIET)
    alive = found.table[found.table["partner"] >= 0]
    assert len(alive) > 40
    assert alive["partner"].tolist() == np.argsort(order)[alive["feature"]].tolist()
    assert np.allclose(alive["correlation"], 1.0, atol=1e-6)
    assert found.summary["beyond_random"] == 1.0
    assert 0.2 < found.summary["random_level"] < 1.0


def permuted(sae, order):
    import dataclasses

    import torch

    weights = sae.weights.of_features(torch.from_numpy(order))
    return dataclasses.replace(sae, weights=weights)


def test_correlations_are_their_definition() -> None:
    axis = make_axis(n_records=60, per_block=3, steps=(1, 3, 2), exchange=2)
    a, b = sparse_values(axis, 6), sparse_values(axis, 8, seed=1)
    b[:, :3] += a[:, 3:]
    a[:, 5] = 0.0
    found = match(
        PassThrough(6), PassThrough(8), source_of(axis, a), acts_b=source_of(axis, b), **QUIET
    ).table
    weight = axis.family_weights(0, axis.n_tokens)
    both = np.cov(np.hstack([a, b]).T, aweights=weight)
    deviation = np.sqrt(np.diag(both))
    with np.errstate(invalid="ignore"):
        wanted = (both / np.outer(deviation, deviation))[:6, 6:]
    assert np.allclose(found["correlation"][:5], wanted[:5].max(axis=1), atol=1e-6)
    assert found["partner"].tolist() == [*wanted[:5].argmax(axis=1), -1]
    assert found["one_to_one"].iloc[5] == -1
    assert (
        found.loc[5, ["correlation", "p", "q", "null_high", "one_to_one_correlation"]].isna().all()
    )
    assert np.allclose(found["firing_rate"], (a > 0).mean(axis=0))
    assert found.loc[3, "one_to_one"] == 0


def test_independent_dictionaries_are_not_above_the_null() -> None:
    axis = make_axis(n_records=200, spread=10)
    a, b = sparse_values(axis, 150, rate=0.05), sparse_values(axis, 150, rate=0.05, seed=1)
    found = match(
        PassThrough(150), PassThrough(150), source_of(axis, a), acts_b=source_of(axis, b),
        progress=False,
    )  # fmt: skip
    assert found.matched_share < 0.06
    assert found.summary["matched_pooled"] < 0.06
    assert found.summary["significant"] == 0.0
    assert 0.4 < found.table["p"].mean() < 0.6


def test_a_common_position_alone_is_no_match() -> None:
    axis = make_axis(n_records=160)
    position = np.tile(np.arange(20), 160)
    a = sparse_values(axis, 20, rate=0.8) * (position[:, None] == np.arange(20))
    b = sparse_values(axis, 20, rate=0.8, seed=1) * (position[:, None] == np.arange(20))
    found = match(
        PassThrough(20), PassThrough(20), source_of(axis, a), acts_b=source_of(axis, b), **QUIET
    )
    assert found.table["correlation"].min() > 0.5
    assert found.matched_share < 0.3
    assert found.summary["significant"] == 0.0


def test_networks_of_different_width_are_matched_on_the_same_records() -> None:
    axis = make_axis()
    a = sparse_values(axis, 10)
    b = np.hstack([sparse_values(axis, 7, seed=3), a[:, ::-1]])
    found = match(
        PassThrough(10), PassThrough(17), source_of(axis, a), acts_b=source_of(axis, b), **QUIET
    )
    assert found.table["partner"].tolist() == list(range(16, 6, -1))
    back = match(
        PassThrough(17), PassThrough(10), source_of(axis, b), acts_b=source_of(axis, a), **QUIET
    )
    assert (back.table["one_to_one"] >= 0).sum() == 10
    assert (back.table["partner"] >= 0).sum() == 17


def test_few_blocks_are_not_identifiable() -> None:
    axis = make_axis(n_records=70, per_block=10)
    source = source_of(axis, sparse_values(axis, 5))
    found = match(PassThrough(5), PassThrough(5), source, **QUIET)
    assert found.summary["n_blocks"] == 7
    assert found.summary["matched"] is None and np.isnan(found.matched_share)
    assert found.table["p"].isna().all()
    assert "Not identifiable: fewer than 8 blocks" in str(found)


def test_the_text_says_what_was_compared() -> None:
    axis = make_axis()
    source = source_of(axis, sparse_values(axis, 5))
    text = match(PassThrough(5), PassThrough(5), source, **QUIET).format()
    assert "on 2400 tokens, 120 records of 120 blocks (test)" in text
    assert "A: layer 'array' of array, 5 of 5 features vary here" in text
    assert "above the feature's own null (99 %): 100.0%" in text
    assert "random directions" not in text
    assert "p is 0.024 at the least" in text


def test_a_matrix_that_is_too_large_is_not_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sci_interp.matching.comparison.MATRIX_BYTES", 50)
    axis = make_axis()
    source = source_of(axis, sparse_values(axis, 5))
    found = match(PassThrough(5), PassThrough(5), source, **QUIET)
    assert found.table["partner"].tolist() == list(range(5))
    assert found.table["one_to_one"].tolist() == [-1] * 5
    assert found.summary["matched_one_to_one"] is None
    assert "not assigned" in str(found)


def test_silent_dictionaries_match_nothing() -> None:
    axis = make_axis()
    source = source_of(axis, np.zeros((axis.n_tokens, 3)))
    found = match(PassThrough(3), PassThrough(3), source, **QUIET)
    assert found.table["partner"].tolist() == [-1] * 3
    assert found.summary["n_alive_a"] == found.summary["n_alive_b"] == 0
    assert found.summary["matched"] is None
    assert "not measured" in str(found)


def mistakes():
    axis, other = make_axis(), make_axis(n_records=121)
    source = source_of(axis, sparse_values(axis, 4))
    away = source_of(other, sparse_values(other, 4))
    fits = PassThrough(4)
    yield {"acts_b": away}, fits, source, "121, and 'record0120' is only in those of B"
    yield {}, PassThrough(5), source, "autoencoder B reads 5 channels and layer 'array' has 4"
    layer = PassThrough(4, {"layer": "block.7"})
    yield {}, layer, source, "autoencoder B was made for another layer: 'block.7', not 'array'"
    model = PassThrough(4, {"model_digest": "0" * 64})
    yield {}, model, source, "autoencoder B was made for another model"
    yield {"splits": ()}, fits, source, "the splits [] are not usable"
    yield {"splits": ("tests",)}, fits, source, "the splits ['tests'] are not usable"
    yield {"splits": ("train",)}, fits, source, "the splits train hold no two blocks"
    yield {"n_tokens": 0}, fits, source, "n_tokens=0, n_permutations=40 are not usable"
    yield {"n_permutations": 0}, fits, source, "n_permutations=0 are not usable"


@pytest.mark.parametrize(("changes", "sae_b", "source", "message"), list(mistakes()))
def test_a_wrong_match_is_one_message(changes, sae_b, source, message) -> None:
    with pytest.raises(si.SciInterpError) as told:
        match(PassThrough(4), sae_b, source, **{**QUIET, **changes})
    assert message in str(told.value)


def test_codes_that_do_not_fit_are_refused_with_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sci_interp.matching.coding.MAX_ENTRIES", 500)
    axis = make_axis()
    source = source_of(axis, sparse_values(axis, 10, rate=0.5))
    with pytest.raises(si.SciInterpError, match=r"about 5 active features each.*n_tokens=90 "):
        match(PassThrough(10), PassThrough(10), source, **QUIET)
    found = match(PassThrough(10), PassThrough(10), source, n_tokens=60, **QUIET)
    assert found.summary["n_tokens"] == 60
