"""Cards: one feature each, what is said of it, and drawings of where it is strongest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sci_interp.adapter import Adapter, Dataset
from sci_interp.annotations import AnnotationStore
from sci_interp.candidates.windows import TopWindows, find_windows
from sci_interp.source import FeatureSource

from .atlas import Atlas
from .columns import LINK_COLUMNS, MISSING_COLUMNS, UNEXPLAINED_COLUMNS, Column
from .maps import Base, Map
from .strips import Artist, Strip
from .text import show

__all__ = ["Card", "Cards", "draw_cards", "rows_of"]

_N_STRONGEST = 3


@dataclass(frozen=True)
class Card:
    """One feature.

    Attributes
    ----------
    feature : int
        Its number.
    name, heading : str
        Its name, and why it is shown.
    facts : list of (name, value)
        What is said of it.
    strips : list of Strip
        Windows of records that are chains of symbols.
    averages, maps : list of Map
        Maps over the test split, and of single records, where records lie on a plane.
    """

    feature: int
    name: str
    heading: str
    facts: list[tuple[str, str]]
    strips: list[Strip] = field(default_factory=list)
    averages: list[Map] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)


@dataclass(frozen=True)
class Cards:
    """All cards of a page, and the bases of their maps (none where records are chains)."""

    links: list[Card]
    unexplained: list[Card]
    missing: list[Card]
    bases: list[Base]


def draw_cards(
    *,
    links: Sequence[Mapping[str, Any]],
    unexplained: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    features: FeatureSource,
    known: AnnotationStore,
    adapter: Adapter,
    dataset: Dataset,
) -> Cards:
    """Draw the cards of chosen rows of the tables of links, and of both queues.

    Parameters
    ----------
    links, unexplained, missing
        Rows of the tables.
    features, known, adapter, dataset
        Codes, annotations, and who draws the records.
    """
    drawn = [int(row["feature"]) for row in (*links, *unexplained)]
    drawing = _Drawing(
        Artist(features, known, adapter, dataset),
        find_windows(features, n_top=_N_STRONGEST),
        features.names,
        Atlas.open(features, known, adapter, dataset, drawn=drawn),
    )
    return Cards(
        [drawing.of_link(row) for row in links],
        [drawing.of_candidate(row) for row in unexplained],
        [drawing.of_missing(row) for row in missing],
        list(drawing.atlas.bases) if drawing.atlas else [],
    )


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as mappings."""
    names = [str(name) for name in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None)]


@dataclass(frozen=True, eq=False)
class _Drawing:
    """Draws features where they are strongest, and where a label seems to be missing."""

    artist: Artist
    windows: TopWindows
    names: Sequence[str]
    atlas: Atlas | None

    def of_link(self, row: Mapping[str, Any]) -> Card:
        """Return the card of a linked feature."""
        label = str(row["label"])
        facts = _said(row, LINK_COLUMNS, ("feature", "label"))
        return self._strongest(int(row["feature"]), f"linked with {label}", facts, label)

    def of_candidate(self, row: Mapping[str, Any]) -> Card:
        """Return the card of an unexplained feature."""
        facts = _said(row, UNEXPLAINED_COLUMNS, ("feature", "kind"))
        return self._strongest(int(row["feature"]), "unexplained", facts, None)

    def of_missing(self, row: Mapping[str, Any]) -> Card:
        """Return the card of a missing annotation, drawn in the middle of its run."""
        label, feature, record = str(row["label"]), int(row["feature"]), str(row["record"])
        first = self.artist.token_at(record, float(row["start"]))
        last = self.artist.token_at(record, float(row["stop"]))
        middle = (first + last) // 2
        facts = _said(row, MISSING_COLUMNS, ("feature", "label", "record"))
        heading = f"{label} may be missing in {record}"
        if self.atlas:
            maps = self.atlas.of_record(feature, middle, label, is_marked=True)
            return Card(feature, self._name(feature), heading, facts, maps=maps)
        strip = self.artist.draw(feature, middle, (label,))
        return Card(feature, self._name(feature), heading, facts, strips=[strip])

    def _strongest(
        self, feature: int, heading: str, facts: list[tuple[str, str]], label: str | None
    ) -> Card:
        tokens = self.windows.token[self.windows.of(feature)].tolist()
        name = self._name(feature)
        if self.atlas:
            averages = self.atlas.of_feature(feature)
            maps = [
                drawn for token in tokens for drawn in self.atlas.of_record(feature, token, label)
            ]
            return Card(feature, name, heading, facts, averages=averages, maps=maps)
        labels = () if label is None else (label,)
        strips = [self.artist.draw(feature, token, labels) for token in tokens]
        return Card(feature, name, heading, facts, strips=strips)

    def _name(self, feature: int) -> str:
        return self.names[feature] if self.names else ""


def _said(
    row: Mapping[str, Any], columns: Sequence[Column], left_out: tuple[str, ...]
) -> list[tuple[str, str]]:
    return [
        (column.title, show(row[column.name]))
        for column in columns
        if column.name in row and column.name not in left_out
    ]
