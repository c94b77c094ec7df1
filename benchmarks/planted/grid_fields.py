"""Planted worlds on a grid: a feature and a label that are smooth in space and time.

Both are where a Gaussian field exceeds a threshold. The fields have a Gaussian correlation in
space, are AR(1) in time, and share nothing but what a scenario plants: a profile (season and
latitude, or a fixed map) that raises both, or a correlation of the fields themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from sci_interp.adapter import Label
from sci_interp.annotations import AnnotationSlice
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.enrichment.memory import MemoryAnnotations, MemoryFeatures
from sci_interp.schema import Split
from sci_interp_weather.blocks import BlockRule, assign_blocks
from sci_interp_weather.grids import Grid

__all__ = ["SCENARIOS", "Layout", "Scenario", "Tracks", "World", "build_world"]

Fields = NDArray[np.float32]
Profile = Literal["none", "season and latitude", "map", "map by season", "map by month"]

#: Share of the tokens at which the feature is active, and at which the label is.
FEATURE_PREVALENCE, LABEL_PREVALENCE = 0.05, 0.03
#: Height of the profiles in standard deviations of the fields.
PROFILE_HEIGHT = 1.5
#: Latitude of the storm track and its width, degrees.
TRACK, TRACK_WIDTH = 45.0, 15.0
#: Modes of a field weaker than this share of the strongest are left out.
WEAKEST_MODE = 1e-3
#: Of more means than this, every so many-th stands for all where thresholds are chosen.
MANY_MEANS, SAMPLE_STRIDE = 100_000, 197
STEP_HOURS = 6
DISCOVERY_ALONE: Mapping[Split, float] = {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0}


@dataclass(frozen=True)
class Scenario:
    """What the feature and the label share.

    Attributes
    ----------
    name : str
        Name in the tables.
    profile : str
        Mean of both fields: none, winters of a storm track, a random map that stays, or one that
        is stronger in winter, from season to season or from month to month.
    correlation : float
        Correlation of the two fields.
    n_trials : int
        Trials per memory.
    """

    name: str
    profile: Profile = "none"
    correlation: float = 0.0
    n_trials: int = 100

    @property
    def linked(self) -> bool:
        """Whether there is something to find."""
        return self.correlation > 0


#: The place in this list is a part of a trial's seed.
SCENARIOS = (
    Scenario("independent", n_trials=500),
    Scenario("season and latitude", "season and latitude", n_trials=200),
    Scenario("map", "map", n_trials=100),
    Scenario("linked 0.05", correlation=0.05, n_trials=60),
    Scenario("linked 0.1", correlation=0.1, n_trials=60),
    Scenario("linked 0.2", correlation=0.2, n_trials=60),
    Scenario("map by season", "map by season", n_trials=60),
    Scenario("map by month", "map by month", n_trials=60),
)


@dataclass(frozen=True)
class Layout:
    """Grid, times and blocks.

    Attributes
    ----------
    n_rows, n_columns : int
        Latitudes and longitudes.
    n_blocks, block_days, gap_days : int
        Blocks of consecutive days, of which the last ``gap_days`` are left out.
    length : float
        Correlation length in cells: the correlation is ``exp(-(distance / length)^2 / 2)``.
    """

    n_rows: int = 32
    n_columns: int = 64
    n_blocks: int = 24
    block_days: int = 30
    gap_days: int = 10
    length: float = 5.0

    @cached_property
    def grid(self) -> Grid:
        """The cells, which cover the globe."""
        latitude = (np.arange(self.n_rows) + 0.5) * 180 / self.n_rows - 90
        return Grid.regular(latitude, np.arange(self.n_columns) * 360 / self.n_columns)

    @cached_property
    def axis(self) -> TokenAxis:
        """One record a step, named by its number in time; blocks as the weather adapter's."""
        rule = BlockRule.parse(str(self.block_days), self.gap_days)
        usable = np.ones(len(self._times), bool)
        blocks = assign_blocks(self._times, rule, step_days=STEP_HOURS / 24, usable=usable)
        kept = np.flatnonzero(blocks.name != "")
        table = pd.DataFrame(
            {
                "record": [f"{step:06d}" for step in kept],
                "block": blocks.name[kept],
                "exchange": blocks.exchange[kept],
                "n_tokens": self.n_rows * self.n_columns,
            }
        )
        weights = self.grid.step_weights()
        return TokenAxis.build(table, DISCOVERY_ALONE, step_weights=weights)

    @cached_property
    def _times(self) -> pd.DatetimeIndex:
        n_steps = self.n_blocks * self.block_days * 24 // STEP_HOURS
        return pd.date_range("2001-01-01", periods=n_steps, freq=f"{STEP_HOURS}h")

    @cached_property
    def step(self) -> NDArray[np.int64]:
        """Number in time of every record ``(n_records,)``."""
        step: NDArray[np.int64] = self.axis.records["record"].to_numpy().astype(np.int64)
        return step

    @cached_property
    def winter(self) -> NDArray[np.float64]:
        """Annual cycle of every record, 1 at new year and 0 at midsummer ``(n_records,)``."""
        day = self._times.day_of_year.to_numpy()[self.step]
        winter: NDArray[np.float64] = 0.5 + 0.5 * np.cos(2 * np.pi * (day - 1) / 365.25)
        return winter

    @cached_property
    def modes(self) -> tuple[Fields, Fields]:
        """Patterns along longitude ``(n_columns, n)`` and along latitude ``(n_rows, m)``.

        Independent standard normal amplitudes of their products make fields of variance 1.
        Latitudes are half of a circle, so that the poles are no neighbours.
        """
        along = _circle_modes(self.n_columns, self.length)
        across = _circle_modes(2 * self.n_rows, self.length)[: self.n_rows]
        return along.astype(np.float32), across.astype(np.float32)

    def draw(self, random: np.random.Generator, memory: float) -> Fields:
        """Return a field ``(n_records, n_columns, n_rows)`` with an autocorrelation per step."""
        along, across = self.modes
        order = np.argsort(self.step)
        lag = np.diff(self.step[order], prepend=self.step.max() + 10**6)
        kept = (memory ** np.abs(lag)).astype(np.float32)
        fresh = np.sqrt(1 - kept**2)
        shape = (len(order), along.shape[1], across.shape[1])
        amplitude = random.standard_normal(shape, dtype=np.float32)
        state = amplitude[0]
        for place, record in enumerate(order):
            state = kept[place] * state + fresh[place] * amplitude[record]
            amplitude[record] = state
        field: Fields = np.matmul(along, amplitude @ across.T)
        return field


