"""What is known of every time, on the tokens of a network."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import ndimage

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.annotations import LabelSettings, WeatherAnnotations
from sci_interp_weather.detection import place_key
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.indices import IndexTable
from sci_interp_weather.masks import project_cells, project_mask, runs_of_mask
from sci_interp_weather.opening import open_fields
from sci_interp_weather.pressure_systems import PressureSettings
from sci_interp_weather.tokens import CellMeans, from_tokens
from sci_interp_weather.tracks import Tracks

GLOBE = Grid.regular(np.arange(88.75, -90.0, -2.5), np.arange(0.0, 360.0, 2.5))
TIMES = pd.date_range("2001-01-01", periods=3, freq="24h")


def weather(seed: int = 5, turn: int = 0, grid: Grid = GLOBE) -> Fields:
    """Return three days of smooth random pressure, turned by some columns."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(4, *grid.shape))
    smooth = ndimage.gaussian_filter(noise, (0, 3.0, 3.0), mode=("nearest", "nearest", "wrap"))
    smooth *= 1200.0 / smooth.std()
    days = [smooth[0] + 0.3 * day * smooth[day + 1] for day in range(3)]
    values = 101300.0 + np.roll(np.stack(days), turn, axis=2)
    return Fields.from_arrays(grid, TIMES, {"msl": np.clip(values, 9e4, 1.08e5)})


def masks(annotations: WeatherAnnotations, grid: Grid, index: int, n_levels: int = 1):
    """Return the union of runs by label, and the known cells by group, on the token grid."""
    found = annotations.of(index)
    n_tokens = n_levels * grid.shape[0] * grid.shape[1]
    flat: dict[str, np.ndarray] = {}
    ranges = [(name, a, b) for name, _, a, b in found.runs] + list(found.known)
    for name, start, stop in ranges:
        assert 0 <= start < stop <= n_tokens
        flat.setdefault(name, np.zeros(n_tokens, bool))[start:stop] = True
    return {name: from_tokens(mask, grid.shape, n_levels) for name, mask in flat.items()}


def test_runs_follow_the_order_of_tokens() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1:, 2] = True
    mask[0, 3] = True
    assert runs_of_mask(mask) == [(7, 10)]
    # Two levels: column 2 has tokens 12..17, column 3 18..23.
    assert runs_of_mask(mask, 2) == [(13, 15), (16, 19), (21, 22)]
    assert runs_of_mask(~mask | mask) == [(0, 12)] and runs_of_mask(mask & ~mask) == []


def test_masks_are_projected_by_half_of_the_area() -> None:
    fine = Grid.regular(np.arange(59.5, 40.0, -1.0), np.arange(0.5, 20.0, 1.0))
    means = CellMeans.between(fine, fine.coarsen(4, 4))
    mask = np.zeros(fine.shape, bool)
    mask[:2, :4] = True  # the northern half, which is the smaller one
    mask[6:8, 4:8] = True  # the southern half of the next patch
    assert np.argwhere(project_mask(mask, means)).tolist() == [[1, 1]]
    cells = np.flatnonzero(mask.reshape(-1))
    assert np.argwhere(project_cells(cells, means)).tolist() == [[1, 1]]
    small = np.array([2 * 20 + 4, 3 * 20 + 3, 3 * 20 + 4])  # most of it in the second patch
    assert np.argwhere(project_cells(small, means)).tolist() == [[0, 1]]


def test_objects_outside_of_the_tokens_have_none() -> None:
    fine = Grid.regular(np.arange(59.5, 38.0, -1.0), np.arange(0.5, 20.0, 1.0))
    tokens = fine.coarsen(4, 4)
    assert tokens.shape == (5, 5)
    last = np.array([21 * 20 + 3])
    assert not project_cells(last, CellMeans.between(fine, tokens)).any()


