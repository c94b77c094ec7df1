"""Lows and highs of sea-level pressure by closed contours, and how fast lows deepen.

A low counts where the pressure rises by 2 hPa within 5.5 degrees of a great circle on every path
away from it (Ullrich and Zarzycki 2017), a high where it falls by 2 hPa within 10 degrees: highs
are broad and flat, and 5.5 degrees miss half of them. On coarse grids two grid steps hold where
they are more. Its area is the inside of its outermost closed contour (Wernli and Schwierz
2006): the contour at which it would join a deeper (stronger) extremum, meet the edge of a regional
domain or leave a radius of 2,000 km. A weaker extremum inside the area of a stronger one keeps an
area of its own. Where the ground is higher than 1,500 m, pressure is not at sea level: extrema
there do not count, and what is there is unknown.

In a regional domain an extremum on the edge is no centre, as the true one may lie outside. The
rule cannot be decided for an extremum whose 2-hPa contour the edge cuts within the distance: the
inside of that contour is unknown, and all else is known. Systems with a centre outside of the
domain have no area in it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.errors import InputError

from .contours import find_basins, mesh_of
from .grids import Grid

__all__ = [
    "DEEPENING_GROUP",
    "PRESSURE_GROUP",
    "PressureFinder",
    "PressureSettings",
    "PressureSystem",
    "PressureSystems",
    "bergerons",
    "deepening_label",
    "pressure_labels",
]

Kind = Literal["low", "high"]

PRESSURE_GROUP: Final = "pressure systems"
DEEPENING_GROUP: Final = "deepening"
_KM_PER_DEGREE: Final = 111.195
_HPA: Final = 100.0


@dataclass(frozen=True)
class PressureSettings:
    """Parameters of lows and highs.

    Attributes
    ----------
    rise_hpa : float
        Rise (fall) from the extremum to the contour that must close.
    within_degrees, high_within_degrees : float
        Greatest great-circle distance of that contour, around lows and highs.
    grid_steps : float
        On coarse grids, the same in steps of the grid; the larger of the two holds.
    reach_km : float
        Greatest distance of the outermost closed contour.
    ground_m : float
        Height of the ground from which on pressure is masked, where orography is given.
    deepening_bergerons : float
        Least deepening of a ``deepening_low``; 1 is a "bomb".
    """

    rise_hpa: float = 2.0
    within_degrees: float = 5.5
    high_within_degrees: float = 10.0
    grid_steps: float = 2.0
    reach_km: float = 2000.0
    ground_m: float = 1500.0
    deepening_bergerons: float = 0.5

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(
                    f"{item.name} of the pressure systems is {value}", allowed="a number above 0"
                )

    def within(self, grid: Grid, kind: Kind) -> float:
        """Return the distance of the closed contour on ``grid``, in degrees."""
        steps = (np.abs(np.diff(grid.latitude)).max(), np.diff(grid.longitude).max())
        wanted = self.within_degrees if kind == "low" else self.high_within_degrees
        return max(wanted, self.grid_steps * float(max(steps)))


@dataclass(frozen=True, eq=False)
class PressureSystem:
    """A low or a high at one time.

    Attributes
    ----------
    kind : {"low", "high"}
        Which of the two.
    latitude, longitude : float
        Its centre, the middle of a grid cell.
    pressure : float
        Pressure in the centre, Pa.
    depth : float
        Difference of the outermost closed contour and the centre, Pa, positive.
    prominence : float
        Difference of the pressure where it joins a stronger extremum of the domain and its
        centre, Pa, positive.
    cells : (n_cells,) int64
        Its area, cells ``row * n_lon + column`` of the field's grid.
    """

    kind: Kind
    latitude: float
    longitude: float
    pressure: float
    depth: float
    prominence: float
    cells: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PressureSystems:
    """All that is known of one pressure field.

    Attributes
    ----------
    systems : tuple of PressureSystem
        Lows, then highs, each the strongest first.
    unknown : (n_lat, n_lon) bool
        Where the rule cannot be decided.
    """

    systems: tuple[PressureSystem, ...]
    unknown: NDArray[np.bool_]

    def of_kind(self, kind: Kind) -> tuple[PressureSystem, ...]:
        """Return the lows or the highs."""
        return tuple(system for system in self.systems if system.kind == kind)


class PressureFinder:
    """Finds lows and highs on one grid.

    Parameters
    ----------
    grid
        Grid of the fields.
    settings
        Parameters.
    orography : (n_lat, n_lon) float32, optional
        Height of the ground, m.
    """

    def __init__(
        self,
        grid: Grid,
        settings: PressureSettings | None = None,
        orography: NDArray[np.float32] | None = None,
    ) -> None:
        self.settings = settings or PressureSettings()
        self._grid, self._mesh = grid, mesh_of(grid)
        self._ground = np.zeros(grid.shape, np.bool_)
        if orography is not None:
            if orography.shape != grid.shape:
                raise InputError(
                    f"the orography has shape {orography.shape}",
                    allowed=f"{grid.shape}, the shape of the fields",
                )
            self._ground = orography > self.settings.ground_m

    def find(self, pressure: NDArray[np.float32]) -> PressureSystems:
        """Return the lows and highs of one field ``(n_lat, n_lon)`` in Pa, NaN where missing."""
        systems: list[PressureSystem] = []
        unknown = self._ground | np.isnan(pressure)
        systems += self._find_kind(pressure, "low", unknown)
        systems += self._find_kind(-pressure, "high", unknown)
        return PressureSystems(tuple(systems), unknown)

    def _find_kind(
        self, field: NDArray[np.float32], kind: Kind, unknown: NDArray[np.bool_]
    ) -> list[PressureSystem]:
        """Return the minima of ``field`` as systems, and mark the undecided in ``unknown``."""
        grid, settings = self._grid, self.settings
        basins = find_basins(
            field,
            self._mesh,
            rise=settings.rise_hpa * _HPA,
            within=settings.within(grid, kind),
            reach=settings.reach_km / _KM_PER_DEGREE,
        )
        found = []
        for basin in basins:
            row, column = divmod(basin.cell, len(grid.longitude))
            if self._ground[row, column]:
                continue
            if not basin.decided:
                unknown.reshape(-1)[basin.cells] = True
                continue
            found.append(
                PressureSystem(
                    kind=kind,
                    latitude=float(grid.latitude[row]),
                    longitude=float(grid.longitude[column]),
                    pressure=basin.value if kind == "low" else -basin.value,
                    depth=basin.depth,
                    prominence=basin.prominence,
                    cells=basin.cells,
                )
            )
        return found


def bergerons(fall: float, latitude: float, hours: float = 24.0) -> float:
    """Return a fall of central pressure in bergerons (Sanders and Gyakum 1980).

    One bergeron is 24 hPa in 24 hours at 60 degrees, and sin(latitude) / sin(60 degrees) of it
    elsewhere. Mon. Weather Rev. 108, 1589.

    Parameters
    ----------
    fall
        Fall of the pressure, Pa.
    latitude
        Mean latitude of the centre, degrees; within 5 degrees of the equator, 5.
    hours
        Length of the interval.

    >>> round(bergerons(2400.0, 60.0), 6)
    1.0
    """
    factor = np.sin(np.deg2rad(max(abs(latitude), 5.0))) / np.sin(np.deg2rad(60.0))
    return float(fall / _HPA / hours / factor)


def pressure_labels(settings: PressureSettings, grid: Grid) -> tuple[Label, ...]:
    """Return the labels of lows and highs, with the parameters in their definitions."""
    made = []
    kinds: tuple[tuple[Kind, str], ...] = (("low", "minimum"), ("high", "maximum"))
    for kind, extremum in kinds:
        rule = (
            f"{extremum} of sea-level pressure with a closed contour of {settings.rise_hpa:g} hPa "
            f"within {settings.within(grid, kind):g} degrees of a great circle (TempestExtremes, "
            "Ullrich and Zarzycki 2017)"
        )
        area = (
            "inside of the outermost closed contour, at most "
            f"{settings.reach_km:g} km away, around a {rule}"
        )
        made += [
            Label(f"{kind}_center", PRESSURE_GROUP, rule),
            Label(f"{kind}_area", PRESSURE_GROUP, area),
        ]
    return tuple(made)


def deepening_label(settings: PressureSettings) -> Label:
    """Return the label of lows that deepen, with the parameters in its definition."""
    return Label(
        "deepening_low",
        DEEPENING_GROUP,
        f"area of a low whose centre deepens by at least {settings.deepening_bergerons:g} "
        "bergerons along its track in the next 24 hours (Sanders and Gyakum 1980; 1 is 24 hPa at "
        "60 degrees); lows that cannot be followed for 24 hours are unknown",
    )
