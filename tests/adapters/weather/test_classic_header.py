"""Headers of classic NetCDF files: real ones pass, and what they count is held against the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sci_interp.errors import InputError
from sci_interp_weather.classic_header import check_classic_header
from sci_interp_weather.opening import open_fields

FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def number(value: int, n_bytes: int = 4) -> bytes:
    return value.to_bytes(n_bytes, "big")


#: No records, then the lists.
START = b"CDF\x01" + number(0)
NO_LIST = number(0) + number(0)


@pytest.mark.parametrize("name", [*FORMATS, "NETCDF4"])
def test_whole_files_pass(tmp_path: Path, make_dataset, name: str) -> None:
    path = tmp_path / "fields.nc"
    make_dataset().to_netcdf(path, engine="netcdf4", format=name)
    check_classic_header(path)
    assert open_fields(path).variables == ("msl",)


def test_files_of_real_data_pass(weather_data: Path) -> None:
    paths = sorted(weather_data.rglob("*.nc"))
    for path in paths:
        check_classic_header(path)
    assert paths


@pytest.mark.parametrize(
    "data", [b"", b"CDF", b"CDF\x09" + bytes(40), b"\x89HDF\r\n\x1a\n", b"GRIB"]
)
def test_other_formats_are_left_to_their_readers(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.nc"
    path.write_bytes(data)
    check_classic_header(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (START, "runs 4 bytes past its end"),
        (START + number(10) + number(2**31 - 1) + bytes(40), "counts 2,147,483,647 items"),
        (START + number(11) + number(1) + bytes(40), "has a list of kind 11 in place of 10"),
        (START + number(7) + number(0) + bytes(40), "has a list of kind 7 in place of 10"),
        (START + number(10) + number(1) + number(2**30), "runs 1,073,741,824 bytes past its end"),
        (START + NO_LIST + number(12) + number(1) + number(0) + number(99), "names the type 99"),
        (
            START + NO_LIST + number(12) + number(1) + number(0) + number(6) + number(2**28),
            "runs 2,147,483,648 bytes past its end",
        ),
        (
            START + 2 * NO_LIST + number(11) + number(1) + number(0) + number(2**28),
            "runs 1,073,741,824 bytes past its end",
        ),
        (b"CDF\x05" + bytes(8) + number(10) + number(2**62, 8), "counts 4,611,686,018,427,387,904"),
    ],
)
def test_a_header_that_counts_more_than_the_file_holds(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "bomb.nc"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"cannot be read as NetCDF: its header {message}"):
        open_fields(path)
