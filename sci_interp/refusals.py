"""Refusals: what an adapter says of records that it read and that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Refusal"]


@dataclass(frozen=True)
class Refusal:
    """A record that was read when the data were opened, and cannot be used.

    Attributes
    ----------
    record : str
        Its name, which no other record of the data has.
    n_tokens : int
        Its tokens; 0 where it has none.
    reason : str
        File, place and what is wrong: ``"proteins.fasta line 3: 'J' at residue 3"``.
    token : int or None
        First of its tokens that is bad, counted from 0; None where that is not known.
    """

    record: str
    n_tokens: int
    reason: str
    token: int | None = None