def test_centres_lie_in_their_areas_and_events_run_through_time() -> None:
    annotations = WeatherAnnotations(weather(), GLOBE)
    found = masks(annotations, GLOBE, 0)
    assert found["low_center"].sum() > 10 and found["high_center"].sum() > 5
    assert not (found["low_center"] & ~found["low_area"]).any()
    assert found["pressure systems"].all()
    first, second = annotations.of(0), annotations.of(1)
    assert set(first.events.values()) & set(second.events.values())
    keys = {(name, key) for name, key, _, _ in first.runs}
    assert set(first.events) <= keys
    assert {key for name, key in keys if name == "low_area"} == {
        key for name, key in keys if name == "low_center"
    }
    assert first.record == "2001-01-01T00"


def test_turning_the_globe_turns_the_labels() -> None:
    plain = WeatherAnnotations(weather(), GLOBE)
    turned = WeatherAnnotations(weather(turn=41), GLOBE)
    for index in range(3):
        before, after = masks(plain, GLOBE, index), masks(turned, GLOBE, index)
        assert set(before) == set(after)
        for name, mask in before.items():
            assert np.array_equal(np.roll(mask, 41, axis=-1), after[name]), name
        events = [sorted(a.of(index).events.values()) for a in (plain, turned)]
        assert events[0] == events[1]


def test_levels_are_labelled_alike_on_coarser_tokens() -> None:
    tokens = GLOBE.coarsen(2, 2)
    annotations = WeatherAnnotations(weather(), tokens, 3)
    found = masks(annotations, tokens, 0, 3)
    assert found["low_area"].shape == (3, *tokens.shape)
    assert all((mask == mask[:1]).all() for mask in found.values())
    one = masks(WeatherAnnotations(weather(), tokens), tokens, 0)
    assert np.array_equal(found["low_area"][:1], one["low_area"])
    n_lows = sum(t.system.kind == "low" for t in annotations.systems(0))
    keys = {key for name, key, _, _ in annotations.of(0).runs if name == "low_area"}
    assert len(keys) == n_lows


def test_copies_of_any_orientation_have_the_same_labels(tmp_path: Path) -> None:
    region = Grid.regular(np.arange(70.0, 29.0, -2.5), np.arange(-70.0, 11.0, 2.5))
    values = weather(grid=region).read("msl", slice(0, 3))
    coords = {"time": TIMES, "latitude": region.latitude, "longitude": region.longitude}
    plain = xr.DataArray(values, coords, attrs={"units": "Pa"}, name="msl")
    east = plain.assign_coords(longitude=(plain.longitude + 360.0) % 360.0)
    copies = (plain, plain[:, ::-1], east.sortby("longitude"), plain.transpose(..., "time"))
    digests, results = set(), []
    for number, copy in enumerate(copies):
        path = tmp_path / f"{number}.nc"
        copy.to_dataset().to_netcdf(path, engine="scipy")
        fields = open_fields(path)
        annotations = WeatherAnnotations(fields, fields.grid)
        digests.add(annotations.digest)
        results.append([annotations.of(index) for index in range(3)])
    assert len(digests) == 1
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert (a.runs, a.known, a.events) == (b.runs, b.known, b.events)


def test_groups_are_there_where_their_data_are() -> None:
    annotations = WeatherAnnotations(weather(), GLOBE)
    assert [label.name for label in annotations.labels] == [
        *("low_center", "low_area", "high_center", "high_area", "deepening_low")
    ]
    assert set(annotations.inactive) == {
        *("tropical cyclones", "atmospheric rivers", "jet", "blocking", "fronts")
    }
    upper = np.full((3, *GLOBE.shape), 20.0)
    only = Fields.from_arrays(GLOBE, TIMES, {"u250": upper, "v250": upper, "t850": upper + 260.0})
    other = WeatherAnnotations(only, GLOBE)
    assert [label.name for label in other.labels] == ["jet", "front"]
    assert other.inactive["pressure systems"] == "needs msl"
    with pytest.raises(InputError, match="no sea-level pressure"):
        other.systems(0)


