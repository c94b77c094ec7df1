from __future__ import annotations

import numpy as np
import pytest

from sci_interp_weather.nuisances import NUISANCES, nuisance_codes


@pytest.mark.parametrize(
    ("latitude", "longitude", "wanted"),
    [
        (52.5, -10.0, {"latitude:50 to 55", "longitude:-10 to 0"}),
        (-90.0, -180.0, {"latitude:-90 to -85", "longitude:-180 to -170"}),
        (90.0, 185.0, {"latitude:85 to 90", "longitude:-180 to -170"}),
        (0.0, 179.9, {"latitude:0 to 5", "longitude:170 to 180"}),
    ],
)
def test_every_token_has_its_bands(latitude, longitude, wanted):
    token, feature = nuisance_codes(
        np.array([latitude]), np.array([longitude]), month=12, hour=23.5
    )
    assert token.tolist() == [0] * 4
    assert {NUISANCES.names[at] for at in feature} == wanted | {"month:12", "hour:21 to 24"}


def test_families_and_order():
    assert set(NUISANCES.families) == {"position", "season"}
    assert len(set(NUISANCES.names)) == len(NUISANCES.names) == len(NUISANCES.families)
    token, feature = nuisance_codes(
        np.linspace(-80, 80, 9), np.linspace(0, 350, 9), month=1, hour=0
    )
    assert (np.diff(token * len(NUISANCES.names) + feature) > 0).all()
