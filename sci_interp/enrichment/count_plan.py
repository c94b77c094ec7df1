"""What is counted at once: a block of labels in a shard of consecutive records.

The cells are a pure function of the data and of the memory for counts. Counts add up over shards,
and blocks stand beside each other, so that whoever counts a cell, and when, changes no number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sci_interp.axis import TokenAxis
from sci_interp.schema import Split
from sci_interp.source import FeatureSource

from .counts import COUNT_TOKENS
from .inputs import KnownSource, cut_records

__all__ = ["COUNTED", "CountCell", "CountPlan"]

#: Splits that are counted.
COUNTED: tuple[Split, ...] = ("discovery", "test", "vault")
#: Tokens of a shard, at least, and shards of a split, at most, both about: each is added up again.
FEWEST_TOKENS: Final = COUNT_TOKENS
MOST_SHARDS: Final = 32


@dataclass(frozen=True)
class CountCell:
    """Some labels in some records.

    Attributes
    ----------
    block : int
        Number of the block of labels.
    labels : range
        Its labels.
    records : range
        The records.
    """

    block: int
    labels: range
    records: range

    @property
    def active(self) -> bool:
        """Whether what is the same for all labels is counted here: by the first block."""
        return self.block == 0


@dataclass(frozen=True)
class CountPlan:
    """The cells of one source.

    Attributes
    ----------
    floors : tuple of int
        Lowest level of each bin.
    blocks : tuple of range
        Labels of every block.
    shards : tuple of (Split, range)
        Records of every shard, in the order of the axis.
    """

    floors: tuple[int, ...]
    blocks: tuple[range, ...]
    shards: tuple[tuple[Split, range], ...]

    @classmethod
    def of(
        cls,
        features: FeatureSource,
        known: KnownSource,
        *,
        floors: Sequence[int],
        count_bytes: int,
    ) -> CountPlan:
        """Return the plan of a source.

        Parameters
        ----------
        features, known
            Codes and annotations on the same axis.
        floors
            Lowest level of each bin, ascending from 1.
        count_bytes
            Memory for the counts of a block of labels in all splits.
        """
        axis, n_labels = features.axis, len(known.labels)
        itemsize = 4 if axis.n_tokens * max(axis.step_weights) < 2**31 else 8
        size = 2 * itemsize * features.n_features * len(floors) * len(COUNTED)
        n = max(1, count_bytes // max(size, 1))
        return cls(
            tuple(floors),
            tuple(range(first, min(first + n, n_labels)) for first in range(0, n_labels, n)),
            tuple((split, records) for split in COUNTED for records in _cut(axis, split)),
        )

    @property
    def n_cells(self) -> int:
        """Number of cells; they are numbered block by block."""
        return len(self.blocks) * len(self.shards)

    def cell(self, number: int) -> CountCell:
        """Return the cell of a number."""
        block, shard = divmod(number, len(self.shards))
        return CountCell(block, self.blocks[block], self.shards[shard][1])

    def numbers(self, block: int, split: Split) -> range:
        """Return the numbers of the cells that are a block in a split."""
        mine = [at for at, (of, _) in enumerate(self.shards) if of == split]
        first = block * len(self.shards)
        return range(first + mine[0], first + mine[-1] + 1) if mine else range(0)

    def describe(self) -> dict[str, Any]:
        """Return the plan as JSON knows it."""
        return {
            "floors": list(self.floors),
            "blocks": [[labels.start, labels.stop] for labels in self.blocks],
            "shards": [[split, records.start, records.stop] for split, records in self.shards],
        }


def _cut(axis: TokenAxis, split: Split) -> Iterator[range]:
    """Yield the shards of a split: records of about as many tokens each."""
    first, last = axis.record_range([split])
    n_tokens = int(axis.record_starts[last] - axis.record_starts[first])
    n_shards = int(np.clip(n_tokens // FEWEST_TOKENS, 1, MOST_SHARDS))
    yield from cut_records(axis, range(first, last), n_tokens=-(-n_tokens // n_shards))
