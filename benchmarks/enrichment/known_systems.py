"""Known weather systems against those that the labels find: results/known_systems/RESULT.md.

python benchmarks/enrichment/known_systems.py ../shared/data/weather

References are best tracks (IBTrACS) where there are any and the analysis that came with the data.
For winter storms they are a point of the region where published accounts place the centre about
that time, good to 400 km: that is a check of plausibility, not a measure of accuracy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from signature import sign

from sci_interp_weather.bulletins import Bulletin, read_bulletin
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid, great_circle_km
from sci_interp_weather.opening import open_fields
from sci_interp_weather.pressure_systems import PressureFinder, PressureSystem
from sci_interp_weather.pressure_tracks import PressureTracker
from sci_interp_weather.times import hours_since
from sci_interp_weather.track_files import read_ibtracs
from sci_interp_weather.tracks import StormFix, Tracks

COMMAND = "python benchmarks/enrichment/known_systems.py ../shared/data/weather"
MATTHEW = "2016273N13300"
GFS_STORMS = {
    "2011279N10257": "hurricane Jova",
    "2011278N12248": "tropical storm Irwin",
    "2011282N08136": "tropical storm Banyan",
}
#: Name, time, region of the accounts, latitude and longitude of a point in it.
WINTER_STORMS = (
    ("Jeanett", "2002-10-27T12", "North Sea", 56.0, 3.0),
    ("Kyrill", "2007-01-18T12", "North Sea", 56.0, 3.0),
    ("Klaus", "2009-01-24T12", "south-east coast of France", 43.3, 6.0),
    ("Xynthia", "2010-02-28T12", "northern coast of France", 51.0, 2.5),
)
BLIZZARD = (
    ("blizzard of 1996", "1996-01-07T06", "coast of Georgia", 31.5, -81.0),
    ("blizzard of 1996", "1996-01-08T12", "off New Jersey", 40.0, -72.0),
)


@dataclass(frozen=True)
class KnownSystem:
    """A low that should be there, and the nearest one that was found.

    Attributes
    ----------
    name, time, source : str
        Which system, when, and where its position comes from.
    latitude, longitude : float
        That position.
    found : PressureSystem or None
        The nearest low.
    """

    name: str
    time: str
    source: str
    latitude: float
    longitude: float
    found: PressureSystem | None

    @property
    def distance(self) -> float:
        """Great-circle distance of the two, km; infinite where nothing was found."""
        if self.found is None:
            return float("inf")
        place = (self.found.latitude, self.found.longitude)
        return float(great_circle_km(self.latitude, self.longitude, *place))


def nearest(
    systems: tuple[PressureSystem, ...], latitude: float, longitude: float
) -> PressureSystem | None:
    """Return the nearest system to a point."""
    return min(
        systems,
        key=lambda s: float(great_circle_km(latitude, longitude, s.latitude, s.longitude)),
        default=None,
    )


def winter_storms(folder: Path) -> Iterator[KnownSystem]:
    """Yield the winter storms of the European and the American fields, and that of 1987."""
    europe = open_fields(folder / "erainterim_west_europe" / "mslp_ei.nc")
    america = open_fields(
        folder / "fixtures" / "Pstorm.cdf",
        variables={"msl": "p"},
        time_units="hours since 1996-01-05",
        allow_missing=True,
    )
    for fields, storms in ((europe, WINTER_STORMS), (america, BLIZZARD)):
        finder = PressureFinder(fields.grid)
        for name, when, region, latitude, longitude in storms:
            lows = finder.find(fields.read("msl", [fields.index_of(when)])[0]).of_kind("low")
            found = nearest(lows, latitude, longitude)
            yield KnownSystem(name, when, region, latitude, longitude, found)
    for member in (1, 28, 56):
        fields = open_fields(
            folder / "fixtures" / "20CR2c.1987101606.prmsl.nc", select={"member": member}
        )
        lows = PressureFinder(fields.grid).find(fields.read("msl", [0])[0]).of_kind("low")
        name = f"great storm of 1987, member {member}"
        yield KnownSystem(
            name, fields.time_labels[0], "reanalysis", 54.0, 0.0, nearest(lows, 54.0, 0.0)
        )


def tropical_storms(fields: Fields, tracks: Tracks, names: dict[str, str]) -> list[KnownSystem]:
    """Return storms of best tracks at all times of some fields."""
    finder, found = PressureFinder(fields.grid), []
    for index, hours in enumerate(hours_since(fields.times).tolist()):
        fixes = [fix for fix in tracks.at(hours, gap_hours=12.0) if fix.storm in names]
        lows = finder.find(fields.read("msl", [index])[0]).of_kind("low") if fixes else ()
        found += [_storm(fix, names[fix.storm], fields.time_labels[index], lows) for fix in fixes]
    return found


def _storm(fix: StormFix, name: str, time: str, lows: tuple[PressureSystem, ...]) -> KnownSystem:
    low = nearest(lows, fix.latitude, fix.longitude)
    return KnownSystem(name, time, "IBTrACS", fix.latitude, fix.longitude, low)


def atlantic_cyclones(fields: Fields, tracks: Tracks) -> NDArray[np.float64]:
    """Return the distance of every gale-force storm of best tracks to the nearest daily low, km.

    Fields are daily means, so that the position at noon counts; storms within 5 degrees of the
    edge of the domain are left out.
    """
    tracker, grid, distances = PressureTracker(fields), fields.grid, []
    for index, hours in enumerate(hours_since(fields.times).tolist()):
        for fix in tracks.at(hours + 12.0, gap_hours=12.0):
            inside = grid.latitude[-1] + 5.0 <= fix.latitude <= grid.latitude[0] - 5.0
            inside &= grid.longitude[0] + 5.0 <= fix.longitude <= grid.longitude[-1] - 5.0
            if inside and fix.tropical:
                low = nearest(tracker.systems(index).of_kind("low"), fix.latitude, fix.longitude)
                distances.append(KnownSystem("", "", "", fix.latitude, fix.longitude, low).distance)
    return np.array(distances)


def rebuilt_field(bulletin: Bulletin, grid: Grid) -> NDArray[np.float32]:
    """Return a pressure field (Pa) of the analysts' centres.

    A bulletin says nothing of the pressure between centres. Here it is the smooth field through
    the highs with a bell-shaped hollow of 300 km at every low, such that highs and lows have the
    pressures given.
    """
    given = [c for c in bulletin.centres if c.pressure is not None]
    latitude, longitude = (
        np.array([getattr(c, n) for c in given]) for n in ("latitude", "longitude")
    )
    pressure = np.array([100.0 * float(c.pressure or 0.0) for c in given])
    high = np.array([c.kind == "high" for c in given])
    smooth = RBFInterpolator(
        _sphere(latitude[high], longitude[high]), pressure[high], kernel="linear"
    )
    low = ~high
    hollow = _bells(latitude[low], longitude[low], latitude[low], longitude[low])
    below = pressure[low] - smooth(_sphere(latitude[low], longitude[low]))
    rows, columns = (
        v.reshape(-1) for v in np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    )
    field = smooth(_sphere(rows, columns))
    field += _bells(rows, columns, latitude[low], longitude[low]) @ np.linalg.solve(hollow, below)
    return np.asarray(field, np.float32).reshape(grid.shape)


def _bells(
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    at_latitude: NDArray[np.float64],
    at_longitude: NDArray[np.float64],
) -> NDArray[np.float64]:
    distance = great_circle_km(
        latitude[:, None], longitude[:, None], at_latitude[None], at_longitude[None]
    )
    return np.asarray(np.exp(-((distance / 300.0) ** 2) / 2.0), np.float64)


def _sphere(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def bulletin_lows(folder: Path) -> list[KnownSystem]:
    """Return the analysts' lows, looked for in the rebuilt field.

    Lows with a deeper one within 600 km are left out: the rule takes both as one system.
    """
    bulletin = read_bulletin(folder / "fixtures" / "WPC_sfc_fronts_20210628_1800.txt")
    grid = Grid.regular(np.arange(10.0, 86.0), np.arange(-175.0, -24.0))
    lows = PressureFinder(grid).find(rebuilt_field(bulletin, grid)).of_kind("low")
    known = []
    given = [c for c in bulletin.centres if c.kind == "low" and c.pressure is not None]
    for centre in given:
        place = (centre.latitude, centre.longitude)
        deeper = [c for c in given if (c.pressure or 0.0) < (centre.pressure or 0.0)]
        near = [great_circle_km(*place, c.latitude, c.longitude) <= 600.0 for c in deeper]
        if not any(near):
            name = f"analysts' low of {centre.pressure:.0f} hPa"
            time = f"{bulletin.valid:%Y-%m-%dT%H}"
            known.append(KnownSystem(name, time, "bulletin", *place, nearest(lows, *place)))
    return known


def format_table(systems: list[KnownSystem]) -> str:
    """Return the systems as a Markdown table."""
    lines = [
        "| system | time | reference | at | found at | hPa | depth, hPa | distance, km |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for item in systems:
        there = f"{item.latitude:.1f} {item.longitude:.1f}"
        found = item.found
        here = f"{found.latitude:.1f} {found.longitude:.1f}" if found else "nowhere"
        numbers = f"{found.pressure / 100:.1f} | {found.depth / 100:.1f}" if found else " | "
        lines.append(
            f"| {item.name} | {item.time} | {item.source} | {there} | {here} | {numbers} "
            f"| {item.distance:.0f} |"
        )
    return "\n".join(lines)


def compare(folder: Path) -> str:
    """Return everything that is compared, as Markdown."""
    tracks = read_ibtracs()
    gfs = open_fields(folder / "fixtures" / "gfs.grb", variables=("msl",))
    rows = [*winter_storms(folder), *tropical_storms(gfs, tracks, GFS_STORMS)]
    matthew = open_fields(folder / "fixtures" / "era5_slp_matthew_2016.nc")
    near = [s.distance for s in tropical_storms(matthew, tracks, {MATTHEW: "Matthew"})]
    daily = open_fields(folder / "ncep_slp_north_atlantic" / "ncep_slp_natl_daily_2001_2010.nc")
    far = atlantic_cyclones(daily, tracks)
    found = far[far <= 500.0]
    return f"""{format_table([*rows, *bulletin_lows(folder)])}

