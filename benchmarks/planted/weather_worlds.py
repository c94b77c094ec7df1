"""Planted weather: storms that move over a smooth globe, features that know them, and traps.

Records are days, blocks the seasons of years. A label is a kind of storm, with its latitudes, its
longitudes, its season and its strong years. A trap shares some of these with the label and nothing
else: it is active where an independent smooth field, raised by what is shared, is high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_data import FRACTIONS, Activity, Ints, Runs, World, build_codes
from planted_maps import draw_maps

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.schema import Split

__all__ = ["SAE_GRID", "SHORT_SEASONS", "WEATHER", "WEATHER_NULLS", "Climate", "build_weather"]

Random = np.random.Generator
Fields = NDArray[np.float64]
SEASONS = ("1 winter", "2 summer")
#: Share of storms that annotators missed, and that a sub-concept knows.
MISSED, SUB_SHARE = 0.10, 0.30
#: Share of storms that a clear feature knows, and of a storm's cells at which it fires.
STORM_RECALL, CELL_RECALL = 0.95, 0.85
#: Share of the cells at which smooth activity that is no storm's fires.
BACKGROUND = 0.01
#: Height of what a trap shares, in standard deviations of its smooth field.
HEIGHT = 1.5
#: What each kind of trap shares with its label.
SHARED: Mapping[str, tuple[str, ...]] = {
    "season and latitude": ("season", "latitude"),
    "inter-annual modulation": ("year",),
    "same map": ("latitude", "longitude"),
    "smooth null": (),
    "season, latitude, map and year": ("season", "latitude", "longitude", "year"),
}


@dataclass(frozen=True)
class Climate:
    """How a world is drawn.

    Attributes
    ----------
    counts
        Number of features of every kind of trap and null.
    n_labels, n_years, n_days, n_rows, n_columns
        Kinds of storms, years, days of a season, latitudes and longitudes.
    memory : (float, float)
        Lowest and highest correlation of smooth fields from day to day.
    length : (float, float)
        Shortest and longest width of their smoothing, in cells.
    rate : float
        Storms of a kind in a season, in the mean.
    lifetime : str
        ``"even"``: two to five days; ``"heavy"``: most short, some a whole season.
    speed : (float, float)
        Slowest and fastest motion, cells a day eastwards.
    linked : bool
        Whether features know storms at all.
    n_hidden : int
        Kinds of storms that no label names, each with a feature; with any, there are input fields
        in which every kind has its own pattern.
    """

    counts: Mapping[str, int]
    n_labels: int = 6
    n_years: int = 30
    n_days: int = 30
    n_rows: int = 10
    n_columns: int = 24
    memory: tuple[float, float] = (0.5, 0.95)
    length: tuple[float, float] = (1.0, 2.0)
    rate: float = 7.5
    lifetime: str = "even"
    speed: tuple[float, float] = (1.0, 3.0)
    linked: bool = True
    n_hidden: int = 0


class Kind(NamedTuple):
    """A kind of storm: where and when it is frequent."""

    row: float
    column: float
    winter: float
    year: Fields


class Storms(NamedTuple):
    """Cells of storms on days, one row a cell."""

    storm: Ints
    record: Ints
    cell: Ints
    closeness: Fields


WEATHER = Climate(
    {
        "season and latitude": 12,
        "inter-annual modulation": 12,
        "same map": 12,
        "smooth null": 24,
    }
)
#: The same with so short seasons that few blocks carry most of a label.
SHORT_SEASONS = replace(WEATHER, n_days=12, rate=3.0)
WEATHER_NULLS = Climate({"smooth null": 40}, n_days=15, rate=4.0, linked=False)

#: Concepts of activations in which autoencoders are trained.
SAE_GRID = Climate(
    {"season and latitude": 6, "same map": 6, "smooth null": 24}, n_days=20, rate=5.0, n_hidden=6
)


def build_weather(
    climate: Climate, seeds: tuple[int, ...], *, fractions: Mapping[Split, float] = FRACTIONS
) -> World:
    """Draw one replicate; ``seeds`` name it."""
    random = np.random.default_rng(seeds)
    axis = _axis(climate, "".join(f"s{seed}" for seed in seeds), fractions)
    when = _calendar(axis)
    kinds = [_draw_kind(random, climate, at, climate.n_labels) for at in range(climate.n_labels)]
    storms = [_draw_storms(random, climate, when, kind) for kind in kinds]
    activities: list[tuple[str, int, Activity]] = []
    if climate.linked:
        for name, share in (("clear", STORM_RECALL), ("sub-concept", SUB_SHARE)):
            for label, of_label in enumerate(storms):
                activities.append((name, label, _follow(random, climate, axis, of_label, share)))
    for name, count in climate.counts.items():
        for at in range(count):
            label = at % climate.n_labels
            mean = _mean(climate, when, kinds[label], SHARED[name])
            field = _smooth(random, climate, axis) + mean
            activities.append((name, label, _exceed(field, random.uniform(0.02, 0.05), 0.6)))
    hidden = [
        _draw_storms(random, climate, when, _draw_kind(random, climate, at, climate.n_hidden))
        for at in range(climate.n_hidden)
    ]
    activities += [
        ("hidden storm", -1, _follow(random, climate, axis, own, STORM_RECALL)) for own in hidden
    ]
    names, targets, drawn = zip(*activities, strict=True)
    labels = tuple(
        Label(f"storm {at}", "storms", "a planted kind of storm") for at in range(len(kinds))
    )
    runs = _annotate(random, axis, storms)
    maps = draw_maps(random, axis, [*storms, *hidden], climate.n_rows) if hidden else None
    return World(
        axis,
        labels,
        runs,
        build_codes(axis, drawn),
        names,
        np.array(targets, np.int64),
        maps,
        fractions=fractions,
    )


def _axis(climate: Climate, name: str, fractions: Mapping[Split, float]) -> TokenAxis:
    latitude = np.deg2rad(np.linspace(20, 65, climate.n_rows))
    rows = [
        (f"{name}y{year:03d}{season}d{day:03d}", f"{name}y{year:03d}{season}", season)
        for year in range(climate.n_years)
        for season in SEASONS
        for day in range(climate.n_days)
    ]
    table = pd.DataFrame(rows, columns=["record", "block", "exchange"])
    table["n_tokens"] = climate.n_rows * climate.n_columns
    weights = np.rint(20 * np.cos(latitude)).astype(int).tolist()
    return TokenAxis.build(table, fractions, step_weights=weights)


def _calendar(axis: TokenAxis) -> pd.DataFrame:
    """Return year, season (0 is winter), day and block number of every record."""
    found = axis.records["record"].str.extract(r"y(\d+)(\d) \w+d(\d+)$").astype(int)
    found.columns = pd.Index(["year", "season", "day"])
    block = np.repeat(np.arange(len(axis.block_starts) - 1), np.diff(axis.block_starts))
    return found.assign(season=found["season"] - 1, block=block)


def _draw_kind(random: Random, climate: Climate, at: int, n_kinds: int) -> Kind:
    """Return a kind of storm: latitudes and seasons are spread, years and longitudes drawn."""
    return Kind(
        row=1.5 + (climate.n_rows - 4) * at / max(n_kinds - 1, 1),
        column=random.uniform(0, climate.n_columns),
        winter=(0.5, 1.0, 1.5)[at % 3],
        year=random.standard_normal(climate.n_years),
    )


def _draw_storms(random: Random, climate: Climate, when: pd.DataFrame, kind: Kind) -> Storms:
    """Draw the storms of a kind, day by day."""
    blocks = when.groupby("block").agg({"year": "first", "season": "first"})
    first = np.searchsorted(when["block"], np.arange(len(blocks)))
    order = np.argsort(first)
    parts, number = [], 0
    for block in order:
        year, season = blocks.iloc[block]
        factor = kind.winter if season == 0 else 2 - kind.winter
        mean = climate.rate * factor * np.exp(0.4 * kind.year[year] - 0.08)
        for _ in range(int(random.poisson(mean))):
            cells = _move(random, climate, kind)
            if len(cells):
                day, cell, closeness = cells.T
                record = first[block] + day.astype(np.int64)
                storm = np.full(len(record), float(number))
                parts.append(np.stack([storm, record, cell, closeness]))
                number += 1
    storm, record, cell, closeness = np.concatenate(parts, axis=1)
    return Storms(storm.astype(np.int64), record.astype(np.int64), cell.astype(np.int64), closeness)


def _move(random: Random, climate: Climate, kind: Kind) -> Fields:
    """Return day, cell and closeness to the centre of one storm's cells ``(n, 3)``."""
    days = int(random.integers(2, 6))
    if climate.lifetime == "heavy":
        days = int(min(1 + random.pareto(1.2), climate.n_days))
    birth = int(random.integers(1 - days, climate.n_days))
    row = kind.row + random.normal(0, 1)
    column = kind.column + random.vonmises(0, 0.8) * climate.n_columns / (2 * np.pi)
    speed, drift = random.uniform(*climate.speed), random.normal(0, 0.3)
    radius = random.uniform(1.0, 2.2)
    y, x = np.arange(climate.n_rows)[None, :], np.arange(climate.n_columns)[:, None]
    found = []
    for age in range(max(0, -birth), min(days, climate.n_days - birth)):
        east = np.abs(x - (column + speed * age)) % climate.n_columns
        east = np.minimum(east, climate.n_columns - east)
        away = np.hypot(east, y - (row + drift * age)).ravel()
        cell = np.flatnonzero(away <= radius)
        found.append(np.stack([np.full(len(cell), birth + age), cell, 1 - away[cell] / 3], axis=1))
    return np.concatenate([np.zeros((0, 3)), *found])


