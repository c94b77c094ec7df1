"""Contours against closed forms; frames, ticks and cells."""

from __future__ import annotations

import re

import numpy as np
import pytest
from fake_grid import plane_of

from sci_interp.report.cells import Mesh, line_path
from sci_interp.report.contours import contour_levels, contour_lines
from sci_interp.report.frames import TENTHS, Frame, edges_of

X, Y = np.linspace(-2.0, 2.0, 81), np.linspace(2.0, -2.0, 61)
RADIUS = np.hypot(*np.meshgrid(X, Y))


def length(line: np.ndarray) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def area(line: np.ndarray) -> float:
    x, y = line.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def frame_of(x: np.ndarray, y: np.ndarray, period: float = 360.0) -> Frame:
    return Frame.of(plane_of(x, y, np.zeros((len(y), len(x))), period=period))


def numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", path)]


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.7])
def test_circle(radius: float) -> None:
    (line,) = contour_lines(X, Y, RADIUS**2, radius**2)
    np.testing.assert_array_equal(line[0], line[-1])
    np.testing.assert_allclose(np.hypot(*line.T), radius, atol=2e-3)
    assert length(line) == pytest.approx(2 * np.pi * radius, rel=2e-3)
    assert abs(area(line)) == pytest.approx(np.pi * radius**2, rel=1e-2)


def test_a_linear_field_has_straight_open_lines() -> None:
    x, y = np.meshgrid(X, Y)
    (line,) = contour_lines(X, Y, 2 * x + y, 0.5)
    np.testing.assert_allclose(2 * line[:, 0] + line[:, 1], 0.5, atol=1e-12)
    assert length(line) == pytest.approx(np.hypot(2.0, 4.0), rel=1e-12)


def test_higher_values_lie_on_the_left() -> None:
    (line,) = contour_lines(X, Y[::-1], -(RADIUS[::-1] ** 2), -1.0)
    assert area(line) > 0  # anticlockwise around a hill
    (line,) = contour_lines(X, Y[::-1], RADIUS[::-1] ** 2, 1.0)
    assert area(line) < 0


@pytest.mark.parametrize(("middle", "n_joined"), [(0.6, 2), (0.4, 2)])
def test_saddles_are_resolved_by_the_middle(middle: float, n_joined: int) -> None:
    high = 2 * middle
    field = np.array([[high, 0.0], [0.0, high]])
    lines = contour_lines(np.arange(2.0), np.arange(2.0), field, 0.5)
    assert len(lines) == n_joined
    joins = [np.sign((line - 0.5).sum(axis=0).prod()) for line in lines]
    # Above: the high corners are joined, and the lines cut the low ones off.
    assert set(joins) == ({-1.0} if middle > 0.5 else {1.0})


@pytest.mark.parametrize("case", range(16))
def test_every_cell_separates_its_corners(case: int) -> None:
    corners = np.array([(case >> bit) & 1 for bit in range(4)], float)
    field = np.array([[corners[0], corners[1]], [corners[3], corners[2]]])
    lines = contour_lines(np.arange(2.0), np.arange(2.0), field, 0.5)
    n_sides = int((np.diff(np.append(corners, corners[0])) != 0).sum())
    assert sum(len(line) for line in lines) == n_sides
    for line in lines:
        assert len(line) == 2
        assert np.isin(line, [0.0, 0.5, 1.0]).all()


def test_unknown_cells_break_lines() -> None:
    field = RADIUS.copy()
    field[:, 40] = np.nan
    lines = contour_lines(X, Y, field, 1.0)
    assert len(lines) == 2 and all(np.isfinite(line).all() for line in lines)
    assert all((line[:, 0] > 0).all() or (line[:, 0] < 0).all() for line in lines)
    assert contour_lines(X, Y, np.full_like(field, np.nan), 1.0) == []


