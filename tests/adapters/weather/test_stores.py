"""Stores: what is damaged, or declares more than it can hold, is refused before it is read."""

from __future__ import annotations

import sys

import netCDF4
import numpy as np
import pytest

from sci_interp.errors import InputError, MissingExtraError
from sci_interp_weather.opening import open_fields


def test_files_that_cannot_be_read_are_refused(tmp_path, make_dataset, save):
    with pytest.raises(InputError, match="No such file"):
        open_fields(tmp_path / "absent.nc")
    for name, content, message in [
        ("a.txt", b"hello", "none of the formats"),
        ("a.nc", b"\x89HDF\r\n\x1a\nrubbish", "cannot be read as NetCDF"),
        ("b.nc", b"CDF\x01rubbish", "no variable is known|cannot be read|and declares"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            open_fields(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read as a Zarr group"):
        open_fields(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        open_fields("nowhere://x.zarr")
    with pytest.raises(InputError, match="there is no engine 'excel'"):
        open_fields(save(make_dataset()), engine="excel")


def declare(path, sizes: dict[str, int], dims: tuple[str, ...], chunks=None):
    """Write a small file that declares large arrays and holds nothing of them."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
            axis = file.createVariable(name, "f8", (name,), chunksizes=[min(size, 1000)])
            axis.units = {"latitude": "degrees_north", "longitude": "degrees_east"}.get(
                name, "days since 2001-01-01"
            )
            if size < 1000:
                axis[:] = np.linspace(0, 50, size)
        file.createVariable("msl", "f4", dims, chunksizes=chunks, zlib=True)
    return path


DIMS = ("time", "latitude", "longitude")


def test_a_small_file_that_declares_petabytes_is_refused(tmp_path):
    sizes = {"time": 900, "latitude": 2**22, "longitude": 2**22}
    path = declare(tmp_path / "bomb.nc", sizes, DIMS, chunks=[1, 100, 100])
    assert path.stat().st_size < 50_000
    with pytest.raises(InputError, match=r"holds .* bytes and declares"):
        open_fields(path)
    sizes = {"time": 2**40, "latitude": 3, "longitude": 3}
    path = declare(tmp_path / "axis.nc", sizes, DIMS, chunks=[1, 3, 3])
    with pytest.raises(InputError, match="8,796,093,022,208 bytes for the coordinate 'time'"):
        open_fields(path)
    sizes = {"time": 3, "latitude": 900, "longitude": 900}
    path = declare(tmp_path / "chunk.nc", sizes, DIMS, chunks=[3, 900, 900])
    with pytest.raises(InputError, match="one chunk of 'msl' takes 9,720,000 bytes"):
        open_fields(path, limit=9_000_000)


def test_a_classic_file_that_was_cut_off_is_refused(tmp_path, make_dataset):
    path = tmp_path / "classic.nc"
    make_dataset(100).to_netcdf(path, engine="scipy")
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(InputError, match="holds 10,000 bytes and declares"):
        open_fields(path)


def test_a_damaged_coordinate_is_reported(tmp_path, make_dataset):
    dataset = make_dataset().rename(time="day")
    dataset["time"] = ("day", np.arange(6.0), {"units": "days since 2001-01-01"})
    path = tmp_path / "fields.zarr"
    dataset.drop_vars("day").to_zarr(path, zarr_format=3, consolidated=False)
    (path / "time" / "c" / "0").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="the coordinate 'time' cannot be read"):
        open_fields(path)


def test_a_store_that_declares_a_large_coordinate_is_refused(tmp_path, make_dataset):
    path = tmp_path / "fields.zarr"
    make_dataset().to_zarr(path, zarr_format=3, consolidated=False)
    with pytest.raises(InputError, match="for the coordinate 'longitude'"):
        open_fields(path, limit=90)


def test_one_read_is_limited(make_dataset, save):
    fields = open_fields(save(make_dataset()), limit=2_000)
    assert fields.read("msl", [0, 1]).nbytes == 2 * 4 * 7 * 12
    with pytest.raises(InputError, match="more than the limit of 2,000"):
        fields.read("msl", slice(None))


def test_damage_inside_a_file_is_reported(tmp_path, make_dataset):
    path = tmp_path / "fields.nc"
    dataset = make_dataset(200)
    how = {"zlib": True, "chunksizes": (1, 7, 12)}
    dataset.to_netcdf(path, engine="netcdf4", encoding={"msl": how})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    fields = open_fields(path)
    with pytest.raises(InputError, match=r"cannot be read|no such value|missing or infinite"):
        fields.read("msl", slice(None))


def test_absent_packages_are_named(monkeypatch, make_dataset, save, tmp_path):
    path = save(make_dataset())
    message = tmp_path / "one.grb"
    message.write_bytes(b"GRIB")
    for package, file in (("netCDF4", path), ("cfgrib", message)):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingExtraError, match=f"{package!r} is not installed"):
                open_fields(file)

    def without_package(*_, **__):
        raise ImportError("please install s3fs")

    monkeypatch.setattr("zarr.open_group", without_package)
    with pytest.raises(
        InputError, match=r"s3://bucket/x\.zarr cannot be read: please install s3fs"
    ):
        open_fields("s3://bucket/x.zarr")
    monkeypatch.setattr("xarray.open_dataset", without_package)
    with pytest.raises(InputError, match="cannot be opened: please install s3fs"):
        open_fields(path)


def test_the_wrong_engine_is_reported(make_dataset, save):
    with pytest.raises(InputError, match="cannot be opened"):
        open_fields(save(make_dataset()), engine="scipy")
