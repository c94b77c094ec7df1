"""Letters of planted proteins: homologues mutate, the sites of a concept share a motif."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from planted_data import Ints, tokens_of

from sci_interp.adapter import Nuisances
from sci_interp.axis import TokenAxis

if TYPE_CHECKING:
    from planted_families import Families, Sites

__all__ = ["BESIDE", "UPON", "Sequences", "draw_sequences"]

N_LETTERS = 20
#: Where a motif's letters lie from the centre of a site: upon it, or on both sides of it.
UPON, BESIDE = (-3, -2, -1, 0, 1, 2, 3), (-5, -4, -3, -2, 2, 3, 4, 5)
#: Letters on each side of a token that describe its window.
REACH = 5
#: Share of a motif's letters that a family keeps, and of all letters that a homologue changes.
CONSERVED, MUTATED = 0.7, 0.25
#: Tokens at the head of a chain that are an explanation by themselves.
HEAD = 10


@dataclass(frozen=True, eq=False)
class Sequences:
    """Letters of every token, 0 to 19.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    letters : (n_tokens,) int64
        The letters.
    """

    axis: TokenAxis
    letters: Ints

    def describe_windows(self, record: int, tokens: Ints) -> NDArray[np.float32]:
        """Return the letters around tokens, one-hot and centred; beyond the ends all are 0."""
        bounds = self.axis.record_starts[record : record + 2]
        padded = np.pad(self.letters[slice(*bounds)], REACH, constant_values=N_LETTERS)
        hot = np.vstack([np.eye(N_LETTERS) - 1 / N_LETTERS, np.zeros((1, N_LETTERS))])
        windows = padded[np.asarray(tokens)[:, None] + np.arange(2 * REACH + 1)]
        found: NDArray[np.float32] = hot[windows].reshape(len(windows), -1).astype(np.float32)
        return found

    def nuisances(self) -> Nuisances:
        """Return the letters, and the head of the chain."""
        names = (*(f"letter={at}" for at in range(N_LETTERS)), f"position:first {HEAD}")
        return Nuisances(names, ("token identity",) * N_LETTERS + ("position",))

    def nuisance_codes(self, record: int) -> tuple[Ints, Ints]:
        """Return (token, explanation) pairs of a record, sorted."""
        letters = self.letters[slice(*self.axis.record_starts[record : record + 2])]
        head = np.arange(min(HEAD, len(letters)))
        token = np.append(np.arange(len(letters)), head)
        feature = np.append(letters, np.full(len(head), N_LETTERS))
        order = np.lexsort((feature, token))
        return token[order], feature[order]


def draw_sequences(
    random: np.random.Generator,
    families: Families,
    concepts: Sequence[tuple[Sites, tuple[int, ...]]],
) -> Sequences:
    """Draw the letters of all records; each of the concepts marks its sites by a motif.

    Concepts come with the places of their motif's letters. Where two motifs meet, the later stands.
    """
    length = families.length
    origin = np.append(0, np.cumsum(length))
    shared = random.integers(0, N_LETTERS, origin[-1])
    for sites, places in concepts:
        motif = random.integers(0, N_LETTERS, len(places))
        place = ((sites.start + sites.stop) // 2)[:, None] + np.array(places)
        fits = (place >= 0) & (place < length[sites.family][:, None])
        kept = fits & (random.random(place.shape) < CONSERVED)
        token = (origin[sites.family][:, None] + place)[kept]
        shared[token] = np.broadcast_to(motif, place.shape)[kept]
    letters = random.integers(0, N_LETTERS, families.axis.n_tokens)
    family = np.repeat(np.arange(len(length)), np.diff(families.first))
    start = families.axis.record_starts[:-1]
    record, place = tokens_of(np.zeros(len(family), np.int64), length[family])
    token = start[record] + place + families.inserted[record] * (place >= families.cut[record])
    source = place + origin[family[record]]
    fresh = random.random(len(token)) < MUTATED
    letters[token] = np.where(fresh, letters[token], shared[source])
    return Sequences(families.axis, letters)
