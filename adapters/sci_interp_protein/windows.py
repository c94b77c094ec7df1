"""Model-free descriptors of the residues around a token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .alphabet import AMINO_ACIDS

__all__ = ["BACKGROUND", "REACH", "describe_residue_windows"]

#: Residues on either side of a token that its descriptor covers.
REACH = 5

#: Amino-acid frequencies in the order of ``ACDEFGHIKLMNPQRSTVWY``, in per cent, as the
#: release statistics of UniProtKB/Swiss-Prot give them.
BACKGROUND = np.array(
    [
        *(8.26, 1.38, 5.46, 6.72, 3.87, 7.07, 2.28, 5.91, 5.80, 9.65),
        *(2.41, 4.06, 4.74, 3.93, 5.53, 6.63, 5.36, 6.86, 1.10, 2.92),
    ]
)

_N_LETTERS = len(AMINO_ACIDS)


def describe_residue_windows(sequence: str, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Describe the residues within :data:`REACH` of each token, independent of any network.

    Every position of the window contributes the one-hot vector of its amino acid minus the
    background frequencies, times a weight that falls linearly from the token outwards; the whole
    is scaled to unit length. The expected vector of a random residue is zero, so the cosine of two
    unrelated windows is zero on average. Positions outside the chain and letters beyond the
    twenty contribute zeros.

    Parameters
    ----------
    sequence
        Residue letters.
    tokens : (n,) int64
        Positions from 0.

    Returns
    -------
    (n, 220) float32
        Unit rows; a row without any amino acid is zero.
    """
    offsets = np.arange(-REACH, REACH + 1)
    at = np.asarray(tokens, dtype=np.int64)[:, None] + offsets  # (n, 11)
    letters = _INDEX[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    inside = (at >= 0) & (at < len(sequence))
    found = np.where(inside, letters[np.clip(at, 0, len(sequence) - 1)], _N_LETTERS)
    weights = (REACH + 1 - np.abs(offsets)) / (REACH + 1)
    vectors = (_CENTRED[found] * weights[:, None]).reshape(len(at), -1)  # (n, 220)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


_INDEX = np.full(256, _N_LETTERS, dtype=np.int64)
for _place, _letter in enumerate(AMINO_ACIDS):
    _INDEX[ord(_letter)] = _place

#: One-hot minus background for the twenty letters, then a row of zeros for everything else.
_CENTRED = np.vstack([np.eye(_N_LETTERS) - BACKGROUND / BACKGROUND.sum(), np.zeros(_N_LETTERS)])
