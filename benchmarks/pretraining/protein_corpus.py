"""The pretraining corpus as one array of letters, and its fixed-size crops in seeded order."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from Bio.SeqIO.FastaIO import SimpleFastaParser
from numpy.typing import NDArray
from torch import Tensor

from sci_interp_protein.alphabet import CLS, EOS, MASK, PAD, STANDARD, encode_letters

CROP = 256


@dataclass(frozen=True)
class Corpus:
    """Sequences laid end to end, each between its CLS and its EOS."""

    letters: NDArray[np.uint8]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def crops(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the (start, stop) of every crop of one epoch in random order."""
        rng = np.random.default_rng((seed, epoch))
        lengths = self.stops - self.starts
        which = np.repeat(
            np.arange(len(lengths)), np.maximum(1, np.rint(lengths / CROP)).astype(int)
        )
        room = np.maximum(lengths[which] - CROP, 0)
        begin = self.starts[which] + (rng.random(len(which)) * (room + 1)).astype(np.int64)
        end = np.minimum(begin + CROP, self.stops[which])
        return np.stack([begin, end], axis=1)[rng.permutation(len(which))]

    def batch(self, crops: NDArray[np.int64]) -> Tensor:
        """Return tokens ``(B, CROP)``, padded."""
        tokens = np.full((len(crops), CROP), PAD, dtype=np.int64)
        for row, (begin, end) in enumerate(crops):
            tokens[row, : end - begin] = self.letters[begin:end]
        return torch.from_numpy(tokens)


def read_corpus(path: Path, cache: Path, held_out: float = 0.005) -> tuple[Corpus, Corpus]:
    """Return the training and the validation corpus; a protein's side follows from its letters."""
    if not cache.exists():
        parts, lengths, sides = [], [], []
        with gzip.open(path, "rt") as handle:
            for _, sequence in SimpleFastaParser(handle):
                letters = encode_letters(sequence.upper())
                parts.append(np.concatenate([[CLS], letters, [EOS]]).astype(np.uint8))
                lengths.append(len(parts[-1]))
                digest = hashlib.sha256(sequence.encode()).digest()
                sides.append(int.from_bytes(digest[:8], "big") / 2**64 < held_out)
        temporary = cache.with_suffix(".tmp.npz")
        np.savez(temporary, letters=np.concatenate(parts), lengths=lengths, sides=sides)
        temporary.rename(cache)
    with np.load(cache, allow_pickle=False) as data:
        letters, lengths, sides = data["letters"], data["lengths"], data["sides"].astype(bool)
    stops = np.cumsum(lengths)
    starts = stops - lengths
    train, valid = (Corpus(letters, starts[pick], stops[pick]) for pick in (~sides, sides))
    return train, valid


def mask_tokens(
    tokens: Tensor, rate: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Hide residues as in BERT: 80 % ``<mask>``, 10 % another amino acid, 10 % unchanged.

    Returns
    -------
    masked : (B, L) int64
        What the model sees.
    chosen : (B, L) bool
        Where the loss is taken.
    shown : (B, L) bool
        Where ``<mask>`` is shown.
    """
    standard = torch.from_numpy(STANDARD)
    draw = torch.rand(tokens.shape, generator=generator)
    kind = torch.rand(tokens.shape, generator=generator)
    other = standard[torch.randint(len(standard), tokens.shape, generator=generator)]
    chosen = (draw < rate) & torch.isin(tokens, standard)
    shown = chosen & (kind < 0.8)
    masked = torch.where(shown, torch.full_like(tokens, MASK), tokens)
    masked = torch.where(chosen & (kind >= 0.9), other, masked)
    return masked, chosen, shown
