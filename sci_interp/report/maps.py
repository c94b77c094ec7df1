"""Maps of one feature: its mean, a composite of the field, and single records.

A map is drawn on its base: coastlines, grid lines and ticks, which all maps of a frame share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Plane, Polyline

from .averages import Average, Composite
from .cells import Mesh, line_path
from .contours import contour_levels, contour_lines
from .frames import TENTHS, Frame, Tick, nice_step
from .strips import shade_of
from .text import safe_link

__all__ = [
    "Base",
    "Bases",
    "FieldLabel",
    "Key",
    "Map",
    "draw_composite",
    "draw_mean",
    "draw_record",
]

_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP = 36.0, 10.0, 6.0
_MARGIN_BELOW, _KEY_HEIGHT = 20.0, 26.0
_WIDE_FROM = 400.0
#: Shades of a mean map, and of either sign of a composite.
_N_SHADES = 5
_SWATCH = 30.0
#: A line shorter than this bears no label; labels keep this distance (pixels).
_LABEL_LENGTH, _LABEL_DISTANCE, _LABEL_MARGIN = 50.0, 38.0, 12.0


@dataclass(frozen=True)
class Base:
    """What maps of one frame share.

    Attributes
    ----------
    name : str
        Under which the page holds it.
    coast, lines : str
        Paths of the outlines, and of the lines through the ticks.
    width, height : float
        Size of the map without its margins.
    x_ticks, y_ticks : list of Tick
        Along the lower and the left side.
    """

    name: str
    coast: str
    lines: str
    width: float
    height: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class FieldLabel:
    """The value of a contour: middle, angle in degrees, text."""

    x: float
    y: float
    angle: float
    text: str


@dataclass(frozen=True)
class Key:
    """A row of colours: style, left edge and width of each; texts at their boundaries."""

    swatches: list[tuple[str, float, float]]
    ticks: list[Tick]
    unit: str

    @property
    def width(self) -> float:
        """Width of the row."""
        return len(self.swatches) * _SWATCH


@dataclass(frozen=True)
class Map:
    """One drawn map.

    Attributes
    ----------
    title, link : str
        What it shows, and where a reader finds the record.
    note : str
        What the reader must know besides.
    base : Base
        Coast, lines and ticks.
    fills : list of (style, path)
        Shaded cells.
    contours, outline, unknown : str
        Paths: contours of the field, outlines of the label, dots where it was not assessed.
    labels : list of FieldLabel
        Values of contours.
    marker : (x, y) or None
        A place to stress.
    key : Key or None
        What the shades stand for.
    """

    title: str
    note: str
    base: Base
    fills: list[tuple[str, str]]
    link: str = ""
    contours: str = ""
    outline: str = ""
    unknown: str = ""
    labels: list[FieldLabel] = field(default_factory=list)
    marker: tuple[float, float] | None = None
    key: Key | None = None

    @property
    def width(self) -> float:
        """Width of the drawing with its margins."""
        return _MARGIN_LEFT + self.base.width + _MARGIN_RIGHT

    @property
    def height(self) -> float:
        """Height of the drawing with its margins."""
        key = _KEY_HEIGHT if self.key else 0.0
        return _MARGIN_TOP + self.base.height + _MARGIN_BELOW + key

    @property
    def is_wide(self) -> bool:
        """Whether two such maps fill a row of the page."""
        return self.width > _WIDE_FROM

    @property
    def origin(self) -> tuple[float, float]:
        """Upper left corner of the map itself."""
        return _MARGIN_LEFT, _MARGIN_TOP


class Bases:
    """The bases of a page, each once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Base] = {}

    def __iter__(self) -> Iterator[Base]:
        return iter(self._found.values())

    def of(self, frame: Frame, outlines: tuple[Polyline, ...]) -> Base:
        """Return the base of a frame with outlines."""
        coast = line_path([piece for line in outlines for piece in frame.lines(line.x, line.y)])
        x_ticks, y_ticks = frame.x_ticks(), frame.y_ticks()
        width, height = round(frame.width * TENTHS), round(frame.height * TENTHS)
        lines = "".join(f"M{round(tick.at * TENTHS)} 0v{height}" for tick in x_ticks)
        lines += "".join(f"M0 {round(tick.at * TENTHS)}h{width}" for tick in y_ticks)
        texts = " ".join(tick.text for tick in (*x_ticks, *y_ticks))
        name = f"base{len(self._found)}"
        base = Base(name, coast, lines, frame.width, frame.height, x_ticks, y_ticks)
        return self._found.setdefault((coast, lines, texts), base)


