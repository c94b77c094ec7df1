from __future__ import annotations

import hashlib
import json
import runpy
import sys
import time

import numpy as np
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.indices import load_indices
from sci_interp_weather.opening import open_fields
from sci_interp_weather.reference import (
    SAMPLE_FOLDER,
    SampleHeader,
    pack_fields,
    read_sample,
    unpack_fields,
    write_sample,
)

HEADER = SampleHeader(
    *("source", "licence", "description", "msl", "Pa", "2001-01-01", 6, 6),
    *((50.0, 40.0, 30.0), (0.0, 10.0)),
    *(100_000.0, 2.5),
)


def test_size_and_speed():
    files = [path for path in SAMPLE_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_500_000
    begin = time.perf_counter()
    fields = read_sample()
    assert time.perf_counter() - begin < 1.0
    assert (len(fields.times), fields.grid.shape) == (3652, (17, 33))
    assert (fields.time_labels[0], fields.time_labels[-1]) == ("2001-01-01T00", "2010-12-31T00")
    assert fields.variables == ("msl",)


def test_sources_are_named():
    header = json.loads((SAMPLE_FOLDER / "header.json").read_text())
    assert "NCEP/NCAR Reanalysis 1" in header["source"]
    assert header["licence"]
    assert header["unit"] == "Pa"
    for path in sorted((SAMPLE_FOLDER / "indices").iterdir()):
        assert "NCEP/NCAR Reanalysis 1" in path.read_text()[:400]
    assert [table.name for table in load_indices(SAMPLE_FOLDER / "indices")] == ["ao", "pna"]


def test_no_value_differs_from_the_source(shared_data):
    path = shared_data / "weather/ncep_slp_north_atlantic/ncep_slp_natl_daily_2001_2010.nc"
    assert read_sample().digest == open_fields(path).digest


def test_the_script_makes_the_same_files(shared_data, repository, tmp_path, monkeypatch):
    script = repository / "benchmarks" / "reference" / "build_weather_reference.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(shared_data / "weather"), str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in made} == {"header.json", "fields.bin", "ao.csv", "pna.csv"}
    assert read_sample(tmp_path).digest == read_sample().digest
    for path in made:
        if path.suffix == ".csv":
            assert (tmp_path / path).read_bytes() == (SAMPLE_FOLDER / path).read_bytes()


def test_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    values = 100_000 + 2.5 * rng.integers(-2000, 2000, HEADER.shape)
    write_sample(tmp_path / "new", HEADER, values)
    fields = read_sample(tmp_path / "new")
    np.testing.assert_array_equal(fields.read("msl", slice(None)), values)
    assert fields.time_labels[1] == "2001-01-01T06"
    numbers = rng.integers(-300, 300, (4, 5, 6))
    np.testing.assert_array_equal(unpack_fields(pack_fields(numbers), (4, 5, 6)), numbers)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"the shape \(1, 2, 3\)"):
        write_sample(tmp_path, HEADER, np.zeros((1, 2, 3)))
    values = np.full(HEADER.shape, 100_000.0)
    values[0, 0, 0] = 200_000
    with pytest.raises(InputError, match="differ too much"):
        write_sample(tmp_path, HEADER, values)


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fields.bin", lambda data: data[:-1], "not the file that its header names"),
        ("header.json", lambda data: data[:-9], "header.json is damaged"),
        ("header.json", lambda data: data.replace(b'"step"', b'"stop"'), "header.json is damaged"),
        ("header.json", lambda data: data.replace(b'"hours": 6', b'"hours": 0'), "is damaged"),
        ("header.json", lambda data: data.replace(b'"n_times": 6', b'"n_times": 7'), "do not hold"),
        (
            "header.json",
            lambda data: data.replace(b'"n_times": 6', b'"n_times": 60000000'),
            "is damaged",
        ),
        ("header.json", lambda data: data.replace(b"2001-01-01", b"2001-13-01"), "is damaged"),
    ],
)
def test_damage_is_found(tmp_path, name, change, message):
    write_sample(tmp_path, HEADER, np.full(HEADER.shape, 100_000.0))
    damage(tmp_path, name, change)
    with pytest.raises(InputError, match=message):
        read_sample(tmp_path)


def test_bytes_that_are_not_packed(tmp_path):
    write_sample(tmp_path, HEADER, np.full(HEADER.shape, 100_000.0))
    damage(tmp_path, "fields.bin", lambda _: b"nothing")
    digest = hashlib.sha256(b"nothing").hexdigest()
    header = json.loads((tmp_path / "header.json").read_text())
    (tmp_path / "header.json").write_text(json.dumps({**header, "sha256": digest}))
    with pytest.raises(InputError, match="the packed fields are damaged"):
        read_sample(tmp_path)


@pytest.mark.parametrize("name", ["fields.bin", "header.json"])
def test_absent_files(tmp_path, name):
    write_sample(tmp_path, HEADER, np.full(HEADER.shape, 100_000.0))
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        read_sample(tmp_path)
