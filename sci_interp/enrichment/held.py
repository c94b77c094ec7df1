"""What is read once and used again: tracks of labels, resamples of families, rows of features.

All sources of a run share the tracks and the resamples, all groups of labels the rows. Reading
takes as long as using; what is held is bounded by the memory that a study may take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.allocator import release_free_memory
from sci_interp.schema import Split
from sci_interp.source import FeatureSource

from .entries import ENTRY_BYTES, Rows, read_rows, row_bytes
from .inputs import KnownSource
from .lanes import Allowance
from .tracks import LabelTracks, read_labels

__all__ = ["Held", "HeldRows", "Resamples"]

Ints = NDArray[np.int64]
#: Bytes of an integer that tracks take.
NUMBER_BYTES = 8


class Resamples(NamedTuple):
    """Resamples of families, and what labels have in them; the three are n, Y and instances.

    Attributes
    ----------
    weights : (n_bootstrap, n_families) uint8
        How often each family is drawn.
    totals : (3, n_labels, n_bootstrap) float64
        In resamples.
    known : (n_families,) float32
        n of every family, the same for all labels.
    owned : (2, n_labels, n_families) float32
        Y and instances of every family.
    """

    weights: NDArray[np.uint8]
    totals: NDArray[np.float64]
    known: NDArray[np.float32]
    owned: NDArray[np.float32]


class Held:
    """Tracks of label groups, and resamples of their families; several lanes may ask.

    Parameters
    ----------
    known
        The annotations.
    most_numbers
        Integers that these may take together.
    """

    def __init__(self, known: KnownSource, *, most_numbers: int) -> None:
        self._known = known
        self._free = most_numbers
        self._tracks: dict[tuple[Split, int], LabelTracks] = {}
        self._resamples: dict[tuple[int, int], Resamples] = {}
        self._lock = RLock()

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
        with self._lock:
            if (split, group) not in self._tracks:
                if n_numbers > self._free:
                    return None
                self._free -= n_numbers
                found = read_labels(self._known.axis, self._known, split, group, labels)
                release_free_memory()
                self._tracks[split, group] = found
            return self._tracks[split, group]

    def resamples(
        self, tracks: LabelTracks, n_bootstrap: int, make: Callable[[], Resamples]
    ) -> Resamples:
        """Return the resamples of the families of tracks, made anew where they do not fit.

        Parameters
        ----------
        tracks
            Labels and families.
        n_bootstrap
            How many resamples.
        make
            Makes them.
        """
        with self._lock:
            if not any(each is tracks for each in self._tracks.values()):
                return make()
            key = (id(tracks), n_bootstrap)
            if key not in self._resamples:
                found = make()
                n_numbers = sum(array.nbytes for array in found) // NUMBER_BYTES
                if n_numbers > self._free:
                    return found
                self._free -= n_numbers
                self._resamples[key] = found
            return self._resamples[key]


class HeldRows:
    """Rows of the features that a lane has read last, in memory that is used again.

    Parameters
    ----------
    allowance
        Entries that all lanes may hold.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._taken = 0
        self._buffer = np.empty(0, np.uint8)
        self._rows: tuple[FeatureSource, Rows] | None = None

    def read(
        self, features: FeatureSource, split: Split, chosen: Ints, floors: Sequence[int]
    ) -> Rows:
        """Return rows of some features at least; those returned before are overwritten."""
        self._allowance.require_open()
        rows = self.held(features, split, chosen)
        if rows is None:
            self._rows = None
            n_bytes = len(chosen) * row_bytes(features, split)
            if n_bytes > len(self._buffer):
                self.drop()
                self._taken = self._allowance.take(-(-n_bytes // ENTRY_BYTES))
                self._buffer = np.empty(n_bytes, np.uint8)
            rows = read_rows(features, split, chosen, floors, self._buffer[:n_bytes])
            self._rows = (features, rows)
        return rows

    def held(self, features: FeatureSource, split: Split, chosen: Ints) -> Rows | None:
        """Return rows of some features at least, if they are here."""
        source, rows = self._rows or (None, None)
        return rows if source is features and rows and rows.holds(split, chosen) else None

    def drop(self) -> None:
        """Forget the rows, and give their memory back."""
        self._rows = None
        self._buffer = np.empty(0, np.uint8)
        taken, self._taken = self._taken, 0
        self._allowance.give(taken)
        release_free_memory()
