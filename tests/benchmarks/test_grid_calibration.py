"""The calibration on grids: its worlds, its tests, and trials that go on after an interruption."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "planted"))
grid_fields = pytest.importorskip("grid_fields")
grid_calibration = pytest.importorskip("grid_calibration")

SMALL = grid_fields.Layout(n_rows=8, n_columns=16, n_blocks=12, length=2.0)
APART = grid_fields.Scenario("apart", n_trials=2)
LINKED = grid_fields.Scenario("linked", correlation=0.8, n_trials=1)
DRAWS = {"n_draws": 400, "n_step_draws": 99}


def world(scenario: grid_fields.Scenario, seed: int = 0, memory: float = 0.9) -> grid_fields.World:
    return grid_fields.build_world(SMALL, scenario, memory, np.random.default_rng(seed))


def test_fields_have_a_gaussian_correlation_and_only_longitude_is_a_circle() -> None:
    layout = grid_fields.Layout()
    along, across = (patterns.astype(np.float64) for patterns in layout.modes)
    distance = np.minimum(np.arange(64), 64 - np.arange(64))
    gauss = np.exp(-0.5 * (distance / 5.0) ** 2)
    assert along @ along[0] == pytest.approx(gauss, abs=1e-4)
    assert across @ across[0] == pytest.approx(np.exp(-0.5 * (np.arange(32) / 5.0) ** 2), abs=1e-4)


@pytest.mark.parametrize("memory", [0.9, 0.97])
def test_fields_are_autoregressive_across_the_gaps_too(memory: float) -> None:
    random = np.random.default_rng(1)
    fields = np.stack([SMALL.draw(random, memory) for _ in range(20)])
    in_time = fields[:, np.argsort(SMALL.step)]
    lag = np.diff(np.sort(SMALL.step))
    assert set(lag.tolist()) == {1, 41}
    product = (in_time[:, 1:] * in_time[:, :-1]).mean(axis=(0, 2, 3))
    assert in_time.var() == pytest.approx(1.0, abs=0.05)
    assert product[lag == 1].mean() == pytest.approx(memory, abs=0.05)
    assert product[lag == 41].mean() == pytest.approx(memory**41, abs=0.1)


def test_blocks_are_exchanged_inside_seasons_after_a_gap() -> None:
    records = SMALL.axis.records
    assert records.groupby("block").size().tolist() == [80] * 12
    assert records.groupby("exchange")["block"].nunique().to_dict() == dict.fromkeys(
        ("DJF", "MAM", "JJA", "SON"), 3
    )


@pytest.mark.parametrize(
    "profile", ["none", "season and latitude", "map", "map by season", "map by month"]
)
def test_stores_hold_the_tracks_at_their_prevalence(profile: str) -> None:
    found = world(grid_fields.Scenario("any", profile))
    feature, label = (track.ravel() for track in found.tracks)
    assert feature.mean() == pytest.approx(0.05, abs=0.025)
    assert label.mean() == pytest.approx(0.03, abs=0.02)
    codes = found.features.read(0, SMALL.axis.n_tokens)
    assert (np.diff(codes.indptr) == feature).all()
    assert codes.value.min() >= 1
    painted = np.zeros(len(label), np.int8)
    for start, stop in zip(found.known.everything.start, found.known.everything.stop, strict=True):
        painted[start:stop] += 1
    assert (painted == label).all()


def test_a_profile_raises_both_where_it_is_high() -> None:
    tracks = world(grid_fields.Scenario("any", "season and latitude")).tracks
    cold = SMALL.winter > 0.8
    for track in tracks:
        by_row = track.reshape(-1, 16, 8).mean(axis=1)
        north, south = by_row[:, :4].mean(axis=1), by_row[:, 4:].mean(axis=1)
        assert north[cold].mean() > 2 * south[cold].mean()
        assert north[cold].mean() > 2 * north[SMALL.winter < 0.2].mean()


def test_a_map_changes_with_the_season_or_with_the_month() -> None:
    scale = {}
    for profile in ("map", "map by season", "map by month"):
        mean = grid_fields._profile(SMALL, profile, np.random.default_rng(7))
        scale[profile] = np.broadcast_to(mean, (SMALL.axis.n_records, 16, 8)).std(axis=(1, 2))
    summer = SMALL.axis.records["exchange"].to_numpy(str) == "JJA"
    assert np.ptp(scale["map"]) == pytest.approx(0)
    assert np.ptp(scale["map by season"][summer]) == pytest.approx(0, abs=1e-6)
    assert np.ptp(scale["map by month"][summer]) > 0.05
    assert scale["map by season"][summer].mean() < scale["map"].mean()


def test_tests_of_tokens_are_those_of_the_two_by_two_table() -> None:
    tracks = world(LINKED, seed=2).tracks
    p = grid_calibration.p_of_tokens(tracks)
    table = pd.crosstab(~tracks.feature.ravel(), ~tracks.label.ravel()).to_numpy()
    assert p["tokens"] == pytest.approx(fisher_exact(table, alternative="greater").pvalue)
    assert 0 <= p["chi_square"] < 1e-6


@pytest.mark.parametrize("length", [1, 10, 40])
def test_tests_of_steps_permute_runs_of_the_label(length: int) -> None:
    tracks = world(APART, seed=3).tracks
    n_runs = len(tracks.label) // length
    random = np.random.default_rng(4)
    for earlier in (1, 10, 40):
        order = random.permuted(np.tile(np.arange(len(tracks.label) // earlier), (50, 1)), axis=1)
        if earlier == length:
            break
    label = tracks.label.reshape(n_runs, -1)
    feature = tracks.feature.reshape(n_runs, -1)
    drawn = np.array([(feature & label[one]).sum() for one in order])
    expected = (1 + (drawn >= (feature & label).sum()).sum()) / 51
    found = grid_calibration.p_of_steps(tracks, 80, np.random.default_rng(4), 50)
    assert found[f"steps_{length}"] == pytest.approx(expected)
    assert "steps_40" not in grid_calibration.p_of_steps(tracks, 60, random, 5)


def test_the_default_test_is_the_larger_of_two_and_finds_what_is_planted() -> None:
    p = grid_calibration.run_trial(SMALL, LINKED, 0.9, (0, 0, 90, 0), **DRAWS)
    assert set(p) == set(grid_calibration.TESTS)
    nulls = ("local", "swap", "joint")
    assert p["default"] == max(p[name] for name in nulls) < 0.05
    again = grid_calibration.run_trial(SMALL, LINKED, 0.9, (0, 0, 90, 0), **DRAWS)
    assert again == p


def test_the_default_test_is_not_misled_where_tokens_are() -> None:
    season = grid_fields.Scenario("season", "season and latitude")
    trials = pd.DataFrame(
        [grid_calibration.run_trial(SMALL, season, 0.9, (7, trial), **DRAWS) for trial in range(10)]
    )
    assert (trials["chi_square"] < 0.05).mean() >= 0.8
    assert (trials["default"] < 0.05).sum() <= 3


def test_trials_go_on_after_an_interruption(tmp_path: Path) -> None:
    def run(name: str, most: int) -> pd.DataFrame:
        table: pd.DataFrame = grid_calibration.run_trials(
            tmp_path / name, SMALL, (APART, LINKED), seed=5, most=most, **DRAWS
        )
        return table.drop(columns="seconds")

    whole = run("whole.csv", 2)
    assert len(whole) == 6
    text = (tmp_path / "whole.csv").read_text().splitlines(keepends=True)
    (tmp_path / "cut.csv").write_text("".join(text[:3]) + text[3][:20])
    pd.testing.assert_frame_equal(run("cut.csv", 2), whole)
    before = (tmp_path / "cut.csv").read_text()
    run("cut.csv", 1)
    assert (tmp_path / "cut.csv").read_text() == before


def test_two_nulls_fire_together_less_often_the_fewer_blocks_are_exchanged() -> None:
    assert grid_calibration.expected_rate(10**9) == pytest.approx(0.05, abs=1e-4)
    random = np.random.default_rng(6)
    shifted, other = random.standard_normal((2, 10**6))
    swapped = np.sqrt(5 / 6) * shifted + np.sqrt(1 / 6) * other
    fired = np.minimum(shifted, swapped) > 1.6449
    assert grid_calibration.expected_rate(6) == pytest.approx(fired.mean(), abs=1e-3)


def test_rates_have_exact_intervals_and_the_report_shows_them() -> None:
    size = 20
    case = {"seed": 0, "scenario": "apart", "memory": 0.9, "trial": np.arange(size)}
    fires = dict.fromkeys(grid_calibration.TESTS, np.full(size, 0.5))
    fires["chi_square"] = np.zeros(size)
    fires["default"] = np.where(np.arange(size) < 1, 0.05, 0.5)
    fires["steps_40"] = np.full(size, np.nan)
    table = pd.DataFrame({**case, **fires})
    found = grid_calibration.rates(table).set_index("test")
    assert "steps_40" not in found.index
    assert found.loc["chi_square", "rate"] == 1.0
    assert found.loc["chi_square", "low"] == pytest.approx(0.025 ** (1 / size))
    assert found.loc["default", "rate"] == pytest.approx(1 / size)
    text = grid_calibration.format_report(table, SMALL, (APART,), ["- date: 2001-01-01"])
    assert "| chi-square on tokens | 100.0% (83.2%-100.0%) |" in text
    assert "| apart, AR 0.90 | **default: all three nulls** | 0.0% | 5.0% | 5.0% | 5.0% |" in text
    assert "- date: 2001-01-01\n- worlds: 8 x 16 cells" in text
