"""Summaries of effects: block means, sign flips, ranks among controls, intervals, many tests."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sci_interp.causal.arms import Arm, plan_arms
from sci_interp.causal.effects import EFFECT_COLUMNS, sign_flip_p, summarise_effects
from sci_interp.enrichment.significance import adjust_p


def summarise(effects: np.ndarray, controls: np.ndarray, blocks: list[str], **changes):
    """Summarise effects ``(n_records,)`` beside those of controls ``(n_records, n_controls)``."""
    arms = [Arm("untouched"), Arm("no-op"), Arm("feature", 1.0)]
    arms += [Arm("control", 1.0, at) for at in range(controls.shape[1])]
    untouched = np.linspace(5, 6, len(effects))
    values = np.column_stack([untouched, untouched, untouched + effects])
    values = np.column_stack([values, untouched[:, None] + controls])[..., None]
    settings = {"endpoints": ["e"], "n_bootstrap": 200, "seed": 0, **changes}
    return summarise_effects(values, arms, blocks, **settings).iloc[0]


def test_arms_come_in_a_fixed_order() -> None:
    kinds = [(arm.kind, arm.coefficient, arm.control) for arm in plan_arms((-1.0, 0.0, 2.0), 2)]
    assert kinds == [
        ("untouched", 0.0, -1),
        ("no-op", 0.0, -1),
        ("feature", -1.0, -1),
        ("control", -1.0, 0),
        ("control", -1.0, 1),
        ("feature", 2.0, -1),
        ("control", 2.0, 0),
        ("control", 2.0, 1),
    ]


def test_few_blocks_flip_all_signs() -> None:
    means = np.array([1.0, 2.0, -0.5, 3.0])
    sums = [abs(np.dot(signs, means)) for signs in itertools.product((1, -1), repeat=4)]
    assert sign_flip_p(means, 0) == np.mean(np.array(sums) >= means.sum())
    assert sign_flip_p(np.ones(10), 0) == 2 / 2**10
    assert sign_flip_p(np.zeros(10), 0) == 1


def test_many_blocks_draw_signs() -> None:
    rng = np.random.default_rng(0)
    assert sign_flip_p(rng.random(40), 0) == 1 / 10_000
    means = rng.standard_normal(16)
    all_signs = np.array(list(itertools.product((1, -1), repeat=16)))
    wanted = np.mean(np.abs(all_signs @ means) >= abs(means.sum()) - 1e-12)
    assert sign_flip_p(means, 3) == pytest.approx(wanted, abs=0.02)
    assert sign_flip_p(means, 3) == sign_flip_p(means, 3)


@pytest.mark.parametrize("n_blocks", [10, 30])
def test_signs_without_preference_have_a_uniform_p(n_blocks: int) -> None:
    rng = np.random.default_rng(1)
    n = 400 if n_blocks == 10 else 100
    p = np.array([sign_flip_p(rng.standard_normal(n_blocks), at) for at in range(n)])
    for level in (0.1, 0.3, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=3.5 * (level / n) ** 0.5)


def test_blocks_count_alike_whatever_their_size() -> None:
    blocks = ["b0"] * 9 + [f"b{at}" for at in range(1, 10)]
    effects = np.array([10.0] * 9 + [1.0] * 9)
    row = summarise(effects, np.zeros((18, 20)), blocks)
    assert row["effect"] == pytest.approx(1.9)
    assert (row["n_records"], row["n_blocks"]) == (18, 10)
    assert row["low"] == pytest.approx(1.0)
    assert 1.9 < row["high"] <= 5.5


def test_p_is_the_larger_of_signs_and_rank() -> None:
    rng = np.random.default_rng(0)
    blocks = [f"b{at}" for at in range(12)]
    steady, unsteady = np.full(12, 1.0), 5 * rng.standard_normal(12)
    beaten = np.tile(np.linspace(0, 1.1, 20), (12, 1))
    row = summarise(steady, beaten, blocks)
    assert row["p_sign"] == 2 / 2**12
    assert row["p"] == row["p_control"] == (1 + (beaten[0] >= 1).sum()) / 21
    assert row["control_median"] == pytest.approx(0.55)
    assert row["control_largest"] == pytest.approx(1.1)
    row = summarise(unsteady, np.zeros((12, 20)), blocks)
    assert row["p_control"] == 1 / 21
    assert row["p"] == max(row["p_sign"], 1 / 21)


def test_a_control_that_cannot_be_measured_counts_against() -> None:
    controls = np.zeros((9, 20))
    controls[:, :3] = np.nan
    row = summarise(np.full(9, 1.0), controls, [f"b{at}" for at in range(9)])
    assert row["p_control"] == 4 / 21
    assert row["control_median"] == 0
    row = summarise(np.full(9, 1.0), np.full((9, 20), np.nan), [f"b{at}" for at in range(9)])
    assert row["p_control"] == 1
    assert np.isnan(row["control_median"])


def test_one_block_has_no_interval_and_no_p() -> None:
    row = summarise(np.array([1.0, 3.0]), np.zeros((2, 20)), ["b", "b"])
    assert row["effect"] == pytest.approx(2.0)
    assert np.isnan([row["low"], row["high"], row["p"]]).all()
    row = summarise(np.full(9, 1.0), np.zeros((9, 20)), list("abcdefghi"), n_bootstrap=0)
    assert np.isnan(row["low"]) and row["p"] == 1 / 21


def test_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(2)
    blocks = [f"b{at}" for at in range(25)]
    hits = 0
    for _ in range(200):
        row = summarise(1 + rng.standard_normal(25), np.zeros((25, 20)), blocks)
        hits += row["low"] <= 1 <= row["high"]
    assert 0.87 < hits / 200 < 0.98


def test_q_is_over_endpoints_and_coefficients_that_were_tested() -> None:
    rng = np.random.default_rng(3)
    arms = plan_arms((-1.0, 2.0), 20)
    values = rng.standard_normal((20, len(arms), 3))
    values[:, 1] = values[:, 0]
    values[5:, :, 2] = np.nan
    blocks = [f"b{at}" for at in range(20)]
    found = summarise_effects(
        values, arms, blocks, endpoints=["x", "y", "z"], n_bootstrap=10, seed=0
    )
    assert tuple(found.columns) == EFFECT_COLUMNS
    assert list(zip(found["endpoint"], found["coefficient"], strict=True)) == [
        (name, coefficient) for name in "xyz" for coefficient in (-1.0, 2.0)
    ]
    assert (found["verdict"] == ["tested"] * 4 + ["not identifiable"] * 2).all()
    assert found["q"][:4].to_numpy() == pytest.approx(adjust_p(found["p"][:4].to_numpy()))
    assert found["q"][4:].isna().all()
