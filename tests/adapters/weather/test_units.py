"""Units: converted by attribute, checked by range."""

from __future__ import annotations

import numpy as np
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.lexicon import QUANTITIES, parse_name
from sci_interp_weather.units import GRAVITY, check_range, converter, geopotential_range


def check(name, values, units="", in_file=""):
    """Convert and check values as a file with this unit would be."""
    quantity, level = parse_name(name)
    scale = converter(quantity, units, in_file or quantity.name, where="file: x")
    converted = np.asarray(values, dtype=float) * scale[0] + scale[1]
    check_range(quantity, level, converted, scale=scale, where="file: x")
    return converted


@pytest.mark.parametrize(
    ("name", "units", "raw", "expected"),
    [
        ("msl", "Pa", 101_325.0, 101_325.0),
        ("msl", "hPa", 1013.25, 101_325.0),
        ("msl", "millibars", 1013.25, 101_325.0),
        ("msl", "", 101_325.0, 101_325.0),
        ("z500", "m**2 s**-2", 55_000.0, 55_000.0),
        ("z500", "m^2/s^2", 55_000.0, 55_000.0),
        ("z500", "gpm", 5500.0, 5500.0 * GRAVITY),
        ("z500", "dam", 550.0, 5500.0 * GRAVITY),
        ("t850", "degC", 10.0, 283.15),
        ("t850", "degrees_Celsius", 10.0, 283.15),
        ("t2m", "K", 283.15, 283.15),
        ("u10", "m s**-1", -12.0, -12.0),
        ("u10", "knots", 10.0, 5.14444),
        ("q850", "g kg**-1", 8.0, 0.008),
        ("q850", "kg kg**-1", 0.008, 0.008),
        ("tp", "mm", 12.0, 0.012),
        ("tp", "kg m**-2", 12.0, 0.012),
        ("lsm", "%", 50.0, 0.5),
        ("lsm", "(0 - 1)", 1.0, 1.0),
        ("orography", "m**2 s**-2", 9806.65, 1000.0),
        ("w500", "Pa s**-1", 0.3, 0.3),
        ("ivt", "kg m**-1 s**-1", 300.0, 300.0),
        ("tcwv", "kg m**-2", 30.0, 30.0),
    ],
)
def test_values_are_converted_where_the_attribute_says_so(name, units, raw, expected):
    assert check(name, raw, units) == pytest.approx(expected)


def test_a_name_that_says_height_implies_metres():
    assert check("z500", 5500.0, "", in_file="hgt") == pytest.approx(5500 * GRAVITY)
    assert check("z500", 55_000.0, "m2 s-2", in_file="gh") == pytest.approx(55_000)


@pytest.mark.parametrize(
    ("name", "units", "values", "cause"),
    [
        ("msl", "", [1000.0, 1020.0], "look like 'hpa'"),
        ("msl", "Pa", [1000.0, 1020.0], "look like 'hpa'"),
        ("msl", "hPa", [100_000.0, 102_000.0], "look like 'pa'"),
        ("msl", "Pa", [0.0, 101_000.0], "Check that this is the right variable"),
        ("msl", "Pa", [101_000.0, 111_000.0], "Check that this is the right variable"),
        ("z500", "", [5200.0, 5800.0], "look like 'm'"),
        ("z500", "m**2 s**-2", [520.0, 580.0], "look like 'dam'"),
        ("z850", "m**2 s**-2", [1200.0, 1600.0], "look like 'm'"),
        ("z500", "m", [52_000.0, 58_000.0], "look like 'm2 s-2'"),
        ("t850", "K", [-20.0, 30.0], "look like 'c'"),
        ("t2m", "degC", [270.0, 300.0], "look like 'k'"),
        ("q850", "", [0.1, 15.0], "look like 'g kg-1'"),
        ("tp", "", [0.0, 40.0], "look like 'mm'"),
        ("lsm", "", [0.0, 100.0], "look like '%'"),
    ],
)
def test_implausible_values_are_refused_with_the_likely_cause(name, units, values, cause):
    with pytest.raises(InputError, match=f"no such value is seen on Earth.*{cause}"):
        check(name, values, units)


def test_a_unit_of_another_quantity_is_refused():
    with pytest.raises(InputError, match=r"unit 'K', which is not one of msl.*hpa"):
        check("msl", 101_000.0, "K")


def test_missing_values_are_passed_over():
    check("msl", [np.nan, 101_000.0], "Pa")
    check("msl", [np.nan, np.nan], "Pa")


@pytest.mark.parametrize(
    ("level", "lowest", "highest"),
    # Heights in metres that are seen: deep storms and warm highs (ERA5 climatologies).
    [
        (1000, -700, 400),
        (850, 500, 1700),
        (500, 4600, 6000),
        (250, 9000, 11_200),
        (50, 18_000, 21_300),
        (10, 27_500, 32_500),
    ],
)
def test_real_heights_are_plausible_and_metres_are_not(level, lowest, highest):
    low, high = geopotential_range(level)
    assert low <= GRAVITY * lowest and GRAVITY * highest <= high
    if level <= 850:
        assert highest < low


def test_every_unit_of_the_lexicon_has_spellings():
    for quantity in QUANTITIES.values():
        assert converter(quantity, quantity.unit, quantity.name, where="") == (1.0, 0.0)
