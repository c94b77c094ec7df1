"""annotate, enrich and surface, killed at any instant, end in the same bytes."""

from __future__ import annotations

from pathlib import Path

from kills import read_tree, run_killed

N_TRIALS = 6
FILES = {
    "annotations/labels.parquet",
    "annotations/known.parquet",
    "annotations/runs.parquet",
    "enrichment/links.csv",
    "enrichment/baseline_0.parquet",
    "candidates/unexplained.parquet",
    "candidates/missing.parquet",
}


def test_killed_verbs_end_in_the_same_bytes(tmp_path: Path) -> None:
    counts = run_killed("statistics_killed:run_verbs", tmp_path, n_trials=N_TRIALS)
    assert counts["n_kills"] >= N_TRIALS // 2
    whole = read_tree(tmp_path / "whole")
    assert set(whole) >= FILES
    assert not [name for name in whole if name.endswith(".tmp")]
    for trial in range(N_TRIALS):
        assert read_tree(tmp_path / f"trial{trial}") == whole
    told = "".join((tmp_path / f"trial{trial}.log").read_text() for trial in range(N_TRIALS))
    for verb in ("enrich", "surface"):
        assert told.count(f"{verb} begins") > told.count(f"{verb} ends"), f"{verb} was not killed"
