from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import sci_interp as si
from sci_interp.adapter import Adapter, Measurable, WithCovariates
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.testing import check_adapter
from sci_interp_weather.adapter import WeatherAdapter


def to_xarray(fields, **attributes):
    """Return fields as a file would hold them: latitude ascending, longitude from 0 or -180."""
    values = {
        name: (("time", "latitude", "longitude"), fields.read(name, slice(None)), {"units": unit})
        for name, unit in (("msl", "Pa"), ("z500", "m2 s-2"), ("t850", "K"), ("ar_mask", "1"))
        if fields.has(name)
    }
    coords = {
        "time": fields.times.astype("datetime64[ns]"),
        "latitude": fields.grid.latitude,
        "longitude": fields.grid.longitude,
    }
    return xr.Dataset(values, coords=coords, attrs=attributes)


@pytest.fixture
def adapter(tiny_network):
    return WeatherAdapter(tiny_network())


@pytest.fixture
def opened(adapter, make_waves, save):
    return adapter.open(save(to_xarray(make_waves(400))))


@pytest.fixture(scope="module")
def bundled():
    return WeatherAdapter()


@pytest.fixture(scope="module")
def sample(bundled):
    return bundled.open()


@pytest.mark.parametrize(("patch", "levels"), [(1, 1), (1, 2), (3, 1)])
def test_every_law_of_the_protocol_holds(tiny_network, make_waves, save, patch, levels):
    adapter = WeatherAdapter(tiny_network(patch, levels), batch_size=3)
    assert isinstance(adapter, Adapter)
    assert isinstance(adapter, WithCovariates)
    assert isinstance(adapter, Measurable)
    data = adapter.open(save(to_xarray(make_waves(400))))
    # The layer "pooled" has other tokens; it is seen once the grid is known.
    adapter._network = adapter._network.bind(data.fields.grid)
    assert list(adapter.layers()) == ["stem", "mix"]
    check_adapter(adapter, data)


def test_every_law_holds_for_the_bundled_network(bundled, sample):
    check_adapter(bundled, sample, n_records=3)


def test_the_sample_opens_with_labels_and_limits(bundled, sample):
    assert isinstance(si.load_adapter("weather"), WeatherAdapter)
    names = {label.name for label in bundled.labels(sample)}
    assert {"low_center", "high_area", "deepening_low", "ao_positive", "pna_negative"} <= names
    assert sample.table["block"].nunique() == 41
    # The first and the last winter are cut off: they exchange with no other.
    texts = set(sample.table["exchange"])
    assert {"DJF", "MAM", "JJA", "SON"} < texts and len(texts) == 6
    assert "41 season-years" in sample.design
    view = bundled.view(sample, "2009-12-17T00")
    assert view.title == "2009-12-17 00 UTC · 30°N-70°N 70°W-10°E"


def test_the_bundled_forecast_beats_persistence(bundled, sample):
    records = [record for record in sample.records if record.startswith("2010-0")][:60]
    found = bundled.loss(sample, records, bundled.default_layer, None)
    now, after = (
        sample.fields.read("msl", [sample.index_of(r) + shift for r in records]) for shift in (0, 1)
    )
    wrong = ((now - after) / sample.climatology.variables["msl"].deviation) ** 2
    weights = np.broadcast_to(sample.grid.row_weights()[:, None], sample.grid.shape)
    persistence = np.average(wrong.mean(axis=0), weights=weights)
    assert found.total / found.n_tokens < 0.7 * persistence


def copies(dataset):
    ascending = dataset.isel(latitude=slice(None, None, -1))
    east = ascending.assign_coords(longitude=ascending["longitude"] % 360).sortby("longitude")
    return {
        "ascending": ascending,
        "east": east,
        "transposed": dataset.transpose("longitude", "latitude", "time"),
    }


