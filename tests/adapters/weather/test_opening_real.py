"""Opening of real files: each is odd in its own way."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sci_interp.errors import InputError
from sci_interp_weather.grib import import_projections_first
from sci_interp_weather.opening import open_fields
from sci_interp_weather.units import GRAVITY


def test_ncep_pressure_of_the_north_atlantic(weather_data):
    fields = open_fields(
        weather_data / "ncep_slp_north_atlantic" / "ncep_slp_natl_daily_2001_2010.nc"
    )
    assert fields.variables == ("msl",) and len(fields) == 3652
    assert fields.grid.shape == (17, 33) and not fields.grid.periodic
    assert fields.grid.latitude[0] == 70.0 and fields.grid.longitude[0] == -70.0
    assert fields.holes == [] and fields.time_labels[-1] == "2010-12-31T00"
    assert fields.read("msl", [fields.index_of("2001-01-01T00")])[0, -1, 0] == 102_207.5


def test_era_interim_is_one_set_from_three_files(era_interim):
    fields = open_fields(era_interim, variables=["msl", "z500", "t850"])
    assert fields.variables == ("msl", "z500", "t850") and len(fields) == 4018
    assert fields.grid.shape == (21, 24) and fields.time_labels[0] == "2000-01-01T12"
    assert fields.read("t850", [0])[0, 0, 0] == pytest.approx(265.15387)
    assert 48_000 < fields.read("z500", [100]).mean() < 58_000


def test_matthew_is_in_hectopascal_and_south_first(weather_data):
    fields = open_fields(weather_data / "fixtures" / "era5_slp_matthew_2016.nc")
    assert len(fields) == 44 and fields.grid.latitude[0] > fields.grid.latitude[-1]
    assert 93_000 < fields.read("msl", slice(None)).min() < 99_500


def test_a_storm_file_without_units_or_time_axis(weather_data):
    path = weather_data / "fixtures" / "Pstorm.cdf"
    with pytest.raises(InputError, match="The files hold p, reftime"):
        open_fields(path)
    with pytest.raises(InputError, match="'timestep' is not a time axis: it has no units"):
        open_fields(path, variables={"msl": "p"})
    told = {"variables": {"msl": "p"}, "time_units": "hours since 1996-01-05"}
    with pytest.raises(InputError, match=r"'msl' has 224 missing .* at 1996-01-05T00"):
        open_fields(path, **told)
    fields = open_fields(path, **told, allow_missing=True)
    assert len(fields) == 64 and fields.time_labels[-1] == "1996-01-20T18"


def test_an_ensemble_has_members_not_times(weather_data):
    path = weather_data / "fixtures" / "20CR2c.1987101606.prmsl.nc"
    with pytest.raises(InputError, match="'member'"):
        open_fields(path)
    fields = open_fields(path, select={"member": 1})
    assert fields.time_labels == ("1987-10-16T06",) and fields.grid.periodic
    field = fields.read("msl", [0])[0]
    row, column = fields.grid.nearest(54.0, 0.0)
    assert field[row, column] < 98_500


def test_one_grib_state_with_its_levels(weather_data, recwarn):
    import_projections_first()
    pytest.importorskip("cfgrib")
    folder = weather_data / "fixtures"
    before = sorted(path.name for path in folder.iterdir())
    fields = open_fields(folder / "gfs.grb", variables=["msl", "z500", "u250", "t2m", "u10"])
    assert fields.time_labels == ("2011-10-11T00",) and fields.grid.shape == (73, 144)
    assert 4_800 < fields.read("z500", [0]).mean() / GRAVITY < 5_900
    assert fields.static["lsm"].max() == 1.0
    assert fields.static["orography"].max() > 4_000
    assert np.abs(fields.read("u250", [0])).max() > 30
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_global_state_longitude_first_south_first(weather_data):
    path = weather_data / "fixtures" / "era5_tl31_19590102T00.nc"
    fields = open_fields(path, variables=["z500", "t850"])
    assert fields.time_labels == ("1959-01-02T00",) and fields.grid.periodic
    assert fields.read("t850", [0])[0, 16].mean() > fields.read("t850", [0])[0, 0].mean()
    every = open_fields(path)
    assert "u10hPa" in every.variables and "u250" in every.variables


def test_real_pressure_is_the_same_in_any_orientation(weather_data, tmp_path):
    path = weather_data / "ncep_slp_north_atlantic" / "ncep_slp_natl_daily_2001_2010.nc"
    with xr.open_dataset(path, engine="netcdf4") as whole:
        copy = whole.isel(time=slice(None, 60), latitude=slice(None, None, -1))
        copy = copy.assign_coords(longitude=copy.longitude % 360).sortby("longitude")
        copy.transpose("longitude", "time", "latitude").drop_encoding().to_netcdf(
            tmp_path / "copy.nc", engine="netcdf4"
        )
    fields = open_fields(path, period=("2001-01-01", "2001-03-01"))
    assert len(fields) == 60
    assert open_fields(tmp_path / "copy.nc").digest == fields.digest
