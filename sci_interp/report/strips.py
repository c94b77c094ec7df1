"""Strips: a window of a record as letters, activation as colour, labels as bars underneath."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset
from sci_interp.annotations import AnnotationStore
from sci_interp.candidates.stretches import entries
from sci_interp.schema import RECORD
from sci_interp.source import FeatureSource
from sci_interp.texts import clean

from .text import DASH, safe_link

__all__ = ["SHADES", "Artist", "Bar", "Span", "Strip", "levels_of", "shade_of"]

#: What the legend says of each shade: shares of the feature's scale.
SHADES = ("below 1/16", "1/16 to 1/8", "1/8 to 1/4", "1/4 to 1/2", "above 1/2")
#: Level at which each next shade begins: 1/16, 1/8, 1/4 and 1/2 of the scale.
_SHADE_LEVELS = (127, 159, 191, 223)

_HALF_WINDOW = 30
_CELL, _GUTTER, _TOP, _LETTERS, _BAR = 13, 132, 14, 20, 13
_MAX_BARS = 5


@dataclass(frozen=True)
class Span:
    """A shaded or barred stretch of the drawing: left edge, width, and class of its style."""

    x: float
    width: float
    style: str


@dataclass(frozen=True)
class Bar:
    """A label's row: its name, its spans, and where it was not assessed."""

    name: str
    y: float
    spans: tuple[Span, ...]
    unknown: tuple[Span, ...]
    is_linked: bool


@dataclass(frozen=True)
class Strip:
    """One drawn window.

    Attributes
    ----------
    title, link : str
        Which record, and where a reader finds it (https, or nothing).
    place : str
        Coordinates of the window and of its strongest token.
    width, height : float
        Size of the drawing.
    shades : tuple of Span
        Activation.
    letters : tuple of (style, x of every symbol, symbols)
        The symbols on weak and on strong shades.
    ticks : tuple of (x, text)
        Coordinates along the top.
    bars : tuple of Bar
        Labels.
    """

    title: str
    link: str
    place: str
    width: float = 0.0
    height: float = 0.0
    shades: tuple[Span, ...] = ()
    letters: tuple[tuple[str, str, str], ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, eq=False)
class _Window:
    """A window in token positions local to its record, which begins at ``offset``."""

    start: int
    stop: int
    offset: int

    def x(self, token: int) -> float:
        """Return the left edge of a local token."""
        return _GUTTER + (token - self.start) * _CELL


@dataclass(frozen=True, eq=False)
class Artist:
    """Draws windows of records.

    Attributes
    ----------
    features
        Quantised codes.
    known, adapter, dataset
        Labels, symbols and coordinates of the records.
    """

    features: FeatureSource
    known: AnnotationStore
    adapter: Adapter
    dataset: Dataset

    def draw(self, feature: int, token: int, labels: tuple[str, ...] = ()) -> Strip:
        """Draw the window around a token.

        Parameters
        ----------
        feature
            Whose activation is drawn.
        token
            Global position of the token in the middle.
        labels
            Labels to draw first, and to stress: those the feature is linked with.
        """
        axis = self.features.axis
        row = int(np.searchsorted(axis.record_starts, token, "right")) - 1
        record = str(axis.records[RECORD].iloc[row])
        first, last = axis.record_starts[row : row + 2].tolist()
        view = self.adapter.view(self.dataset, record)
        levels = levels_of(self.features, feature, first, last)
        local = token - first
        window = _Window(
            max(0, local - _HALF_WINDOW), min(last - first, local + _HALF_WINDOW + 1), first
        )
        places = self._coordinates(record, last - first)
        ends = places[window.start], places[window.stop - 1]
        place = f"{DASH.join(ends)}, around {places[local]}"
        head = Strip(view.title, safe_link(view.link), place)
        if not view.symbols:
            return head
        bars = _bars(window, self.known, labels)
        return replace(
            head,
            width=window.x(window.stop) + 6,
            height=_TOP + _LETTERS + 6 + _BAR * len(bars),
            shades=_shades(window, levels),
            letters=_letters(window, levels, view.symbols),
            ticks=_ticks(window, places),
            bars=bars,
        )

    def token_at(self, record: str, coordinate: float) -> int:
        """Return the global position of the token of a record at a coordinate."""
        row = int(np.flatnonzero(self.features.axis.records[RECORD] == record)[0])
        first, last = self.features.axis.record_starts[row : row + 2].tolist()
        places = self._coordinates(record, last - first)
        return int(first + places.index(f"{coordinate:.10g}"))

    def _coordinates(self, record: str, n_tokens: int) -> list[str]:
        """Return the coordinate of every token; its number from 1 without a single one."""
        if len(self.adapter.coordinates) != 1:
            return [str(token + 1) for token in range(n_tokens)]
        values = self.adapter.token_coordinates(self.dataset, record)
        return [f"{value:.10g}" for value in values[self.adapter.coordinates[0]]]