def _smooth(random: Random, climate: Climate, axis: TokenAxis) -> Fields:
    """Return a smooth field of variance 1, autoregressive inside blocks ``(records, cells)``."""
    from scipy.ndimage import gaussian_filter

    memory, length = random.uniform(*climate.memory), random.uniform(*climate.length)
    noise = random.standard_normal((axis.n_records, climate.n_columns, climate.n_rows))
    noise = gaussian_filter(noise, (0, length, length), mode=("wrap", "wrap", "reflect"))
    noise /= noise.std()
    opens = set(axis.block_starts.tolist())
    for record in range(1, axis.n_records):
        if record not in opens:
            noise[record] = memory * noise[record - 1] + np.sqrt(1 - memory**2) * noise[record]
    field: Fields = noise.reshape(axis.n_records, -1)
    return field


def _mean(climate: Climate, when: pd.DataFrame, kind: Kind, shared: tuple[str, ...]) -> Fields:
    """Return what raises a trap's field where and when its label is frequent, broadcastable."""
    season = np.where(when["season"] == 0, kind.winter - 1, 1 - kind.winter)[:, None]
    row = np.arange(climate.n_rows)[None, :]
    latitude = np.exp(-0.5 * ((row - kind.row) / 1.5) ** 2)
    angle = 2 * np.pi * (np.arange(climate.n_columns) - kind.column) / climate.n_columns
    parts = {
        "season": 2 * season,
        "latitude": np.tile(latitude, (1, climate.n_columns)),
        "longitude": np.repeat(np.cos(angle), climate.n_rows)[None, :],
        "year": 0.5 * kind.year[when["year"].to_numpy()][:, None],
    }
    mean = np.zeros((1, 1))
    for name in shared:
        mean = mean + HEIGHT * parts[name]
    return mean


