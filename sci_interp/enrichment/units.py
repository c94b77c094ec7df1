"""What is shifted and exchanged: records with known tokens, in families, in exchange strata.

Known coordinates count only the tokens in which a label group was assessed, so that a record is one
gapless stretch in which tracks can be shifted.

Records of whole steps (gridded fields: a step is a column of cells) keep all their tokens if one is
known, so that a shift by whole steps keeps every token in its row; activity at unknown tokens then
counts as activity outside the label, in the observed state as in the shifted ones. Where a label
covers whole records, the records of a family are joined to one, of which a record is a step: tracks
are then shifted from record to record.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError
from sci_interp.schema import EXCHANGE, RECORD, STRATUM, WEIGHT, Split

from .kernel import compiled

__all__ = [
    "KnownRanges",
    "Units",
    "Universe",
    "known_coordinate",
    "known_positions_before",
    "known_weight_before",
    "read_units",
    "weight_before",
    "weight_between",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Exchange strata that are wished for: records of a stratum should be alike in length.
N_STRATA = 32
#: Fewest and most families of a stratum.
STRATUM_FAMILIES = (16, 60)
#: Most families of a dataset's group that exchange among themselves; the decks count in bytes.
GROUP_FAMILIES = 256
#: Fewest owners of a label in a stratum of lengths.
FEWEST_OWNERS = 20


class Units(NamedTuple):
    """Records with known tokens, and the families they form.

    Attributes
    ----------
    start : (n_records + 1,) int64
        First known coordinate of every record, and the number of known tokens.
    weight : (n_records,) float64
        Weight of every record; 1 in sum over a family.
    first : (n_families + 1,) int64
        First record of every family, and the number of records.
    member : (n_families,) int64
        Families by stratum.
    stratum : (n_strata + 1,) int64
        First place in ``member`` of every stratum, and the number of families.
    row_weight : (n_rows,) float64
        Weight of the tokens of a step, whole numbers; ``[1]`` where a step is a token.
    row_before : (n_rows + 1,) float64
        Weight of the tokens of a step before each row, and of the step.
    fewest_owners : int
        Owners of a label that exchange among themselves: neighbouring strata are joined until
        they have as many. 1 where strata must stay apart.
    """

    start: Ints
    weight: Floats
    first: Ints
    member: Ints
    stratum: Ints
    row_weight: Floats
    row_before: Floats
    fewest_owners: int


class KnownRanges(NamedTuple):
    """Known tokens of units, in known coordinates.

    Attributes
    ----------
    start, stop : (n_ranges,) int64
        Disjoint ranges, ascending; they may go on from record to record.
    """

    start: Ints
    stop: Ints


class Universe(NamedTuple):
    """Known tokens of a split on the common axis, and how they are moved.

    Attributes
    ----------
    start, stop : (n_ranges,) int64
        Disjoint token ranges, ascending.
    joins_records : bool
        Whether the records of a family are joined to one.
    """

    start: Ints
    stop: Ints
    joins_records: bool

    @classmethod
    def of(cls, axis: TokenAxis, start: Ints, stop: Ints, *, joins_records: bool) -> Universe:
        """Return the universe of known ranges: whole records where these consist of steps."""
        if len(axis.step_weights) > 1:
            first = np.searchsorted(axis.record_starts, start, side="right") - 1
            last = np.searchsorted(axis.record_starts, stop, side="left")
            # A known range may span records; two may lie in one.
            change = np.zeros(axis.n_records + 1, np.int64)
            np.add.at(change, first, 1)
            np.add.at(change, last, -1)
            touched = np.flatnonzero(np.cumsum(change)[:-1] > 0)
            start, stop = axis.record_starts[touched], axis.record_starts[touched + 1]
        return cls(start, stop, joins_records)


def known_coordinate(token: Ints, universe: Universe) -> Ints:
    """Return how many tokens of a universe lie before each token."""
    first, last = universe.start, universe.stop
    if len(first) == 0:
        return np.zeros(len(token), np.int64)
    before = np.append(0, np.cumsum(last - first))
    at = np.searchsorted(first, token, side="right") - 1
    inside = np.minimum(token, last[np.maximum(at, 0)]) - first[np.maximum(at, 0)]
    return np.where(at < 0, 0, before[np.maximum(at, 0)] + inside).astype(np.int64)


def read_units(axis: TokenAxis, split: Split, universe: Universe) -> Units:
    """Return the records of a split that have tokens in a universe, with families and strata.

    Raises
    ------
    InputError
        If records must be joined, or have steps, and differ in length or are known in part.
    """
    first, last = axis.record_range([split])
    edge = known_coordinate(axis.record_starts[first : last + 1], universe)
    kept = np.flatnonzero(np.diff(edge) > 0)
    block = np.searchsorted(axis.block_starts, np.arange(first, last), side="right")[kept]
    begin = np.flatnonzero(np.append(True, block[1:] != block[:-1])) if len(kept) else kept
    bounds = np.append(begin, len(kept)).astype(np.int64)
    records = axis.records.iloc[first:last].iloc[kept]
    weight = records[WEIGHT].to_numpy(np.float64)
    covariate = records[STRATUM].to_numpy(np.float64)
    n_records = np.diff(bounds)
    if len(begin):
        weight = weight / np.repeat(np.add.reduceat(weight, begin), n_records)
        covariate = np.add.reduceat(covariate, begin) / n_records
    exchange = records[EXCHANGE].to_numpy(str)[begin]
    member, stratum = _strata(covariate, exchange)
    fewest = 1 if (exchange != "").any() else FEWEST_OWNERS
    rows = np.array(axis.step_weights, np.float64)
    start = np.append(edge[kept], edge[-1])
    if len(rows) > 1 or universe.joins_records:
        length = _require_one_length(axis, kept + first, np.diff(edge)[kept])
        if universe.joins_records:
            rows = np.tile(rows, length // len(rows))
            start, weight, bounds = start[bounds], weight[begin], np.arange(len(begin) + 1)
    before = np.append(0.0, np.cumsum(rows))
    return Units(start, weight, bounds.astype(np.int64), member, stratum, rows, before, fewest)


def _strata(covariate: Floats, exchange: NDArray[np.str_]) -> tuple[Ints, Ints]:
    """Return families by stratum, and the strata's bounds.

    Larger groups of a dataset are divided into parts of neighbours in the covariate.
    """
    n_families = len(covariate)
    if (exchange != "").any():
        _, group = np.unique(exchange, return_inverse=True)
        member = np.lexsort((np.arange(n_families), covariate, group)).astype(np.int64)
        edges = np.append(0, np.cumsum(np.bincount(group)))
        parts = [
            np.linspace(first, last, -(-(last - first) // GROUP_FAMILIES) + 1)[:-1]
            for first, last in pairwise(edges)
        ]
        return member, np.append(np.concatenate(parts), n_families).round().astype(np.int64)
    member = np.lexsort((np.arange(n_families), covariate)).astype(np.int64)
    size = np.clip(n_families / N_STRATA, *STRATUM_FAMILIES)
    n_strata = max(1, round(n_families / size))
    return member, np.linspace(0, n_families, n_strata + 1).round().astype(np.int64)


def _require_one_length(axis: TokenAxis, records: Ints, n_known: Ints) -> int:
    length = np.diff(axis.record_starts)[records]
    other = np.flatnonzero((length != length[:1]) | (n_known != length))
    if len(other):
        name = axis.records[RECORD].iloc[records[other[0]]]
        raise InputError(
            f"record {name!r} has {length[other[0]]} tokens, {n_known[other[0]]} of them known, "
            f"and others have {length[0]}",
            allowed="records of one length that are known whole, where labels of whole records or "
            "tracks of steps are moved",
        )
    return int(length[0]) if len(length) else len(axis.step_weights)


@compiled
def weight_between(units: Units, start: int, stop: int) -> float:
    """Return the weight of the tokens in a range of known coordinates."""
    n_rows = len(units.row_weight)
    whole = units.row_before[n_rows]
    before = (start // n_rows) * whole + units.row_before[start % n_rows]
    return float((stop // n_rows) * whole + units.row_before[stop % n_rows] - before)


@compiled
def known_weight_before(edge: Ints, known: KnownRanges, units: Units) -> Floats:
    """Return the weight of the known tokens before each edge, ascending ``(n_edges,)``."""
    before = np.zeros(len(edge))
    at, total = 0, 0.0
    for place in range(len(edge)):
        while at < len(known.start) and known.stop[at] <= edge[place]:
            total += weight_between(units, known.start[at], known.stop[at])
            at += 1
        before[place] = total
        if at < len(known.start) and known.start[at] < edge[place]:
            before[place] += weight_between(units, known.start[at], edge[place])
    return before


@compiled
def known_positions_before(position: Ints, known: KnownRanges, units: Units) -> Floats:
    """Return the weight of the known positions before each of them, and of all ``(n + 1,)``."""
    n_rows = len(units.row_weight)
    before = np.zeros(len(position) + 1)
    at = 0
    for place in range(len(position)):
        while at < len(known.start) and known.stop[at] <= position[place]:
            at += 1
        is_known = at < len(known.start) and known.start[at] <= position[place]
        weight = units.row_weight[position[place] % n_rows] if is_known else 0.0
        before[place + 1] = before[place] + weight
    return before


@compiled
def weight_before(position: Ints, units: Units) -> Floats:
    """Return the weight of the positions before each of them, and of all ``(n + 1,)``."""
    n_rows = len(units.row_weight)
    before = np.empty(len(position) + 1)
    before[0] = 0.0
    for at in range(len(position)):
        before[at + 1] = before[at] + units.row_weight[position[at] % n_rows]
    return before
