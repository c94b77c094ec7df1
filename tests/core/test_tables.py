"""Tables: exact round trip, equal bytes, and no formula for a spreadsheet."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sci_interp.errors import StoreError
from sci_interp.tables import neutralise, read_table, write_table

TABLE = pd.DataFrame(
    {"label": ["=1+1", "HELIX", "-x"], "p": [-0.5, 1e-9, 0.25], "=n": [1, 2, 3], "ok": [True] * 3}
)


PARTS = st.text(max_size=3) | st.sampled_from([*"=+-@;,\t\n\"'", " ", "\uff1d", "\ufeff", "1", "a"])
STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@settings(max_examples=400)
@given(st.lists(PARTS, max_size=8).map("".join))
def test_no_text_starts_a_formula(text: str) -> None:
    cell = neutralise(text)
    assert not cell.startswith(("\t", "\r", "\n"))
    assert cell.replace("'", "") == text.replace("'", "")
    for part in re.split("[;\t\r\n]", cell):
        assert not part.lstrip('" \t\ufeff\u200b').startswith(STARTS)
    assert neutralise(cell) == cell


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
