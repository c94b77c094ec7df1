"""The token axis that every store shares: records in a fixed order, blocks contiguous.

Blocks are ordered by a hash of their id, and splits are intervals of that hash. Every split is
therefore one contiguous token range, whatever its share, and the order never depends on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .blocks import DEFAULT_FRACTIONS, assign_splits, block_position
from .disk import read_parquet, reading, write_atomically
from .errors import InputError, StoreError
from .quarantine import (
    ATTRIBUTE,
    Quarantined,
    Tolerance,
    describe_quarantine,
    from_columns,
    to_columns,
)
from .schema import (
    BLOCK,
    BLOCKS_SEEN,
    EXCHANGE,
    N_TOKENS,
    RECORD,
    RECORD_COLUMNS,
    RECORDS_FILE,
    SPLIT,
    SPLITS,
    START,
    STOP,
    STRATUM,
    WEIGHT,
    Split,
)

if TYPE_CHECKING:
    from .adapter import Dataset

__all__ = [
    "DEFAULT_FRACTIONS",
    "OnAxis",
    "TokenAxis",
    "block_position",
    "describe_blocks",
    "quarantine_of",
]

#: Keys in the metadata of ``records.parquet``.
_STEP_WEIGHTS, _DESIGN = "step_weights", "design"
#: Rows that are held as text when the digest is taken.
_DIGEST_ROWS = 16_384


def describe_blocks(axis: TokenAxis, splits: Sequence[Split]) -> dict[str, str]:
    """Return what an encoder remembers of the blocks that it was fitted on; nothing of none."""
    found = axis.block_interval(splits)
    return {BLOCKS_SEEN: f"{found[0]!r}:{found[1]!r}"} if found else {}


@dataclass(frozen=True, eq=False)
class TokenAxis:
    """Records along the token axis.

    Attributes
    ----------
    records : DataFrame
        One row a record with the columns ``record, block, start, stop, split, weight, stratum,
        exchange``: half-open token range, split, weight of the record (1 / records in the block),
        and inside which groups whole records may be exchanged: alike in the number ``stratum``
        (protein length), or where ``exchange`` is not empty, equal in that text (season).
    step_weights : tuple of int
        Weights of the tokens of a step. Records consist of whole steps; the token at position
        ``i`` weighs ``step_weights[i % len(step_weights)]``. ``(1,)`` where all weigh the same.
    design : str
        What the dataset says of its blocks, printed with every result; it is no part of the
        axis' identity.
    quarantine : tuple of Quarantined
        Records of the dataset that are not on the axis, since they cannot be used; neither are
        they a part of its identity.
    """

    records: pd.DataFrame
    step_weights: tuple[int, ...] = (1,)
    design: str = ""
    quarantine: tuple[Quarantined, ...] = ()

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        fractions: Mapping[Split, float] | None = None,
        *,
        left_out: Sequence[Quarantined] = (),
        tolerance: Tolerance | None = None,
    ) -> TokenAxis:
        """Order the records of a dataset.

        Parameters
        ----------
        dataset
            The records.
        fractions
            Shares of the splits; None takes the default.
        left_out
            Records that are left out.
        tolerance
            What becomes of records that could not be used when the data were opened; by default
            those that ``left_out`` does not name are an error.

        Raises
        ------
        InputError
            As :meth:`build` and :meth:`without`; or if a record cannot be used, and nothing leaves
            it out.
        """
        weights = getattr(dataset, "step_weights", (1,))
        axis = cls.build(dataset.table, fractions, step_weights=weights)
        refused = tuple(map(Quarantined.refused, getattr(dataset, "refused", ())))
        axis = replace(axis, design=str(getattr(dataset, "design", "")), quarantine=refused)
        (tolerance or Tolerance()).require_allowed(refused, axis.n_read, left_out)
        return axis.without(left_out)

    @classmethod
    def build(
        cls,
        table: pd.DataFrame,
        fractions: Mapping[Split, float] | None = None,
        *,
        step_weights: Sequence[int] = (1,),
    ) -> TokenAxis:
        """Order records (``record, block, n_tokens``, optional ``stratum`` and ``exchange``).

        Raises
        ------
        InputError
            If there is no record, an id occurs twice, or a record has no token or no whole number
            of steps.
        """
        steps = _require_steps(table, step_weights)
        if len(table) == 0:
            raise InputError("the dataset has no record")
        twice = table[RECORD][table[RECORD].astype(str).duplicated()]
        if len(twice):
            raise InputError(f"record {twice.iloc[0]!r} occurs more than once")
        if (table[N_TOKENS] < 1).any():
            empty = table.loc[table[N_TOKENS] < 1, RECORD].iloc[0]
            raise InputError(f"record {empty!r} has no token")
        place = table[BLOCK].map({block: block_position(block) for block in table[BLOCK].unique()})
        order = np.lexsort((np.arange(len(table)), table[BLOCK], place))
        ordered = table.iloc[order].reset_index(drop=True)
        place = place.iloc[order].to_numpy()
        stop = ordered[N_TOKENS].to_numpy(np.int64).cumsum()
        n_in_block = ordered.groupby(BLOCK)[RECORD].transform("size").to_numpy(np.float64)
        stratum = ordered[STRATUM] if STRATUM in ordered else ordered[N_TOKENS]
        records = pd.DataFrame(
            {
                RECORD: ordered[RECORD].astype(str),
                BLOCK: ordered[BLOCK].astype(str),
                START: stop - ordered[N_TOKENS].to_numpy(np.int64),
                STOP: stop,
                SPLIT: assign_splits(place, fractions or DEFAULT_FRACTIONS),
                WEIGHT: 1.0 / n_in_block,
                STRATUM: stratum.to_numpy(np.float64),
                EXCHANGE: ordered[EXCHANGE].astype(str) if EXCHANGE in ordered else "",
            }
        )
        return cls(records, steps)

    @classmethod
    def read(cls, folder: Path) -> TokenAxis:
        """Read ``records.parquet`` of an artefact."""
        path = folder / RECORDS_FILE
        records = read_parquet(path)
        if tuple(records.columns) != RECORD_COLUMNS:
            raise StoreError(f"{path} has the columns {list(records.columns)}")
        with reading(path):
            weights = tuple(int(weight) for weight in records.attrs.pop(_STEP_WEIGHTS, [1]))
            edges = np.append(0, records[STOP].to_numpy(np.int64))
            follow = (records[START].to_numpy(np.int64) == edges[:-1]) & (np.diff(edges) > 0)
            if not (len(records) and follow.all() and weights and min(weights) > 0):
                raise ValueError("its records do not follow each other")
            quarantine = from_columns(records.attrs.pop(ATTRIBUTE, to_columns(())))
            left_out = {each.record for each in quarantine}
            if len(left_out) < len(quarantine) or records[RECORD].isin(left_out).any():
                raise ValueError("a record is left out twice, or used all the same")
        return cls(records, weights, str(records.attrs.pop(_DESIGN, "")), quarantine)

    def without(self, found: Sequence[Quarantined]) -> TokenAxis:
        """Return the axis without some of its records, as if the dataset had never had them.

        Parameters
        ----------
        found
            What is left out; names that are not on the axis are passed over.

        Raises
        ------
        InputError
            If no record is left.
        """
        why = {each.record: each for each in found}
        gone = self.records[RECORD].isin(list(why))
        if not gone.any():
            return self
        kept = self.records[~gone].reset_index(drop=True)
        if len(kept) == 0:
            raise InputError("the dataset has no record that can be used")
        lengths = (self.records[STOP] - self.records[START]).to_numpy(np.int64)
        stop = lengths[~gone.to_numpy()].cumsum()
        n_in_block = kept.groupby(BLOCK)[RECORD].transform("size").to_numpy(np.float64)
        kept = kept.assign(
            **{START: np.append(0, stop[:-1]), STOP: stop, WEIGHT: 1.0 / n_in_block},
        )
        left_out = [
            replace(why[record], n_tokens=int(length))
            for record, length in zip(self.records[RECORD], lengths, strict=True)
            if record in why
        ]
        return replace(self, records=kept, quarantine=(*self.quarantine, *left_out))

    @property
    def n_read(self) -> int:
        """Number of records that were read: those on the axis, and those in quarantine."""
        return self.n_records + len(self.quarantine)

    def quarantine_settings(self) -> dict[str, Any]:
        """Return what an artefact without an axis says of what was left out; or nothing."""
        if not self.quarantine:
            return {}
        used = {"n_records": self.n_records, "n_tokens": self.n_tokens}
        return {ATTRIBUTE: {"used": used, "left_out": to_columns(self.quarantine)}}

    def describe_quarantine(self) -> Iterator[str]:
        """Yield what was read, used and left out, in words; nothing where nothing was left out."""
        return describe_quarantine(self.quarantine, self.n_records, self.n_tokens)

    def write(self, folder: Path) -> None:
        """Write ``records.parquet`` into an artefact."""
        write_atomically(folder / RECORDS_FILE, self._parquet)

    @cached_property
    def _parquet(self) -> bytes:
        table = self.records.copy(deep=False)
        if self.step_weights != (1,):
            table.attrs[_STEP_WEIGHTS] = list(self.step_weights)
        if self.design:
            table.attrs[_DESIGN] = self.design
        if self.quarantine:
            table.attrs[ATTRIBUTE] = to_columns(self.quarantine)
        data: bytes = table.to_parquet(index=False, compression="zstd")
        return data

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ids, blocks, ranges and weights; stores of different axes do not mix."""
        columns = self.records[[RECORD, BLOCK, START, STOP]]
        state = hashlib.sha256()
        for first in range(0, len(columns), _DIGEST_ROWS):
            rows = columns.iloc[first : first + _DIGEST_ROWS]
            state.update(rows.to_csv(index=False, header=False, lineterminator="\n").encode())
        if self.step_weights != (1,):
            state.update(f"{self.step_weights}\n".encode())
        return state.hexdigest()

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return int(self.records[STOP].iloc[-1])

    @property
    def n_records(self) -> int:
        """Number of records."""
        return len(self.records)

    @cached_property
    def record_starts(self) -> NDArray[np.int64]:
        """First token of every record, and the number of tokens: ``(n_records + 1,)``."""
        return np.append(self.records[START].to_numpy(np.int64), self.n_tokens)

    @cached_property
    def block_starts(self) -> NDArray[np.int64]:
        """First record of every block, and the number of records: ``(n_blocks + 1,)``."""
        block = self.records[BLOCK].to_numpy()
        first = np.flatnonzero(np.append(True, block[1:] != block[:-1]))
        return np.append(first, self.n_records)

    def record_range(self, splits: Sequence[Split]) -> tuple[int, int]:
        """Return the half-open range of records of neighbouring splits."""
        chosen = np.flatnonzero(self.records[SPLIT].isin(list(splits)))
        if len(chosen) == 0:
            return 0, 0
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        if last - first != len(chosen):
            raise InputError(
                f"the splits {', '.join(splits)} are not neighbours", allowed=" < ".join(SPLITS)
            )
        return first, last

    def token_range(self, splits: Sequence[Split]) -> tuple[int, int]:
        """Return the half-open token range of neighbouring splits."""
        first, last = self.record_range(splits)
        return int(self.record_starts[first]), int(self.record_starts[last])

    def token_weights(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the weight inside its record of every token of a range: its area, or 1."""
        weights = np.array(self.step_weights, np.int64)
        return weights[np.arange(start, stop) % len(weights)]

    def family_weights(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the weight inside its block of every token of a range of whole records.

        It is the record's weight, times the token's in units of the heaviest.
        """
        first, last = np.searchsorted(self.record_starts, (start, stop))
        weight = self.records[WEIGHT].to_numpy(np.float64)[first:last]
        weight = np.repeat(weight, np.diff(self.record_starts[first : last + 1]))
        return weight * (self.token_weights(start, stop) / max(self.step_weights))

    def block_interval(self, splits: Sequence[Split]) -> tuple[float, float] | None:
        """Return the lowest and highest place of the blocks of neighbouring splits, or None.

        A block keeps its place in every dataset, so that intervals of two datasets compare.
        """
        first, last = self.record_range(splits)
        if first == last:
            return None
        low, high = self.records[BLOCK].iloc[[first, last - 1]].astype(str)
        return block_position(low), block_position(high)

    def require_same(self, other: TokenAxis, what: str, than: str) -> None:
        """Refuse to combine artefacts whose token axes differ."""
        if self.digest != other.digest:
            raise StoreError(
                f"{what} and {than} were made from different records: "
                + self._describe_difference(other, what, than),
                todo="Make both from the same dataset"
                + (
                    "; like=..., or --like, leaves out what the other leaves out"
                    if self.quarantine or other.quarantine
                    else ""
                ),
            )

    def _describe_difference(self, other: TokenAxis, what: str, than: str) -> str:
        ours, theirs = (set(axis.records[RECORD]) for axis in (self, other))
        counts = f"{self.n_records} and {other.n_records}"
        if ours == theirs:
            return f"{counts} of the same names, but of other blocks or lengths"
        example = min(ours ^ theirs)
        return f"{counts}, and {example!r} is only in {what if example in ours else than}"


class OnAxis(Protocol):
    """Whatever lies on a token axis: a store of activations, features or annotations, a stream."""

    @property
    def axis(self) -> TokenAxis:
        """The records."""


def quarantine_of(like: OnAxis | None) -> tuple[Quarantined, ...]:
    """Return the records that a store leaves out; of no store, none."""
    return () if like is None else like.axis.quarantine


def _require_steps(table: pd.DataFrame, step_weights: Sequence[int]) -> tuple[int, ...]:
    steps = tuple(int(weight) for weight in step_weights)
    if not steps or min(steps) < 1:
        raise InputError(
            f"the weights of a step are {step_weights}", allowed="one positive whole number or more"
        )
    broken = np.flatnonzero(table[N_TOKENS].to_numpy() % len(steps))
    if len(broken):
        row = table.iloc[broken[0]]
        raise InputError(
            f"record {row[RECORD]!r} has {row[N_TOKENS]} tokens, not whole steps of {len(steps)}"
        )
    return steps