@pytest.mark.parametrize("globe", [False, True])
def test_orientation_of_the_files_does_not_matter(adapter, make_waves, save, globe):
    plain = to_xarray(make_waves(150, globe=globe))
    wanted = adapter.open(save(plain), block="month", gap_days=5)
    records = list(wanted.records)[:40:7]

    def everything(data):
        layer = adapter.default_layer
        runs = adapter.activations(data, records, [layer])
        yield from (item.values[layer] for item in runs)
        yield from (adapter.covariate_values(data, record) for record in records)

    for name, copy in copies(plain).items():
        found = adapter.open(save(copy, f"{name}.nc"), block="month", gap_days=5)
        assert found.digest == wanted.digest
        pd.testing.assert_frame_equal(found.table, wanted.table)
        for left, right in zip(everything(found), everything(wanted), strict=True):
            np.testing.assert_array_equal(left, right)
        for left, right in zip(
            adapter.annotate(found, records), adapter.annotate(wanted, records), strict=True
        ):
            assert (left.record, left.runs, left.known) == (right.record, right.runs, right.known)
            assert left.events == right.events
        losses = [adapter.loss(data, records, "mix", None) for data in (found, wanted)]
        assert losses[0].total == losses[1].total


def test_activations_do_not_depend_on_the_batches(tiny_network, opened):
    records = list(opened.records)[:9]
    found = [
        np.stack([item.values["mix"] for item in each.activations(opened, records, ["mix"])])
        for each in (WeatherAdapter(tiny_network(), batch_size=size) for size in (1, 4, 100))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)


def test_coordinates_and_nuisances_agree(adapter, opened):
    record = "2001-03-05T00"
    places = adapter.token_coordinates(opened, record)
    token, feature = adapter.nuisance_codes(opened, record)
    names = np.array(adapter.nuisances().names)[feature]
    assert set(names[token == 0]) == {
        *("latitude:60 to 65", "longitude:-40 to -30", "month:3", "hour:0 to 3"),
    }
    assert (places["latitude"][0], places["longitude"][0], places["level"][0]) == (60, -40, 0)


def test_decoys_are_not_labelled(adapter, opened):
    decoy = adapter.decoy(opened, 1)
    assert adapter.labels(decoy) == ()
    (found,) = adapter.annotate(decoy, ["2001-03-05T00"])
    assert (found.runs, found.known) == ((), ())
    assert adapter.view(decoy, "2001-03-05T00").plane is not None


def test_measures_come_in_order_and_follow_the_replacement(adapter, opened):
    records = list(opened.records)[5:1:-1]
    plain = dict(adapter.measure(opened, records, "mix", None))
    assert list(plain) == records
    assert set(plain[records[0]]) == set(adapter.endpoints(opened))
    same = dict(adapter.measure(opened, records, "mix", lambda values: values))
    changed = dict(adapter.measure(opened, records, "mix", lambda values: values + 5))
    for record in records:
        assert same[record] == pytest.approx(plain[record], nan_ok=True, rel=1e-6)
        assert changed[record]["regional_mean"] != plain[record]["regional_mean"]


def test_networks_without_forecast(tiny_network, make_waves, save):
    network = tiny_network()
    network.lead, network.targets = 0, ()
    adapter = WeatherAdapter(network)
    data = adapter.open(save(to_xarray(make_waves(120))))
    assert adapter.endpoints(data) == {}
    with pytest.raises(InputError, match="tiny makes no forecast"):
        adapter.loss(data, list(data.records)[:2], "mix", None)
    with pytest.raises(InputError, match="tiny makes no forecast"):
        list(adapter.measure(data, list(data.records)[:2], "mix", None))


def test_layers_on_another_grid(adapter, tiny_network, opened):
    with pytest.raises(InputError, match="tokens of layer 'pooled' lie on another grid"):
        list(adapter.activations(opened, ["2001-03-05T00"], ["pooled"]))
    other = WeatherAdapter(tiny_network(), layer="pooled")
    assert other.default_layer == "pooled"
    with pytest.raises(UnknownNameError, match=r"no layer 'poled'.*'pooled'"):
        WeatherAdapter(tiny_network(), layer="poled")
    with pytest.raises(UnknownNameError, match="no layer 'x'"):
        list(adapter.activations(opened, ["2001-03-05T00"], ["x"]))
    with pytest.raises(UnknownNameError, match="no layer 'x'"):
        adapter.loss(opened, ["2001-03-05T00"], "x", None)


