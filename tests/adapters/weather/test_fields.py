"""Fields: reading, holes, missing values, digest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid

GRID = Grid.regular([60, 50, 40], [0, 10, 20, 30])
TIMES = pd.to_datetime(["2001-01-01", "2001-01-02", "2001-01-04", "2001-01-05", "2001-01-06"])


def values(seed=0):
    return np.random.default_rng(seed).normal(101_000, 500, (5, 3, 4)).astype(np.float32)


def make(array=None, **options):
    return Fields.from_arrays(GRID, TIMES, {"msl": values() if array is None else array}, **options)


def test_read_gives_the_times_asked_for_in_that_order():
    fields = make()
    expected = values()
    assert np.array_equal(fields.read("msl", slice(1, 3)), expected[1:3])
    assert np.array_equal(fields.read("msl", [4, 0, 4]), expected[[4, 0, 4]])
    assert fields.read("msl", np.array([], dtype=np.int64)).shape == (0, 3, 4)
    assert fields.read("msl", slice(None)).dtype == np.float32


def test_names_times_and_holes():
    fields = make(static={"lsm": np.ones((3, 4))})
    assert fields.variables == ("msl",) and fields.has("msl") and not fields.has("z500")
    assert len(fields) == 5 and fields.index_of("2001-01-04T00") == 2
    assert fields.step == pd.Timedelta(days=1)
    assert fields.runs() == [(0, 2), (2, 5)]
    assert fields.holes == [("2001-01-02T00", "2001-01-04T00")]
    assert fields.static["lsm"].dtype == np.float32


def test_blocks_cover_all_times():
    blocks = list(make().blocks("msl", n_bytes=100))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert np.array_equal(np.concatenate(blocks), values())


def test_the_digest_follows_the_content():
    fields = make()
    assert fields.digest == make().digest
    changed = values()
    changed[3, 1, 2] += 1
    moved = Fields.from_arrays(GRID, TIMES + pd.Timedelta(hours=1), {"msl": values()})
    other_grid = Grid.regular([60, 50, 40], [5, 15, 25, 35])
    others = [
        make(changed),
        make(static={"lsm": np.ones((3, 4))}),
        moved,
        Fields.from_arrays(GRID, TIMES, {"sp": values()}),
        Fields.from_arrays(other_grid, TIMES, {"msl": values()}),
    ]
    assert len({fields.digest, *(other.digest for other in others)}) == 6


def test_the_digest_knows_one_missing_value():
    first, second = values(), values()
    first[2, 0, 0] = np.nan
    second[2, 0, 0] = np.frombuffer(b"\x01\x00\xc0\xff", np.float32)[0]
    digests = {make(each, allow_missing=True).digest for each in (first, second)}
    assert len(digests) == 1


def test_missing_values_are_refused_with_variable_and_time():
    array = values()
    array[3, 1, 1:3] = np.nan
    with pytest.raises(InputError, match=r"'msl' has 2 missing .* of 12 at 2001-01-05T00"):
        make(array).read("msl", slice(None))
    assert make(array).read("msl", [0, 4]).shape == (2, 3, 4)
    assert np.isnan(make(array, allow_missing=True).read("msl", [3])).sum() == 2
    array[3, 1, 1] = np.inf
    with pytest.raises(InputError, match="infinite"):
        make(array, allow_missing=True).read("msl", [3])


def test_one_read_has_a_limit():
    fields = Fields(GRID, TIMES, {"msl": values().__getitem__}, {}, limit=100)
    assert fields.read("msl", [0, 1]).shape == (2, 3, 4)
    with pytest.raises(InputError, match="more than the limit of 100"):
        fields.read("msl", [0, 1, 2])


def test_what_is_not_there_is_refused():
    fields = make()
    with pytest.raises(UnknownNameError, match="there is no variable 'mls'"):
        fields.read("mls", [0])
    with pytest.raises(UnknownNameError, match="there is no time '2001-01-03T00'"):
        fields.index_of("2001-01-03T00")
    for index in (5, -1):
        with pytest.raises(InputError, match=f"no field number {index}"):
            fields.read("msl", [index])


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"'msl' has the shape \(4, 3, 4\)"):
        make(values()[:4])
    with pytest.raises(InputError, match=r"'lsm' has the shape \(4, 3\)"):
        make(static={"lsm": np.ones((4, 3))})


def test_times_must_ascend_and_exist():
    with pytest.raises(InputError, match="not ascending"):
        Fields.from_arrays(GRID, TIMES[::-1], {"msl": values()})
    with pytest.raises(InputError, match="occurs twice"):
        Fields.from_arrays(GRID, TIMES[[0, 0, 1, 2, 3]], {"msl": values()})
    with pytest.raises(InputError, match="no fields"):
        Fields.from_arrays(GRID, TIMES, {})
    with pytest.raises(InputError, match="no fields"):
        Fields.from_arrays(GRID, TIMES[:0], {"msl": values()[:0]})