def test_deepening_needs_steps_that_divide_a_day() -> None:
    steps = pd.date_range("2001-01-01", periods=3, freq="9h")
    fields = Fields.from_arrays(GLOBE, steps, {"msl": weather().read("msl", slice(0, 3))})
    assert "24 hours" in WeatherAnnotations(fields, GLOBE).inactive["deepening"]


def extras():
    """Return tracks, an index and a mask for the fields."""
    hours = (TIMES - pd.Timestamp("1970-01-01")) / pd.Timedelta(hours=1)
    tracks = Tracks(
        "here",
        np.array(["A", "A"]),
        np.asarray(hours[:2], float),
        np.array([20.0, 21.0]),
        np.array([-60.0, -62.0]),
        np.array([True, True]),
    )
    days = np.asarray(hours / 24.0).astype(np.int64)
    index = IndexTable("ao", "here", days, np.array([5.0, 0.0, np.nan]))
    mask = np.zeros((3, *GLOBE.shape), bool)
    mask[:, 10:14, 20:50] = True
    return tracks, index, mask


def test_tracks_indices_and_masks_become_labels() -> None:
    tracks, index, mask = extras()
    fields = weather()
    annotations = WeatherAnnotations(
        fields, GLOBE, tracks=tracks, indices=(index,), masks={"atmospheric_river": mask}
    )
    found = masks(annotations, GLOBE, 0)
    assert np.array_equal(found["atmospheric_river"][0], mask[0])
    assert found["ao_positive"].all() and found["ao regime"].all()
    assert found["tropical_cyclone"][0][GLOBE.nearest(20.0, -60.0)]
    assert not found["tropical cyclones"].all()
    assert found["tropical cyclones"][0][GLOBE.nearest(20.0, -60.0)]
    last = masks(annotations, GLOBE, 2)
    assert "ao regime" not in last and "tropical cyclones" not in last
    events = annotations.of(0).events
    assert events["ao_positive", "ao_positive"] == "ao_positive 2001-01-01T00"
    assert "A" in events.values()
    groups = {label.group: label.extent for label in annotations.labels}
    assert groups["ao regime"] == "records" and groups["pressure systems"] == "tokens"


def test_calendars_of_models_are_followed() -> None:
    times = xr.date_range("2001-02-28", periods=3, calendar="360_day", use_cftime=True)
    fields = Fields.from_arrays(GLOBE, times, {"msl": weather().read("msl", slice(0, 3))})
    plain = WeatherAnnotations(weather(), GLOBE)
    model = WeatherAnnotations(fields, GLOBE)
    assert model.of(2).runs == plain.of(2).runs and model.of(2).record == "2001-02-30T00"


def test_the_digest_covers_everything() -> None:
    tracks, index, mask = extras()
    fields = weather()
    settings = LabelSettings(pressure=PressureSettings(rise_hpa=3.0))
    made = [
        WeatherAnnotations(fields, GLOBE),
        WeatherAnnotations(weather(seed=6), GLOBE),
        WeatherAnnotations(fields, GLOBE.coarsen(2, 2)),
        WeatherAnnotations(fields, GLOBE, 2),
        WeatherAnnotations(fields, GLOBE, tracks=tracks),
        WeatherAnnotations(fields, GLOBE, indices=(index,)),
        WeatherAnnotations(fields, GLOBE, masks={"atmospheric_river": mask}),
        WeatherAnnotations(fields, GLOBE, settings=settings),
    ]
    assert len({annotations.digest for annotations in made}) == len(made)
    assert WeatherAnnotations(weather(), GLOBE).digest == made[0].digest


def test_masks_of_unknown_labels_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="there is no label with a mask 'river'"):
        WeatherAnnotations(weather(), GLOBE, masks={"river": extras()[2]})


def test_keys_name_places() -> None:
    assert place_key(54.0, 0.0) == "54.00N 0.00E"
    assert place_key(-0.25, -180.0) == "0.25S 180.00W"
