"""Numbers that are known at every token and may explain a feature better than a system does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Covariate

from .datasets import WeatherDataset
from .times import day_of_year, hour_of
from .tokens import to_tokens

__all__ = ["covariate_values", "list_covariates"]

_PLACES: Final = (
    Covariate("|latitude|", "degrees", "distance from the equator"),
    Covariate("latitude", "degrees north", "centre of the token's cell"),
    Covariate("longitude", "degrees east", "centre of the token's cell"),
)
_YEAR: Final = (
    Covariate("sine of the day of year", "", "sine of the year's angle, 0 on 1 January"),
    Covariate("cosine of the day of year", "", "cosine of the year's angle, 1 on 1 January"),
)
_DAY: Final = (
    Covariate("sine of the hour", "", "sine of the angle of the day, 0 at 00 UTC"),
    Covariate("cosine of the hour", "", "cosine of the angle of the day, 1 at 00 UTC"),
)
_STATIC: Final = {
    "lsm": Covariate("land", "", "share of land in the token's cell"),
    "orography": Covariate("orography", "m", "mean height of the surface in the token's cell"),
}
_DAYS_PER_YEAR: Final = 365.25


def list_covariates(dataset: WeatherDataset) -> Sequence[Covariate]:
    """Return the covariates of a dataset: place, time of year and day, surface, fields."""
    fields = tuple(
        found
        for name in dataset.variables
        for found in (
            Covariate(
                f"{name} anomaly",
                "standard deviations",
                f"{name} minus its climatology for the place and day, over its standard "
                "deviation; mean of the token's cell",
            ),
            Covariate(name, dataset.units[name], f"{name}, mean of the token's cell"),
        )
    )
    day = _DAY if dataset.hours_vary else ()
    static = tuple(found for name, found in _STATIC.items() if name in dataset.fields.static)
    return (*_PLACES, *_YEAR, *day, *static, *fields)


def covariate_values(dataset: WeatherDataset, record: str) -> NDArray[np.float32]:
    """Return the covariates of one record ``(n_tokens, n_covariates)``, levels alike.

    Raises
    ------
    UnknownNameError
        If there is no such record.
    """
    at = dataset.index_of(record)
    times = dataset.fields.times[at : at + 1]
    places = dataset.coordinates
    columns = [np.abs(places["latitude"]), places["latitude"], places["longitude"]]
    hour = float(hour_of(times)[0])
    turns = [(float(day_of_year(times)[0]) - 1 + hour / 24) / _DAYS_PER_YEAR]
    turns += [hour / 24] if dataset.hours_vary else []
    ones = np.ones(dataset.n_tokens)
    for turn in turns:
        columns += [np.sin(2 * np.pi * turn) * ones, np.cos(2 * np.pi * turn) * ones]
    static = [dataset.fields.static[name] for name in _STATIC if name in dataset.fields.static]
    maps = [dataset.cell_means.of(values) for values in static]
    for name in dataset.variables:
        field = dataset.fields.read(name, slice(at, at + 1))[0]
        maps += [dataset.anomaly(name, at), dataset.cell_means.of(field)]
    columns += [to_tokens(values, dataset.n_levels) for values in maps]
    return np.stack(columns, axis=1).astype(np.float32)
