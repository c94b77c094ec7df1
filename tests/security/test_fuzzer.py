"""The fuzzer finds what it is for: errors without a type, crashes, runs without end, and costs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import mutation
import pytest
from fuzz_targets import Target, run_target

from sci_interp.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "reliability"))
fuzz = pytest.importorskip("fuzz", reason="the benchmarks are not part of this distribution")

ENGINE = {"run": run_target, "atheris": None, "mutation": mutation, "seed": 0}
SEED = b"a seed"


def refuse(data: bytes) -> None:
    if data != SEED:
        raise InputError("this is refused")


def fail(data: bytes) -> None:
    if data != SEED:
        raise KeyError("this is no typed error")


def crash(data: bytes) -> None:
    if data != SEED:
        os.kill(os.getpid(), signal.SIGKILL)


def hang(data: bytes) -> None:
    if data != SEED:
        time.sleep(3600)


def grow(data: bytes, kept: list[bytearray] = []) -> None:  # noqa: B006 - what is kept is the point
    if data != SEED and not kept:
        kept.append(bytearray(b"\1" * (300 << 20)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("parse", "kept", "says"),
    [
        (refuse, True, ""),
        (fail, False, "KeyError in test_fuzzer.py"),
        (crash, False, "signal 9"),
        (hang, False, "ran without end"),
        (grow, False, ""),
    ],
)
def test_what_breaks_the_promise_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parse, kept: bool, says: str
) -> None:
    monkeypatch.setattr(fuzz, "PATIENCE", 1.0)
    outcome = fuzz.fuzz_target(Target((SEED,), parse), tmp_path / "found", 0.5, ENGINE)
    assert outcome.kept is kept
    table = fuzz.table({"a target": outcome}, {"a target"}, "How.")
    assert says in table and "| a target * |" in table
    assert f"Kept by {int(kept)} of 1 targets" in table


def test_changes_are_what_they_say() -> None:
    change = mutation.Change
    assert mutation.damage(b"abc", [change("flip", 0.0, 0, b"")]) == b"`bc"
    assert mutation.damage(b"abc", [change("cut", 0.34, 1, b"")]) == b"ac"
    assert mutation.damage(b"abc", [change("double", 0.34, 2, b"")]) == b"abcbc"
    assert mutation.damage(b"abc", [change("insert", 0.34, 0, b"X")]) == b"aXbc"
    assert mutation.damage(b"", [change("flip", 0.0, 0, b"")]) == b""
    value = change("value", 0.9, 0, b"null")
    assert mutation.damage(b'{"a": 1, "b": [2, 3]}', [value]) == b'{"a": 1, "b": [2, null]}'
    assert mutation.damage(b'{"a": 1}\n{"b": 2}', [value]) == b'{"a": 1}\n{"b": null}'
    assert mutation.damage(b"no json", [value]) == b"no json"
    header = b'{"w":1}'
    packed = len(header).to_bytes(8, "little") + header + b"data"
    changed = b'{"w": null}'
    expected = len(changed).to_bytes(8, "little") + changed + b"data"
    assert mutation.damage(packed, [value]) == expected
