"""Secondary structure from coordinates, and the way back to the sequence."""

from __future__ import annotations

import gzip
import io
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from Bio.Data.PDBData import protein_letters_1to3

from sci_interp.errors import InputError
from sci_interp_protein.alphabet import AMINO_ACIDS
from sci_interp_protein.annotations import load_annotations
from sci_interp_protein.chain_mapping import place_residues
from sci_interp_protein.structures import (
    MAX_RESIDUES,
    Chain,
    assign_states,
    read_chains,
    read_structure_tracks,
)

THREE = {letter: name.upper() for letter, name in protein_letters_1to3.items()}
SEQUENCE = "MKVLAAEGHICRNDQSTFWYMKVLAAEGHI"


def place_atom(a: np.ndarray, b: np.ndarray, c: np.ndarray, internal: tuple) -> np.ndarray:
    """Return the atom at a distance, angle and torsion (degrees) from three others."""
    length, angle, torsion = internal[0], np.radians(internal[1]), np.radians(internal[2])
    bc = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, bc)
    normal /= np.linalg.norm(normal)
    frame = np.stack([bc, np.cross(normal, bc), normal])
    local = [-np.cos(angle), np.sin(angle) * np.cos(torsion), np.sin(angle) * np.sin(torsion)]
    return c + length * np.array(local) @ frame


def ideal_backbone(n: int, phi: float, psi: float) -> np.ndarray:
    """Return N, CA, C, O of n residues with equal torsions: ``(n, 4, 3)``."""
    chain = [np.array([0.0, 0, 0]), np.array([1.46, 0, 0]), np.array([2.0, 1.4, 0])]
    for _ in range(n - 1):
        for internal in ((1.33, 116.6, psi), (1.46, 121.7, 180.0), (1.52, 111.0, phi)):
            chain.append(place_atom(*chain[-3:], internal))
    chain.append(place_atom(*chain[-3:], (1.33, 116.6, psi)))
    atoms = [
        [
            *chain[3 * i : 3 * i + 3],
            place_atom(chain[3 * i + 3], chain[3 * i + 1], chain[3 * i + 2], (1.23, 120.5, 180.0)),
        ]
        for i in range(n)
    ]
    return np.array(atoms, np.float32)


def ideal_oxygen(backbone: np.ndarray) -> np.ndarray:
    """Put every O opposite to the next N in the peptide plane."""
    fixed = backbone.copy()
    for at in range(len(backbone) - 1):
        ca, c, following = backbone[at, 1], backbone[at, 2], backbone[at + 1, 0]
        away = -(
            (ca - c) / np.linalg.norm(ca - c) + (following - c) / np.linalg.norm(following - c)
        )
        fixed[at, 3] = c + 1.23 * away / np.linalg.norm(away)
    return fixed


def helix(sequence: str = SEQUENCE, name: str = "A") -> Chain:
    backbone = ideal_oxygen(ideal_backbone(len(sequence), -57.8, -47.0))
    return Chain(name, sequence, np.arange(1, len(sequence) + 1), backbone)


def pdb_text(*chains: Chain) -> str:
    lines, serial = [], 0
    for chain in chains:
        for letter, number, atoms in zip(
            chain.sequence, chain.numbers, chain.backbone, strict=True
        ):
            for name, xyz in zip(("N", "CA", "C", "O"), atoms, strict=True):
                if np.isfinite(xyz).all():
                    serial += 1
                    where = "".join(f"{value:8.3f}" for value in xyz)
                    lines.append(
                        f"ATOM  {serial:5d}  {name:<3} {THREE[letter]} {chain.name}{number:4d}    "
                        f"{where}  1.00  0.00           {name[0]}\n"
                    )
        lines.append("TER\n")
    return "".join(lines) + "END\n"


def read_dssp(path: Path) -> dict[int, str]:
    """Return H, E or C of every residue number in an output of the DSSP program."""
    body = path.read_text().partition("  #  RESIDUE")[2].splitlines()[1:]
    coarse = {"H": "H", "G": "H", "I": "H", "E": "E", "B": "E"}
    return {int(row[5:10]): coarse.get(row[16], "C") for row in body if row[13] != "!"}


def test_agreement_with_the_dssp_program(shared_data: Path) -> None:
    folder = shared_data / "protein" / "fixtures" / "dssp"
    n_same, n_all = 0, 0
    for path in sorted(folder.glob("*.pdb.gz")):
        (chain,) = read_chains(path)
        expected = read_dssp(folder / path.name.replace(".pdb.gz", ".dssp"))
        states = assign_states(chain)
        same = [expected[n] == s for n, s in zip(chain.numbers.tolist(), states, strict=True)]
        assert np.mean(same) >= 0.85, path.name
        n_same, n_all = n_same + sum(same), n_all + len(same)
    assert n_same / n_all >= 0.97


