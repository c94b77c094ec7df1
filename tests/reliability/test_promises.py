"""Crash, fault, corruption: what is promised, tried on a few instants; nightly on all."""

from __future__ import annotations

import sys
from pathlib import Path

import large_run
import numpy as np
import promises
import pytest
import small_run

#: Instants at which each verb is killed.
N_KILLS = 4
#: Calls of each verb that the disk refuses, spread over all.
N_FAULTS = 10


def test_killed_verbs_end_in_the_same_bytes(tmp_path: Path) -> None:
    for kind, (found, n_kills) in promises.kill(tmp_path, N_KILLS).items():
        assert found.kept == found.tried == N_KILLS, kind
        assert n_kills >= N_KILLS // 2, kind


@pytest.mark.parametrize("kind", small_run.VERBS)
def test_a_disk_that_refuses_is_a_typed_error_and_the_verb_continues(
    kind: str, whole_run: Path, tmp_path: Path
) -> None:
    n_calls = promises.count_calls(kind, whole_run, tmp_path / "counted")
    step = max(1, n_calls // N_FAULTS)
    trials = [
        (k, promises.MODES[at % len(promises.MODES)])
        for at, k in enumerate(range(1 + n_calls % step, n_calls + 1, step))
    ]
    seen = promises.fail_disk(kind, whole_run, tmp_path, trials)
    assert seen.keys() <= {"typed", "absorbed"}, seen
    assert seen["typed"] > len(trials) // 2


@pytest.mark.parametrize("change", [promises.flip_bit, promises.truncate])
def test_every_damaged_shard_is_refused_by_name(change, tmp_path: Path) -> None:
    store = promises.store_of(tmp_path / "store", n_shards=40)
    found = promises.corrupt(store, change)
    assert found.kept == found.tried >= 40


@pytest.mark.parametrize("kind", ["activations", "sae", "features"])
def test_a_value_that_is_not_finite_is_refused_and_nothing_left(
    kind: str, whole_run: Path, tmp_path: Path
) -> None:
    found = promises.spoil(kind, whole_run, tmp_path, n_trials=6)
    assert found.kept == found.tried == 6


def test_the_memory_of_a_process_is_not_that_of_its_parent() -> None:
    ballast = np.ones(150_000_000, np.uint8)
    bare = large_run.peak_of([sys.executable, "-S", "-c", "pass"])
    loaded = large_run.peak_of([sys.executable, "-S", "-c", "x = b'1' * 100_000_000"])
    assert bare < 60 and 90 < loaded - bare < 120, (bare, loaded, len(ballast))
