"""The lexicon: names of many sources, one vocabulary."""

from __future__ import annotations

import pytest

from sci_interp.errors import UnknownNameError
from sci_interp_weather.lexicon import (
    QUANTITIES,
    accepted_names,
    canonical_name,
    identify,
    parse_name,
)


@pytest.mark.parametrize(
    ("canonical", "names"),
    [
        ("msl", "msl mean_sea_level_pressure MSL prmsl slp psl"),
        ("t2m", "t2m 2t 2m_temperature tas"),
        ("u10", "u10 10u u10m 10m_u_component_of_wind uas"),
        ("v10", "v10 10v v10m 10m_v_component_of_wind vas"),
        ("z500", "z500 geopotential_500 z_500 gh500 hgt500 zg@500"),
        ("t850", "t850 temperature_850 ta850 T850hPa"),
        ("u250", "u250 u_component_of_wind_250 ua250"),
        ("q850", "q850 specific_humidity_850 hus850"),
        ("u10hPa", "u10hPa u_component_of_wind_10"),
        ("sst", "sst sea_surface_temperature"),
        ("tp", "tp total_precipitation tp06"),
        ("ivt_u", "ivt_u viwve vertical_integral_of_eastward_water_vapour_flux"),
        ("lsm", "lsm land_sea_mask"),
        ("orography", "orography orog geopotential_at_surface"),
    ],
)
def test_every_source_s_name_is_one_canonical_name(canonical, names):
    assert {canonical_name(*parse_name(name)) for name in names.split()} == {canonical}


@pytest.mark.parametrize("name", ["z", "geopotential", "nonsense", "msl500", "u250x", ""])
def test_a_name_that_says_no_variable_is_refused(name):
    with pytest.raises(UnknownNameError, match="there is no variable"):
        parse_name(name)


def test_no_name_stands_for_two_quantities():
    names = [name for quantity in QUANTITIES.values() for name in quantity.names]
    assert len(names) == len(set(names))
    standard = [name for quantity in QUANTITIES.values() for name in quantity.standard_names]
    assert len(standard) == len(set(standard))
    assert all(name == name.lower() for name in names)


def found(name: str, standard_name: str = "") -> str | None:
    pair = identify(name, standard_name)
    return pair and canonical_name(*pair)


def test_variables_of_files_are_identified_by_name_then_standard_name():
    assert found("msl") == "msl"
    assert found("var151", "air_pressure_at_mean_sea_level") == "msl"
    assert found("var151") is None
    assert found("t", "air_temperature") == "t"
    assert found("t", "unknown") == "t"
    assert found("t2m", "air_temperature") == "t2m"
    assert found("u", "eastward_wind") == "u"
    assert found("orog", "geopotential_height") == "orography"
    assert found("ivt", "anything") == "ivt"


def test_a_standard_name_that_contradicts_the_name_wins():
    assert found("t", "soil_temperature") is None
    assert found("z", "land_binary_mask") == "lsm"


def test_messages_list_what_would_be_accepted():
    text = accepted_names(*parse_name("z500"))
    assert "geopotential, geopotential_height, gh, hgt, z, zg" in text
    assert "500 hPa" in text and "standard_name geopotential" in text
    assert "standard_name" not in accepted_names(*parse_name("ivt"))