def test_ideal_helix_and_what_breaks_it() -> None:
    states = assign_states(helix())
    assert states[2:-2] == "H" * (len(SEQUENCE) - 4)
    strand = Chain("A", SEQUENCE, np.arange(30), ideal_oxygen(ideal_backbone(30, -120.0, 120.0)))
    assert set(assign_states(strand)) == {"C"}
    chain = helix()
    chain.backbone[14, 3] = np.nan
    broken = assign_states(chain)
    assert broken[14] == "?"
    assert broken[:14] == assign_states(
        Chain("A", SEQUENCE[:14], np.arange(14), chain.backbone[:14])
    )
    assert broken[15:] == assign_states(
        Chain("A", SEQUENCE[15:], np.arange(15), chain.backbone[15:])
    )
    chain.backbone[:] = np.nan
    assert assign_states(chain) == "?" * 30


def test_halves_far_apart_are_two_chains() -> None:
    chain = helix()
    chain.backbone[15:] += 40.0
    halves = [
        assign_states(Chain("A", SEQUENCE[part], np.arange(15), chain.backbone[part]))
        for part in (slice(0, 15), slice(15, 30))
    ]
    assert assign_states(chain) == "".join(halves)


def test_too_long_a_chain_is_refused() -> None:
    n = MAX_RESIDUES + 1
    with pytest.raises(InputError, match=f"chain A has {n} residues"):
        assign_states(Chain("A", "A" * n, np.arange(n), np.zeros((n, 4, 3), np.float32)))


def test_pdb_and_mmcif_agree(tmp_path: Path) -> None:
    from Bio.PDB import MMCIFIO, PDBParser

    plain = tmp_path / "x.pdb"
    plain.write_text(pdb_text(helix(), helix(SEQUENCE[:20], "B")))
    writer = MMCIFIO()
    writer.set_structure(PDBParser(QUIET=True).get_structure("x", str(plain)))
    text = io.StringIO()
    writer.save(text)
    packed = tmp_path / "x.cif.gz"
    packed.write_bytes(gzip.compress(text.getvalue().encode()))
    for one, other in zip(read_chains(plain), read_chains(packed), strict=True):
        assert (one.name, one.sequence) == (other.name, other.sequence)
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_allclose(one.backbone, other.backbone, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.pdb", "", "has no protein chain"),
        ("x.pdb", "HELLO\n", "has no protein chain"),
        ("x.pdb", "ATOM      1  CA  ALA A   1      xxxx.xx\n", "x.pdb"),
        ("x.cif", "", "is no structure"),
        ("x.cif", "data_x\nloop_\n_a.b\n'unclosed\n", "is no structure"),
        ("x.cif", "data_x\n_cell.a 1\n", "is no structure"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_chains(tmp_path / name)


def test_placement_by_number_is_exact_at_gaps() -> None:
    sequence = "MAAAAAAAAAAKVL"
    observed = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13]
    chain = "".join(sequence[at] for at in observed)
    for shift in (1, 101):
        found = place_residues(chain, np.array(observed) + shift, sequence)
        assert found.position.tolist() == observed
        assert (found.n_same, found.n_different) == (10, 0)


def test_placement_by_alignment() -> None:
    rng = random.Random(3)
    sequence = "".join(rng.choices(AMINO_ACIDS, k=120))
    numbers = np.zeros(0, np.int64)
    chain = "HHHH" + sequence[20:60] + sequence[80:110]
    numbers = np.concatenate([np.arange(-3, 1), np.arange(500, 540), np.arange(10, 40)])
    found = place_residues(chain, numbers, sequence)
    assert found.position[4:].tolist() == [*range(20, 60), *range(80, 110)]
    states = found.spread("?" * 4 + "H" * 40 + "E" * 30)
    assert states == "?" * 20 + "H" * 40 + "?" * 20 + "E" * 30 + "?" * 10
    engineered = place_residues("W" + SEQUENCE[1:], np.arange(1, 31), SEQUENCE)
    assert (engineered.n_same, engineered.n_different) == (29, 1)
    with pytest.warns(UserWarning, match="x: 1 residues differ from 'P1'"):
        engineered.require("x", "P1")


def test_records_and_their_files(tmp_path: Path) -> None:
    sequences = {"P1": "GG" + SEQUENCE, "P2": SEQUENCE[:20], "P3": "W" * 30}
    both = tmp_path / "both.pdb"
    both.write_text(pdb_text(helix(name="B"), helix(SEQUENCE[:20], "C")))
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(both, folder / "AF-P1-F1-model_v4.pdb")
    shutil.copy(both, folder / "P2_C.ent")
    (folder / "notes.txt").write_text("x")
    wanted = {"P1": f"{both}:B", "P2": f"{both}:C"}
    by_folder = list(read_structure_tracks(folder, sequences))
    by_name = list(read_structure_tracks(wanted, sequences))
    by_list = list(read_structure_tracks(sorted(folder.glob("*[bn]*")), sequences))
    assert by_folder == by_name
    assert by_list[0] == by_folder[0]
    assert by_folder[0].states == "??" + assign_states(helix())
    found = load_annotations(sequences, structures=folder).of("P2")
    assert [run[0] for run in found.runs].count("HELIX") == 1
    assert ("secondary_structure", 0, 20) in found.known
    with pytest.raises(InputError, match="is not 'P3'"):
        list(read_structure_tracks({"P3": both}, sequences))
    with pytest.raises(InputError, match="has no protein chain 'Z'"):
        list(read_structure_tracks({"P1": f"{both}:Z"}, sequences))
    with pytest.raises(InputError, match="other proteins"):
        load_annotations({"P9": "MKV"}, structures=[both])
