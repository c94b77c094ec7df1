"""Finding the record that a file's protein id means, and checking that it fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from sci_interp.errors import InputError

__all__ = ["RecordIndex"]

_MIN_IDENTITY = 0.9


class RecordIndex:
    """The records of a FASTA file by id, and by accession where ids read ``sp|P12345|NAME``.

    Parameters
    ----------
    sequences
        Residues by record id.
    refused
        Ids of records of the same file that cannot be used: files may name them.
    """

    def __init__(self, sequences: Mapping[str, str], refused: Iterable[str] = ()) -> None:
        self.sequences = sequences
        self.records = tuple(sequences)
        self._index = {record: index for index, record in enumerate(self.records)}
        aliases: dict[str, int] = {}
        twice: set[str] = set()
        for index, record in enumerate(self.records):
            for part in _parts(record):
                if part in aliases:
                    twice.add(part)
                aliases.setdefault(part, index)
        self._aliases = {name: index for name, index in aliases.items() if name not in twice}
        self._refused = {form for record in refused for form in (record, *_parts(record))}

    def find(self, ids: Iterable[str]) -> int | None:
        """Return the index of the first id that is a record's, or None."""
        for name in ids:
            for form in (name, *_parts(name)):
                found = self._index.get(form, self._aliases.get(form))
                if found is not None:
                    return found
        return None

    def knows(self, ids: Iterable[str]) -> bool:
        """Return whether an id is that of a record, or of one that cannot be used."""
        forms = [form for name in ids for form in (name, *_parts(name))]
        return self.find(forms) is not None or not self._refused.isdisjoint(forms)

    def check_sequence(self, index: int, stated: str, where: str) -> None:
        """Refuse facts about a protein whose residues differ from the record's.

        Raises
        ------
        InputError
            If the lengths differ, or more than one residue in ten does.
        """
        record = self.records[index]
        ours = self.sequences[record]
        if not stated or stated == ours:
            return
        if len(stated) != len(ours):
            raise InputError(
                f"{where}: {record!r} has {len(stated)} residues, {len(ours)} in the FASTA",
                todo="Use files of the same release; isoforms have their own numbering",
            )
        same = np.frombuffer(stated.encode(), np.uint8) == np.frombuffer(ours.encode(), np.uint8)
        if same.mean() < _MIN_IDENTITY:
            raise InputError(
                f"{where}: {record!r} is another sequence than in the FASTA "
                f"({int((~same).sum())} of {len(ours)} residues differ)",
                todo="Use files of the same release, with the same ids",
            )

    def refuse_strangers(self, where: str, n_seen: int, n_found: int, example: str) -> None:
        """Refuse a file that describes no record at all.

        Raises
        ------
        InputError
            If the file holds no protein, or none that is a record.
        """
        if n_seen == 0:
            raise InputError(
                f"{where} describes no protein",
                todo="Look whether the file was written or downloaded whole, or leave it out",
            )
        if n_found == 0:
            first = self.records[0] if self.records else ""
            raise InputError(
                f"{where} is for other proteins: none of its {n_seen} ids (the first is "
                f"{example!r}) is in the FASTA (the first there is {first!r})",
                allowed="the ids of the FASTA, or their UniProt accessions",
                todo="Give the file that belongs to the FASTA, with the same ids",
            )


def _parts(name: str) -> tuple[str, ...]:
    """Return accession and entry name of ``sp|P12345|NAME_SPECIES``."""
    parts = name.split("|")
    if len(parts) == 3 and parts[0] in ("sp", "tr"):
        return (parts[1], parts[2])
    return ()
