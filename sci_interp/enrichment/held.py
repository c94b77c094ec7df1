"""What is read once and used again: tracks of labels, and rows of features.

All sources of a run share the tracks, all groups of labels the rows. Reading takes as long as
using; what is held is bounded by the memory that a study may take.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sci_interp.allocator import release_free_memory
from sci_interp.schema import Split
from sci_interp.source import FeatureSource

from .entries import Rows, read_rows
from .inputs import KnownSource
from .tracks import LabelTracks, read_labels

__all__ = ["Held"]

Ints = NDArray[np.int64]


class Held:
    """Tracks of label groups, and the rows of features that were read last.

    Parameters
    ----------
    known
        The annotations.
    most_numbers
        Integers that tracks may take together.
    """

    def __init__(self, known: KnownSource, *, most_numbers: int) -> None:
        self._known = known
        self._free = most_numbers
        self._tracks: dict[tuple[Split, int], LabelTracks] = {}
        self._rows: tuple[FeatureSource, Rows] | None = None

    def tracks(self, split: Split, group: int, labels: Ints, n_numbers: int) -> LabelTracks | None:
        """Return the tracks of all labels of a group; None where they do not fit beside others.

        Parameters
        ----------
        split, group
            Split and group.
        labels : (n_labels,) int64
            The group's labels.
        n_numbers
            Integers that their tracks take.
        """
        if (split, group) not in self._tracks:
            if n_numbers > self._free:
                return None
            self._free -= n_numbers
            found = read_labels(self._known.axis, self._known, split, group, labels)
            release_free_memory()
            self._tracks[split, group] = found
        return self._tracks[split, group]

    def rows(
        self, features: FeatureSource, split: Split, chosen: Ints, floors: Sequence[int]
    ) -> Rows:
        """Return rows of some features at least."""
        source, rows = self._rows or (None, None)
        if rows is None or source is not features or not rows.holds(split, chosen):
            self.drop_rows()
            rows = read_rows(features, split, chosen, floors)
            self._rows = (features, rows)
        return rows

    def drop_rows(self) -> None:
        """Forget the rows."""
        self._rows = None
        release_free_memory()
