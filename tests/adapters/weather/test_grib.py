"""GRIB files of several times and levels, written here message by message."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.grib import import_projections_first
from sci_interp_weather.opening import open_fields

import_projections_first()
eccodes = pytest.importorskip("eccodes")
pytest.importorskip("cfgrib")


def write(path, messages):
    """Write messages on a grid of ``n`` columns around the globe, from 60N to 30N."""
    with path.open("wb") as stream:
        for name, level, date, value, n in messages:
            handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
            keys = {
                "Ni": n,
                "Nj": 4,
                "latitudeOfFirstGridPointInDegrees": 60,
                "latitudeOfLastGridPointInDegrees": 30,
                "longitudeOfFirstGridPointInDegrees": 0,
                "longitudeOfLastGridPointInDegrees": 360 - 360 / n,
                "iDirectionIncrementInDegrees": 360 / n,
                "jDirectionIncrementInDegrees": 10,
                "dataDate": date,
                "dataTime": 0,
                "shortName": name,
                "typeOfLevel": "isobaricInhPa" if level else "meanSea",
                "level": level,
            }
            for key, setting in keys.items():
                eccodes.codes_set(handle, key, setting)
            eccodes.codes_set_values(handle, np.full(4 * n, value) + np.arange(4 * n))
            eccodes.codes_write(handle, stream)
            eccodes.codes_release(handle)
    return path


DAYS = (20010102, 20010101, 20010103)


def test_messages_become_fields_in_order(tmp_path):
    path = write(
        tmp_path / "fields.grib2",
        [
            (name, level, day, base + day % 10, 12)
            for day in DAYS
            for name, level, base in (("t", 850, 270.0), ("t", 500, 240.0), ("gh", 500, 5500.0))
        ]
        + [("prmsl", 0, day, 101_000.0 + day % 10, 12) for day in DAYS],
    )
    fields = open_fields(path, variables=["t850", "z500", "msl"])
    assert fields.time_labels == ("2001-01-01T00", "2001-01-02T00", "2001-01-03T00")
    assert fields.grid.shape == (4, 12) and fields.grid.periodic
    at_greenwich = fields.grid.nearest(60, 0)
    assert fields.read("t850", [2, 0])[:, *at_greenwich] == pytest.approx([273.0, 271.0], abs=0.1)
    assert fields.read("z500", [1])[0][at_greenwich] == pytest.approx(5502 * 9.80665, rel=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["fields.grib2"]
    assert open_fields(path, chunks={}, variables=["msl"]).read("msl", [0]).shape == (1, 4, 12)


def test_messages_on_different_grids_are_refused(tmp_path):
    path = write(
        tmp_path / "mixed.grib2", [("t", 850, DAYS[0], 270.0, 12), ("t", 500, DAYS[0], 240.0, 24)]
    )
    with pytest.raises(InputError, match=r"mixed\.grib2: t: the messages do not fit one array"):
        open_fields(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = write(tmp_path / "short.grib2", [("t", 850, DAYS[0], 270.0, 12)] * 3)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="cannot be read as GRIB"):
        open_fields(path)
    path.write_bytes(b"GRIB and nothing more")
    with pytest.raises(InputError):
        open_fields(path)


def test_a_program_that_reads_grib_and_storm_tracks_ends_well(tmp_path):
    """Both packages bring a PROJ library; loaded in the wrong order, they crash at the end."""
    pytest.importorskip("huracanpy")
    path = write(tmp_path / "a.grib2", [("prmsl", 0, 20010101, 101_000.0, 12)])
    program = (
        "import sys\n"
        "from sci_interp_weather.opening import open_fields\n"
        "print(open_fields(sys.argv[1]).variables)\n"
        "import huracanpy\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "msl" in done.stdout, done.stderr
