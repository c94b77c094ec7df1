"""Opening: any layout of one dataset gives the same fields; what cannot be right is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.opening import open_fields


def west_first(dataset: xr.Dataset) -> xr.Dataset:
    """Return a copy with longitudes from -180 to 180."""
    longitude = (dataset.longitude + 180) % 360 - 180
    return dataset.assign_coords(longitude=longitude).sortby("longitude")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ascending=st.booleans(),
    wrap=st.booleans(),
    dims=st.permutations(["time", "latitude", "longitude"]),
    late_first=st.booleans(),
    globe=st.booleans(),
)
def test_any_orientation_gives_the_same_fields(
    make_dataset, tmp_path_factory, ascending, wrap, dims, late_first, globe
):
    longitude = np.arange(0.0, 360.0, 30.0) if globe else np.arange(340.0, 380.0, 5.0) % 360
    dataset = make_dataset(longitude=np.sort(longitude))
    tmp_path = tmp_path_factory.mktemp("copies")
    plain = save_as(dataset, tmp_path / "plain.nc")
    copy = west_first(dataset) if wrap else dataset
    copy = copy.sortby("latitude") if ascending else copy
    copy = copy.isel(time=slice(None, None, -1)) if late_first else copy
    fields = open_fields(plain)
    other = open_fields(save_as(copy.transpose(*dims), tmp_path / "copy.nc"))
    assert other.digest == fields.digest
    assert np.array_equal(other.read("msl", [3, 1]), fields.read("msl", [3, 1]))
    assert other.grid.digest == fields.grid.digest
    assert other.time_labels == fields.time_labels


def save_as(dataset: xr.Dataset, path):
    dataset.to_netcdf(path, engine="netcdf4")
    return path


def test_fields_are_what_the_file_holds(make_dataset, save):
    dataset = make_dataset()
    fields = open_fields(save(dataset))
    expected = west_first(dataset).msl.sel(time="2001-01-03").values
    assert np.array_equal(fields.read("msl", [2])[0], expected)
    assert fields.time_labels[2] == "2001-01-03T00" and fields.variables == ("msl",)
    assert fields.grid.periodic and fields.holes == []


def test_packed_and_chunked_copies_are_read(make_dataset, save):
    dataset = make_dataset()
    how = {
        "dtype": "int16",
        "scale_factor": 0.25,
        "add_offset": 101_000.0,
        "_FillValue": -9999,
    }
    packed = open_fields(save(dataset, "packed.nc", encoding={"msl": how}))
    lazy = open_fields(save(dataset), chunks={"time": 2})
    plain = open_fields(save(dataset))
    assert lazy.digest == plain.digest
    assert packed.read("msl", [0]) == pytest.approx(plain.read("msl", [0]), abs=0.13)


@pytest.mark.parametrize("engine", ["netcdf4", "scipy"])
def test_netcdf3_is_read_by_both_engines(make_dataset, tmp_path, engine):
    path = tmp_path / "classic.nc"
    make_dataset().to_netcdf(path, engine="scipy")
    assert len(open_fields(path, engine=engine)) == 6


LEVELS = [1000.0, 850.0, 500.0]


def on_levels(dataset: xr.Dataset) -> xr.Dataset:
    """Return temperature and geopotential on three levels beside the pressure."""
    dataset = dataset.drop_attrs()
    warm = 210 + dataset.msl / 1000 * xr.DataArray([0.8, 0.7, 0.5], dims="level")
    height = dataset.msl * 0 + xr.DataArray([1_000.0, 14_000.0, 54_000.0], dims="level")
    return xr.Dataset(
        {
            "mean_sea_level_pressure": dataset.msl,
            "temperature": warm.astype("f4").assign_attrs(units="K"),
            "geopotential": height.astype("f4").assign_attrs(units="m**2 s**-2"),
            "land_sea_mask": (dataset.msl.isel(time=0) > 101_000).astype("f4"),
            "geopotential_at_surface": (dataset.msl.isel(time=0) * 0 + 98.0665),
        },
        coords={"level": ("level", LEVELS)},
    )


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stores_of_weatherbench_are_read(make_dataset, tmp_path, zarr_format):
    latitude = np.arange(-75.0, 76.0, 30.0)
    dataset = on_levels(make_dataset(latitude=latitude))
    path = tmp_path / "wb2.zarr"
    stored = dataset.transpose("time", "level", "longitude", "latitude")
    stored.to_zarr(path, zarr_format=zarr_format, consolidated=zarr_format == 2)
    fields = open_fields(path, variables=["msl", "z500", "t850"], chunks={})
    assert fields.variables == ("msl", "z500", "t850")
    assert fields.grid.latitude[0] == 75.0
    assert fields.read("z500", [0]).mean() == pytest.approx(54_000)
    expected = west_first(dataset.sortby("latitude", ascending=False)).temperature
    wanted = expected.sel(level=850).isel(time=[4]).transpose("time", "latitude", "longitude")
    assert np.array_equal(fields.read("t850", [4]), wanted.values)
    assert set(fields.static) == {"lsm", "orography"}
    assert fields.static["orography"] == pytest.approx(10.0)
    every = open_fields(path)
    assert {"t1000", "t850", "t500", "z1000", "msl"} <= set(every.variables)


def test_stores_behind_a_url_are_read(make_dataset):
    fsspec = pytest.importorskip("fsspec")
    dataset = make_dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr("memory://weather.zarr", zarr_format=2, mode="w")
        fields = open_fields("memory://weather.zarr")
        assert fields.read("msl", [1]).shape == (1, 7, 12)
    fsspec.filesystem("memory").rm("/weather.zarr", recursive=True)


def test_levels_in_pascal_and_descending_are_understood(make_dataset, save):
    dataset = on_levels(make_dataset())
    pascal = dataset.assign_coords(level=("plev", [1e5, 8.5e4, 5e4], {"units": "Pa"}))
    pascal = dataset.rename(level="plev").assign_coords(plev=("plev", [1e5, 8.5e4, 5e4]))
    names = ["t850", "z500"]
    first = open_fields(save(dataset), variables=names)
    assert first.digest == open_fields(save(pascal, "pa.nc"), variables=names).digest
    backwards = dataset.isel(level=slice(None, None, -1))
    assert first.digest == open_fields(save(backwards, "back.nc"), variables=names).digest


def test_one_level_may_be_a_scalar_or_in_the_file_name(make_dataset, save):
    dataset = on_levels(make_dataset())[["temperature"]]
    wanted = open_fields(save(dataset), variables=["t850"]).digest
    one = dataset.sel(level=850.0)
    assert open_fields(save(one)).digest == wanted
    bare = one.drop_vars("level")
    assert open_fields(save(bare, "temperature850_2001.nc")).digest == wanted
    assert open_fields(save(bare), variables={"t850": "temperature"}).digest == wanted
    with pytest.raises(InputError, match="no file holds 't850'"):
        open_fields(save(bare, "x850.nc"), variables=["t850"])
    with pytest.raises(InputError, match="no variable is known"):
        open_fields(save(bare, "temperature2001.nc"))
    surface = make_dataset()
    single = surface.expand_dims(level=[0.0])
    assert open_fields(save(single)).digest == open_fields(save(surface)).digest
    with pytest.raises(InputError, match="no variable is known"):
        open_fields(save(surface.expand_dims(level=LEVELS)))


def test_masks_of_truth_values_are_read(make_dataset, save):
    dataset = make_dataset()
    mask = (dataset > 101_000).rename(msl="ar_binary_tag")
    fields = open_fields(save(mask.drop_attrs()), variables=["ar_mask"])
    assert set(np.unique(fields.read("ar_mask", slice(None)))) == {0.0, 1.0}


def test_cf_names_are_enough(make_dataset, save):
    dataset = make_dataset().rename(msl="var151", latitude="y", longitude="x", time="t")
    dataset.var151.attrs["standard_name"] = "air_pressure_at_mean_sea_level"
    dataset.y.attrs["standard_name"] = "latitude"
    dataset.x.attrs["units"] = "degrees_east"
    assert open_fields(save(dataset)).digest == open_fields(save(make_dataset(), "era.nc")).digest


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_other_calendars_keep_their_dates(make_dataset, save, calendar):
    first, second = make_dataset(4), make_dataset(4)
    units = {"units": "days since 2004-02-27", "calendar": calendar}
    first = first.assign_coords(time=("time", [0, 1, 2, 3], units))
    second = second.assign_coords(time=("time", [5, 6, 7, 8], units))
    fields = open_fields([save(second, "b.nc"), save(first, "a.nc")])
    assert fields.times.calendar == calendar
    assert len(fields.holes) == 1 and fields.holes[0][0] == fields.time_labels[3]
    assert np.array_equal(fields.read("msl", [4]), open_fields(save(second)).read("msl", [0]))
    assert (
        open_fields(save(first), period=("2004-02-28", "2004-03")).time_labels[0].endswith("28T00")
    )


def test_files_of_years_are_joined_and_matched_by_pattern(make_dataset, save, tmp_path):
    dataset = make_dataset(10)
    whole = open_fields(save(dataset, "whole.nc"))
    save(dataset.isel(time=slice(6, None)), "part_a.nc")
    save(dataset.isel(time=slice(0, 6)), "part_b.nc")
    joined = open_fields(tmp_path / "part_*.nc")
    assert joined.digest == whole.digest
    assert np.array_equal(joined.read("msl", [8, 2]), whole.read("msl", [8, 2]))
    with pytest.raises(InputError, match=r"2001-01-01T00 occurs twice in .*part_b.* and .*whole"):
        open_fields([tmp_path / "part_b.nc", tmp_path / "whole.nc"])
    with pytest.raises(InputError, match="no file matches"):
        open_fields(tmp_path / "none_*.nc")
    with pytest.raises(InputError, match="no file was given"):
        open_fields([])


def test_times_that_not_every_variable_has_are_left_out_with_a_warning(make_dataset, save):
    pressure = save(make_dataset(6), "p.nc")
    other = make_dataset(9).rename(msl="sp").isel(time=slice(2, None))
    with pytest.warns(UserWarning, match=r"4 times are common.*msl 6, sp 7"):
        fields = open_fields([pressure, save(other, "sp.nc")])
    assert fields.time_labels[0] == "2001-01-03T00" and len(fields) == 4
    later = other.assign_coords(time=other.time + np.timedelta64(3650, "D"))
    with pytest.raises(InputError, match="no time in common"):
        open_fields([pressure, save(later, "later.nc")])


def test_a_period_is_chosen_by_labels(make_dataset, save):
    path = save(make_dataset(40))
    fields = open_fields(path, period=("2001-01-30", "2001-02-02"))
    assert fields.time_labels == tuple(
        f"2001-{day}T00" for day in ("01-30", "01-31", "02-01", "02-02")
    )
    assert len(open_fields(path, period=("2001-02", "2001"))) == 9
    with pytest.raises(InputError, match=r"no time lies from 1999 to 2000.*2001-01-01T00"):
        open_fields(path, period=("1999", "2000"))


def test_a_member_must_be_chosen(make_dataset, save):
    dataset = xr.concat([make_dataset(seed=i) for i in range(3)], "member")
    dataset = dataset.assign_coords(member=[1, 2, 3])
    path = save(dataset)
    with pytest.raises(InputError, match=r"runs along 'member'.*one of 1, 2, 3.*select="):
        open_fields(path)
    with pytest.raises(InputError, match="has no 'member' 7"):
        open_fields(path, select={"member": 7})
    chosen = open_fields(path, select={"member": 2})
    assert chosen.digest == open_fields(save(make_dataset(seed=1), "one.nc")).digest
    single = save(dataset.isel(member=[1]), "single.nc")
    assert open_fields(single).digest == chosen.digest


def test_absent_variables_are_named_with_what_would_be_accepted(make_dataset, save):
    path = save(on_levels(make_dataset()))
    with pytest.raises(InputError, match=r"'t2m'\. Allowed: 2m_temperature, 2t.*geopotential"):
        open_fields(path, variables=["t2m"])
    with pytest.raises(InputError, match="no file holds 'z700', only z1000, z850, z500"):
        open_fields(path, variables=["z700"])
    with pytest.raises(InputError, match="no file holds 'sst'"):
        open_fields(path, variables={"sst": "skin"})
    with pytest.raises(UnknownNameError, match="Did you mean 'z500'"):
        open_fields(path, variables=["z5000000"])
    bare = make_dataset().rename(msl="p")
    with pytest.raises(InputError, match=r"no variable is known.*The files hold p;"):
        open_fields(save(bare, "bare.nc"))
    with pytest.raises(InputError, match="no file holds 'lsm'"):
        open_fields(save(make_dataset()), variables=["msl", "lsm"])
    odd = on_levels(make_dataset())
    odd.temperature.attrs["units"] = "bananas"
    assert open_fields(save(odd), variables=["msl", "z500"]).variables == ("msl", "z500")
    with pytest.raises(InputError, match="no variable with a time"):
        open_fields(path, variables=["lsm"])


def test_names_can_be_given(make_dataset, save):
    path = save(make_dataset().rename(msl="p"))
    named = open_fields(path, variables={"mean_sea_level_pressure": "p"})
    assert named.digest == open_fields(save(make_dataset(), "msl.nc")).digest
    both = save(make_dataset().assign(slp=make_dataset(seed=1).msl))
    chosen = open_fields(both, variables={"msl": "slp"})
    assert chosen.digest == open_fields(save(make_dataset(seed=1))).digest
    levels = save(on_levels(make_dataset()).rename(geopotential="phi"))
    fields = open_fields(levels, variables={"z500": "phi", "z850": "phi", "t850": "temperature"})
    assert fields.variables == ("z500", "z850", "t850")


def test_two_candidates_for_one_variable_are_refused(make_dataset, save):
    dataset = make_dataset()
    path = save(dataset.assign(slp=dataset.msl))
    with pytest.raises(InputError, match=r"slp and .*msl are both 'msl'"):
        open_fields(path)
    dataset["geopotential"] = dataset.msl.isel(time=0).drop_attrs() * 0
    assert "orography" in open_fields(save(dataset)).static


def test_wrong_units_are_refused_and_right_ones_converted(make_dataset, save):
    dataset = make_dataset()
    hecto = (dataset / 100).astype("f8")
    with pytest.raises(InputError, match="look like 'hpa'"):
        open_fields(save(hecto))
    hecto.msl.attrs["units"] = "hPa"
    converted = open_fields(save(hecto))
    assert converted.read("msl", [0]) == pytest.approx(open_fields(save(dataset)).read("msl", [0]))
    with pytest.raises(InputError, match="unit 'bananas'"):
        open_fields(save(make_dataset(units="bananas")))
    assert open_fields(save(make_dataset(units=""))).digest == open_fields(save(dataset)).digest


def test_missing_values_are_refused_with_variable_and_time(make_dataset, save):
    dataset = make_dataset()
    dataset.msl[4, 2, 3] = np.nan
    path = save(dataset)
    with pytest.raises(InputError, match=r"'msl' has 1 missing .* at 2001-01-05T00"):
        open_fields(path).read("msl", slice(None))
    assert np.isnan(open_fields(path, allow_missing=True).read("msl", [4])).sum() == 1


def test_axes_that_cannot_be_understood_are_refused(make_dataset, save):
    dataset = make_dataset()
    numbers = dataset.assign_coords(time=np.arange(6))
    with pytest.raises(InputError, match="'time' is not a time axis: it has no units"):
        open_fields(save(numbers))
    told = open_fields(save(numbers), time_units="days since 2001-01-01")
    assert told.digest == open_fields(save(dataset)).digest
    with pytest.raises(InputError, match="has no time"):
        open_fields(save(dataset.isel(time=0, drop=True)), variables=["msl"])
    text = dataset.assign_coords(latitude=[f"{i}N" for i in range(7)])
    with pytest.raises(InputError, match="'latitude' does not hold numbers"):
        open_fields(save(text))
    curved = dataset.rename(latitude="y", longitude="x").drop_vars(["y", "x"])
    curved["lat"] = (("y", "x"), np.zeros((7, 12)), {"units": "degrees_north"})
    with pytest.raises(InputError, match="latitude is two-dimensional"):
        open_fields(save(curved))
    bare = save(curved.drop_vars("lat"))
    with pytest.raises(InputError, match="no variable is known"):
        open_fields(bare)
    with pytest.raises(InputError, match="msl has no latitude and longitude, only time, y, x"):
        open_fields(bare, variables=["msl"])
    metres = dataset.rename(latitude="y", longitude="x")
    metres.y.attrs.update(axis="Y", units="m")
    metres.x.attrs.update(axis="X", units="m")
    with pytest.raises(InputError, match="has no latitude and longitude"):
        open_fields(save(metres), variables=["msl"])
    metres.y.attrs.update(axis="Y", units="degrees")
    metres.x.attrs.update(axis="X", units="degrees")
    assert len(open_fields(save(metres))) == 6


def test_files_that_do_not_fit_together_are_refused(make_dataset, save):
    first = save(make_dataset(), "a.nc")
    other = make_dataset(longitude=np.arange(15.0, 360.0, 30.0)).rename(msl="sp")
    with pytest.raises(InputError, match=r"b\.nc: sp lies on another grid .*than .*a\.nc"):
        open_fields([first, save(other, "b.nc")])
    noleap = {"units": "days since 2001-01-01", "calendar": "noleap"}
    moved = make_dataset().assign_coords(time=("time", np.arange(40, 46), noleap))
    with pytest.raises(InputError, match="'msl' have different calendars"):
        open_fields([first, save(moved, "c.nc")])
    with pytest.raises(InputError, match="the variables have different calendars"):
        open_fields([first, save(moved.rename(msl="sp"), "d.nc")])