def _exceed(field: Fields, prevalence: float, strength: float) -> Activity:
    """Return where a field is among its highest values, as activity that grows with it."""
    flat = field.ravel()
    cut = np.quantile(flat, 1 - prevalence)
    token = np.flatnonzero(flat > cut)
    value = strength * np.minimum(0.25 + 0.5 * (flat[token] - cut), 1.5)
    return Activity(token, value.astype(np.float32))


def _follow(
    random: Random, climate: Climate, axis: TokenAxis, storms: Storms, share: float
) -> Activity:
    """Return a feature that fires in a share of the storms, and weakly elsewhere."""
    chosen = random.random(storms.storm.max() + 1) < share
    kept = chosen[storms.storm] & (random.random(len(storms.storm)) < CELL_RECALL)
    size = climate.n_rows * climate.n_columns
    token = (storms.record * size + storms.cell)[kept]
    value = 0.6 * random.lognormal(0.0, 0.2, len(chosen))[storms.storm[kept]]
    value = value * storms.closeness[kept]
    stray = _exceed(_smooth(random, climate, axis), BACKGROUND, 0.4)
    token, value = np.append(token, stray.token), np.append(value, stray.value)
    order = np.argsort(token, kind="stable")
    return Activity(token[order], value[order].astype(np.float32))


def _annotate(random: Random, axis: TokenAxis, storms: list[Storms]) -> Runs:
    """Return the storms that were noticed; a run is a stretch of cells of one column."""
    size = int(axis.record_starts[1])
    columns: list[list[Ints]] = [[], [], [], [], []]
    n_instances, n_events = 0, 0
    for label, own in enumerate(storms):
        noticed = random.random(own.storm.max() + 1) >= MISSED
        kept = noticed[own.storm]
        storm, token = own.storm[kept], (own.record * size + own.cell)[kept]
        instance = np.unique(np.stack([storm, token // size]), axis=1, return_inverse=True)[1]
        order = np.lexsort((token, instance))
        storm, token, instance = storm[order], token[order], instance[order]
        breaks = (np.diff(token) != 1) | (np.diff(instance) != 0)
        starts = np.flatnonzero(np.append(True, breaks))
        stops = np.append(starts[1:], len(token)) - 1
        parts = (
            np.full(len(starts), label),
            instance[starts] + n_instances,
            token[starts],
            token[stops] + 1,
            storm[starts] + n_events,
        )
        for column, part in zip(columns, parts, strict=True):
            column.append(part.astype(np.int64))
        n_instances += int(instance.max()) + 1
        n_events += int(own.storm.max()) + 1
    whole = [np.concatenate(column) for column in columns]
    known = np.ones((1, axis.n_records), np.bool_)
    return Runs(whole[0], whole[1], whole[2], whole[3], whole[4], known)
