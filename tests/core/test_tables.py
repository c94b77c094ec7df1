"""Tables: exact round trip, equal bytes, and no formula for a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.errors import StoreError
from sci_interp.tables import neutralise, read_table, write_table

TABLE = pd.DataFrame(
    {"label": ["=1+1", "HELIX", "-x"], "p": [-0.5, 1e-9, 0.25], "=n": [1, 2, 3], "ok": [True] * 3}
)


@given(st.text(max_size=12))
def test_no_text_starts_a_formula(text: str) -> None:
    cell = neutralise(text)
    assert cell == text or cell == "'" + text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_csv_is_neutral_and_parquet_exact(tmp_path: Path) -> None:
    write_table(tmp_path, "links", TABLE)
    pd.testing.assert_frame_equal(read_table(tmp_path, "links"), TABLE)
    with (tmp_path / "links.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["label"] for row in rows] == ["'=1+1", "HELIX", "'-x"]
    assert [row["p"] for row in rows] == ["-0.5", "1e-09", "0.25"]
    assert [row["'=n"] for row in rows] == ["1", "2", "3"]


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path, name, TABLE.copy())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "links.parquet").write_bytes(b"not parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        read_table(tmp_path, "links")
    with pytest.raises(StoreError, match="cannot be read"):
        read_table(tmp_path, "absent")
