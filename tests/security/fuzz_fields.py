"""Files of fields and graphs as targets."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from sci_interp_weather.grib import import_projections_first
from sci_interp_weather.grids import Grid
from sci_interp_weather.networks.onnx_network import load_onnx
from sci_interp_weather.networks.static_fields import read_static
from sci_interp_weather.opening import open_fields

__all__ = ["field_targets", "make_fields", "native_targets"]

Row = tuple[str, tuple[bytes, ...], Callable[[bytes], object]]


def make_fields() -> xr.Dataset:
    """Return three days of pressure on a grid of 4 by 6."""
    times = pd.date_range("2001-01-01", periods=3, unit="s")
    latitude, longitude = np.arange(60.0, 20.0, -10.0), np.arange(0.0, 360.0, 60.0)
    values = 1e5 + np.random.default_rng(0).normal(0, 500, (3, 4, 6)).astype(np.float32)
    fields = {"msl": (("time", "latitude", "longitude"), values, {"units": "Pa"})}
    axes = {"time": times, "latitude": latitude, "longitude": longitude}
    return xr.Dataset(fields, coords=axes)


def field_targets(files: Path) -> Iterator[Row]:
    """Yield the targets that Python reads."""
    for version, names in ((2, (".zarray", ".zattrs")), (3, ("zarr.json",))):
        store = files / f"fields-{version}.zarr"
        shutil.rmtree(store, ignore_errors=True)
        make_fields().to_zarr(store, zarr_format=version, consolidated=False)
        for name in names:
            path = store / "msl" / name
            yield f"Zarr {version} fields, {name}", (path.read_bytes(),), _reading(path, store)
        path = store / "time" / ("0" if version == 2 else "c/0")
        yield f"Zarr {version} fields, chunk", (path.read_bytes(),), _reading(path, store)
    path = files / "graph.onnx"
    yield "ONNX graph", (_graph(),), _reading_graph(path)


def native_targets(files: Path) -> Iterator[Row]:
    """Yield the targets that libraries in C read."""
    for name, engine, format_name in (
        ("NetCDF classic", "scipy", "NETCDF3_64BIT"),
        ("NetCDF-4", "netcdf4", "NETCDF4"),
    ):
        path = files / f"{engine}.nc"
        make_fields().to_netcdf(path, engine=engine, format=format_name)  # type: ignore[call-overload]
        yield name, (path.read_bytes(),), _reading(path, path)
        path = files / f"static-{engine}.nc"
        fields = make_fields().isel(time=0).drop_vars("time")
        fields.to_netcdf(path, engine=engine, format=format_name)  # type: ignore[call-overload]
        yield f"static fields, {name}", (path.read_bytes(),), _reading_static(path)
    path = files / "fields.grb"
    yield "GRIB", (_message(),), _reading(path, path)


def _reading(path: Path, what: Path) -> Callable[[bytes], object]:
    """Return what writes bytes to ``path`` and reads the fields in ``what``."""
    before = path.read_bytes() if path.exists() else b""

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        try:
            fields = open_fields(what, limit=2**26)
            return {name: fields.read(name, slice(None)) for name in fields.variables}
        finally:
            path.write_bytes(before)

    return parse


def _reading_static(path: Path) -> Callable[[bytes], object]:
    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read_static(path, ["msl"])

    return parse


def _reading_graph(path: Path) -> Callable[[bytes], object]:
    grid = Grid.regular(np.linspace(60, 30, 4), np.linspace(-20, 25, 6))
    layout = "batch channel latitude longitude"

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return load_onnx(path, layers={"inner": layout}, grid=grid, variables=["msl"])

    return parse


def _graph() -> bytes:
    import onnx

    helper = onnx.helper
    kernel = np.ones((2, 1, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["fields", "kernel"], ["raw"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["raw"], ["inner"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [info("fields", 1, ["n", 1, 4, 6])],
        [info("inner", 1, ["n", 2, 4, 6])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _message() -> bytes:
    import_projections_first()
    import eccodes

    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    keys = {"typeOfFirstFixedSurface": 101, "discipline": 0, "parameterCategory": 3}
    keys |= {"parameterNumber": 1, "Ni": 6, "Nj": 4, "dataDate": 20010101}
    keys |= {"latitudeOfFirstGridPointInDegrees": 60, "latitudeOfLastGridPointInDegrees": 30}
    keys |= {"longitudeOfFirstGridPointInDegrees": 0, "longitudeOfLastGridPointInDegrees": 300}
    keys |= {"iDirectionIncrementInDegrees": 60, "jDirectionIncrementInDegrees": 10}
    for name, value in keys.items():
        eccodes.codes_set(handle, name, value)
    eccodes.codes_set_values(handle, 1e5 + np.arange(24.0))
    data: bytes = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return data
