"""Shuffled training batches: whole blocks are read, and rows are mixed in a buffer of blocks.

Random rows of a sharded store cost a hundred times what blocks cost, so that blocks of
neighbouring tokens are drawn at random and their rows mixed inside a buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .axis import TokenAxis
from .errors import InputError
from .schema import Split
from .source import ActivationSource
from .token_layout import work_units

__all__ = ["BLOCK_TOKENS", "BUFFER_BLOCKS", "ShuffledBatches"]

#: Most tokens of a block of neighbouring rows.
BLOCK_TOKENS: Final = 16_384
#: Blocks that are mixed with one another.
BUFFER_BLOCKS: Final = 8


@dataclass(frozen=True, eq=False)
class _Epoch:
    """Order of one pass: blocks as drawn, and the rows before each buffer of blocks."""

    number: int
    blocks: NDArray[np.int64]
    buffer_starts: NDArray[np.int64]


class ShuffledBatches:
    """Batches whose rows are a pure function of the source, ``seed`` and the step.

    In every epoch each row of the splits is used once, but for the last ``n_tokens % batch_size``
    rows of the epoch's order. At most ``block_tokens * buffer_blocks`` rows are held in memory.

    Parameters
    ----------
    source
        Activations.
    splits
        Neighbouring splits to draw from.
    batch_size
        Rows of a batch.
    seed
        Order of the rows inside the buffer.
    block_seed
        Order of the blocks; by default ``seed``.
    block_tokens
        Most tokens of a block. Blocks are whole records; a longer record is cut.
    buffer_blocks
        Blocks that are mixed with one another.

    Raises
    ------
    InputError
        If the splits hold fewer rows than one batch, or a setting is out of range.
    """

    def __init__(
        self,
        source: ActivationSource,
        *,
        splits: Sequence[Split],
        batch_size: int,
        seed: int,
        block_seed: int | None = None,
        block_tokens: int = BLOCK_TOKENS,
        buffer_blocks: int = BUFFER_BLOCKS,
    ) -> None:
        if min(batch_size, block_tokens, buffer_blocks) < 1 or seed < 0:
            raise InputError(
                f"batch_size={batch_size}, block_tokens={block_tokens}, "
                f"buffer_blocks={buffer_blocks}, seed={seed} are not usable",
                allowed="positive sizes, and a seed of 0 or more",
            )
        self._source = source
        self._seed = seed
        self._block_seed = seed if block_seed is None else block_seed
        self._batch_size = batch_size
        self._buffer_blocks = buffer_blocks
        self._blocks = _training_blocks(source.axis, splits, block_tokens)
        self._n_tokens = int(np.diff(self._blocks, axis=1).sum())
        if self._n_tokens < batch_size:
            raise InputError(
                f"the splits {', '.join(splits)} hold {self._n_tokens} tokens and a batch is to "
                f"have {batch_size}",
                todo="Lower the batch size, or give these splits more of the data",
            )
        self._epoch = self._draw_epoch(0)
        self._loaded: tuple[int, int] | None = None
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._values = np.zeros((0, source.width), np.float32)

    @property
    def n_tokens(self) -> int:
        """Number of tokens of the splits."""
        return self._n_tokens

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches of an epoch."""
        return self._n_tokens // self._batch_size

    def batch(self, step: int) -> NDArray[np.float32]:
        """Return the activations ``(batch_size, width)`` of one step.

        Steps in ascending order read every block once an epoch; any other step costs one buffer.
        """
        return self.batches(step, [self._seed])[0]

    def batches(self, step: int, seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return the batches of one step for several orders of rows inside the same buffer.

        Each is what :meth:`batch` returns where ``seed`` is that seed and ``block_seed`` is this
        one's; the blocks are read once for all.
        """
        parts: list[list[NDArray[np.float32]]] = [[] for _ in seeds]
        for buffer, rows in self._pieces(step):
            values = self._load(buffer)
            for part, seed in zip(parts, seeds, strict=True):
                part.append(values[self._row_order(buffer, seed)[rows]])
        return [part[0] if len(part) == 1 else np.concatenate(part) for part in parts]

    def tokens(self, step: int) -> NDArray[np.int64]:
        """Return the tokens ``(batch_size,)`` on the axis whose rows :meth:`batch` returns."""
        parts = []
        for buffer, rows in self._pieces(step):
            tokens = self._tokens(buffer)
            parts.append(tokens[self._permutation(buffer, self._seed, len(tokens))[rows]])
        return np.concatenate(parts)

    def _pieces(self, step: int) -> list[tuple[int, slice]]:
        """Return the buffers that a step takes rows from, with the rows' places in them."""
        if step < 0:
            raise InputError(f"step {step} is not usable", allowed="0 or more")
        number, index = divmod(step, self.steps_per_epoch)
        if number != self._epoch.number:
            self._epoch = self._draw_epoch(number)
        starts = self._epoch.buffer_starts
        first, last = index * self._batch_size, (index + 1) * self._batch_size
        buffers = range(
            int(np.searchsorted(starts, first, side="right")) - 1,
            int(np.searchsorted(starts, last, side="left")),
        )
        return [
            (
                buffer,
                slice(
                    max(first - starts[buffer], 0), min(last, starts[buffer + 1]) - starts[buffer]
                ),
            )
            for buffer in buffers
        ]

    def _draw_epoch(self, number: int) -> _Epoch:
        order = np.random.default_rng([self._block_seed, number]).permutation(len(self._blocks))
        blocks = self._blocks[order]
        ends = np.cumsum(blocks[:, 1] - blocks[:, 0])
        starts = np.append(0, ends[self._buffer_blocks - 1 :: self._buffer_blocks])
        if starts[-1] != ends[-1]:
            starts = np.append(starts, ends[-1])
        return _Epoch(number, blocks, starts)

    def _members(self, buffer: int) -> NDArray[np.int64]:
        first = buffer * self._buffer_blocks
        return self._epoch.blocks[first : first + self._buffer_blocks]

    def _tokens(self, buffer: int) -> NDArray[np.int64]:
        """Return a buffer's tokens in the order of reading."""
        return np.concatenate([np.arange(start, stop) for start, stop in self._members(buffer)])

    def _permutation(self, buffer: int, seed: int, n_rows: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, self._epoch.number, buffer]).permutation(n_rows)

    def _row_order(self, buffer: int, seed: int) -> NDArray[np.int64]:
        """Return the order in which the rows of the loaded buffer are used under a seed."""
        if seed not in self._orders:
            self._orders[seed] = self._permutation(buffer, seed, len(self._values))
        return self._orders[seed]

    def _load(self, buffer: int) -> NDArray[np.float32]:
        wanted = (self._epoch.number, buffer)
        if self._loaded != wanted:
            # The old buffer is freed first, so that never two are in memory.
            self._loaded = None
            self._orders.clear()
            self._values = np.zeros((0, self._source.width), np.float32)
            members = self._members(buffer).tolist()
            n_rows = sum(stop - start for start, stop in members)
            values = np.empty((n_rows, self._source.width), np.float32)
            at = 0
            for start, stop in members:
                values[at : at + stop - start] = self._source.read(start, stop)
                at += stop - start
            self._values, self._loaded = values, wanted
        return self._values


def _training_blocks(
    axis: TokenAxis, splits: Sequence[Split], block_tokens: int
) -> NDArray[np.int64]:
    """Return token ranges ``(n_blocks, 2)``: whole records, or pieces of a longer record."""
    first, last = axis.record_range(splits)
    units = work_units(axis, block_tokens)
    inside = units[(units[:, 0] >= first) & (units[:, 1] <= last)]
    blocks = [
        (start, min(start + block_tokens, end))
        for begin, end in axis.record_starts[inside].tolist()
        for start in range(begin, end, block_tokens)
    ]
    return np.array(blocks, np.int64).reshape(-1, 2)
