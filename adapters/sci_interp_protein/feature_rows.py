"""From raw fields to features: positions, types and what had to be left out."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sci_interp.errors import InputError

from .feature_types import EXCLUDED_TYPES, OLD_TYPES, Feature, canonical_type, modernise

__all__ = ["RowParser"]

_EXACT = re.compile(r"^[<>]?(\d{1,9})$")
_UNCERTAIN = re.compile(r"^\?[<>]?\d*$")
_EXCLUDED = frozenset(EXCLUDED_TYPES)


@dataclass
class RowParser:
    """Turns the raw fields of one file into features and counts what it leaves out.

    Uncertain positions: ``<5`` and ``>90`` (the feature goes on outside the sequence) are read
    as 5 and 90; ``?`` and ``?17`` (position not known) leave the row out.

    Attributes
    ----------
    path : Path
        The file, for messages.
    n_uncertain : int
        Rows left out because a position is not known.
    unknown_types : Counter
        Rows left out by types that UniProt does not have.
    """

    path: Path
    n_uncertain: int = 0
    unknown_types: Counter[str] = field(default_factory=Counter)

    def where(self, protein: str, line: int = 0) -> str:
        """Return file, line and protein, the subject of a message."""
        return f"{self.path}{f' line {line}' if line else ''}: protein {protein!r}"

    def parse(
        self, kind: str, positions: tuple[str, str], note: str, *, protein: str, line: int = 0
    ) -> Feature | None:
        """Return the feature of one row, or None where it makes no label.

        Raises
        ------
        InputError
            If a position is no number, or start is 0 or after the end.
        """
        key = canonical_type(kind.strip())
        if key is None:
            self.unknown_types[kind.strip()[:40]] += 1
            return None
        if OLD_TYPES.get(key, key) in _EXCLUDED:
            return None
        start = self._position(positions[0], kind, protein, line)
        end = self._position(positions[1], kind, protein, line)
        if start is None or end is None:
            self.n_uncertain += 1
            return None
        if not 1 <= start <= end:
            raise InputError(
                f"{self.where(protein, line)}: {kind} {start}-{end} is no range",
                allowed="1 <= start <= end, residues counted from 1",
                todo="Correct the row, or leave it out",
            )
        modern, cleaned = modernise(key, note)
        return Feature(modern, start, end, cleaned, line)

    def warn(self) -> None:
        """Tell once what was left out of the file."""
        if self.n_uncertain:
            warnings.warn(
                f"{self.path}: {self.n_uncertain} features of unknown position ('?') left out",
                UserWarning,
                stacklevel=2,
            )
        if self.unknown_types:
            names = ", ".join(repr(name) for name in sorted(self.unknown_types)[:5])
            warnings.warn(
                f"{self.path}: {self.unknown_types.total()} rows left out, "
                f"their types are not UniProt's: {names}",
                UserWarning,
                stacklevel=2,
            )

    def _position(self, text: str, kind: str, protein: str, line: int) -> int | None:
        exact = _EXACT.match(text.strip())
        if exact:
            return int(exact.group(1))
        if _UNCERTAIN.match(text.strip()):
            return None
        raise InputError(
            f"{self.where(protein, line)}: the position {text[:40]!r} of {kind} is no number",
            allowed="a residue number such as 12, <12, >12 or ?",
        )
