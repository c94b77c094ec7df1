"""The residue alphabet: the letter order of the ESM family, and what may be read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

VOCABULARY: tuple[str, ...] = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    *("<null_1>", "<mask>"),
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


@dataclass(frozen=True)
class Vocabulary:
    """The order in which one network counts letters.

    Attributes
    ----------
    tokens : tuple of str
        Every token in the order of its index. All of ``<cls> <pad> <eos> <mask>`` and of the
        residue letters are present.
    """

    tokens: tuple[str, ...] = VOCABULARY

    @cached_property
    def _index(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    @cached_property
    def _codes(self) -> NDArray[np.int64]:
        unknown = self._index.get("<unk>", self._index["X"])
        codes = np.full(256, unknown, dtype=np.int64)
        for letter in RESIDUES:
            codes[ord(letter)] = self._index[letter]
        return codes

    @property
    def missing(self) -> tuple[str, ...]:
        """The tokens a protein language model needs and this vocabulary lacks."""
        needed = ("<cls>", "<pad>", "<eos>", "<mask>", *RESIDUES)
        return tuple(token for token in needed if token not in self._index)

    @property
    def cls(self) -> int:
        """Index of the token before the first residue."""
        return self._index["<cls>"]

    @property
    def pad(self) -> int:
        """Index of padding."""
        return self._index["<pad>"]

    @property
    def eos(self) -> int:
        """Index of the token after the last residue."""
        return self._index["<eos>"]

    @property
    def mask(self) -> int:
        """Index of the token that hides a residue."""
        return self._index["<mask>"]

    def encode(self, sequence: str) -> NDArray[np.int64]:
        """Return the index of every letter of ``sequence``: ``(len(sequence),)``."""
        return self._codes[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