def draw_mean(average: Average, base: Base, mesh: Mesh) -> Map:
    """Draw the mean activation of a feature over the test split."""
    values = mesh.mean(average.mean)
    largest = float(np.nanmax(values, initial=0.0))
    note = _joined(
        f"mean over the {average.n_records:,} records of the test split; it fires in "
        f"{average.n_firing:,}",
        mesh.note,
    )
    if largest == 0:
        return Map("Mean activation", note, base, [])
    step = nice_step(largest / _N_SHADES)
    shades = np.minimum(np.floor(np.nan_to_num(values) / step).astype(np.int64) + 1, _N_SHADES)
    fills = mesh.fill(np.where(np.nan_to_num(values) > 0, shades, 0))
    swatches = [f"a{shade}" for shade in range(1, _N_SHADES + 1)]
    boundaries = [step * place for place in range(1, _N_SHADES)]
    return Map(
        "Mean activation",
        note,
        base,
        [(f"a{shade}", path) for shade, path in fills.items()],
        key=_key(swatches, boundaries, "share of the feature's scale"),
    )


def draw_composite(composite: Composite, base: Base, mesh: Mesh, plane: Plane) -> Map:
    """Draw how the field differs where a feature is strong."""
    difference = composite.difference
    size = np.abs(difference)
    largest = float(np.nanmax(size, initial=0.0))
    groups = ", ".join(f"{name} {n:,}" for name, n in composite.groups[:6])
    groups += ", …" if len(composite.groups) > 6 else ""
    n = composite.n_records
    note = _joined(
        f"mean of the {n:,} test records where it is strongest, minus the mean of {n:,} drawn "
        "at random from the same split" + (f", as many of each group: {groups}" if groups else ""),
        mesh.note,
    )
    title = f"{plane.field_name} when it fires"
    title = title[:1].upper() + title[1:]
    if largest == 0:
        return Map(title, f"{note}; no difference", base, [])
    step = nice_step(largest / _N_SHADES)
    shades = np.minimum(np.floor(np.nan_to_num(size) / step + 1e-9).astype(np.int64), _N_SHADES)
    fills = []
    for sign, is_here in (("m", difference < 0), ("p", difference > 0)):
        paths = mesh.fill(np.where(is_here, shades, 0))
        fills += [(f"{sign}{shade}", path) for shade, path in paths.items()]
    order = range(1, _N_SHADES + 1)
    swatches = [*(f"m{n}" for n in reversed(order)), "ground", *(f"p{n}" for n in order)]
    boundaries = [step * place for place in (*range(-_N_SHADES, 0), *order)]
    return Map(title, note, base, fills, key=_key(swatches, boundaries, plane.field_unit))


def draw_record(
    title: str,
    link: str,
    plane: Plane,
    levels: NDArray[np.uint8],
    *,
    base: Base,
    frame: Frame,
    instances: list[NDArray[np.int64]],
    unknown: NDArray[np.int64],
    marked: int | None = None,
) -> Map:
    """Draw one record.

    Parameters
    ----------
    title, link
        Of the record.
    plane
        Its grids and its field.
    levels
        Activation of every token ``(n_tokens,)``, quantised.
    base, frame
        What it is drawn on.
    instances
        Tokens of every instance of the label that is outlined.
    unknown
        Tokens that were not assessed for the label.
    marked
        A token to put a ring around.
    """
    mesh = Mesh.of(frame, plane.x, plane.y)
    shades = shade_of(_largest(mesh, plane, levels))
    contours, labels, step = _contours(plane, frame)
    row, column = np.divmod(plane.cell, len(plane.x))
    top = int(np.argmax(levels))
    where = frame.place(float(plane.x[column[top]]), float(plane.y[row[top]]))
    unit = f" {plane.field_unit}" if plane.field_unit else ""
    note = _joined(
        f"strongest at {where}" if levels.any() else "inactive",
        f"{plane.field_name} every {step:.6g}{unit}" if contours else "",
        mesh.note,
    )
    return Map(
        title,
        note,
        base,
        [(f"a{shade}", path) for shade, path in mesh.fill(shades).items()],
        link=safe_link(link),
        contours=contours,
        outline="".join(mesh.outline(_mask(mesh, plane, tokens)) for tokens in instances),
        unknown=mesh.dots(_mask(mesh, plane, unknown)),
        labels=labels,
        marker=None if marked is None else mesh.place(int(row[marked]), int(column[marked])),
    )


