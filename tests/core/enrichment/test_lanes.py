"""Lanes: what is shared is never exceeded, nobody waits for ever, and failures end all."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.enrichment.held import HeldRows
from sci_interp.enrichment.lanes import Allowance, LaneClosedError, run_lanes


def keep_nothing():
    pass


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_no_more_is_out_than_there_is_and_all_comes_back(seed, n_lanes):
    allowance, lock, out = Allowance(10), threading.Lock(), [0]

    def work(name, step):
        draw = random.Random(f"{seed} {name}")
        for _ in range(5):
            taken = allowance.take(draw.randint(0, 15), keep_nothing)
            with lock:
                out[0] += taken
                assert out[0] <= 10
            with lock:
                out[0] -= taken
            allowance.give(taken)
            step()

    names = [str(number) for number in range(4)]
    steps = list(run_lanes(work, names, n_lanes=n_lanes, allowance=allowance))
    assert len(steps) == 20
    assert out == [0]


def test_more_than_all_is_all():
    assert Allowance(3).take(5, keep_nothing) == 3


def test_who_waits_lets_go_first_so_that_two_that_keep_do_not_wait_for_each_other():
    allowance, both_have = Allowance(2), threading.Barrier(2)

    def work(_name, step):
        kept = [allowance.take(1, keep_nothing)]
        both_have.wait()

        def let_go():
            allowance.give(kept.pop())

        kept.append(allowance.take(2, let_go))
        allowance.give(kept.pop())
        step()

    assert len(list(run_lanes(work, ["a", "b"], n_lanes=2, allowance=allowance))) == 2


def test_the_first_failure_is_raised_and_who_waits_is_sent_home():
    allowance, ended = Allowance(1), []

    def work(name, _step):
        if name == "never":
            ended.append(name)
        if name == "fails":
            raise ValueError("broken")
        try:
            allowance.take(1, keep_nothing)
            allowance.take(1, keep_nothing)
        except LaneClosedError:
            ended.append(name)
            raise

    with pytest.raises(ValueError, match="broken"):
        list(run_lanes(work, ["waits", "fails", "never"], n_lanes=2, allowance=allowance))
    assert ended == ["waits"]
    with pytest.raises(LaneClosedError):
        allowance.take(0, keep_nothing)


def test_a_lane_that_waits_leaves_its_threads_to_the_other():
    allowance, seen = Allowance(1), []
    asked = threading.Event()

    def work(name, _step):
        if name == "has":
            taken = allowance.take(1, keep_nothing)
            asked.wait()
            while allowance.n_lanes > 1:
                time.sleep(0.001)
            seen.append(allowance.n_lanes)
            allowance.give(taken)
        else:
            while allowance.n_lanes < 2:
                time.sleep(0.001)
            seen.append(allowance.n_lanes)
            asked.set()
            allowance.give(allowance.take(1, keep_nothing))

    list(run_lanes(work, ["has", "waits"], n_lanes=2, allowance=allowance))
    assert seen == [2, 1]
    assert allowance.n_lanes == 1, "whoever asks is at work"


def test_a_caller_who_turns_away_stops_the_lanes():
    allowance, ended = Allowance(1), threading.Event()

    def work(_name, step):
        step()
        try:
            while True:
                allowance.give(allowance.take(1, keep_nothing))
        finally:
            ended.set()

    steps = run_lanes(work, ["a"], n_lanes=1, allowance=allowance)
    next(steps)
    steps.close()
    assert ended.is_set()


def test_rows_are_paid_for_while_they_are_held(noise_source):
    allowance = Allowance(10**6)
    rows = HeldRows(allowance)
    every = np.arange(noise_source.n_features)
    first = rows.read(noise_source, "discovery", every, (1, 100))
    assert rows.read(noise_source, "discovery", every[:1], (1, 100)) is first
    expected = first.level.copy()
    # A shorter split takes no new memory; the same rows come again.
    assert rows.read(noise_source, "vault", every, (1, 100)).level.base is first.level.base
    assert np.array_equal(rows.read(noise_source, "discovery", every, (1, 100)).level, expected)
    held = allowance.take(10**6, rows.drop)  # Waits for the rows, which are let go of.
    assert held == 10**6
    allowance.give(held)


@pytest.fixture
def noise_source():
    import planted

    rng = np.random.default_rng(0)
    axis = planted.build_axis(rng, 20)
    level = (rng.random((axis.n_tokens, 3)) < 0.3) * rng.integers(1, 256, (axis.n_tokens, 3))
    return planted.MemoryFeatures(axis, planted.to_codes(level.astype(np.uint8)), 3)
