"""The training benchmark at a tiny shape: its data, its engines, its table."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))
sae_training = pytest.importorskip("sae_training")

TINY = sae_training.Case(
    "planted", "topk", 32, 128, 1, rounds=2, steps=8, k=4, batch_size=256
)  # fmt: skip


def run(case, folder: Path, engines: list[str], peers: str | None = None):
    data = sae_training.prepare(case, folder, None)
    return sae_training.compare(case, data, engines=engines, peers=peers, rate=3e-3)


def test_planted_data_are_normalised_and_directions_are_unit(tmp_path) -> None:
    folder = sae_training.prepare(TINY, tmp_path, None)
    train, held_out, directions = (
        np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("train", "held_out", "directions")
    )
    assert train.shape == (16 * 256, 32) and held_out.shape == (2 * 256, 32)
    assert np.abs(train.mean(0)).max() < 1e-4
    assert np.square(train).mean() == pytest.approx(1, abs=1e-4)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(np.ones(64), abs=1e-5)


@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_engines_learn_the_same_tokens_and_are_compared(architecture, tmp_path) -> None:
    case = replace(TINY, architecture=architecture)
    records, skipped = run(case, tmp_path, ["sci_interp", "plain", "sparsify"])
    assert skipped == {"sparsify": "no interpreter was given with --peers"}
    rows = sae_training.rows_of(case, records)
    assert [row["engine"] for row in rows] == ["sci_interp", "plain"]
    ours, plain = rows
    assert ours["wall_ratio_min"] == ours["wall_ratio_max"] == 1
    assert plain["wall_ratio_min"] <= plain["wall_ratio"] <= plain["wall_ratio_max"]
    for row in rows:
        assert row["l0"] == pytest.approx(4, rel=0.2)
        assert 0 < row["fvu"] < 1 and 0 <= row["recall"] <= row["mmcs"] <= 1
    assert ours["fvu"] < records["sci_interp"].turns[0]["fvu"]
    text = sae_training.table_of(case, rows, skipped)
    assert "| plain |" in text and "- sparsify left out: no interpreter" in text


def test_a_peer_that_cannot_be_imported_is_left_out_with_the_reason(tmp_path) -> None:
    engines = ["sci_interp", "sae_lens"]
    records, skipped = run(TINY, tmp_path, engines, peers=sys.executable)
    if "sae_lens" in records:
        pytest.skip("this environment has SAELens")
    assert skipped == {"sae_lens": "No module named 'sae_lens'"}


def test_time_to_equal_quality_is_interpolated_between_turns() -> None:
    turns = [{"wall": [2.0, 2.0], "fvu": 0.6}, {"wall": [1.0, 1.0], "fvu": 0.4}]
    record = sae_training.Record("any", "any 1", 0.5, turns)
    assert record.seconds_to(0.7) == 4.5
    assert record.seconds_to(0.5) == pytest.approx(5.5)
    assert record.seconds_to(0.4) == pytest.approx(6.5)
    assert record.seconds_to(0.3) is None
