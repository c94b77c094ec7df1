"""Units of fields: converted where the attribute says so, checked by range always."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .lexicon import Quantity, canonical_name

__all__ = ["GRAVITY", "check_range", "converter", "geopotential_range"]

#: Standard gravity, m s-2: geopotential divided by it is geopotential height.
GRAVITY = 9.80665
#: Spellings of a unit and its (factor, offset) to the canonical one, by canonical unit.
_UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "Pa": {
        **dict.fromkeys(["pa", "pascal", "pascals"], (1.0, 0.0)),
        **dict.fromkeys(
            ["hpa", "mb", "mbar", "millibar", "millibars", "hectopascal", "hectopascals"],
            (100.0, 0.0),
        ),
        "kpa": (1000.0, 0.0),
    },
    "m2 s-2": {
        **dict.fromkeys(["m2 s-2", "m2/s2", "j kg-1", "j/kg"], (1.0, 0.0)),
        **dict.fromkeys(
            ["m", "gpm", "meter", "meters", "metre", "metres", "geopotential meter"],
            (GRAVITY, 0.0),
        ),
        **dict.fromkeys(["dam", "gpdam", "gpdm"], (10 * GRAVITY, 0.0)),
    },
    "K": {
        **dict.fromkeys(["k", "kelvin", "degk", "deg k", "degrees k"], (1.0, 0.0)),
        **dict.fromkeys(
            [
                "c",
                "degc",
                "deg c",
                "celsius",
                "degree celsius",
                "degrees celsius",
                "degrees c",
                "°c",
            ],
            (1.0, 273.15),
        ),
    },
    "m s-1": {
        **dict.fromkeys(["m s-1", "m/s", "meter/second", "meters/second"], (1.0, 0.0)),
        **dict.fromkeys(["knot", "knots", "kt", "kts"], (0.514444, 0.0)),
        **dict.fromkeys(["km h-1", "km/h"], (1 / 3.6, 0.0)),
    },
    "kg kg-1": {
        **dict.fromkeys(["kg kg-1", "kg/kg", "1"], (1.0, 0.0)),
        **dict.fromkeys(["g kg-1", "g/kg", "grams/kg"], (1e-3, 0.0)),
    },
    "kg m-1 s-1": dict.fromkeys(["kg m-1 s-1", "kg/m/s", "kg/(m s)"], (1.0, 0.0)),
    "kg m-2": dict.fromkeys(["kg m-2", "kg/m2", "mm"], (1.0, 0.0)),
    "Pa s-1": dict.fromkeys(["pa s-1", "pa/s"], (1.0, 0.0)),
    "m": {
        **dict.fromkeys(["m", "gpm", "meter", "meters", "metre", "metres"], (1.0, 0.0)),
        **dict.fromkeys(["mm", "kg m-2", "kg/m2"], (1e-3, 0.0)),
        **dict.fromkeys(["m2 s-2", "m2/s2"], (1 / GRAVITY, 0.0)),
    },
    "1": {
        **dict.fromkeys(["1", "(0 - 1)", "0-1", "fraction", "proportion"], (1.0, 0.0)),
        **dict.fromkeys(["%", "percent"], (0.01, 0.0)),
    },
}


def converter(quantity: Quantity, units: str, name: str, *, where: str) -> tuple[float, float]:
    """Return factor and offset from a file's unit to the canonical one.

    Parameters
    ----------
    quantity
        What the variable is.
    units
        Its attribute; where it is empty, the unit that the name implies, or the canonical one.
    name
        Its name in the file.
    where
        File and variable, for the message.

    Raises
    ------
    InputError
        If the unit is not one of the quantity's.
    """
    table = _UNITS[quantity.unit]
    spelled = _plain(units) or _plain(dict(quantity.implied_units).get(name.lower(), ""))
    if not spelled:
        return 1.0, 0.0
    if spelled not in table:
        raise InputError(
            f"{where} has the unit {units!r}, which is not one of {quantity.name}",
            allowed=", ".join(sorted(table)),
            todo="Correct the attribute 'units', or convert the values",
        )
    return table[spelled]


def check_range(
    quantity: Quantity,
    level: float | None,
    values: NDArray[Any],
    *,
    scale: tuple[float, float],
    where: str,
) -> None:
    """Refuse values that are never seen on Earth, with the likely cause.

    Parameters
    ----------
    quantity, level
        What they are, and the pressure level in hPa.
    values
        Converted values; NaN is passed over.
    scale
        Factor and offset of the conversion that was applied.
    where
        File and variable, for the message.

    Raises
    ------
    InputError
        If the lowest or highest value is outside the quantity's range.
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        return
    low, high = _bounds(quantity, level)
    lowest, highest = float(known.min()), float(known.max())
    if low <= lowest and highest <= high:
        return
    raw = [(value - scale[1]) / scale[0] for value in (lowest, highest)]
    raise InputError(
        f"{where}: {canonical_name(quantity, level)} goes from {lowest:g} to {highest:g} "
        f"{quantity.unit}, and no such value is seen on Earth",
        allowed=f"{low:g} to {high:g} {quantity.unit}",
        todo=_likely_cause(quantity, (low, high), (raw[0], raw[1]), scale),
    )


def geopotential_range(level: float) -> tuple[float, float]:
    """Return the lowest and highest geopotential, m2 s-2, that is plausible at a level in hPa.

    The height of the level in the standard atmosphere (ISO 2533; an isothermal stratosphere is
    near enough), 20 % and 8,000 m2 s-2 either way, which leaves room for the deepest storms.
    Heights in metres taken for geopotential fall outside at 850 hPa and above.
    """
    if level >= 226.32:
        height = 44_330.8 * (1.0 - (level / 1013.25) ** 0.190263)
    else:
        height = 11_000.0 + 6_700.0 * math.log(226.32 / level)
    middle = GRAVITY * height
    margin = 0.2 * abs(middle) + 8_000.0
    return middle - margin, middle + margin


def _bounds(quantity: Quantity, level: float | None) -> tuple[float, float]:
    if quantity.name == "z" and level is not None:
        return geopotential_range(level)
    return quantity.low, quantity.high


def _likely_cause(
    quantity: Quantity,
    bounds: tuple[float, float],
    raw: tuple[float, float],
    scale: tuple[float, float],
) -> str:
    """Return what to do, naming the unit in which the raw values would be plausible."""
    for spelling, (factor, offset) in _UNITS[quantity.unit].items():
        fits = bounds[0] <= factor * raw[0] + offset and factor * raw[1] + offset <= bounds[1]
        if fits and (factor, offset) != scale:
            return (
                f"The values look like {spelling!r}: correct the attribute 'units' of the "
                "variable, or convert the values"
            )
    return "Check that this is the right variable, its unit, its scale_factor and its fill value"


def _plain(units: str) -> str:
    """Return a unit in lower case without the signs that say only power and product."""
    plain = units.strip().lower().replace("**", "").replace("^", "").replace("_", " ")
    return " ".join(plain.replace("*", " ").replace("·", " ").split())
