"""Cheap explanations of a feature: where a token lies, and when."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Nuisances

__all__ = ["NUISANCES", "POSITION", "SEASON", "nuisance_codes"]

POSITION: Final = "position"
SEASON: Final = "season"

_LATITUDE_BAND: Final = 5
_LONGITUDE_BAND: Final = 10
_HOURS: Final = 3
_N_LATITUDE: Final = 180 // _LATITUDE_BAND
_N_LONGITUDE: Final = 360 // _LONGITUDE_BAND

_NAMES: Final = {
    POSITION: (
        *(f"latitude:{low} to {low + 5}" for low in range(-90, 90, _LATITUDE_BAND)),
        *(f"longitude:{low} to {low + 10}" for low in range(-180, 180, _LONGITUDE_BAND)),
    ),
    SEASON: (
        *(f"month:{month}" for month in range(1, 13)),
        *(f"hour:{hour} to {hour + _HOURS}" for hour in range(0, 24, _HOURS)),
    ),
}

#: Every nuisance feature; a token has one of each kind.
NUISANCES: Final = Nuisances(
    names=tuple(name for names in _NAMES.values() for name in names),
    families=tuple(family for family, names in _NAMES.items() for _ in names),
)


def nuisance_codes(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], *, month: int, hour: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (token, feature) pairs of one record, sorted by token then feature.

    Parameters
    ----------
    latitude, longitude : (n_tokens,) float64
        Degrees north and east.
    month
        1 to 12.
    hour
        Hour of the day, UTC.

    Returns
    -------
    token, feature : (4 * n_tokens,) int64
        Token, and index into :data:`NUISANCES`.
    """
    north = np.clip((latitude + 90.0) // _LATITUDE_BAND, 0, _N_LATITUDE - 1)
    east = ((longitude + 180.0) % 360.0) // _LONGITUDE_BAND
    first_season = _N_LATITUDE + _N_LONGITUDE
    features = np.empty((len(latitude), 4), dtype=np.int64)
    features[:, 0] = north
    features[:, 1] = _N_LATITUDE + np.minimum(east, _N_LONGITUDE - 1)
    features[:, 2] = first_season + month - 1
    features[:, 3] = first_season + 12 + int(hour // _HOURS)
    token = np.repeat(np.arange(len(latitude), dtype=np.int64), features.shape[1])
    return token, features.reshape(-1)