def test_levels_are_multiples_of_the_step() -> None:
    levels, step = contour_levels(np.array([-3.0, 9.5, np.nan]), 4.0)
    assert levels.tolist() == [0.0, 4.0, 8.0] and step == 4.0
    levels, step = contour_levels(np.array([0.0, 1000.0]), 4.0)
    assert step == 64.0 and len(levels) == 16


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_no_levels_without_a_step(step: float) -> None:
    assert len(contour_levels(np.array([0.0, 1.0]), step)[0]) == 0
    assert len(contour_levels(np.array([np.nan, np.inf]), 1.0)[0]) == 0


def test_a_constant_far_from_zero_ends() -> None:
    levels, step = contour_levels(np.array([1e9, 1e9]), 1e-9)
    assert len(levels) <= 1 and step > 1e-9


def test_the_middle_latitude_sets_the_aspect() -> None:
    frame = frame_of(np.arange(-70.0, 11, 2.5), np.arange(70.0, 29, -2.5))
    assert frame.width / frame.height == pytest.approx(82.5 * np.cos(np.pi * 50 / 180) / 42.5, 0.01)
    assert (frame.x_low, frame.x_high, frame.y_low, frame.y_high) == (-71.25, 11.25, 28.75, 71.25)
    assert frame.to_y(np.array([71.25]))[0] == 0 and frame.to_x(np.array([-71.25]))[0] == 0


def test_ticks_are_degrees() -> None:
    frame = frame_of(np.arange(150.0, 229, 2.0), np.arange(30.0, -31, -2.0))
    assert [tick.text for tick in frame.x_ticks()] == [
        "150°E",
        "165°E",
        "180°",
        "165°W",
        "150°W",
        "135°W",
    ]
    assert {"0°", "10°N", "10°S"} <= {tick.text for tick in frame.y_ticks()}
    assert frame.place(190.04, -12.0) == "12°S 170°W"
    equator = frame.y_ticks()[[tick.text for tick in frame.y_ticks()].index("0°")]
    assert equator.at == pytest.approx(frame.height / 2, abs=0.1)


def test_other_planes_have_plain_ticks() -> None:
    plane = plane_of(
        np.arange(0.0, 500, 10), np.arange(-100.0, 100, 10), np.zeros((20, 50)), period=0
    )
    frame = Frame.of(plane.__class__(**{**vars(plane), "x_name": "east", "y_name": "north"}))
    assert not frame.is_geographic and frame.x_scale == pytest.approx(frame.y_scale, rel=0.01)
    assert "\u221280" in {tick.text for tick in frame.y_ticks()}
    assert frame.place(20.0, -30.0) == "(20, \u221230)"


def test_edges_end_at_the_poles() -> None:
    assert edges_of(np.array([90.0, 0.0, -90.0]), is_latitude=True).tolist() == [90, 45, -45, -90]
    assert edges_of(np.array([3.0])).tolist() == [2.5, 3.5]


GLOBE = frame_of(np.arange(-180.0, 180, 10), np.arange(85.0, -86, -10))


def test_lines_are_broken_at_the_seam() -> None:
    assert (GLOBE.x_low, GLOBE.x_high) == (-185.0, 175.0)
    x = np.array([160.0, 170.0, 180.0, 190.0])
    pieces = GLOBE.lines(x, np.zeros(4))
    assert len(pieces) == 2
    widths = [float(np.ptp(piece[:, 0])) / TENTHS / GLOBE.x_scale for piece in pieces]
    assert widths == pytest.approx([15.0, 15.0])
    # The same places, written with a jump.
    jumping = GLOBE.lines(np.array([160.0, 170.0, -180.0, -170.0]), np.zeros(4))
    assert max(float(np.ptp(piece[:, 0])) for piece in jumping) < 0.1 * TENTHS * GLOBE.width
    assert GLOBE.lines(np.array([0.0, np.nan, 5.0]), np.zeros(3)) == []


def test_lines_outside_are_clipped() -> None:
    frame = frame_of(np.arange(0.0, 40, 1), np.arange(0.0, 30, 1))
    (piece,) = frame.lines(np.array([-50.0, 100.0]), np.array([10.0, 10.0]))
    assert piece[:, 0].min() == 0 and piece[:, 0].max() == pytest.approx(TENTHS * frame.width)
    assert frame.lines(np.array([10.0, 12.0]), np.array([50.0, 60.0])) == []


