"""Coded surface analyses: an analyst's highs, lows and fronts.

The US Weather Prediction Center sends its analyses as text (``CODSUS``). After ``HIGHS`` and
``LOWS`` come pressures in hPa, each followed by a position; after the name of a front, the points
of its line. A position has five digits (whole degrees north and west, ``39106``) or seven (tenths,
``3961069`` is 39.6 N 106.9 W). A position without a pressure before it has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sci_interp.errors import InputError

__all__ = ["AnalysedCentre", "AnalysedFront", "Bulletin", "parse_bulletin", "read_bulletin"]

#: Keyword of the bulletin -> kind of front.
FRONT_KINDS: Final = {
    "COLD": "cold",
    "WARM": "warm",
    "STNRY": "stationary",
    "OCFNT": "occluded",
    "TROF": "trough",
}
_CENTRES: Final = {"HIGHS": "high", "LOWS": "low"}
_STRENGTHS: Final = frozenset({"WK", "MDT", "STG"})
_VALID: Final = re.compile(r"^VALID (\d{2})(\d{2})(\d{2})Z", re.MULTILINE)
_ISSUED: Final = re.compile(r"\b(JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC) \d{1,2} (\d{4})")
_PRESSURE: Final = re.compile("[0-9]{3,4}")
_TENTHS: Final = re.compile("[0-9]{7}")
_DEGREES: Final = re.compile("[0-9]{5}")
_MAX_CHARACTERS: Final = 1_000_000


@dataclass(frozen=True)
class AnalysedCentre:
    """A high or low: kind, position in degrees, pressure in hPa (None where not given)."""

    kind: str
    latitude: float
    longitude: float
    pressure: float | None


@dataclass(frozen=True)
class AnalysedFront:
    """A front or trough: its kind and the points (latitude, longitude) of its line."""

    kind: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bulletin:
    """One coded analysis: when it holds (UTC), its centres and its fronts."""

    valid: datetime
    centres: tuple[AnalysedCentre, ...]
    fronts: tuple[AnalysedFront, ...]


def read_bulletin(path: Path | str) -> Bulletin:
    """Return the analysis in a file; see :func:`parse_bulletin`.

    Raises
    ------
    InputError
        If the file cannot be read or is no coded analysis.
    """
    path = Path(path)
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return parse_bulletin(file.read(_MAX_CHARACTERS), where=str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__})") from None


def parse_bulletin(text: str, *, where: str = "the bulletin") -> Bulletin:
    """Return the analysis in the text of a bulletin.

    Parameters
    ----------
    text
        The text, with year and month in its head (``MON JUN 28 2021``) and a line ``VALID
        MMDDHHZ``.
    where
        Names the source in messages.

    Raises
    ------
    InputError
        If the head or the valid time is missing, or a group of digits cannot be read.
    """
    valid, issued = _VALID.search(text), _ISSUED.search(text)
    if valid is None or issued is None:
        raise InputError(
            f"{where} has no valid time or no date",
            allowed="a line 'VALID MMDDHHZ' after a date such as 'MON JUN 28 2021'",
        )
    month, day, hour = (int(part) for part in valid.groups())
    # An analysis for 1 January may be issued on 31 December, and the reverse.
    late = {(12, "JAN"): -1, (1, "DEC"): 1}.get((month, issued.group(1)), 0)
    try:
        time = datetime(int(issued.group(2)) + late, month, day, hour, tzinfo=UTC)
    except ValueError:
        raise InputError(f"{where}: {valid.group(0)!r} is no time", allowed="MMDDHH") from None
    centres: list[AnalysedCentre] = []
    fronts: list[AnalysedFront] = []
    for keyword, words in _sections(text[valid.end() :]):
        if keyword in _CENTRES:
            centres += _centres(_CENTRES[keyword], words, where)
        else:
            points = tuple(_position(word, where) for word in words if word not in _STRENGTHS)
            fronts.append(AnalysedFront(FRONT_KINDS[keyword], points))
    return Bulletin(time, tuple(centres), tuple(fronts))


def _sections(text: str) -> list[tuple[str, list[str]]]:
    sections: list[tuple[str, list[str]]] = []
    for word in text.split("$$", maxsplit=1)[0].split():
        if word in FRONT_KINDS or word in _CENTRES:
            sections.append((word, []))
        elif sections:
            sections[-1][1].append(word)
    return sections


def _centres(kind: str, words: list[str], where: str) -> list[AnalysedCentre]:
    centres, pressure = [], None
    for word in words:
        if _PRESSURE.fullmatch(word):
            pressure = float(word)
            continue
        latitude, longitude = _position(word, where)
        centres.append(AnalysedCentre(kind, latitude, longitude, pressure))
        pressure = None
    return centres


def _position(word: str, where: str) -> tuple[float, float]:
    if _TENTHS.fullmatch(word):
        latitude, west = int(word[:3]) / 10, int(word[3:]) / 10
    elif _DEGREES.fullmatch(word):
        latitude, west = float(word[:2]), float(word[2:])
    else:
        latitude, west = 999.0, 0.0
    if latitude > 90.0 or west > 360.0:
        raise InputError(
            f"{where}: {word[:20]!r} is no position", allowed="39106 or 3961069 (39.6 N 106.9 W)"
        )
    return latitude, (180.0 - west) % 360.0 - 180.0
