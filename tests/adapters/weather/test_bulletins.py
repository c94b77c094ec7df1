"""Coded surface analyses."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.bulletins import AnalysedCentre, parse_bulletin, read_bulletin

TEXT = """
CODED SURFACE FRONTAL POSITIONS
342 PM EDT MON JUN 28 2021

VALID 062818Z
HIGHS 1022 3961069 1020
3851069 LOWS 1015 5400823 6071080
COLD WK 5280837 5180828
OCFNT 39106 40107
$$
"""


def test_centres_and_fronts_are_read() -> None:
    bulletin = parse_bulletin(TEXT)
    assert bulletin.valid == datetime(2021, 6, 28, 18, tzinfo=UTC)
    assert bulletin.centres[0] == AnalysedCentre("high", 39.6, -106.9, 1022.0)
    assert [c.pressure for c in bulletin.centres] == [1022.0, 1020.0, 1015.0, None]
    assert [front.kind for front in bulletin.fronts] == ["cold", "occluded"]
    assert bulletin.fronts[1].points == ((39.0, -106.0), (40.0, -107.0))


@pytest.mark.parametrize(
    ("head", "valid", "year"),
    [("DEC 31 2020", "010100Z", 2021), ("JAN 1 2021", "123121Z", 2020)],
)
def test_the_year_turns_with_the_valid_time(head: str, valid: str, year: int) -> None:
    text = TEXT.replace("JUN 28 2021", head).replace("062818Z", valid)
    assert parse_bulletin(text).valid.year == year


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("VALID", "FROM", "has no valid time or no date"),
        ("JUN 28 2021", "", "has no valid time or no date"),
        ("062818Z", "063218Z", "'VALID 063218Z' is no time"),
        ("3961069", "39610690", "'39610690' is no position"),
        ("3961069", "9961069", "'9961069' is no position"),
        ("5280837", "NORTH", "'NORTH' is no position"),
    ],
)
def test_bad_bulletins_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_bulletin(TEXT.replace(old, new))


def test_damaged_bulletins_never_fail_otherwise() -> None:
    rng = np.random.default_rng(0)
    letters = list("0123456789 \n$²AVZ")
    for _ in range(300):
        text = list(TEXT)
        for at in rng.integers(0, len(text), size=rng.integers(1, 6)).tolist():
            text[at] = letters[rng.integers(len(letters))]
        try:
            bulletin = parse_bulletin("".join(text))
        except InputError:
            continue
        assert all(abs(centre.latitude) <= 90.0 for centre in bulletin.centres)


def test_a_bulletin_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bulletin(tmp_path / "absent.txt")


def test_the_real_bulletin(weather_data: Path) -> None:
    bulletin = read_bulletin(weather_data / "fixtures" / "WPC_sfc_fronts_20210628_1800.txt")
    kinds = [centre.kind for centre in bulletin.centres]
    assert (kinds.count("high"), kinds.count("low"), len(bulletin.fronts)) == (16, 24, 49)
    assert bulletin.centres[-1] == AnalysedCentre("low", 32.2, -79.4, 1013.0)
