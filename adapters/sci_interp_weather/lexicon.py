"""One lexicon from the variable names of many sources to one vocabulary with units.

Sources of names: ERA5 as ECMWF delivers it and as WeatherBench 2 and ARCO-ERA5 store it, ECMWF
short names (https://codes.ecmwf.int/grib/param-db), Aurora, earth2studio, the NCEP reanalyses, CMIP
and the CF standard names (https://cfconventions.org/standard-names.html).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sci_interp.errors import UnknownNameError

__all__ = ["QUANTITIES", "Quantity", "accepted_names", "canonical_name", "identify", "parse_name"]


@dataclass(frozen=True)
class Quantity:
    """A physical quantity under all its names.

    Attributes
    ----------
    name : str
        The canonical name; on pressure levels the level in hPa follows it (``"z500"``).
    unit : str
        The canonical unit.
    low, high : float
        Values outside are never seen on Earth, in the canonical unit.
    names : frozenset of str
        Names in files, in lower case.
    standard_names : frozenset of str
        CF standard names that identify it.
    compatible : frozenset of str
        Further standard names that it may bear, without being identified by them.
    on_levels : bool
        Whether it is defined on pressure levels.
    static : bool
        Whether it has no time.
    implied_units : mapping of str to str, as pairs
        Units that a name implies where the attribute is absent.
    """

    name: str
    unit: str
    low: float
    high: float
    names: frozenset[str]
    standard_names: frozenset[str]
    compatible: frozenset[str] = frozenset()
    on_levels: bool = False
    static: bool = False
    implied_units: tuple[tuple[str, str], ...] = ()


def _quantity(
    name: str,
    unit: str,
    bounds: tuple[float, float],
    names: str,
    standard_names: str = "",
    *,
    compatible: str = "",
    on_levels: bool = False,
    static: bool = False,
    heights: str = "",
    geopotentials: str = "",
) -> Quantity:
    """Return a quantity from names separated by blanks.

    ``heights`` and ``geopotentials`` are names that imply metres and m2 s-2.
    """
    implied = [(each, "m") for each in heights.split()]
    implied += [(each, "m2 s-2") for each in geopotentials.split()]
    return Quantity(
        name=name,
        unit=unit,
        low=bounds[0],
        high=bounds[1],
        names=frozenset([name, *names.split(), *(each for each, _ in implied)]),
        standard_names=frozenset(standard_names.split()),
        compatible=frozenset(compatible.split()),
        on_levels=on_levels,
        static=static,
        implied_units=tuple(implied),
    )


_ALL = (
    _quantity(
        "msl",
        "Pa",
        (85_000.0, 110_000.0),
        "mean_sea_level_pressure mslp prmsl slp psl mslet pmsl msl_pressure",
        "air_pressure_at_mean_sea_level air_pressure_at_sea_level",
    ),
    _quantity("sp", "Pa", (40_000.0, 110_000.0), "surface_pressure ps", "surface_air_pressure"),
    _quantity(
        "t2m",
        "K",
        (160.0, 345.0),
        "2m_temperature 2t tas t2 temperature_2m",
        compatible="air_temperature",
    ),
    _quantity(
        "u10",
        "m s-1",
        (-120.0, 120.0),
        "10m_u_component_of_wind 10u u10m uas",
        compatible="eastward_wind x_wind",
    ),
    _quantity(
        "v10",
        "m s-1",
        (-120.0, 120.0),
        "10m_v_component_of_wind 10v v10m vas",
        compatible="northward_wind y_wind",
    ),
    _quantity(
        "sst",
        "K",
        (260.0, 320.0),
        "sea_surface_temperature tos sstk",
        "sea_surface_temperature",
        compatible="surface_temperature",
    ),
    _quantity(
        "tp",
        "m",
        (-0.001, 3.0),
        "total_precipitation total_precipitation_6hr total_precipitation_24hr tp06 tp24",
        "lwe_thickness_of_precipitation_amount",
        compatible="precipitation_amount",
    ),
    _quantity(
        "tcwv",
        "kg m-2",
        (-1.0, 120.0),
        "total_column_water_vapour total_column_water_vapor pwat prw",
        "atmosphere_mass_content_of_water_vapor lwe_thickness_of_atmosphere_mass_content_of_water_"
        "vapor",
    ),
    _quantity(
        "ivt",
        "kg m-1 s-1",
        (0.0, 8000.0),
        "integrated_vapor_transport integrated_water_vapor_transport",
    ),
    _quantity(
        "ivt_u",
        "kg m-1 s-1",
        (-8000.0, 8000.0),
        "viwve p71.162 ivtu uivt integrated_vapor_transport_u "
        "vertical_integral_of_eastward_water_vapour_flux",
        "eastward_atmosphere_water_transport_across_unit_distance",
    ),
    _quantity(
        "ivt_v",
        "kg m-1 s-1",
        (-8000.0, 8000.0),
        "viwvn p72.162 ivtv vivt integrated_vapor_transport_v "
        "vertical_integral_of_northward_water_vapour_flux",
        "northward_atmosphere_water_transport_across_unit_distance",
    ),
    _quantity(
        "ar_mask",
        "1",
        (-0.01, 1.01),
        "ar_binary_tag atmospheric_river atmospheric_river_mask",
    ),
    _quantity(
        "z",
        "m2 s-2",
        (-10_000.0, 800_000.0),
        "geopotential",
        "geopotential geopotential_height",
        on_levels=True,
        heights="gh hgt zg geopotential_height",
    ),
    _quantity("t", "K", (150.0, 350.0), "temperature ta air", "air_temperature", on_levels=True),
    _quantity(
        "u",
        "m s-1",
        (-200.0, 200.0),
        "u_component_of_wind ua uwnd",
        "eastward_wind",
        compatible="x_wind",
        on_levels=True,
    ),
    _quantity(
        "v",
        "m s-1",
        (-200.0, 200.0),
        "v_component_of_wind va vwnd",
        "northward_wind",
        compatible="y_wind",
        on_levels=True,
    ),
    _quantity(
        "q",
        "kg kg-1",
        (-0.005, 0.06),
        "specific_humidity hus shum",
        "specific_humidity",
        on_levels=True,
    ),
    _quantity(
        "w",
        "Pa s-1",
        (-100.0, 100.0),
        "vertical_velocity wap omega",
        "lagrangian_tendency_of_air_pressure",
        on_levels=True,
    ),
    _quantity("ar_mask", "1", (-0.01, 1.01), "ar_binary_tag ar_tag atmospheric_river"),
    _quantity(
        "lsm",
        "1",
        (-0.01, 1.01),
        "land_sea_mask sftlf land land_binary_mask",
        "land_binary_mask land_area_fraction",
        static=True,
    ),
    _quantity(
        "orography",
        "m",
        (-600.0, 9000.0),
        "",
        "surface_altitude surface_geopotential",
        compatible="geopotential geopotential_height altitude",
        static=True,
        heights="orog topo surface_altitude",
        geopotentials="geopotential_at_surface surface_geopotential z_sfc",
    ),
)
#: Every known quantity by its canonical name.
QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _ALL}
_BY_NAME = {name: quantity for quantity in _ALL for name in quantity.names}
_BY_STANDARD_NAME = {name: quantity for quantity in _ALL for name in quantity.standard_names}
_WITH_LEVEL = re.compile(r"(.*?[a-z])[_@ ]?(\d{1,4}(?:\.\d+)?) ?(?:hpa|mb)?")
#: What GRIB decoders write where they know no standard name.
_NO_STANDARD_NAME = frozenset({"", "unknown"})


def canonical_name(quantity: Quantity, level: float | None) -> str:
    """Return ``"z500"`` for the geopotential at 500 hPa, ``"msl"`` for a surface field.

    The wind at 10 hPa is ``"u10hPa"``, since ``"u10"`` is the wind at 10 metres.
    """
    if level is None:
        return quantity.name
    name = f"{quantity.name}{level:g}"
    return f"{name}hPa" if name in _BY_NAME else name


def parse_name(name: str) -> tuple[Quantity, float | None]:
    """Return the quantity, and the pressure level in hPa, that any known name stands for.

    ``"u10"`` is the wind at 10 metres, ``"u250"`` the wind at 250 hPa.

    Raises
    ------
    UnknownNameError
        If no source uses the name, or a name of a quantity on pressure levels has no level.

    Examples
    --------
    >>> quantity, level = parse_name("geopotential_500")
    >>> canonical_name(quantity, level)
    'z500'
    """
    found = _exact_or_levelled(name)
    if found is None or (found[0].on_levels and found[1] is None):
        known = [f"{each.name}500" if each.on_levels else each.name for each in _ALL]
        raise UnknownNameError("variable", name, known)
    return found


def identify(name: str, standard_name: str) -> tuple[Quantity, float | None] | None:
    """Return quantity and level, if the name tells one, of a variable in a file.

    The name decides, unless the standard name contradicts it; a standard name alone identifies a
    variable whose name is unknown. None for a variable that no source knows.
    """
    by_standard_name = _BY_STANDARD_NAME.get(standard_name)
    found = _exact_or_levelled(name)
    if found is None:
        return None if by_standard_name is None else (by_standard_name, None)
    quantity = found[0]
    allowed = _NO_STANDARD_NAME | quantity.standard_names | quantity.compatible
    if standard_name in allowed or not (quantity.standard_names or quantity.compatible):
        return found
    return None if by_standard_name is None else (by_standard_name, None)


def accepted_names(quantity: Quantity, level: float | None) -> str:
    """Return, for a message, the names under which a variable would be found."""
    names = ", ".join(sorted(quantity.names))
    at = (
        ""
        if level is None
        else f" with a pressure level {level:g} hPa, or {quantity.name}{level:g}"
    )
    standard = ", ".join(sorted(quantity.standard_names))
    return f"{names}{at}" + (f"; or the standard_name {standard}" if standard else "")


def _exact_or_levelled(name: str) -> tuple[Quantity, float | None] | None:
    lower = name.lower()
    if lower in _BY_NAME:
        return _BY_NAME[lower], None
    match = _WITH_LEVEL.fullmatch(lower)
    quantity = _BY_NAME.get(match[1]) if match else None
    if match is None or quantity is None or not quantity.on_levels:
        return None
    return quantity, float(match[2])