def test_a_grid_that_the_network_was_not_made_for(bundled, make_waves, save):
    with pytest.raises(InputError, match="grid"):
        bundled.open(save(to_xarray(make_waves(120))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0. Allowed: at least 1"),
        ({"width": 3}, "width was given beside a network"),
        ({"device": "cuda"}, "tiny runs on the CPU alone"),
    ],
)
def test_settings_that_cannot_be(tiny_network, settings, message):
    with pytest.raises(InputError, match=message):
        WeatherAdapter(tiny_network(), **settings)


def test_devices_are_checked():
    with pytest.raises(InputError, match="cannot be moved to nowhere"):
        WeatherAdapter(device="nowhere")
    assert WeatherAdapter(device=torch.device("cpu")).model.name == "bundled:forecast"


def test_datasets_of_others_are_refused(adapter):
    with pytest.raises(InputError, match="cannot read a dict"):
        adapter.labels({})


def test_words_and_numbers_may_come_as_paths(adapter, make_waves, save, tmp_path):
    path = save(to_xarray(make_waves(300, names=("msl", "t850"))))
    plain = adapter.open(path, block="month", gap_days=3, period=("2001-02", "2001-08"))
    study = adapter.open(
        path,
        block=tmp_path / "month",
        gap_days=tmp_path / "3",
        period=[tmp_path / "2001-02", tmp_path / "2001-08"],
        tracks=None,
    )
    assert study.digest == plain.digest
    assert plain.table["block"].tolist()[0] == "2001-02"
    assert plain.table["block"].tolist()[-1] == "2001-08"
    # t850 is opened for the fronts that it shows.
    assert plain.variables == ("msl", "t850")
    assert adapter.open(path, variables="msl").variables == ("msl",)
    assert adapter.open(path, variables={"msl": "msl"}, block=45).variables == ("msl",)


def test_what_is_forecast_is_opened_whatever_else_is_asked_for(tiny_network, make_waves, save):
    network = tiny_network()
    network.targets = ("t850",)
    adapter = WeatherAdapter(network)
    held = to_xarray(make_waves(120, names=("msl", "z500", "t850")))
    path, other = save(held), save(held.rename(t850="warmth"), "other.nc")
    for variables in (None, "z500", {"msl": "msl"}, {"msl": "msl", "t850": "t850"}):
        data = adapter.open(path, block="month", variables=variables)
        assert {"msl", "t850"} <= set(data.variables), variables
        records = list(data.records)[:2]
        assert adapter.loss(data, records, "mix", None).n_tokens == 2 * 63
    named = adapter.open(other, block="month", variables={"msl": "msl", "t850": "warmth"})
    assert named.variables == ("msl", "t850")
    for variables in (None, "msl", {"msl": "msl"}):
        data = adapter.open(other, block="month", variables=variables)
        with pytest.raises(InputError, match="the data lack t850, which the network forecasts"):
            adapter.loss(data, records, "mix", None)
        found = dict(adapter.measure(data, records, "mix", None))
        assert set(found[records[0]]) == set(adapter.endpoints(data))