def levels_of(features: FeatureSource, feature: int, first: int, last: int) -> NDArray[np.uint8]:
    """Return the levels of one feature on the tokens of a record."""
    levels = np.zeros(last - first, np.uint8)
    token, found, level = entries(features.read(first, last))
    levels[token[found == feature]] = level[found == feature]
    return levels


def shade_of(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the shade of every level, 0 for inactive."""
    return np.where(levels == 0, 0, 1 + np.searchsorted(_SHADE_LEVELS, levels, "right"))


def _shades(window: _Window, levels: NDArray[np.uint8]) -> tuple[Span, ...]:
    shades = shade_of(levels[window.start : window.stop])
    edges = np.flatnonzero(np.diff(shades, prepend=-1, append=-1))
    return tuple(
        Span(window.x(window.start + a), (b - a) * _CELL, f"a{shades[a]}")
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        if shades[a]
    )


def _letters(
    window: _Window, levels: NDArray[np.uint8], symbols: tuple[str, ...]
) -> tuple[tuple[str, str, str], ...]:
    groups: dict[str, list[int]] = {"on-weak": [], "on-strong": []}
    is_strong = shade_of(levels) >= 4
    for token in range(window.start, window.stop):
        groups["on-strong" if is_strong[token] else "on-weak"].append(token)
    return tuple(
        (
            style,
            " ".join(f"{window.x(token) + _CELL / 2:g}" for token in tokens),
            "".join(_sign(symbols[token]) for token in tokens),
        )
        for style, tokens in groups.items()
        if tokens
    )


def _sign(symbol: str) -> str:
    """Return the one character that stands for a token: a list of x takes one for each."""
    sign = clean(symbol)[:1]
    plain = sign and not sign.isspace() and ord(sign) < 0x10000 and not unicodedata.combining(sign)
    return sign if plain else "·"


def _ticks(window: _Window, places: list[str]) -> tuple[tuple[float, str], ...]:
    marked = [token for token in range(window.start, window.stop) if (token + 1) % 10 == 0]
    return tuple((window.x(token) + _CELL / 2, places[token]) for token in marked)


def _bars(window: _Window, known: AnnotationStore, labels: tuple[str, ...]) -> tuple[Bar, ...]:
    """Return the labels that lie in the window, those named first, nuisances left out."""
    begin, end = window.offset + window.start, window.offset + window.stop
    found = known.read(window.offset, end)
    reach = (found.start < end) & (found.stop > begin)
    names = [label.name for label in known.labels]
    present = set(np.unique(found.label[reach]).tolist())
    present = {index for index in present if not known.labels[index].nuisance}
    linked = [names.index(name) for name in labels if name in names]
    rows = [*linked, *sorted(present - set(linked))][:_MAX_BARS]
    bars = []
    for place, label in enumerate(rows):
        runs = reach & (found.label == label)
        spans = _spans(window, found.start[runs], found.stop[runs], "bar")
        group = found.known_group == known.group_of_label[label]
        gaps = _gaps(begin, end, found.known_start[group], found.known_stop[group])
        unknown = _spans(window, gaps[0], gaps[1], "unknown")
        y = _TOP + _LETTERS + 6 + _BAR * place
        bars.append(Bar(names[label], y, spans, unknown, label in linked))
    return tuple(bars)


def _spans(
    window: _Window, start: NDArray[np.int64], stop: NDArray[np.int64], style: str
) -> tuple[Span, ...]:
    low = np.maximum(start - window.offset, window.start)
    high = np.minimum(stop - window.offset, window.stop)
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return tuple(Span(window.x(a), (b - a) * _CELL - 1, style) for a, b in pairs)


def _gaps(
    begin: int, end: int, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the parts of ``begin:end`` outside disjoint ascending ranges."""
    low = np.clip(np.append(begin, stop), begin, end)
    high = np.clip(np.append(start, end), begin, end)
    return low[low < high], high[low < high]
