"""Result tables on disk: parquet for programs, and CSV that a spreadsheet opens harmlessly."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .disk import read_parquet
from .manifest import write_atomically

__all__ = ["neutralise", "read_table", "write_table"]

#: A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def neutralise(text: str) -> str:
    """Return ``text`` so that no spreadsheet evaluates it: formulas get a leading apostrophe."""
    return "'" + text if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


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