def test_tracks_indices_ground_and_rivers(adapter, make_waves, save, tmp_path):
    fields = make_waves(120)
    path = save(to_xarray(fields))
    ground = xr.Dataset(
        {"orography": (("latitude", "longitude"), np.full((7, 9), 2000.0), {"units": "m"})},
        coords={"latitude": fields.grid.latitude, "longitude": fields.grid.longitude},
    )
    mask = fields.read("msl", slice(None)) > 101_500
    rivers = to_xarray(type(fields).from_arrays(fields.grid, fields.times, {"ar_mask": mask}))
    indices = tmp_path / "ao.csv"
    days = pd.date_range("2001-01-01", periods=120)
    indices.write_text("date,ao\n" + "".join(f"{day:%Y-%m-%d},{day.day - 15}\n" for day in days))
    storms = tmp_path / "storms.csv"
    storms.write_text(
        "track_id,time,lat,lon\nS,2001-01-05 00:00,40,-20\nS,2001-01-06 00:00,45,-15\n"
    )
    data = adapter.open(
        path,
        block="month",
        orography=save(ground, "ground.nc"),
        ar_mask=save(rivers, "rivers.nc"),
        indices=indices,
        tracks=storms,
    )
    names = {label.name for label in adapter.labels(data)}
    assert {"tropical_cyclone", "atmospheric_river", "ao_positive"} <= names
    (found,) = adapter.annotate(data, ["2001-01-05T00"])
    labels = {run[0] for run in found.runs}
    assert "tropical_cyclone" in labels
    river = np.zeros(9 * 7, bool)
    for label, _, start, stop in found.runs:
        river[start:stop] |= label == "atmospheric_river"
    np.testing.assert_array_equal(
        river.reshape(9, 7).T, mask[data.fields.index_of("2001-01-05T00")]
    )
    # The ground is too high everywhere for pressure at sea level.
    assert not {"low_center", "high_center"} & labels
    with pytest.raises(InputError, match="orography"):
        adapter.open(path, block="month", orography=save(rivers, "no_ground.nc"))
    # Other storms are other annotations of the same records.
    options = {"block": "month", "indices": indices, "tracks": storms}
    kept, again = (adapter.open(path, **options) for _ in range(2))
    storms.write_text(storms.read_text().replace("45,-15", "46,-15"))
    moved = adapter.open(path, **options)
    assert moved.digest == kept.digest
    assert kept.annotation_digest == again.annotation_digest != moved.annotation_digest
    assert "orography" in [item.name for item in adapter.covariates(data)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blok": "month"}, "no option of weather data 'blok'.*'block'"),
        ({"gap_days": "many"}, "gap_days is 'many'. Allowed: a number"),
        ({"gap_days": True}, "gap_days is True"),
        ({"every": 1.5}, "every is 1.5. Allowed: a whole number"),
        ({"gap_days": float("nan")}, "gap_days is nan"),
        ({"block": "fortnight"}, "block is 'fortnight'"),
        ({"block": 3.0}, "a gap of 10 days leaves less than a third of blocks of 3 days"),
        ({"block": True}, "block is True. Allowed: a text"),
        ({"tracks": 3}, "tracks is 3. Allowed: the path of a file"),
        ({"period": "2001"}, "period is '2001'. Allowed: two times"),
        ({"select": "member"}, "select is 'member'"),
        ({"orography": "ground.nc"}, "orography was given without fields"),
        ({"variables": "t850"}, "variables was given without fields"),
    ],
)
def test_options_that_cannot_be(bundled, options, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        bundled.open(**options)


def test_masks_that_do_not_fit(adapter, make_waves, save):
    fields = make_waves(120)
    path = save(to_xarray(fields))

    def mask_of(other, n, name):
        values = {"ar_mask": other.read("msl", slice(0, n)) > 101_500}
        held = type(other).from_arrays(other.grid, other.times[:n], values)
        return save(to_xarray(held), name)

    with pytest.raises(InputError, match=r"globe.nc lies on a grid of \(36, 72\) cells"):
        adapter.open(path, ar_mask=mask_of(make_waves(120, globe=True), 120, "globe.nc"))
    with pytest.raises(InputError, match=r"short.nc has no mask at 2001-04-20T00"):
        adapter.open(path, ar_mask=mask_of(fields, 109, "short.nc"))


def test_the_package_is_found_without_torch():
    code = "import sys, sci_interp_weather; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    import sci_interp_weather

    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        sci_interp_weather.Nothing  # noqa: B018
