"""Objects linked to events."""

from dataclasses import dataclass

import numpy as np
import pytest

from sci_interp.errors import InputError
from sci_interp_weather.linking import Linker, LinkingSettings


@dataclass
class Thing:
    latitude: float
    longitude: float
    cells: np.ndarray


def thing(latitude: float, longitude: float, *cells: int) -> Thing:
    return Thing(latitude, longitude, np.array(cells, np.int64))


def test_the_nearest_is_linked_and_newcomers_are_new() -> None:
    linker = Linker()
    assert linker.add([thing(50, 0), thing(60, 0)], 0.0) == [0, 1]
    assert linker.add([thing(60, 5), thing(50, 5), thing(30, 60)], 24.0) == [1, 0, 2]
    assert linker.add([], 24.0) == []
    assert linker.add([thing(60, 5)], 24.0) == [3]


def test_nothing_is_faster_than_the_speed_limit() -> None:
    linker = Linker()
    linker.add([thing(0, 0, 1)], 0.0)
    assert linker.add([thing(0, 7, 1)], 6.0) == [1]  # 778 km in 6 hours


def test_far_steps_need_overlap() -> None:
    linker = Linker()
    linker.add([thing(0, 0, 1, 2)], 0.0)
    assert linker.add([thing(0, 18, 8, 9)], 24.0) == [1]
    linker = Linker()
    linker.add([thing(0, 0, 1, 2)], 0.0)
    assert linker.add([thing(0, 18, 2, 9)], 24.0) == [0]


def test_links_are_one_to_one_with_the_least_distance() -> None:
    linker = Linker()
    linker.add([thing(0, 0), thing(0, 4)], 0.0)
    assert linker.add([thing(0, 4.5), thing(0, 1)], 24.0) == [1, 0]
    linker = Linker()
    linker.add([thing(0, 0)], 0.0)
    assert linker.add([thing(0, 3), thing(0, 1)], 24.0) == [1, 0]


def test_the_date_line_is_no_border() -> None:
    linker = Linker()
    linker.add([thing(50, 179.0)], 0.0)
    assert linker.add([thing(50, -179.0)], 6.0) == [0]


def test_overlap_alone_may_be_asked_for() -> None:
    linker = Linker(LinkingSettings(overlap=0.5), overlap_only=True)
    linker.add([thing(0, 0, 1, 2, 3, 4)], 0.0)
    assert linker.add([thing(0, 1, 4, 5, 6, 7)], 24.0) == [1]
    assert linker.add([thing(0, 1, 6, 7, 8, 9)], 24.0) == [1]


@pytest.mark.parametrize("name", ["speed_km_h", "reach_km", "overlap"])
def test_parameters_of_linking_are_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} of linking is 0"):
        LinkingSettings(**{name: 0.0})
