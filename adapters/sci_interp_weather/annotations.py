"""annotate: fields x tracks x indices x masks -> what is known of every time, as token runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label, RecordAnnotations
from sci_interp.errors import InputError, UnknownNameError

from .blocking import BLOCKING_GROUP, BlockingDetector, BlockingSettings
from .detection import Detector, Found, Instance
from .fields import Fields
from .fronts import FRONT_GROUP, FrontDetector, FrontSettings
from .grids import Grid
from .indices import IndexDetector, IndexTable
from .jets import JET_GROUP, JetDetector, JetSettings, jet_level
from .linking import LinkingSettings
from .masks import project_cells, project_mask, runs_of_mask
from .pressure_systems import DEEPENING_GROUP, PRESSURE_GROUP, PressureSettings
from .pressure_tracks import DeepeningDetector, PressureDetector, PressureTracker, TrackedSystem
from .rivers import RIVER_GROUP, MaskReader, RiverDetector, RiverSettings
from .times import hours_since
from .tokens import CellMeans
from .tracks import CYCLONE_GROUP, CycloneDetector, CycloneSettings, Tracks

__all__ = ["LabelSettings", "WeatherAnnotations"]

_DAY_HOURS = 24.0


@dataclass(frozen=True)
class LabelSettings:
    """Parameters of all phenomena; every part has its own documentation."""

    pressure: PressureSettings = field(default_factory=PressureSettings)
    linking: LinkingSettings = field(default_factory=LinkingSettings)
    cyclones: CycloneSettings = field(default_factory=CycloneSettings)
    rivers: RiverSettings = field(default_factory=RiverSettings)
    jets: JetSettings = field(default_factory=JetSettings)
    blocking: BlockingSettings = field(default_factory=BlockingSettings)
    fronts: FrontSettings = field(default_factory=FrontSettings)


class WeatherAnnotations:
    """What is known of every time of some fields, on the tokens of a network.

    A label group is there where the fields hold its variables or its data were given. A token is
    in an area where at least half of its cell is; of an area that fills half of no cell, it is the
    cell with the largest part. The token that contains its point has a centre. All levels of a
    layer are labelled alike.

    Parameters
    ----------
    fields
        The fields.
    token_grid
        Cells of the tokens.
    n_levels
        Levels of the layer.
    tracks
        Storm tracks, for tropical cyclones.
    indices
        Daily indices, for regimes.
    masks
        Areas found by the user by label, ``(n_times, n_lat, n_lon)`` bool on the fields' times and
        grid, or what reads them: ``"atmospheric_river"``.
    settings
        Parameters of the phenomena.

    Attributes
    ----------
    labels : tuple of Label
        All labels, in a fixed order.
    inactive : mapping of str to str
        Groups that are not there, and what they need.

    Raises
    ------
    InputError
        If tracks, indices or masks do not fit the fields, or the tokens leave the fields' grid.
    """

    def __init__(
        self,
        fields: Fields,
        token_grid: Grid,
        n_levels: int = 1,
        *,
        tracks: Tracks | None = None,
        indices: Sequence[IndexTable] = (),
        masks: Mapping[str, NDArray[np.bool_] | MaskReader] | None = None,
        settings: LabelSettings | None = None,
    ) -> None:
        self.settings = settings or LabelSettings()
        self._fields, self._grid, self._n_levels = fields, token_grid, n_levels
        self._means = CellMeans.between(fields.grid, token_grid)
        self._tracker = _pressure_tracker(fields, self.settings)
        self.inactive: dict[str, str] = {}
        self._detectors = [
            *self._pressure_detectors(),
            *self._storm_detectors(tracks),
            *self._upper_air_detectors(dict(masks or {})),
            *(IndexDetector(fields, table) for table in indices),
        ]
        self.labels: tuple[Label, ...] = tuple(
            label for detector in self._detectors for label in detector.labels
        )

    def _pressure_detectors(self) -> list[Detector]:
        if self._tracker is None:
            self.inactive |= dict.fromkeys((PRESSURE_GROUP, DEEPENING_GROUP), "needs msl")
            return []
        steps = np.diff(hours_since(self._fields.times))
        if len(steps) and abs(np.remainder(_DAY_HOURS / np.median(steps) + 0.5, 1.0) - 0.5) < 1e-6:
            return [PressureDetector(self._tracker), DeepeningDetector(self._tracker)]
        self.inactive[DEEPENING_GROUP] = "needs times that are 24 hours, or a part of it, apart"
        return [PressureDetector(self._tracker)]

    def _storm_detectors(self, tracks: Tracks | None) -> list[Detector]:
        if tracks is None:
            self.inactive[CYCLONE_GROUP] = "needs storm tracks"
            return []
        return [CycloneDetector(self._fields, tracks, self.settings.cyclones)]

    def _upper_air_detectors(
        self, masks: dict[str, NDArray[np.bool_] | MaskReader]
    ) -> list[Detector]:
        fields, settings = self._fields, self.settings
        rivers = masks.pop("atmospheric_river", None)
        for name in masks:
            raise UnknownNameError("label with a mask", name, ["atmospheric_river"])
        found: list[Detector] = []
        if rivers is not None or RiverDetector.possible(fields):
            found.append(RiverDetector(fields, settings.rivers, rivers))
        else:
            self.inactive[RIVER_GROUP] = "needs ivt, or ivt_u and ivt_v, or a mask"
        level = jet_level(fields)
        if level is not None:
            found.append(JetDetector(fields, level, settings.jets))
        else:
            self.inactive[JET_GROUP] = "needs u and v of a level from 200 to 300 hPa"
        if BlockingDetector.possible(fields):
            found.append(BlockingDetector(fields, settings.blocking))
        else:
            self.inactive[BLOCKING_GROUP] = "needs z500, daily or denser over two years or more"
        if fields.has("t850"):
            found.append(FrontDetector(fields, settings.fronts))
        else:
            self.inactive[FRONT_GROUP] = "needs t850"
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the annotations depend on."""
        state = hashlib.sha256(self._fields.digest.encode())
        state.update(f"{self._grid.digest} {self._n_levels}".encode())
        for detector in self._detectors:
            state.update(f"|{detector.group} {detector.state}".encode())
        return state.hexdigest()

    def systems(self, index: int) -> tuple[TrackedSystem, ...]:
        """Return the lows and highs of one time, with depth, prominence, event and deepening.

        Raises
        ------
        InputError
            If there is no sea-level pressure.
        """
        if self._tracker is None:
            raise InputError("there is no sea-level pressure in the fields", allowed="'msl'")
        return self._tracker.tracked(index)

    def of(self, index: int) -> RecordAnnotations:
        """Return runs, known ranges and events of one time, in the order of tokens.

        Parameters
        ----------
        index
            Position of the time in the fields.
        """
        runs: list[tuple[str, str, int, int]] = []
        known: list[tuple[str, int, int]] = []
        events: dict[tuple[str, str], str] = {}
        n_tokens = self._n_levels * self._grid.shape[0] * self._grid.shape[1]
        for detector in self._detectors:
            found = detector.find(index)
            for instance in found.instances:
                spans = runs_of_mask(self._tokens_of(instance), self._n_levels)
                runs += [(instance.label, instance.key, start, stop) for start, stop in spans]
                if spans and instance.event:
                    events[instance.label, instance.key] = instance.event
            for name, event in found.everywhere:
                runs.append((name, name, 0, n_tokens))
                events[name, name] = event
            known += [(detector.group, start, stop) for start, stop in self._known(found)]
        return RecordAnnotations(self._fields.time_labels[index], runs, known, events)

    def _tokens_of(self, instance: Instance) -> NDArray[np.bool_]:
        if instance.cells is not None:
            return project_cells(instance.cells, self._means)
        assert instance.point is not None
        inside = np.zeros(self._grid.shape, np.bool_)
        cell = self._grid.nearest(*instance.point)
        if cell is not None:
            inside[cell] = True
        return inside

    def _known(self, found: Found) -> list[tuple[int, int]]:
        if not found.assessed:
            return []
        if found.unknown is None or not found.unknown.any():
            return runs_of_mask(np.ones(self._grid.shape, np.bool_), self._n_levels)
        return runs_of_mask(~project_mask(found.unknown, self._means), self._n_levels)


def _pressure_tracker(fields: Fields, settings: LabelSettings) -> PressureTracker | None:
    if not fields.has("msl"):
        return None
    return PressureTracker(fields, settings.pressure, settings.linking)