def test_outline_follows_the_edges() -> None:
    frame = frame_of(np.arange(0.0, 8), np.arange(5.0, -1, -1))
    mesh = Mesh.of(frame, np.arange(0.0, 8), np.arange(5.0, -1, -1))
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:6] = True
    mask[2, 4] = False
    path = mesh.outline(mask)
    cell_x, cell_y = TENTHS * frame.width / 8, TENTHS * frame.height / 6
    across = sum(int(w) for w in re.findall(r"h(\d+)", path))
    down = sum(int(h) for h in re.findall(r"v(\d+)", path))
    assert across == pytest.approx(6 * cell_x, abs=6) and down == pytest.approx(6 * cell_y, abs=6)


def test_outline_and_cells_go_on_across_the_seam() -> None:
    x, y = np.arange(-180.0, 180, 10), np.arange(85.0, -86, -10)
    mesh = Mesh.of(GLOBE, x, y)
    assert mesh.wraps
    mask = np.zeros(mesh.shape, bool)
    mask[5, :3] = mask[5, -3:] = True
    upright = re.findall(r"M(\d+) \d+v", mesh.outline(mask))
    assert len(upright) == 2 and not {"0", str(round(TENTHS * GLOBE.width))} & set(upright)
    # A field whose columns begin elsewhere is turned into the frame.
    turned = Mesh.of(GLOBE, x + 180.0, y)
    style = np.zeros(mesh.shape, np.int64)
    style[5, 17:19] = 1  # 170 degrees east and the date line, at either end of the frame
    style[7, 35] = 2  # 350 degrees east
    across, before = turned.fill(style).values()
    assert across.count("z") == 2
    lefts = sorted(int(left) for left in re.findall(r"M(\d+) ", across))
    assert lefts == [0, round(350 * GLOBE.x_scale * TENTHS)]
    assert before.count("z") == 1
    assert numbers(before)[0] / TENTHS / GLOBE.x_scale == pytest.approx(-15 + 185, abs=0.2)


def test_thin_cells_are_brought_together() -> None:
    x, y = np.arange(0.0, 360, 0.25), np.arange(90.0, -90.1, -0.25)
    mesh = Mesh.of(frame_of(x, y), x, y)
    assert mesh.x.factor == mesh.y.factor == 6 and mesh.note == "6 by 6 cells drawn as one"
    assert mesh.shape == (121, 240)
    field = np.arange(721.0)[:, None] + np.zeros(1440)
    field[0, 0] = np.nan
    mean = mesh.mean(field)
    assert mean[1, 5] == pytest.approx(np.arange(6, 12).mean()) and mean[-1, 0] == 720
    assert mean[0, 0] == pytest.approx((6 * 15.0) / 35)
    mask = np.zeros(field.shape, np.uint8)
    mask[100, 100] = 7
    assert np.argwhere(mesh.largest(mask)).tolist() == [[16, 16]]


def test_runs_of_cells_are_one_box() -> None:
    x, y = np.arange(0.0, 8), np.arange(0.0, 6)
    mesh = Mesh.of(frame_of(x, y), x, y)
    styles = np.zeros((6, 8), np.int64)
    styles[0, :] = 1
    styles[1, ::2] = 2
    paths = mesh.fill(styles)
    assert paths[1].count("z") == 1 and paths[2].count("z") == 4
    assert numbers(paths[1])[1] > numbers(paths[2])[1]  # y ascends, row 0 is at the bottom
    assert mesh.dots(styles == 2).count("h0") == 4


def test_paths_are_short() -> None:
    line = np.array([[1.2, 1.9], [1.4, 2.1], [11.0, -3.0], [12.0, -4.0]])
    assert line_path([line, np.zeros((2, 2))]) == "M1 2l10-5 1-1"
