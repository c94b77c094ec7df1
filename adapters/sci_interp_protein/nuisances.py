"""Cheap explanations of a feature: the residue, its neighbours, and the place in the chain."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Nuisances

from .alphabet import AMINO_ACIDS
from .labels import RESIDUE_CLASSES

__all__ = ["IDENTITY", "NEIGHBOURS", "NUISANCES", "POSITION", "nuisance_codes"]

IDENTITY = "token identity"
NEIGHBOURS = "neighbours"
POSITION = "position"

#: Offsets of the neighbours: a network with random weights already detects these residues.
_OFFSETS = (-4, -3, -2, -1, 1, 2, 3, 4)
_NEAR = (5, 10, 20, 40)
_N_DECILES = 10
_OTHER = len(AMINO_ACIDS)
_N_LETTERS = len(AMINO_ACIDS) + 1

_LETTER = np.full(256, _OTHER, dtype=np.int64)
for _index, _amino_acid in enumerate(AMINO_ACIDS):
    _LETTER[ord(_amino_acid)] = _index

_NAMES = {
    IDENTITY: (
        *(f"amino_acid={letter}" for letter in AMINO_ACIDS + "X"),
        *(f"kmer={first}{second}" for first, second in product(AMINO_ACIDS, repeat=2)),
        *(f"residue_class={name}" for name in RESIDUE_CLASSES),
    ),
    NEIGHBOURS: tuple(
        f"amino_acid={letter} at {offset:+d}" for offset in _OFFSETS for letter in AMINO_ACIDS
    ),
    POSITION: (
        *(f"position:first {n}" for n in _NEAR),
        *(f"position:last {n}" for n in _NEAR),
        *(f"position:decile {n + 1}" for n in range(_N_DECILES)),
        "position:start methionine",
    ),
}

#: Every nuisance feature. ``kmer=GK`` is a K after a G; ``amino_acid=X`` any letter beyond the 20.
NUISANCES = Nuisances(
    names=tuple(name for names in _NAMES.values() for name in names),
    families=tuple(family for family, names in _NAMES.items() for _ in names),
)


def nuisance_codes(sequence: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (token, feature) pairs of one protein, sorted by token then feature.

    Parameters
    ----------
    sequence
        Residue letters.

    Returns
    -------
    token, feature : (n_pairs,) int64
        Residue position from 0, and index into :data:`NUISANCES`.
    """
    letters = _LETTER[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    active = np.concatenate([_identity(letters), _neighbours(letters), _position(letters)], axis=1)
    # Row-major order is the order asked for.
    token, column = np.nonzero(active >= 0)
    feature = active[token, column]
    order = np.lexsort((feature, token))
    return token[order].astype(np.int64), feature[order]


def _identity(letters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the identity features of every token, -1 where a column does not apply."""
    n_amino_acids = len(AMINO_ACIDS)
    before = np.concatenate([[_OTHER], letters[:-1]])
    pair = np.where(
        (letters < _OTHER) & (before < _OTHER),
        _N_LETTERS + before * n_amino_acids + letters,
        -1,
    )
    first_class = _N_LETTERS + n_amino_acids**2
    classes = _MEMBERSHIP[letters] * (first_class + np.arange(len(RESIDUE_CLASSES)) + 1) - 1
    return np.column_stack([letters, pair, classes])


def _neighbours(letters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the identity of the residues around every token, -1 outside the chain."""
    reach = max(_OFFSETS)
    padded = np.pad(letters, reach, constant_values=_OTHER)
    first = len(_NAMES[IDENTITY])
    columns = []
    for index, offset in enumerate(_OFFSETS):
        letter = padded[reach + offset : reach + offset + len(letters)]
        feature = first + index * len(AMINO_ACIDS) + letter
        columns.append(np.where(letter < _OTHER, feature, -1))
    return np.column_stack(columns)


def _position(letters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position features of every token, -1 where a column does not apply."""
    n_tokens = len(letters)
    at = np.arange(n_tokens)
    near = np.array(_NEAR)
    first = len(_NAMES[IDENTITY]) + len(_NAMES[NEIGHBOURS])
    columns = np.concatenate(
        [
            at[:, None] < near,
            (n_tokens - 1 - at)[:, None] < near,
            (at * _N_DECILES // n_tokens)[:, None] == np.arange(_N_DECILES),
            ((at == 0) & (letters == AMINO_ACIDS.index("M")))[:, None],
        ],
        axis=1,
    )
    return np.where(columns, first + np.arange(columns.shape[1]), -1)


def _class_membership() -> NDArray[np.int64]:
    table = np.zeros((_N_LETTERS, len(RESIDUE_CLASSES)), dtype=np.int64)
    for column, members in enumerate(RESIDUE_CLASSES.values()):
        table[_LETTER[np.frombuffer(members.encode(), dtype=np.uint8)], column] = 1
    return table


_MEMBERSHIP = _class_membership()
