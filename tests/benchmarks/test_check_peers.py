"""The installed programs read what is written here, and write what is read here."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "interchange"))
check_peers = pytest.importorskip("check_peers")
ROWS = list(check_peers.rows())


@pytest.mark.parametrize("row", ROWS, ids=[", ".join(row[:3]) for row in ROWS])
def test_codes_and_reconstructions_are_equal(row, tmp_path: Path) -> None:
    _, program, _, measure = row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(
            check_peers.PROGRAMS[program],
            reason=f"{program} is not installed: its pins clash with those of this environment",
            exc_type=ImportError,
        )
        _, codes, rebuilt = measure(tmp_path)
    assert max(codes, rebuilt) <= check_peers.AIM


def test_the_table_leaves_out_what_is_not_installed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(check_peers, "available", dict)
    assert check_peers.main() == 0
    printed = capsys.readouterr().out
    assert printed.count("not installed, left out") == len(check_peers.PROGRAMS)
    assert "0 of 0 rows reach the aim" in printed
