"""Which residue of a sequence is which residue of a structure's chain."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError

__all__ = ["Placement", "place_residues"]

_MIN_IDENTITY = 0.9


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the residues of a chain lie in a sequence.

    Attributes
    ----------
    position : ndarray of int64 ``(n_chain,)``
        Index in the sequence, -1 for residues that are not part of it (a tag).
    n_residues : int
        Length of the sequence.
    n_same : int
        Placed residues with the same letter.
    n_different : int
        Placed residues with another letter (engineered ones); ``X`` agrees with all.
    """

    position: NDArray[np.int64]
    n_residues: int
    n_same: int
    n_different: int

    def require(self, where: str, record: str) -> None:
        """Refuse a chain of another protein, and tell of single residues that differ.

        Raises
        ------
        InputError
            If fewer than nine tenths of the placed residues agree, or none is placed.
        """
        n_placed = self.n_same + self.n_different
        if self.n_same < _MIN_IDENTITY * n_placed or 2 * n_placed < len(self.position):
            raise InputError(
                f"{where} is not {record!r}: {self.n_same} of its {len(self.position)} residues "
                "agree with the sequence",
                todo="Give the structure of this protein, or name its chain",
            )
        if self.n_different:
            warnings.warn(
                f"{where}: {self.n_different} residues differ from {record!r}",
                UserWarning,
                stacklevel=3,
            )

    def spread(self, states: str) -> str:
        """Return states of the chain along the sequence, ``?`` where there is no coordinate."""
        result = np.full(self.n_residues, "?")
        placed = self.position >= 0
        result[self.position[placed]] = np.array(list(states))[placed]
        return "".join(result.tolist())


def place_residues(chain: str, numbers: NDArray[np.int64], sequence: str) -> Placement:
    """Return the placement of a chain's observed residues in a sequence.

    The residue numbers of the file decide if, shifted by one constant, they agree with the
    letters; that is exact at gaps. Otherwise the letters are aligned (global, free end gaps).

    Parameters
    ----------
    chain
        Letters of the residues that have coordinates.
    numbers : ndarray of int64 ``(n_chain,)``
        Their numbers in the file.
    sequence
        Letters of the record.
    """
    by_number = _place(chain, numbers - 1, sequence)
    if _agrees(by_number):
        return by_number
    aligned = _align(chain, sequence)
    shifts = Counter((aligned - numbers)[aligned >= 0].tolist())
    if shifts:
        shifted = _place(chain, numbers + min(shifts, key=lambda s: (-shifts[s], s)), sequence)
        if _agrees(shifted):
            return shifted
    return _place(chain, aligned, sequence)


def _agrees(placement: Placement) -> bool:
    return placement.n_same >= _MIN_IDENTITY * len(placement.position)


def _place(chain: str, position: NDArray[np.int64], sequence: str) -> Placement:
    """Count agreement; positions outside the sequence or given twice are not placed."""
    inside = (position >= 0) & (position < len(sequence))
    first = np.zeros(len(position), np.bool_)
    first[np.unique(position, return_index=True)[1]] = True
    position = np.where(inside & first, position, -1)
    ours = np.array(list(sequence))[position]
    theirs = np.array(list(chain))
    same = (ours == theirs) | (ours == "X") | (theirs == "X")
    n_same = int((same & (position >= 0)).sum())
    n_different = int((~same & (position >= 0)).sum())
    return Placement(position, len(sequence), n_same, n_different)


def _align(chain: str, sequence: str) -> NDArray[np.int64]:
    from Bio.Align import PairwiseAligner

    make_aligner: Any = PairwiseAligner
    aligner = make_aligner(mode="global", match_score=2.0, mismatch_score=-2.0)
    aligner.open_internal_gap_score = -4.0
    aligner.extend_internal_gap_score = -0.05
    aligner.end_gap_score = 0.0
    position = np.full(len(chain), -1, np.int64)
    alignment = aligner.align(sequence, chain)[0]
    for (start, stop), (first, last) in zip(*alignment.aligned, strict=True):
        position[first:last] = np.arange(start, stop)
    return position
