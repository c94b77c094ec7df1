"""Secondary structure from coordinates: PDB or mmCIF x sequence -> states of every residue.

The assignment is the hydrogen-bond rule of DSSP (Kabsch and Sander, Biopolymers 22, 2577, 1983)
in three states, by pydssp.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .chain_mapping import place_residues
from .residue_strings import StateTrack
from .text_files import content_suffix, read_text

__all__ = [
    "MAX_RESIDUES",
    "Chain",
    "assign_states",
    "read_chains",
    "read_structure_tracks",
]

#: A folder of files named by record, some files, or record -> file (``"file.cif:B"`` = chain B).
StructureSource: TypeAlias = Path | str | Sequence[Path | str] | Mapping[str, Path | str]

#: Longer chains are left unknown: the assignment needs memory of their length squared (here
#: about 0.7 GB).
MAX_RESIDUES: Final = 2_800
MAX_FILE_BYTES: Final = 128 * 2**20
#: What the parsers raise on damaged files.
_PARSER_FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError),
    *(TypeError, ValueError),
)
BACKBONE: Final = ("N", "CA", "C", "O")
#: A peptide bond is 1.33 angstrom long; DSSP calls the chain broken above this.
_MAX_BOND = 2.5
_FAR = 1_000.0
_APART = 100.0
_CORNERS = np.array([[0, 0, 0], [1.5, 0, 0], [2, 1.4, 0], [2, 2, 1]], np.float32)
_SPACER = 6
_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
_PREDICTED = re.compile(r"^AF-([A-Z0-9]+)-F\d+")


@dataclass(frozen=True, eq=False)
class Chain:
    """One protein chain of a structure's first model.

    Attributes
    ----------
    name : str
        Chain id.
    sequence : str
        Letters of the residues that have an alpha carbon or other backbone atom.
    numbers : ndarray of int64 ``(n,)``
        Their numbers in the file.
    backbone : ndarray of float32 ``(n, 4, 3)``
        N, CA, C and O in angstrom; NaN where an atom is missing.
    """

    name: str
    sequence: str
    numbers: NDArray[np.int64]
    backbone: NDArray[np.float32]


def read_chains(path: Path) -> list[Chain]:
    """Return the protein chains of a PDB or mmCIF file, plain or gzipped.

    Of alternative positions the one with the highest occupancy is taken. Modified residues count
    as their parent's letter; waters, ligands and nucleic acids are passed over.

    Raises
    ------
    InputError
        If the file does not parse or has no protein chain.
    """
    from Bio.PDB.MMCIFParser import MMCIFParser
    from Bio.PDB.PDBExceptions import PDBConstructionException, PDBException
    from Bio.PDB.PDBParser import PDBParser

    text = read_text(path, max_bytes=MAX_FILE_BYTES)
    is_cif = content_suffix(path) in (".cif", ".mmcif")
    make_parser: Any = MMCIFParser if is_cif else PDBParser
    parser = make_parser(QUIET=True)
    try:
        model = next(iter(parser.get_structure("structure", io.StringIO(text))), None)
    except (PDBException, PDBConstructionException, *_PARSER_FAILURES) as error:
        raise InputError(f"{path} is no structure: {error}", allowed="PDB or mmCIF") from None
    chains = [_read_chain(chain) for chain in model] if model is not None else []
    chains = [chain for chain in chains if chain.sequence]
    if not chains:
        raise InputError(f"{path} has no protein chain", allowed="PDB or mmCIF with coordinates")
    return chains


def _read_chain(chain: Any) -> Chain:
    from Bio.Data.PDBData import protein_letters_3to1_extended as letters

    sequence: list[str] = []
    numbers: list[int] = []
    backbone: list[list[NDArray[np.float32]]] = []
    missing = np.full(3, np.nan, np.float32)
    for residue in chain:
        letter = letters.get(residue.get_resname().strip().upper(), "X")
        if "CA" not in residue or (letter == "X" and "N" not in residue):
            continue
        sequence.append(letter)
        numbers.append(int(residue.id[1]))
        backbone.append([residue[a].coord if a in residue else missing for a in BACKBONE])
    coordinates = np.array(backbone, np.float32).reshape(-1, len(BACKBONE), 3)
    return Chain(str(chain.id), "".join(sequence), np.array(numbers, np.int64), coordinates)


def assign_states(chain: Chain) -> str:
    """Return H (helix), E (strand), C or ``?`` (atoms missing) for every residue of a chain.

    Across a break in the chain no turn is counted, and the residue after it, which has no
    hydrogen that could be placed, gives no hydrogen bond; nor does proline.

    Raises
    ------
    InputError
        If the chain is longer than :data:`MAX_RESIDUES`.
    """
    n_residues = len(chain.sequence)
    if n_residues > MAX_RESIDUES:
        raise InputError(
            f"chain {chain.name} has {n_residues} residues", allowed=f"{MAX_RESIDUES:,}"
        )
    complete = np.isfinite(chain.backbone).all(axis=(1, 2))
    states = np.full(n_residues, "?")
    kept = np.flatnonzero(complete)
    if len(kept) == 0:
        return "".join(states)
    coordinates, place, donor = _spaced(chain, kept)
    from pydssp import assign

    with np.errstate(divide="ignore", invalid="ignore"):
        onehot = assign(coordinates, donor_mask=donor, out_type="onehot")[place]
    states[kept] = np.array(["C", "H", "E"])[np.asarray(onehot).argmax(axis=-1)]
    return "".join(states)


def _spaced(
    chain: Chain, kept: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Put far-away dummy residues at breaks and at both ends, so that neighbours are real.

    Returns
    -------
    coordinates : ndarray of float32 ``(n_spaced, 4, 3)``
    place : ndarray of int64 ``(n_kept,)``
        Where the kept residues are.
    donor : ndarray of bool ``(n_spaced,)``
        Residues with a hydrogen on their nitrogen.
    """
    real = chain.backbone[kept]
    real = real - real.reshape(-1, 3).mean(axis=0)
    gap = np.linalg.norm(real[1:, 0] - real[:-1, 2], axis=-1) > _MAX_BOND
    first = np.concatenate([[True], gap | (np.diff(kept) > 1)])
    place = np.arange(len(kept)) + _SPACER * np.cumsum(first)
    n_spaced = int(place[-1]) + 1 + _SPACER
    coordinates = np.tile(_CORNERS, (n_spaced, 1, 1))
    coordinates += (_FAR + _APART * np.arange(n_spaced, dtype=np.float32))[:, None, None]
    coordinates[place] = real
    donor = np.zeros(n_spaced, np.bool_)
    letters = np.array(list(chain.sequence))[kept]
    donor[place] = ~first & (letters != "P")
    return coordinates, place, donor


