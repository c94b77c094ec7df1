"""Families from shared k-mers: the fallback where neither a clusters table nor MMseqs2 is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .families import name_families

__all__ = ["join_by_kmers"]

#: Residues that replace each other often count as one letter, so that k-mers outlive more
#: substitutions (the ten-letter alphabet of Murphy et al., Protein Eng. 13, 149, 2000).
ALPHABET: Final = ("A", "KR", "EDNQ", "C", "G", "H", "ILVM", "FYW", "P", "ST")
K: Final = 6
#: Two proteins belong together when they share this part of the shorter one's k-mers, by k-mers
#: that few proteins have ...
MIN_RARE_SHARE: Final = 0.05
MIN_RARE: Final = 10
#: ... or this part by any k-mers (families of many near-identical members have no rare ones;
#: stretches of biased composition share common ones without being related).
MIN_SHARE: Final = 0.4
#: A k-mer in more proteins than this is common; it is compared with its next occurrences only.
_REACH: Final = 50

_LETTER = np.full(256, -1, np.int64)
for _at, _group in enumerate(ALPHABET):
    for _residue in _group:
        _LETTER[ord(_residue)] = _at
_PLACES = len(ALPHABET) ** np.arange(K, dtype=np.int64)


def join_by_kmers(sequences: Mapping[str, str]) -> dict[str, str]:
    """Return families of proteins that share k-mers, named by their first protein.

    Families are the connected components of pairs that share :data:`MIN_RARE` rare k-mers and
    :data:`MIN_RARE_SHARE` of the shorter one's, or :data:`MIN_SHARE` of any. Near-identical
    proteins and homologues above some 50 % identity are found, distant ones are not. Time and
    memory grow with the number of residues, not with the number of pairs.
    """
    return name_families(list(sequences), _shared_pairs(list(sequences.values())))


def _shared_pairs(sequences: list[str]) -> Iterator[tuple[int, int]]:
    kmers = [_kmers(sequence) for sequence in sequences]
    n_kmers = np.array([len(found) for found in kmers], np.int64)
    if n_kmers.sum() == 0:
        return
    owner = np.repeat(np.arange(len(sequences), dtype=np.int32), n_kmers)
    order = np.argsort(np.concatenate(kmers), kind="stable")
    last, n_owners = _extent_of_equals(np.concatenate(kmers)[order])
    del kmers
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    owner = owner[order]
    first = np.append(0, n_kmers.cumsum())
    for record in range(len(sequences)):
        mine = place[first[record] : first[record + 1]]
        n_next = np.minimum(last[mine] - mine, _REACH)
        step = np.arange(n_next.sum()) - np.repeat(n_next.cumsum() - n_next, n_next)
        found = np.repeat(mine, n_next)
        others, at = np.unique(owner[found + step + 1], return_inverse=True)
        shared = np.bincount(at, minlength=len(others))
        rare = np.bincount(at, weights=n_owners[found] <= _REACH, minlength=len(others))
        shorter = np.minimum(n_kmers[others], n_kmers[record])
        near = (rare >= MIN_RARE) & (rare >= MIN_RARE_SHARE * shorter)
        near |= shared >= MIN_SHARE * shorter
        for other in others[near].tolist():
            yield record, other


def _kmers(sequence: str) -> NDArray[np.int32]:
    """Return the different k-mers of a sequence, those with an unknown residue left out."""
    letters = _LETTER[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]
    if len(letters) < K:
        return np.empty(0, np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(letters, K)
    windows = windows[(windows >= 0).all(axis=1)]
    return np.unique(windows @ _PLACES).astype(np.int32)


def _extent_of_equals(
    values: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for every entry of a sorted array, the last index of its value and their number."""
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    sizes = np.diff(ends, prepend=-1)
    return np.repeat(ends, sizes), np.repeat(sizes, sizes)