def _circle_modes(n_cells: int, length: float) -> NDArray[np.float64]:
    """Return sines and cosines on a circle, scaled to a Gaussian correlation ``(n_cells, n)``."""
    wave = np.arange(n_cells // 2)
    power = np.exp(-0.5 * (2 * np.pi * wave / n_cells * length) ** 2)
    power[1:] *= 2
    wave, power = wave[power > WEAKEST_MODE**2], power[power > WEAKEST_MODE**2]
    angle = 2 * np.pi * np.arange(n_cells)[:, None] * wave / n_cells
    scale = np.sqrt(power / power.sum())
    waves = [scale * np.cos(angle), (scale * np.sin(angle))[:, 1:]]
    return np.concatenate(waves, axis=1, dtype=np.float64)


class Tracks(NamedTuple):
    """Where feature and label are, ``(n_records, n_columns * n_rows)`` bool each."""

    feature: NDArray[np.bool_]
    label: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class World:
    """One feature and one label.

    Attributes
    ----------
    tracks : Tracks
        Where they are, for the tests of tokens and steps.
    features, known
        The same as stores in memory, for the default test.
    """

    tracks: Tracks
    features: MemoryFeatures
    known: MemoryAnnotations


def build_world(
    layout: Layout, scenario: Scenario, memory: float, random: np.random.Generator
) -> World:
    """Draw the two fields and cut them at their thresholds."""
    first, own = layout.draw(random, memory), layout.draw(random, memory)
    share = np.float32(scenario.correlation)
    second = share * first + np.sqrt(1 - share**2) * own
    mean = _profile(layout, scenario.profile, random)
    first += mean
    second += mean
    excess = first - _threshold(mean, FEATURE_PREVALENCE)
    label = second > _threshold(mean, LABEL_PREVALENCE)
    n_records = layout.axis.n_records
    tracks = Tracks((excess > 0).reshape(n_records, -1), label.reshape(n_records, -1))
    return World(tracks, _to_features(layout.axis, excess), _to_known(layout.axis, tracks.label))


def _profile(layout: Layout, profile: Profile, random: np.random.Generator) -> Fields:
    """Return the common mean of the fields, which broadcasts against them."""
    if profile == "none":
        return np.zeros((1, 1, 1), np.float32)
    if profile.startswith("map"):
        along, across = layout.modes
        amplitude = random.standard_normal((along.shape[1], across.shape[1]), dtype=np.float32)
        pattern = PROFILE_HEIGHT / 2 * (along @ amplitude @ across.T)[None]
        cycle = layout.winter
        if profile == "map":
            return pattern.astype(np.float32)
        if profile == "map by season":
            season = layout.axis.records["exchange"]
            cycle = pd.Series(cycle).groupby(season).transform("mean").to_numpy()
        return (2 * cycle[:, None, None] * pattern).astype(np.float32)
    band = np.exp(-0.5 * ((layout.grid.latitude - TRACK) / TRACK_WIDTH) ** 2)
    mean = PROFILE_HEIGHT * layout.winter[:, None, None] * band
    return np.asarray(mean, np.float32)


def _threshold(mean: Fields, prevalence: float) -> np.float32:
    """Return what a field of variance 1 around a mean exceeds at a share of its cells."""
    some = mean.ravel()[:: SAMPLE_STRIDE if mean.size > MANY_MEANS else 1]
    found = brentq(lambda level: norm.sf(level - some).mean() - prevalence, -5, 10)
    return np.float32(found)


def _to_features(axis: TokenAxis, excess: Fields) -> MemoryFeatures:
    """Return the positive part of the excess as codes of one feature."""
    flat = excess.reshape(-1)
    active = np.flatnonzero(flat > 0)
    indptr = np.append(0, np.cumsum(flat > 0)).astype(np.int64)
    level = np.clip(np.rint(128 + 32 * np.log2(flat[active])), 1, 255).astype(np.uint8)
    return MemoryFeatures(axis, Codes(indptr, np.zeros(len(active), np.uint16), level), 1)


def _to_known(axis: TokenAxis, label: NDArray[np.bool_]) -> MemoryAnnotations:
    """Return the runs of a label inside records, each an instance; every token is known."""
    n_records, size = label.shape
    padded = np.zeros((n_records, size + 2), np.int8)
    padded[:, 1:-1] = label
    change = np.diff(padded, axis=1)
    record, start = np.nonzero(change == 1)
    _, stop = np.nonzero(change == -1)
    everything = AnnotationSlice(
        np.zeros(len(record), np.int64),
        np.arange(len(record)),
        record * size + start,
        record * size + stop,
        np.zeros(1, np.int32),
        np.zeros(1, np.int64),
        np.array([axis.n_tokens]),
    )
    return MemoryAnnotations(axis, (Label("label", "phenomena", "planted"),), everything)
