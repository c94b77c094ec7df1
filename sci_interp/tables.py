"""Result tables on disk: parquet for programs, and CSV that a spreadsheet opens harmlessly."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .disk import read_parquet
from .manifest import write_atomically

__all__ = ["neutralise", "read_table", "write_table"]

#: A spreadsheet takes a cell that begins with one of these for a formula; some take the wide forms
#: too, and pass over what is not seen. A cell may begin inside a text as well: where the computer's
#: language separates cells by semicolons, commas and the quotes after them separate nothing.
_BREAKS = "\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029"
_FORMULA = re.compile(
    f"(^|[;{_BREAKS}])"
    f'(?=(?:[^\\S{_BREAKS}]|["\ufeff\u00ad\u200b-\u200f\u2060])*[=+@\uff1d\uff0b\uff0d\uff20-])'
)
_BLANK_START = re.compile(r" *[\t\r\n]")


def neutralise(text: str) -> str:
    """Return ``text`` so that no spreadsheet evaluates it: before a formula stands an apostrophe.

    >>> neutralise("=1+1"), neutralise("a; -b"), neutralise("a-b")
    ("'=1+1", "a;' -b", 'a-b')
    """
    safe = _FORMULA.sub(r"\1'", text)
    return "'" + safe if _BLANK_START.match(safe) else safe


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write ``name.parquet`` and ``name.csv`` into an artefact; equal tables give equal bytes.

    Parameters
    ----------
    folder
        The artefact.
    name
        File name without its suffix.
    table
        The rows; the index is not written. Text cells and column names of the CSV (only there)
        are neutralised.
    """
    data: bytes = table.to_parquet(index=False, compression="zstd")
    write_atomically(folder / f"{name}.parquet", data)
    shown = table.rename(columns=lambda column: neutralise(str(column)))
    for column in shown.columns[[not _is_plain(shown[column]) for column in shown.columns]]:
        shown[column] = [
            neutralise(cell) if isinstance(cell, str) else cell for cell in shown[column]
        ]
    text = shown.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_atomically(folder / f"{name}.csv", text)


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Return a table that :func:`write_table` wrote.

    Raises
    ------
    StoreError
        If ``name.parquet`` cannot be read.
    """
    return read_parquet(folder / f"{name}.parquet")


def _is_plain(column: pd.Series) -> bool:
    """Return whether a column holds numbers or truth values only."""
    return bool(pd.api.types.is_numeric_dtype(column.dtype))
