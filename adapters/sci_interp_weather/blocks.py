"""Blocks of records: runs of consecutive time that no split and no resampling takes apart.

Weather remembers: fields a few days apart are one sample seen twice. A block is therefore a season
of one year (or a year, a month, a number of days), and the last days of every block are left out,
so that records of neighbouring blocks stay apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .alignment import align_blocks
from .times import Times, hour_of, hours_since, month_of, year_of

__all__ = ["BlockRule", "Blocks", "Persistence", "assign_blocks", "measure_persistence"]

SEASONS: Final = ("DJF", "MAM", "JJA", "SON")
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
#: Days of a whole block.
_NOMINAL: Final = {"season": 90.0, "year": 365.0, "month": 30.0}
#: Share of its whole length that a block must hold.
_LEAST: Final = 1 / 3
#: Blocks with events that a label needs before it can be judged.
_ENOUGH_BLOCKS: Final = 8


@dataclass(frozen=True)
class BlockRule:
    """How records are made into blocks.

    Attributes
    ----------
    kind : str
        ``"season"`` (December belongs to the winter of the next year), ``"year"``, ``"month"`` or
        ``"days"``.
    days : float
        Length of a whole block.
    gap_days : float
        Days left out at the end of every block.
    every : int
        Every how many-th time of a block is a record: neighbouring times say much the same.

    Raises
    ------
    InputError
        If the kind is unknown, a number is out of range, or the gap leaves nothing of a block.
    """

    kind: str
    days: float
    gap_days: float
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"every is {self.every}", allowed="1 or more")
        if not self.days > 0:
            raise InputError(f"blocks of {self.days:g} days", allowed="more than 0 days")
        if not self.gap_days >= 0:
            raise InputError(f"gap_days is {self.gap_days:g}", allowed="0 or more days")
        if self.days - self.gap_days < _LEAST * self.days:
            raise InputError(
                f"a gap of {self.gap_days:g} days leaves less than a third of blocks of "
                f"{self.days:g} days",
                allowed=f"gap_days up to {(1 - _LEAST) * self.days:.3g}",
                todo="Choose longer blocks or a shorter gap",
            )

    @classmethod
    def parse(cls, block: str, gap_days: float, every: int = 1) -> BlockRule:
        """Read ``"season"``, ``"year"``, ``"month"``, or a number of days such as ``"30"``."""
        if block in _NOMINAL:
            return cls(block, _NOMINAL[block], gap_days, every)
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", block):
            raise InputError(
                f"block is {block!r}", allowed=f"{', '.join(_NOMINAL)}, or a number of days"
            )
        return cls("days", float(block), gap_days, every)

    def __str__(self) -> str:
        if self.kind == "days":
            return f"runs of {self.days:g} days"
        return "season-years" if self.kind == "season" else f"{self.kind}s"


@dataclass(frozen=True, eq=False)
class Blocks:
    """The block of every time.

    Attributes
    ----------
    name : (n_times,) object
        Name of the block, ``"2009-DJF"``; empty where a time is left out.
    exchange : (n_times,) object
        Blocks of the same text may exchange their labels: the season, the month, or nothing.
        Their records lie at the same places of the season; a block with other records, cut off by
        the data's end or a hole, has a text of its own.
    whole : (n_times,) int64
        Number of the block around every time, none left out: a gap belongs half to the block
        before it and half to the one after.
    note : str
        What the blocks are, and their limits.
    """

    name: NDArray[np.object_]
    exchange: NDArray[np.object_]
    whole: NDArray[np.int64]
    note: str


def assign_blocks(
    times: Times, rule: BlockRule, *, step_days: float, usable: NDArray[np.bool_]
) -> Blocks:
    """Return the block of every time.

    The times in the last ``gap_days`` of a block are left out, then blocks that hold less than a
    third of a whole one. Where that leaves nothing, as with a single forecast, all times stay.

    Parameters
    ----------
    times : (n_times,) times
        Ascending.
    rule
        What a block is.
    step_days
        Distance of the times.
    usable : (n_times,) bool
        Times that can be records at all.
    """
    number = _numbers(times, rule, times[:1])
    later = times + pd.Timedelta(days=rule.gap_days)
    kept = usable & (_numbers(later, rule, times[:1]) == number)
    size = Counter(number[kept].tolist())
    least = _LEAST * rule.days / step_days
    kept &= np.array([size[key] >= least for key in number.tolist()], dtype=bool)
    short = not kept.any()
    kept = usable.copy() if short else kept
    place = _place_in_block(times, rule, number, step_days)
    names, exchanges = _names(times, rule)
    alone: dict[int, str] = {}
    if not short:
        kept, alone = align_blocks(kept, number, place, exchanges)
    places = np.flatnonzero(kept)
    opens = np.append(True, np.diff(number[places]) != 0)
    since = np.arange(len(places)) - np.flatnonzero(opens)[np.cumsum(opens) - 1]
    kept[places[since % rule.every != 0]] = False
    words = {
        key: (names(key), alone.get(key, exchanges(key))) for key in set(number[kept].tolist())
    }
    pairs = [words[k] if on else ("", "") for k, on in zip(number.tolist(), kept, strict=True)]
    return Blocks(
        np.array([name for name, _ in pairs], dtype=object),
        np.array([exchange for _, exchange in pairs], dtype=object),
        _numbers(times + pd.Timedelta(days=rule.gap_days / 2), rule, times[:1]),
        _describe(rule, len(words), int(kept.sum()), int(usable.sum()), short=short),
    )


def _place_in_block(
    times: Times, rule: BlockRule, number: NDArray[np.int64], step_days: float
) -> NDArray[np.float64]:
    """Return where in its block every time lies: a day of the year, or steps from the start."""
    if rule.kind == "days":
        days = (hours_since(times) - hours_since(times[:1])) / 24.0 - number * rule.days
        steps: NDArray[np.float64] = np.floor(days / step_days + 1e-6)
        return steps
    month, day = np.asarray(month_of(times)), np.asarray(times.day)
    places: NDArray[np.float64] = np.round(100.0 * month + day + hour_of(times) / 24.0, 6)
    return places


def _numbers(times: Times, rule: BlockRule, first: Times) -> NDArray[np.int64]:
    """Return the running number of the block that every time lies in."""
    if rule.kind == "days":
        days = (hours_since(times) - hours_since(first)) / 24.0
        return np.floor(days / rule.days + 1e-9).astype(np.int64)
    year, month = (np.asarray(part(times), dtype=np.int64) for part in (year_of, month_of))
    if rule.kind == "year":
        return year
    if rule.kind == "month":
        return year * 12 + month - 1
    return (year * 12 + month) // 3


def _names(times: Times, rule: BlockRule) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """Return what a block's number is called, and with which others it may exchange labels."""

    def begin(number: int, into: float = 0.0) -> Any:
        return times[0] + pd.Timedelta(days=(number + into) * rule.days)

    if rule.kind == "days":
        return (
            lambda number: f"from {begin(number).strftime('%Y-%m-%dT%H')}",
            lambda number: SEASONS[begin(number, 0.5).month % 12 // 3],
        )
    if rule.kind == "year":
        return lambda number: f"{number:04d}", lambda _: ""
    if rule.kind == "month":
        return (
            lambda number: f"{number // 12:04d}-{number % 12 + 1:02d}",
            lambda number: _MONTHS[3 * (number % 12) :][:3],
        )
    return (
        lambda number: f"{number // 4:04d}-{SEASONS[number % 4]}",
        lambda number: SEASONS[number % 4],
    )


def _describe(rule: BlockRule, n_blocks: int, n_kept: int, n_usable: int, *, short: bool) -> str:
    if short:
        return (
            f"Blocks: {n_blocks} ({rule}), all shorter than a third of a whole one, kept without "
            f"gap: {n_kept} records. Too little for statistics over blocks; choose shorter blocks "
            "or longer data."
        )
    text = (
        f"Blocks: {n_blocks} {rule}, {rule.gap_days:g} days left out at the end of each, and "
        f"blocks shorter than a third of a whole one: {n_kept} of {n_usable} records stay."
    )
    if rule.every > 1:
        text += f" One time in {rule.every} is a record."
    if rule.kind not in ("season", "year"):
        text += " They are shorter than the years or season-years that weather asks for."
    if rule.kind == "days":
        text += (
            " Labels are exchanged between blocks of one season: what changes with the calendar "
            "inside a season can pass for a link."
        )
    if n_blocks < 2 * _ENOUGH_BLOCKS:
        text += (
            f" Few blocks: a label needs {_ENOUGH_BLOCKS} with events on the test side before it "
            "can be judged."
        )
    return text


@dataclass(frozen=True)
class Persistence:
    """How long the fields remember.

    Attributes
    ----------
    step_days : float
        Distance of the times.
    lag_one : float
        Autocorrelation from one time to the next.
    decorrelation_days : float
        Integral decorrelation time: days per independent sample.
    """

    step_days: float
    lag_one: float
    decorrelation_days: float

    def describe(self, variable: str, rule: BlockRule) -> str:
        """Return one sentence, with the independent samples that a block holds."""
        if not np.isfinite(self.lag_one):
            return f"The memory of {variable} cannot be estimated: too few times."
        n_samples = (rule.days - rule.gap_days) / self.decorrelation_days
        return (
            f"Anomalies of {variable} from their domain mean: autocorrelation {self.lag_one:.2f} "
            f"over {self.step_days:g} days, decorrelation time {self.decorrelation_days:.1f} days, "
            f"so that a block holds about {n_samples:.0f} independent samples."
        )


def measure_persistence(
    anomalies: NDArray[np.float32],
    weights: NDArray[np.float64],
    runs: Sequence[tuple[int, int]],
    *,
    step_days: float,
) -> Persistence:
    """Estimate the autocorrelation of fields, pooled over places.

    Each time's weighted mean is removed first. The integral decorrelation time is the step times
    ``1 + 2 (r_1 + r_2 + ...)``, the sum taken up to the first coefficient that is not positive
    (Leith 1973, The standard error of time-average estimates of climatic means).

    Parameters
    ----------
    anomalies : (n_times, n_places) float32
        Departures from the climatology.
    weights : (n_places,) float64
        Area of the places.
    runs
        Ranges of times without a hole; lags never cross one.
    step_days
        Distance of the times.
    """
    share = weights / weights.sum()
    values = anomalies.astype(np.float64)
    values -= values @ share[:, None]
    variance = float((values**2).mean(axis=0) @ share) if len(values) else 0.0
    total = 0.0
    lag_one = float("nan")
    for lag in range(1, max((stop - start for start, stop in runs), default=1)):
        pairs = [(values[a : b - lag], values[a + lag : b]) for a, b in runs if b - a > lag]
        n_pairs = sum(len(early) for early, _ in pairs)
        product = sum(float((early * late).sum(axis=0) @ share) for early, late in pairs)
        coefficient = product / n_pairs / variance if variance > 0 else 0.0
        lag_one = coefficient if lag == 1 else lag_one
        if coefficient <= 0:
            break
        total += coefficient
    return Persistence(step_days, lag_one, step_days * (1 + 2 * total))
