"""Damaged files: every parser reads them or refuses them with a typed error, and nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

import pytest
from fuzz_targets import Target, all_targets, run_target
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutation import KINDS, PIECES, VALUES, Change, damage

N_EXAMPLES, N_SLOW = 30, 8


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Target]:
    """Return the parsers; those in C might end this process and are left to the fuzzer."""
    every = all_targets(tmp_path_factory.mktemp("fuzz"))
    return {name: target for name, target in every.items() if not target.native}


CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(KINDS[:-1]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from((1, 2, 3, 8, 40, 300)),
        st.sampled_from(PIECES) | st.binary(max_size=8),
    )
    | st.builds(
        Change,
        st.just(KINDS[-1]),
        st.floats(0, 1, exclude_max=True),
        st.just(0),
        st.sampled_from(VALUES),
    ),
    min_size=1,
    max_size=4,
)


def read_or_refuse(name: str, target: Target, data: bytes) -> None:
    """Fail with the name of the parser, and without the whole of what it was given."""
    try:
        run_target(target, data)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parser is at fault
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error}"[:300]
        where = f"{place.filename}:{place.lineno}"
        raise AssertionError(f"{name}: {told} ({where}) on {data[:300]!r}") from None


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def test_every_seed_is_read(targets: Mapping[str, Target]) -> None:
    refused = [
        f"{name}: {told}"
        for name, target in targets.items()
        for seed in target.seeds
        if (told := run_target(target, seed))
    ]
    assert refused == []


@settings(max_examples=N_EXAMPLES, deadline=None, suppress_health_check=QUIET)
@given(which=st.integers(0, 11), changes=CHANGES)
def test_damaged_texts_are_read_or_refused(
    targets: Mapping[str, Target], which: int, changes: list[Change]
) -> None:
    for name, target in targets.items():
        if not target.slow:
            seed = target.seeds[which % len(target.seeds)]
            read_or_refuse(name, target, damage(seed, changes))


@settings(max_examples=N_SLOW, deadline=None, suppress_health_check=QUIET)
@given(changes=CHANGES)
def test_damaged_weights_and_stores_are_read_or_refused(
    targets: Mapping[str, Target], changes: list[Change]
) -> None:
    for name, target in targets.items():
        if target.slow:
            read_or_refuse(name, target, damage(target.seeds[0], changes))


@settings(max_examples=N_SLOW, deadline=None, suppress_health_check=QUIET)
@given(noise=st.binary(max_size=300))
@example(b"")
@example(b"\0")
@example(b"\xef\xbb\xbf")
@example(b"\x1f\x8b")
@example(b"[" * 200_000)
@example(b'{"a":' * 100_000)
def test_noise_is_refused(targets: Mapping[str, Target], noise: bytes) -> None:
    for name, target in targets.items():
        read_or_refuse(name, target, noise)
