"""The table of matches across depth and seeds, on a small match."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from matching_world import PassThrough, make_axis, source_of, sparse_values

import sci_interp as si


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = repository / "benchmarks" / "universality" / "match_bundled.py"
    spec = importlib.util.spec_from_file_location("match_bundled", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_match_is_a_row_of_the_table(script: ModuleType) -> None:
    axis = make_axis(n_records=40)
    source = source_of(axis, sparse_values(axis, 5))
    found = si.match(PassThrough(5), PassThrough(5), source, n_permutations=20, progress=False)
    row = {"A": "one", "B": "same", **script.summarise(found)}
    lines = script.format_markdown(pd.DataFrame([row])).splitlines()
    assert lines[0].startswith("| A | B | features | best | one-to-one |")
    assert lines[2].startswith("| one | same | 5 | 1.000 | 1.000 |")
    assert lines[2].count("100.0%") == 5
    assert lines[2].count("none") == 2


def test_the_notes_are_complete(script: ModuleType) -> None:
    text = script.NOTES.format(distinct=100, epochs=6.0)
    assert "100 tokens" in text and "6 times each" in text
