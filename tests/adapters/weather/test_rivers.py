"""Atmospheric rivers."""

import numpy as np
import pandas as pd
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.masks import connected_objects
from sci_interp_weather.rivers import MaskReader, RiverDetector

GLOBE = Grid.regular(np.arange(90.0, -91.0, -2.5), np.arange(0.0, 360.0, 2.5))
REGION = Grid.regular(np.arange(70.0, 19.0, -2.5), np.arange(-80.0, 21.0, 2.5))


def band(grid, south, north, west, east, value=400.0):
    """Return transport in a rectangle of degrees."""
    rows = (grid.latitude >= south) & (grid.latitude <= north)
    columns = (grid.longitude >= west) & (grid.longitude <= east)
    return value * np.outer(rows, columns).astype(np.float32)


def fields(grid, *maps, name="ivt") -> Fields:
    times = pd.date_range("2001-01-01", periods=len(maps), freq="24h")
    return Fields.from_arrays(grid, times, {name: np.stack(maps)})


def test_long_narrow_bands_are_rivers() -> None:
    long = band(GLOBE, 40, 45, -60, -20)
    short = band(GLOBE, 50, 52.5, 100, 110)
    wide = band(GLOBE, -60, -30, 0, 30)
    tropical = band(GLOBE, -5, 0, -60, 20)
    (river,) = RiverDetector(fields(GLOBE, long + short + wide + tropical)).find(0).instances
    assert river.label == "atmospheric_river" and len(river.cells) == 3 * 17
    weak = RiverDetector(fields(GLOBE, long * 0.6))
    assert weak.find(0).instances == () and not weak.find(0).unknown.any()


def test_a_river_across_the_seam_is_one() -> None:
    seam = band(GLOBE, 40, 45, 160, 180) + band(GLOBE, 40, 45, -180, -160)
    (river,) = RiverDetector(fields(GLOBE, seam)).find(0).instances
    (item,) = connected_objects(seam > 250, GLOBE)
    assert np.array_equal(item.cells, river.cells)
    assert abs(abs(item.longitude) - 180.0) < 2.0 and not item.on_edge
    assert item.length_km == pytest.approx(3350, rel=0.03)


def test_what_the_edge_cuts_is_unknown() -> None:
    cut = band(REGION, 40, 45, -80, -70)
    inner = band(REGION, 40, 45, -30, -20)
    found = RiverDetector(fields(REGION, cut + inner)).find(0)
    assert found.instances == ()
    assert np.array_equal(found.unknown, cut > 0)


def test_rivers_are_followed_by_overlap() -> None:
    maps = [band(GLOBE, 40, 45, w, w + 40) for w in (-60, -50, -40)]
    maps.append(band(GLOBE, -45, -40, -40, 0))
    detector = RiverDetector(fields(GLOBE, *maps))
    events = [detector.find(i).instances[0].event for i in range(4)]
    assert events == ["river 2001-01-01T00 #1"] * 3 + ["river 2001-01-04T00 #1"]


def test_transport_may_come_as_components() -> None:
    part = band(GLOBE, 40, 45, -60, -20, 200.0)
    times = pd.DatetimeIndex(["2001-01-01"])
    both = Fields.from_arrays(GLOBE, times, {"ivt_u": part[None], "ivt_v": -part[None]})
    assert RiverDetector.possible(both) and len(RiverDetector(both).find(0).instances) == 1
    assert not RiverDetector.possible(fields(GLOBE, part, name="msl"))


def test_a_mask_takes_the_place_of_the_rule() -> None:
    mask = band(GLOBE, 10, 12.5, 0, 5)[None] > 0
    plain = fields(GLOBE, np.zeros(GLOBE.shape), name="msl")
    detector = RiverDetector(plain, mask=mask)
    (river,) = detector.find(0).instances
    assert len(river.cells) == mask.sum() and "mask given" in detector.labels[0].definition
    assert detector.state != RiverDetector(plain, mask=~mask).state
    for bad in (mask[0], mask.astype(np.int8), mask[:, :-1]):
        with pytest.raises(InputError, match="the mask of atmospheric rivers"):
            RiverDetector(plain, mask=bad)


def test_a_mask_in_files_is_read_a_few_times_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = np.stack([band(GLOBE, 10, 12.5, west, west + 20, 1.0) for west in range(0, 100, 10)])
    masks = fields(GLOBE, *inside, name="ar_mask")
    read: list[int] = []
    plain_read = Fields.read

    def counted(self: Fields, name: str, index: slice, **options: bool) -> np.ndarray:
        values = plain_read(self, name, index, **options)
        read.append(len(values))
        return values

    monkeypatch.setattr(Fields, "read", counted)
    monkeypatch.setattr("sci_interp_weather.detection._CHUNK_BYTES", 3 * 4 * inside[0].size)
    places = np.array([1, 3, 4, 8])
    plain = fields(GLOBE, *np.zeros((4, *GLOBE.shape)), name="msl")
    given = RiverDetector(plain, mask=MaskReader.of_fields(masks, "ar_mask", places))
    assert read == []
    held = RiverDetector(plain, mask=inside[places] > 0)
    for index in range(4):
        (river,), (wanted,) = given.find(index).instances, held.find(index).instances
        assert np.array_equal(river.cells, wanted.cells) and river.event == wanted.event
    assert max(read) <= 3
    assert masks.digest in given.state
    moved = fields(GLOBE, *inside[:, :, ::-1], name="ar_mask")
    other = RiverDetector(plain, mask=MaskReader.of_fields(moved, "ar_mask", places))
    assert other.state != given.state