def _largest(mesh: Mesh, plane: Plane, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the largest value ``(n_tokens,)`` of the tokens in every drawn cell."""
    cells = np.zeros((len(plane.y), len(plane.x)), np.uint8)
    np.maximum.at(cells.reshape(-1), plane.cell, values)
    return mesh.largest(cells)


def _mask(mesh: Mesh, plane: Plane, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which drawn cells hold one of the tokens."""
    chosen = np.zeros(len(plane.cell), np.uint8)
    chosen[tokens] = 1
    return _largest(mesh, plane, chosen) > 0


def _contours(plane: Plane, frame: Frame) -> tuple[str, list[FieldLabel], float]:
    """Return the path of all contours, their labels, and the step between them."""
    mesh = Mesh.of(frame, plane.field_x, plane.field_y)
    values, x = mesh.mean(plane.field), mesh.x.centres
    if mesh.wraps:
        values = np.concatenate([values, values[:, :1]], axis=1)
        x = np.append(x, x[0] + plane.period)
    levels, step = contour_levels(values, plane.contour_step)
    path, labels = "", list[FieldLabel]()
    for level in levels.tolist():
        lines = contour_lines(x, mesh.y.centres, values, level)
        pieces = [piece for line in lines for piece in frame.lines(line[:, 0], line[:, 1])]
        path += line_path(pieces)
        label = _label(pieces, f"{level:.6g}".replace("-", "\u2212"), frame, labels)
        labels += [label] if label else []
    return path, labels, step


def _label(
    pieces: list[NDArray[np.float64]], text: str, frame: Frame, others: list[FieldLabel]
) -> FieldLabel | None:
    """Return a label on the longest piece that has room for one, clear of the others."""
    lengths = [float(np.hypot(*np.diff(piece, axis=0).T).sum()) / TENTHS for piece in pieces]
    for at in sorted(range(len(pieces)), key=lambda at: -lengths[at]):
        if lengths[at] < _LABEL_LENGTH:
            break
        points = pieces[at] / TENTHS
        along = np.append(0.0, np.hypot(*np.diff(points, axis=0).T).cumsum())
        for share in (0.5, 0.35, 0.65, 0.2, 0.8):
            ends = share * along[-1] + np.array([-9.0, 0.0, 9.0])
            x, y = (np.interp(ends, along, points[:, side]) for side in (0, 1))
            inside = (
                _LABEL_MARGIN < x[1] < frame.width - _LABEL_MARGIN
                and _LABEL_MARGIN < y[1] < frame.height - _LABEL_MARGIN
            )
            near = any(math.hypot(x[1] - o.x, y[1] - o.y) < _LABEL_DISTANCE for o in others)
            if inside and not near:
                angle = math.degrees(math.atan2(y[2] - y[0], x[2] - x[0]))
                angle = (angle + 90.0) % 180.0 - 90.0
                return FieldLabel(
                    round(float(x[1]), 1), round(float(y[1]), 1), round(angle, 0), text
                )
    return None


def _key(swatches: list[str], boundaries: list[float], unit: str) -> Key:
    """Return a row of colours; every other number is left out where they do not fit."""
    digits = [f"{value:.4g}".replace("-", "\u2212") for value in boundaries]
    every = 1 if max(map(len, digits)) <= 5 else 2
    ticks = [
        Tick((place + 1) * _SWATCH, text) for place, text in enumerate(digits) if place % every == 0
    ]
    return Key([(style, n * _SWATCH, _SWATCH) for n, style in enumerate(swatches)], ticks, unit)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
