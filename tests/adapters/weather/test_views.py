from __future__ import annotations

import numpy as np
import pytest

from sci_interp.errors import UnknownNameError
from sci_interp_weather.datasets import Needs
from sci_interp_weather.views import contour_step, view_record


def test_the_map_of_a_record(make_waves, make_records):
    fields = make_waves(n=800)
    data = make_records(fields, levels=2)
    view = view_record(data, "2002-01-17T00")
    assert view.title == "2002-01-17 00 UTC · 30°N-60°N 40°W-0°E"
    assert view.symbols == ()
    plane = view.plane
    assert plane is not None
    rows, columns = np.divmod(plane.cell, len(plane.x))
    np.testing.assert_array_equal(plane.y[rows], data.coordinates["latitude"])
    np.testing.assert_array_equal(plane.x[columns], data.coordinates["longitude"])
    at = data.index_of("2002-01-17T00")
    np.testing.assert_allclose(plane.field, fields.read("msl", [at])[0] / 100, rtol=1e-6)
    assert (plane.field_name, plane.field_unit) == ("sea-level pressure", "hPa")
    assert (plane.contour_step, plane.period) == (4.0, 0.0)
    assert plane.outlines
    assert all(
        line.x.min() >= -43 and line.x.max() <= 3 and line.y.min() >= 27 for line in plane.outlines
    )


def test_other_fields_and_the_globe(make_waves, make_records):
    data = make_records(
        make_waves(n=20, globe=True, names=("z500",)), needs=Needs(("z500",), (0,), 0, ())
    )
    view = view_record(data, "2001-01-05T00")
    assert view.title.endswith("87.5°S-87.5°N, all longitudes")
    assert view.plane.period == 360.0
    assert (view.plane.field_name, view.plane.contour_step) == ("500-hPa height", 60.0)
    assert 4000 < view.plane.field.mean() < 7000


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0, 100, 10), (0, 0.03, 0.005), (5, 5, 1), (-40, 20, 10), (0, 19, 2)]
)
def test_steps_of_contours(low, high, step):
    assert contour_step(np.array([[low, high]], np.float32)) == pytest.approx(step)


def test_maps_of_no_record(make_waves, make_records):
    with pytest.raises(UnknownNameError, match="no record 'x'"):
        view_record(make_records(make_waves(n=100)), "x")