def read_structure_tracks(
    source: StructureSource, sequences: Mapping[str, str]
) -> Iterator[StateTrack]:
    """Yield the secondary structure of every record that has coordinates.

    Parameters
    ----------
    source
        A folder or some files named by record (``P12345.pdb``, ``P12345.cif.gz``,
        ``AF-P12345-F1-model_v4.cif``, ``P12345_B.pdb`` for chain B), or a mapping from record
        to file, where ``"file.cif:B"`` asks for chain B. Without a chain, the one that agrees
        best with the record is taken.
    sequences
        Residues by record id; files of other proteins are passed over.

    Raises
    ------
    InputError
        If a file cannot be read, or no chain agrees with its record.
    """
    for record, path, wanted in _list_structures(source, sequences):
        sequence = sequences.get(record)
        if sequence is None:
            yield StateTrack(record, "", fine=False)
            continue
        chains = [chain for chain in read_chains(path) if wanted in ("", chain.name)]
        if not chains:
            raise InputError(f"{path} has no protein chain {wanted!r}")
        placed = [(place_residues(c.sequence, c.numbers, sequence), c) for c in chains]
        best, chain = max(placed, key=lambda pair: pair[0].n_same)
        best.require(f"{path} chain {chain.name}", record)
        if len(chain.sequence) > MAX_RESIDUES:
            warnings.warn(
                f"{path} chain {chain.name} is left out: longer than {MAX_RESIDUES} residues",
                UserWarning,
                stacklevel=2,
            )
            continue
        yield StateTrack(record, best.spread(assign_states(chain)), fine=False)


def _list_structures(
    source: StructureSource, sequences: Mapping[str, str]
) -> Iterator[tuple[str, Path, str]]:
    """Yield (record, file, chain) in a fixed order; chain is empty where none is asked for."""
    if isinstance(source, Mapping):
        for record, target in source.items():
            before, _, chain = str(target).rpartition(":")
            has_chain = bool(before) and len(chain) <= 4 and not Path(target).exists()
            yield (record, Path(before), chain) if has_chain else (record, Path(target), "")
        return
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(item) for item in source]
    if len(paths) == 1 and paths[0].is_dir():
        found = (path for path in paths[0].iterdir() if content_suffix(path) in _SUFFIXES)
        paths = sorted(found)
    yield from (_named_record(path, sequences) for path in paths)


def _named_record(path: Path, sequences: Mapping[str, str]) -> tuple[str, Path, str]:
    stem = path.name.removesuffix(".gz")
    stem = stem[: len(stem) - len(Path(stem).suffix)]
    predicted = _PREDICTED.match(stem)
    if predicted:
        return predicted.group(1), path, ""
    protein, _, chain = stem.rpartition("_")
    if stem not in sequences and protein in sequences:
        return protein, path, chain
    return stem, path, ""
