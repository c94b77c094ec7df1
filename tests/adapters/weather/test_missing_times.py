"""Times with missing values: each is refused or left out alone, and the others stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sci_interp as si
from sci_interp.errors import InputError
from sci_interp_weather import WeatherAdapter
from sci_interp_weather.climatology import fit_climatology
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.pressure_systems import PRESSURE_GROUP

N, BAD, CELL = 240, 77, (3, 4)
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def adapter() -> WeatherAdapter:
    return si.load_adapter("weather")


@pytest.fixture(scope="module")
def files(adapter: WeatherAdapter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the first days of the sample fields twice: whole, and with a hole in one of them."""
    import xarray as xr

    sample = adapter.open().fields
    times = pd.to_datetime(list(sample.time_labels[:N]))
    axes = {
        "time": times,
        "latitude": ("latitude", sample.grid.latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", sample.grid.longitude, {"units": "degrees_east"}),
    }
    folder, found = tmp_path_factory.mktemp("fields"), {}
    for name, bad in (("whole", []), ("hole", [BAD]), ("late", [0, 1])):
        values = sample.read("msl", slice(0, N)).copy()
        values[bad, *CELL] = np.nan
        series = (("time", "latitude", "longitude"), values, {"units": "Pa"})
        found[name] = folder / f"{name}.nc"
        xr.Dataset({"msl": series}, axes).to_netcdf(found[name])
    return found


def read_all(store):
    return store.read(0, store.axis.n_tokens)


def test_records_that_need_the_field_are_left_out_and_no_other(adapter, files, tmp_path):
    hole, whole = (adapter.open(files[name]) for name in ("hole", "whole"))
    label = hole.fields.time_labels[BAD]
    given = {"layer": adapter.default_layer, **QUIET}
    with pytest.raises(InputError, match=f"1 missing or infinite values of .* at {label}"):
        si.extract(adapter, hole, out=tmp_path / "refused", **given)
    acts = si.extract(adapter, hole, out=tmp_path / "a", on_error="quarantine", **given)
    # The network reads a time and the one before it.
    needing = [hole.fields.time_labels[BAD + step] for step in (0, 1)]
    assert sorted(each.record for each in acts.axis.quarantine) == sorted(needing)
    assert all(label in each.reason for each in acts.axis.quarantine)
    assert acts.axis.n_records + 2 == len(hole.table)
    plain = si.extract(adapter, whole, out=tmp_path / "b", **given)
    table = plain.axis.records.set_index("record").loc[acts.axis.records["record"]]
    rows = np.concatenate([np.arange(*ends) for ends in table[["start", "stop"]].to_numpy()])
    # Records are in other company in their batches: alike but for rounding.
    np.testing.assert_allclose(read_all(acts), read_all(plain)[rows], atol=2e-2)
    known = si.annotate(adapter, hole, out=tmp_path / "known", like=acts, **QUIET)
    assert known.axis.digest == acts.axis.digest
    decoys = si.stream(adapter, adapter.decoy(hole, 0), adapter.default_layer, like=acts)
    assert np.isfinite(read_all(decoys)).all() and decoys.axis.digest == acts.axis.digest


def test_the_first_time_is_left_out_as_any_other(adapter, files, tmp_path):
    late = adapter.open(files["late"])
    given = {"layer": adapter.default_layer, "on_error": "quarantine", **QUIET}
    acts = si.extract(adapter, late, out=tmp_path / "a", **given)
    # The first record is the second time, which reads the first as well.
    needing = late.fields.time_labels[1:3]
    assert sorted(each.record for each in acts.axis.quarantine) == sorted(needing)
    assert acts.axis.n_records + 2 == acts.axis.n_read == len(late.table)


def test_only_what_is_missing_is_unknown(adapter, files):
    hole, whole = (adapter.open(files[name]) for name in ("hole", "whole"))
    label = hole.fields.time_labels[BAD]
    names = [label, hole.fields.time_labels[BAD + 60]]
    (there, away), (before, same) = (list(adapter.annotate(data, names)) for data in (hole, whole))
    places = hole.coordinates
    here = (places["latitude"] == hole.fields.grid.latitude[CELL[0]]) & (
        places["longitude"] == hole.fields.grid.longitude[CELL[1]]
    )
    (token,) = np.flatnonzero(here)
    for found, wanted in ((there, False), (before, True)):
        spans = [span[1:] for span in found.known if span[0] == PRESSURE_GROUP]
        assert any(start <= token < stop for start, stop in spans) is wanted
    assert [run[:1] + run[2:] for run in away.runs] == [run[:1] + run[2:] for run in same.runs]


def test_the_climatology_is_that_of_the_other_times():
    rng = np.random.default_rng(0)
    times = pd.date_range("2001-01-01", periods=40, freq="D")
    values = rng.normal(size=(40, 5, 6)).astype(np.float32)
    holed = values.copy()
    holed[[0, 7], 1, 2] = np.nan, np.inf
    grid = Grid.regular(np.arange(44.0, 39.0, -1.0), np.arange(0.0, 6.0))
    found = fit_climatology(Fields.from_arrays(grid, times, {"msl": holed}), ("msl",))
    rest = np.delete(values, [0, 7], axis=0)
    np.testing.assert_allclose(found.variables["msl"].coefficients[0], rest.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.variables["msl"].deviation, rest.std(axis=0), rtol=1e-5)
    empty = Fields.from_arrays(grid, times, {"msl": np.full_like(values, np.nan)})
    with pytest.raises(InputError, match="at every time"):
        fit_climatology(empty, ("msl",))
