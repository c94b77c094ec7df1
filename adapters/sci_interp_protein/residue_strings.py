"""Per-residue secondary structure as strings: DSSP in three or eight states."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sci_interp.errors import InputError

from .text_files import content_suffix, read_lines

__all__ = ["StateTrack", "read_residue_strings"]


@dataclass(frozen=True, slots=True)
class StateTrack:
    """Secondary structure of one protein.

    Attributes
    ----------
    protein : str
        Its id.
    states : str
        One of H, G, I, P, E, B, T, S, C (coil) a residue, ``?`` where unknown.
    fine : bool
        Whether eight states are told apart. With three, H, E and C stand for all.
    sequence : str
        Its residues where the file states them, else ``""``.
    """

    protein: str
    states: str
    fine: bool
    sequence: str = ""


_ID_COLUMNS: Final = ("protein_id", "id", "name", "entry", "protein", "accession")
_STATE_COLUMNS: Final = ("q8", "dssp8", "sst8", "ss8", "q3", "dssp3", "sst3", "ss3")
_SEQUENCE_COLUMNS: Final = ("sequence", "seq", "residues")
_KNOWN_COLUMNS: Final = ("resolved", "known")
_COIL = str.maketrans({"-": "C", " ": "C", "_": "C", "L": "C", ".": "C", "~": "C"})
_UNKNOWN = str.maketrans({"X": "?", "*": "?", "!": "?"})
_VALID = re.compile(r"[HGIPEBTSC?]*")
_FINE = re.compile(r"[GIPBTS]")


def read_residue_strings(path: Path) -> Iterator[StateTrack]:
    """Yield the states of every protein of a TSV or FASTA-like file, plain or gzipped.

    TSV: columns ``protein_id``, ``q3`` or ``q8``, and optionally ``sequence`` and ``resolved``
    (0 = no coordinates, unknown), as in the NetSurfP-2 sets. FASTA-like: after each ``>id`` line
    either the residues and the states, or the states alone; a third line of 0 and 1 is
    ``resolved``. Coil may be written C, L, ``-``, ``.``, ``_`` or blank; unknown ``?``, X, ``*``.

    In a FASTA-like file every protein with one of G, I, P, B, T, S counts as eight-state; without
    any it counts as three-state.

    Raises
    ------
    InputError
        If the header, a letter, or a length is wrong.
    """
    if content_suffix(path) in (".tsv", ".tab"):
        yield from _read_table(path)
    else:
        yield from _read_fasta(path)


def _read_table(path: Path) -> Iterator[StateTrack]:
    lines = read_lines(path)
    header = [name.strip().lower() for name in next(lines, "").lstrip("\ufeff").split("\t")]
    at_id, at_state, at_sequence, at_known = (
        next((header.index(name) for name in names if name in header), -1)
        for names in (_ID_COLUMNS, _STATE_COLUMNS, _SEQUENCE_COLUMNS, _KNOWN_COLUMNS)
    )
    if at_id < 0 or at_state < 0:
        raise InputError(
            f"the first line of {path} names the columns {' '.join(header)[:200]!r}",
            allowed="protein_id, q3 or q8, and optionally sequence and resolved",
        )
    fine = header[at_state].endswith("8")
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        cells = line.split("\t")
        if len(cells) != len(header):
            raise InputError(
                f"{path} line {number} has {len(cells)} columns", allowed=str(len(header))
            )
        yield _track(
            f"{path} line {number}",
            cells[at_id].strip(),
            cells[at_state],
            sequence=cells[at_sequence] if at_sequence >= 0 else "",
            resolved=cells[at_known] if at_known >= 0 else "",
            fine=fine,
        )


def _read_fasta(path: Path) -> Iterator[StateTrack]:
    protein, first, body = "", 0, list[str]()
    for number, line in enumerate(read_lines(path), start=1):
        if line.startswith(">"):
            if first:
                yield _track_of_lines(path, first, protein, body)
            protein, first, body = (line[1:].split() or [""])[0], number, []
        elif first:
            body.append(line)
        elif line.strip():
            raise InputError(f"{path} line {number} comes before the first '>' line")
    if first:
        yield _track_of_lines(path, first, protein, body)


def _track_of_lines(path: Path, first: int, protein: str, body: list[str]) -> StateTrack:
    where = f"{path} line {first}"
    while body and not body[-1].strip():
        body.pop()
    if not protein or not 1 <= len(body) <= 3:
        raise InputError(
            f"{where}: {protein!r} is followed by {len(body)} lines",
            allowed="an id, then residues and states (and resolved), or states alone",
        )
    sequence, states, resolved = ("", body[0], "") if len(body) == 1 else (*body, "")[:3]
    fine = bool(_FINE.search(states.upper()))
    return _track(where, protein, states, sequence=sequence, resolved=resolved, fine=fine)


def _track(
    where: str, protein: str, states: str, *, sequence: str, resolved: str, fine: bool
) -> StateTrack:
    sequence, resolved = sequence.strip().upper(), resolved.strip()
    letters = states.upper().translate(_COIL).translate(_UNKNOWN)
    valid = _VALID.match(letters)
    n_valid = valid.end() if valid else 0
    if n_valid < len(letters):
        raise InputError(
            f"{where}: state {states[n_valid]!r} at residue {n_valid + 1} of {protein!r}",
            allowed="the DSSP letters H G I P E B T S C (or - for coil, ? for unknown)",
        )
    for name, other in (("residues", sequence), ("resolved marks", resolved)):
        if other and len(other) != len(letters):
            raise InputError(
                f"{where}: {protein!r} has {len(letters)} states and {len(other)} {name}"
            )
    if resolved.strip("01"):
        raise InputError(f"{where}: 'resolved' of {protein!r} is not a string of 0 and 1")
    if resolved:
        letters = "".join(
            letter if mark == "1" else "?" for letter, mark in zip(letters, resolved, strict=True)
        )
    return StateTrack(protein, letters, fine, sequence)
