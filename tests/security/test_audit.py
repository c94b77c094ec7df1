"""The audit says what is vulnerable, and what could not be asked about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "reliability"))
audit = pytest.importorskip("audit", reason="the benchmarks are not part of this distribution")

SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {
    "name": "pyarrow",
    "version": "14.0.0",
    "vulns": [
        {"id": "PYSEC-2023-238", "fix_versions": ["14.0.1"]},
        {"id": "X", "fix_versions": []},
    ],
}
SKIPPED = {"name": "zarr", "skip_reason": "Dependency not found on PyPI"}


def test_vulnerable_versions_are_named() -> None:
    text, clean = audit.summarise({"dependencies": [SOUND, BAD, SKIPPED]})
    assert not clean
    assert text.splitlines() == [
        "2 versions were asked about, 1 could not be",
        "pyarrow 14.0.0: PYSEC-2023-238, fixed in 14.0.1",
        "pyarrow 14.0.0: X, fixed in no version",
    ]
    assert audit.summarise({"dependencies": [SOUND, SKIPPED]})[1]


@pytest.mark.parametrize(
    ("stdout", "stderr", "status", "said"),
    [
        (json.dumps({"dependencies": [SOUND]}), "", 0, "1 versions were asked about"),
        (json.dumps({"dependencies": [BAD]}), "", 1, "fixed in 14.0.1"),
        ("", "x\nrequests.ConnectionError: no route", 0, "nothing is known: requests.Conn"),
        ("", "No module named pip_audit", 2, "nothing is known: No module named pip_audit"),
    ],
)
def test_what_pip_audit_says_is_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys, stdout: str, stderr: str, status: int, said: str
) -> None:
    done = subprocess.CompletedProcess([], 1, stdout, stderr)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)
    assert audit.main() == status
    assert said in capsys.readouterr().out
