"""Label groups that were assessed at the same tokens, worked on as one.

A pass over the codes serves one universe. Groups that share theirs share the passes; no number
depends on it. Groups whose labels cover whole records have universes of their own. Every source
makes many passes, and reading annotations takes as long as using them: what fits is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.schema import SPLITS

from .inputs import KnownSource, RunSlice, iterate_slices
from .kept import KeptSlices

__all__ = ["SharedUniverses"]


@dataclass(frozen=True, eq=False)
class _Slice:
    """A slice of annotations whose known ranges belong to universes."""

    label: NDArray[np.integer]
    instance: NDArray[np.integer]
    start: NDArray[np.integer]
    stop: NDArray[np.integer]
    known_group: NDArray[np.integer]
    known_start: NDArray[np.integer]
    known_stop: NDArray[np.integer]


class SharedUniverses:
    """Annotations in which groups with the same known tokens are one group.

    Parameters
    ----------
    known
        The annotations; every slice is read once to compare the groups.
    most_bytes
        Memory for slices that are kept once they were read.
    representative
        Of every group, the first with the same known tokens ``(n_groups,)``, where that is known:
        then nothing is read.

    Attributes
    ----------
    representative : (n_groups,) int64
        As given, or found.
    groups : tuple of str
        Those that represent themselves.
    group_of_label : (n_labels,) int64
        Which of them every label belongs to.
    """

    def __init__(
        self,
        known: KnownSource,
        *,
        most_bytes: int = 0,
        representative: Sequence[int] | None = None,
    ) -> None:
        self._known = known
        self._kept = KeptSlices(self._read, most_bytes=most_bytes)
        found = _compare_groups(known) if representative is None else representative
        self.representative: NDArray[np.int64] = np.array(found, np.int64)
        kept = np.unique(self.representative)
        self._number = np.searchsorted(kept, self.representative)
        self.groups: tuple[str, ...] = tuple(known.groups[group] for group in kept)
        self.group_of_label: NDArray[np.integer] = self._number[
            np.asarray(known.group_of_label, np.int64)
        ]

    @property
    def annotations(self) -> KnownSource:
        """The annotations as they were given."""
        return self._known

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self._known.axis

    @property
    def labels(self) -> Sequence[Label]:
        """The labels, each with the group it was annotated in."""
        return self._known.labels

    @property
    def digest(self) -> str:
        """Identity of the annotations."""
        return self._known.digest

    @property
    def events(self) -> NDArray[np.int64]:
        """Instance and event of the instances that share one ``(2, n)``."""
        return self._known.events

    def read(self, start: int, stop: int) -> RunSlice:
        """Return the annotations of a token range that begins and ends with records."""
        return self._kept.get(start, stop)

    def _read(self, start: int, stop: int) -> _Slice:
        piece = self._known.read(start, stop)
        group = np.asarray(piece.known_group, np.int64)
        chosen = self.representative[group] == group
        return _Slice(
            np.array(piece.label),
            np.array(piece.instance),
            np.array(piece.start),
            np.array(piece.stop),
            self._number[group[chosen]],
            np.asarray(piece.known_start)[chosen],
            np.asarray(piece.known_stop)[chosen],
        )


def _compare_groups(known: KnownSource) -> list[int]:
    """Return, of every group, the first with the same known tokens."""
    states = [hashlib.sha256() for _ in known.groups]
    for split in SPLITS:
        for start, stop in iterate_slices(known.axis, split):
            piece = known.read(start, stop)
            for group, state in enumerate(states):
                mine = np.asarray(piece.known_group) == group
                for column in (piece.known_start, piece.known_stop):
                    state.update(np.asarray(column, np.int64)[mine].tobytes())
    for label, group in zip(known.labels, known.group_of_label, strict=True):
        if label.extent == "records":  # moved in another way than labels inside records
            states[group].update(label.extent.encode())
    first: dict[bytes, int] = {}
    return [first.setdefault(state.digest(), group) for group, state in enumerate(states)]