- Matthew in ERA5 (0.28 degrees), {len(near)} times: median {np.median(near):.0f} km, largest
  {max(near):.0f} km from IBTrACS.
- Tropical storms of IBTrACS in daily means at 2.5 degrees, {len(far)} storm days:
  {len(found) / len(far):.0%} have a low within 500 km, with a median of {np.median(found):.0f} km.
- Regions are those of published accounts, good to 400 km.
- The bulletin tells centres and their pressures only; its lows are looked for in a field rebuilt
  from them. Those far from any low found are dips of a few hPa beside deeper lows or between highs.
"""


def main() -> None:
    """Print the comparison and write it, signed."""
    parser = argparse.ArgumentParser(description="Compare known systems with those found")
    parser.add_argument("folder", type=Path, help="folder of the weather data")
    folder = parser.parse_args().folder
    started = time.monotonic()
    text = compare(folder)
    out = Path(__file__).parent / "results" / "known_systems"
    out.mkdir(parents=True, exist_ok=True)
    date, hardware, versions, _ = sign(time.monotonic() - started)
    head = ["# Known weather systems", "", f"Made by `{COMMAND}`.", "", date, hardware, versions]
    (out / "RESULT.md").write_text("\n".join([*head, "", text]))
    print(text)


if __name__ == "__main__":
    main()
