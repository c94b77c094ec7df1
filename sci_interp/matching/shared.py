"""Tokens that two networks share: whole records, their blocks, and what exchanges with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError
from sci_interp.schema import EXCHANGE, STRATUM, Split

__all__ = ["SharedTokens"]

Ints = NDArray[np.int64]

#: Blocks of a stratum, where a number and not a group says which records are alike.
STRATUM_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class SharedTokens:
    """Records to compare two dictionaries on, and the blocks in which they are exchanged.

    Attributes
    ----------
    record : (n_records,) int64
        The records, by their place on the axis.
    start : (n_records + 1,) int64
        First token of every record among these tokens, and their number.
    block : (n_blocks + 1,) int64
        First record of every block, and the number of records.
    stratum : (n_blocks,) int64
        Blocks of one stratum are alike in length, or of one exchange group.
    weight : (n_tokens,) float64
        Weight of every token inside its block.
    step : int
        Tokens of a step; a token keeps its place inside the step when records are exchanged.
    n_lonely : int
        Blocks that were left out because no other is of their exchange group.
    """

    record: Ints
    start: Ints
    block: Ints
    stratum: Ints
    weight: NDArray[np.float64]
    step: int
    n_lonely: int

    @classmethod
    def choose(cls, axis: TokenAxis, splits: Sequence[Split], n_tokens: int) -> SharedTokens:
        """Return records evenly spaced over the splits, of about ``n_tokens`` tokens.

        Raises
        ------
        InputError
            If fewer than two blocks can be exchanged.
        """
        first, last = axis.record_range(splits)
        starts = axis.record_starts
        step = max(1, -(-int(starts[last] - starts[first]) // n_tokens))
        record = np.arange(first, last, step)
        block = np.searchsorted(axis.block_starts, record, side="right")
        stratum = _strata_of_blocks(axis, record, block)
        number = np.unique(block, return_inverse=True)[1]
        kept = np.bincount(stratum, minlength=1)[stratum] > 1
        record, number = record[kept[number]], number[kept[number]]
        if len(record) == 0:
            raise InputError(
                f"the splits {', '.join(splits)} hold no two blocks that could be exchanged",
                todo="Give more records, or other splits",
            )
        opens = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
        weights = [axis.family_weights(int(starts[at]), int(starts[at + 1])) for at in record]
        return cls(
            record=record,
            start=np.append(0, np.cumsum(starts[record + 1] - starts[record])),
            block=np.append(opens, len(record)),
            stratum=np.unique(stratum[kept], return_inverse=True)[1].astype(np.int64),
            weight=np.concatenate(weights),
            step=len(axis.step_weights),
            n_lonely=int((~kept).sum()),
        )

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return int(self.start[-1])

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.stratum)

    def same_places(self) -> Ints:
        """Return the place of every token: itself ``(n_tokens,)``."""
        return np.arange(self.n_tokens)

    def exchanged_places(self, rng: np.random.Generator) -> Ints:
        """Return for every token the place it meets when blocks are exchanged ``(n_tokens,)``.

        Inside a stratum every block meets another, on one random cycle through them all; its
        records meet that block's in order, and tokens the ones at the same share of the length,
        whole steps as they are. Position stays, content does not.
        """
        partner = np.empty(self.n_blocks, np.int64)
        for stratum in range(int(self.stratum.max()) + 1):
            cycle = rng.permutation(np.flatnonzero(self.stratum == stratum))
            partner[cycle] = np.roll(cycle, 1)
        n_records = np.diff(self.block)
        block = np.repeat(np.arange(self.n_blocks), n_records)
        order = np.arange(len(self.record)) - self.block[block]
        return self._meet(self.block[partner[block]] + order % n_records[partner[block]])

    def _meet(self, other: Ints) -> Ints:
        """Return the places that tokens meet where every record meets another."""
        n_tokens = np.diff(self.start)
        record = np.repeat(np.arange(len(self.record)), n_tokens)
        index, inside = np.divmod(np.arange(self.n_tokens) - self.start[record], self.step)
        n_here, n_there = n_tokens[record] // self.step, n_tokens[other[record]] // self.step
        nearest = (2 * index + 1) * n_there // (2 * n_here)
        return np.asarray(self.start[other[record]] + nearest * self.step + inside, np.int64)


def _strata_of_blocks(axis: TokenAxis, record: Ints, block: Ints) -> Ints:
    """Return the stratum of every block that has a chosen record ``(n_blocks,)``."""
    if len(record) == 0:
        return np.zeros(0, np.int64)
    opens = np.flatnonzero(np.append(True, block[1:] != block[:-1]))
    exchange = axis.records[EXCHANGE].to_numpy(str)[record[opens]]
    if (exchange != "").any():
        return np.unique(exchange, return_inverse=True)[1].astype(np.int64)
    size = axis.records[STRATUM].to_numpy(np.float64)[record]
    mean = np.add.reduceat(size, opens) / np.diff(np.append(opens, len(record)))
    n_strata = max(1, len(opens) // STRATUM_BLOCKS)
    stratum = np.empty(len(opens), np.int64)
    stratum[np.argsort(mean, kind="stable")] = np.arange(len(opens)) * n_strata // len(opens)
    return stratum
