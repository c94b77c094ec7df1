"""Decoys: the same proteins with their residues shuffled, so that no annotation holds."""

from __future__ import annotations

import hashlib

import numpy as np

from .records import ProteinDataset

__all__ = ["shuffle_dataset", "shuffle_sequence"]


def shuffle_sequence(sequence: str, record: str, seed: int) -> str:
    """Return a protein's residues in random order, the first (the start methionine) in place.

    The order follows from ``seed`` and the record's id alone. Composition is kept exactly;
    neighbours are not.
    """
    digest = hashlib.sha256(f"decoy/{seed}/{record}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    rest = np.array(list(sequence[1:]), dtype="U1")
    return sequence[:1] + "".join(rng.permutation(rest))


def shuffle_dataset(dataset: ProteinDataset, seed: int) -> ProteinDataset:
    """Return decoys: same ids, lengths, compositions and blocks, no annotations."""
    sequences = {
        record: shuffle_sequence(sequence, record, seed)
        for record, sequence in dataset.sequences.items()
    }
    names = {record: f"decoy of {record}" for record in sequences}
    return ProteinDataset(sequences, dataset.blocks, None, names, dataset.refused)
