from __future__ import annotations

import numpy as np
import pytest

from sci_interp.errors import UnknownNameError
from sci_interp_weather.windows import REACH, describe_cell_windows


def test_windows_are_unit_rows_of_the_anomaly(make_waves, make_records):
    data = make_records(make_waves(n=800))
    tokens = np.array([0, 17, 62])
    found = describe_cell_windows(data, "2001-03-05T00", tokens)
    assert found.shape == (3, 49)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    # Token 0 is the north-western corner: what lies north or west of it is nothing.
    corner = found[0].reshape(7, 7)
    assert not corner[:REACH].any() and not corner[:, :REACH].any()
    anomaly = data.anomaly("msl", data.index_of("2001-03-05T00"))
    area = data.grid.row_weights()[:, None]
    rest = anomaly - (anomaly * area).sum() / (area.sum() * 9)
    assert np.sign(corner[3, 3]) == np.sign(rest[0, 0])
    ratio = corner[3, 4] / corner[3, 3]
    assert ratio == pytest.approx(0.75 * rest[0, 1] / rest[0, 0], rel=1e-4)


def test_a_circle_has_no_edge_in_longitude(make_waves, make_records):
    fields = make_waves(n=100, globe=True)
    data = make_records(fields)
    rows, columns = data.grid.shape
    token = 18
    found = describe_cell_windows(data, "2001-01-05T00", np.array([token])).reshape(7, 7)
    assert np.abs(found).min() > 0
    last = (columns - 1) * rows + 18
    other = describe_cell_windows(data, "2001-01-05T00", np.array([last])).reshape(7, 7)
    weights = np.minimum(*np.meshgrid(*[1 - np.abs(np.arange(-3, 4)) / 4] * 2))
    left, right = found / weights, other / weights
    ratio = (right[:, 1:] / left[:, :-1]).ravel()
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_levels_share_their_window(make_waves, make_records):
    data = make_records(make_waves(n=100, names=("z500", "t850", "msl", "u10")[:3]), levels=2)
    found = describe_cell_windows(data, "2001-01-05T00", np.array([3, 10]))
    assert found.shape == (2, 147)
    np.testing.assert_array_equal(found[0], found[1])


def test_unrelated_windows_have_no_cosine(make_waves, make_records):
    data = make_records(make_waves(n=800))
    records = list(data.records)[::40]
    rows = np.concatenate([describe_cell_windows(data, r, np.array([30])) for r in records])
    cosine = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    assert abs(cosine.mean()) < 0.15


def test_windows_of_no_record(make_waves, make_records):
    with pytest.raises(UnknownNameError, match="no record 'x'"):
        describe_cell_windows(make_records(make_waves(n=100)), "x", np.array([0]))
