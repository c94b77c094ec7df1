"""Daily indices and regimes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sci_interp.errors import InputError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.indices import IndexDetector, load_indices

TABLE = """# base_period: 1979-2000
date,value
2001-01-01,2.0
2001-01-02,2.5
2001-01-03,0.1
2001-01-04,
2001-01-05,-3.0
2001-01-06,-0.2
"""
GRID = Grid.regular([60.0, 50.0, 40.0], [0.0, 10.0, 20.0])


def fields(*times: str) -> Fields:
    index = pd.DatetimeIndex(times)
    return Fields.from_arrays(GRID, index, {"msl": np.full((len(times), 3, 3), 101300.0)})


def write(folder: Path, text: str = TABLE, name: str = "nnr1.ao.daily.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_names_come_from_mapping_column_or_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert load_indices(path)[0].name == "ao"
    assert load_indices({"NAO": path})[0].name == "nao"
    write(tmp_path, TABLE.replace("value", "PNA"), "x.csv")
    assert [table.name for table in load_indices(tmp_path)] == ["ao", "pna"]
    assert [table.name for table in load_indices([path, tmp_path / "x.csv"])] == ["ao", "pna"]
    write(tmp_path, TABLE, "mine.csv")
    assert load_indices(tmp_path / "mine.csv")[0].name == "mine"


def test_regimes_cover_whole_times_and_are_events(tmp_path: Path) -> None:
    (table,) = load_indices(write(tmp_path))
    assert table.deviation == pytest.approx(np.std([2.0, 2.5, 0.1, -3.0, -0.2]))
    times = [f"2001-01-0{day}T12" for day in range(1, 8)]
    detector = IndexDetector(fields(*times), table)
    assert [label.name for label in detector.labels] == ["ao_positive", "ao_negative"]
    assert {label.extent for label in detector.labels} == {"records"}
    assert detector.group == "ao regime"
    found = [detector.find(i) for i in range(7)]
    positive = ("ao_positive", "ao_positive 2001-01-01T12")
    assert [f.everywhere for f in found[:3]] == [(positive,), (positive,), ()]
    assert found[4].everywhere == (("ao_negative", "ao_negative 2001-01-05T12"),)
    assert [f.assessed for f in found] == [True, True, True, False, True, True, False]


def test_a_hole_ends_an_event(tmp_path: Path) -> None:
    text = "date,value\n" + "".join(f"2001-01-{d:02},{3 - 6 * (d > 9)}\n" for d in range(1, 19))
    (table,) = load_indices(write(tmp_path, text))
    detector = IndexDetector(fields("2001-01-01", "2001-01-02", "2001-01-05", "2001-01-06"), table)
    events = [detector.find(i).everywhere[0][1] for i in range(4)]
    assert events == ["ao_positive 2001-01-01T00"] * 2 + ["ao_positive 2001-01-05T00"] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "fewer than two days"),
        ("date,value\n2001-01-01,1\n", "fewer than two days"),
        ("date,value\n2001-01-01,1\n2001-01-01,2\n", "or one twice"),
        ("date,ao,pna\n2001-01-01,1,2\n", "columns date, ao, pna"),
        ("value,date\n1,2001-01-01\n", "columns value, date"),
        ("date,value\n2001-01-01\n", "line 2: '2001-01-01' is no day"),
        ("date,value\n1 January,1\n", "line 2: '1 January,1' is no day"),
        ("date,value\n2001-01-01,high\n", "is no day with a value"),
        ("date,value\n2001-01,1\n", "is no day with a value"),
        ("date,value\n2001-01-01,inf\n", "line 2 holds infinity"),
        ("date,value\n" + "9" * 20_000, "line 2 is no line"),
    ],
)
def test_bad_index_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_indices(write(tmp_path, text))


def test_damaged_index_tables_never_fail_otherwise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    letters = list("0123456789,-.# \n\"'a²")
    for _ in range(300):
        text = list(TABLE)
        for at in rng.integers(0, len(text), size=rng.integers(1, 6)).tolist():
            text[at] = letters[rng.integers(len(letters))]
        try:
            (table,) = load_indices(write(tmp_path, "".join(text)))
        except InputError:
            continue
        assert (np.diff(table.day) > 0).all() and not np.isinf(table.value).any()


def test_index_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no index table"):
        load_indices(tmp_path)
    with pytest.raises(InputError, match="cannot be read as text"):
        load_indices(tmp_path / "absent.csv")
    first = write(tmp_path)
    write(tmp_path, TABLE, "other_ao.csv")
    with pytest.raises(InputError, match="are both index 'ao'"):
        load_indices([first, tmp_path / "other_ao.csv"])


def test_indices_of_other_years_and_calendars_are_refused(tmp_path: Path) -> None:
    (table,) = load_indices(write(tmp_path))
    with pytest.raises(InputError, match="from 2001-01-01 to 2001-01-06, the fields from 1999"):
        IndexDetector(fields("1999-01-01"), table)
    times = xr.date_range("2001-01-01", periods=2, calendar="noleap", use_cftime=True)
    model = Fields.from_arrays(GRID, times, {"msl": np.full((2, 3, 3), 101300.0)})
    with pytest.raises(InputError, match="in the calendar 'noleap'"):
        IndexDetector(model, table)


def test_the_real_tables(weather_data: Path) -> None:
    tables = {table.name: table for table in load_indices(weather_data / "indices")}
    assert set(tables) == {"ao", "pna"}
    days = pd.Timestamp("1948-01-02") - pd.Timestamp("1970-01-01")
    assert tables["ao"].on(days.days) == pytest.approx(0.18445202)
