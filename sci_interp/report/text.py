"""Values as readers see them: numbers in few digits, addresses that are plain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from urllib.parse import urlsplit

import pandas as pd

__all__ = ["DASH", "Cell", "cells", "safe_link", "show"]

DASH, _MINUS, _INFINITY = "\u2013", "\u2212", "\u221e"
#: Columns of numbers that name something: written without separators.
_NAMING = ("feature", "start", "stop")

#: One cell of a table: its text, and whether it is a number.
Cell = tuple[str, bool]


def show(value: object) -> str:
    """Return a value as text: three significant digits, a dash where there is none.

    >>> show(0.000123), show(12345), show(0.5), show(True)
    ('1.2e-4', '12,345', '0.500', 'yes')
    """
    if value is None or value is pd.NA:
        return DASH
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return _number(float(value))
    return str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return DASH
    size = abs(value)
    if math.isinf(value):
        text = _INFINITY
    elif size == 0:
        text = "0"
    elif size < 1e-3:
        mantissa, exponent = f"{size:.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    elif size < 1:
        text = f"{size:.3f}"
    else:
        text = f"{size:,.{max(0, 2 - math.floor(math.log10(size)))}f}"
    return _MINUS + text if value < 0 else text


def cells(
    table: pd.DataFrame, columns: Sequence[str], n_rows: int | None = None
) -> list[list[Cell]]:
    """Return the first rows of some columns as text, and whether each column holds numbers."""
    part = table[list(columns)].head(len(table) if n_rows is None else n_rows)
    numeric = [pd.api.types.is_numeric_dtype(part[name].dtype) for name in columns]
    return [
        [
            (_name(value) if column in _NAMING else show(value), is_number)
            for column, value, is_number in zip(columns, row, numeric, strict=True)
        ]
        for row in part.itertuples(index=False, name=None)
    ]


def _name(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def safe_link(link: str) -> str:
    """Return ``link`` if it is a plain https address, otherwise nothing."""
    if not link.isascii() or any(sign.isspace() or sign in "\"'<>\\" for sign in link):
        return ""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme == "https" and parts.hostname and "@" not in parts.netloc else ""
