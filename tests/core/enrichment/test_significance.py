"""False discovery rates equal scipy's; classes follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sci_interp.enrichment.significance import adjust_p, classify_links


@pytest.mark.parametrize("dependence", ["bh", "by"])
@pytest.mark.parametrize("seed", range(50))
def test_adjusted_p_equals_scipy(seed, dependence):
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(int(rng.integers(1, 40))) ** 2, 2)
    expected = stats.false_discovery_control(p, method=dependence)
    np.testing.assert_allclose(adjust_p(p, dependence), expected, atol=1e-14)


def test_missing_p_stay_missing_and_are_not_counted():
    p = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(adjust_p(p), [0.02, np.nan, 0.04])
    assert np.isnan(adjust_p(np.array([np.nan]))).all()


def test_classes():
    of_all = np.array([0.01, 0.9, 0.9, 0.9, 0.2, 0.2, 0.9])
    region = np.array([0.01, 0.9, 0.9, 0.9, 0.2, 0.2, 0.01])
    swap = np.array([0.01, 0.01, 0.9, 0.9, 0.01, 0.04, 0.01])
    local = np.array([0.01, 0.9, 0.01, 0.9, 0.04, 0.01, 0.01])
    expected = ["site", "record", "positional", "none", "record", "positional", "regional"]
    assert classify_links(of_all, region, swap, local, 0.05).tolist() == expected
