"""The residue alphabet: the letter order of the ESM family, and what may be read from a file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VOCABULARY: tuple[str, ...] = tuple(
    "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
)
CLS, PAD, EOS, UNKNOWN = 0, 1, 2, 3
MASK = VOCABULARY.index("<mask>")
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
RESIDUES = AMINO_ACIDS + "XBUZO"
STANDARD = np.array([VOCABULARY.index(letter) for letter in AMINO_ACIDS], dtype=np.int64)

_CODES = np.full(256, UNKNOWN, dtype=np.uint8)
for _index, _letter in enumerate(VOCABULARY):
    if len(_letter) == 1:
        _CODES[ord(_letter)] = _index


def encode_letters(sequence: str) -> NDArray[np.uint8]:
    """Return the vocabulary index of every letter of ``sequence``; other letters are unknown."""
    return _CODES[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
