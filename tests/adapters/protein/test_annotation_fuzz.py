"""Damaged files of every format: a typed error or a reading, never anything else."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_protein.clusters import read_clusters
from sci_interp_protein.reference import read_reference
from sci_interp_protein.residue_strings import read_residue_strings
from sci_interp_protein.structures import assign_states, read_chains
from sci_interp_protein.uniprot import read_entries

ATOM = "ATOM  {n:5d}  {a:<3} GLY A{r:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {e}\n"
PDB = "".join(
    ATOM.format(n=4 * r + i, a=a, r=r, x=1.5 * r, y=1.2 * i, z=0.7 * (r % 3), e=a[0])
    for r in range(1, 9)
    for i, a in enumerate(("N", "CA", "C", "O"))
)
CIF = (
    "data_x\nloop_\n"
    + "".join(
        f"_atom_site.{name}\n"
        for name in [
            "group_PDB",
            "id",
            "type_symbol",
            "label_atom_id",
            "label_alt_id",
            "label_comp_id",
            "label_asym_id",
            "label_seq_id",
            "pdbx_PDB_ins_code",
            "Cartn_x",
            "Cartn_y",
            "Cartn_z",
            "occupancy",
            "B_iso_or_equiv",
            "auth_seq_id",
            "auth_asym_id",
            "pdbx_PDB_model_num",
        ]
    )
    + "".join(
        f"ATOM {4 * r + i} {a[0]} {a} . GLY A {r} ? {1.5 * r} {1.2 * i} {0.7} 1.0 0.0 {r} A 1\n"
        for r in range(1, 9)
        for i, a in enumerate(("N", "CA", "C", "O"))
    )
)
FLAT = (
    "ID   A_B                     Reviewed;           9 AA.\nAC   P1; Q1;\n"
    "DT   01-JAN-2000, integrated into UniProtKB/Swiss-Prot.\nRN   [1]\nRA   X.;\n"
    "FT   METAL         3      3       Zinc 1 (By similarity).\nFT   HELIX         4      7\n"
    'FT   BINDING         3\nFT                   /ligand="Zn(2+)"\n'
    "SQ   SEQUENCE   9 AA;  900 MW;  0000000000000000 CRC64;\n     MKVLAAGGC\n//\n"
)
ROW = '{"type": "Helix", "location": {"start": {"value": 1}, "end": {"value": 2}}}'
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "f.tsv": (
        lambda p: list(read_entries(p)),
        "protein_id\tfeature\tstart\tend\nP1\tHELIX\t1\t2\n",
    ),
    "w.tsv": (lambda p: list(read_entries(p)), "Entry\tHelix\nP1\tHELIX 1..2; HELIX 4..5\n"),
    "f.gff": (
        lambda p: list(read_entries(p)),
        "##gff-version 3\nP1\tx\tHelix\t1\t2\t.\t.\t.\tN=%2C\n",
    ),
    "f.dat": (lambda p: list(read_entries(p)), FLAT),
    "f.json": (
        lambda p: list(read_entries(p)),
        f'[{{"primaryAccession": "P1", "features": [{ROW}]}}]',
    ),
    "s.tsv": (
        lambda p: list(read_residue_strings(p)),
        "id\tsequence\tq3\tresolved\nP1\tMK\tHE\t10\n",
    ),
    "s.fasta": (lambda p: list(read_residue_strings(p)), ">P1\nMK\nHE\n>P2\nHHEE\n"),
    "c.tsv": (lambda p: read_clusters({"P1": "MK"}, p), "cluster\tprotein_id\nA\tP1\nB\tP1\n"),
    "r.tsv": (
        read_reference,
        "accession\tname\tcluster\tsequence\tfeatures\nP1\tx\tP1\tMK\tHELIX:1-2;SITE:2:x\n",
    ),
    "x.pdb": (lambda p: [assign_states(chain) for chain in read_chains(p)], PDB),
    "x.cif": (lambda p: [assign_states(chain) for chain in read_chains(p)], CIF),
}
DAMAGE = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 12),
        st.text(max_size=4)
        | st.sampled_from(["\t", "\n", "9" * 30, "-1", "nan", "?", ";", '"', "//\n"]),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", FILES)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(damage=DAMAGE)
def test_damaged_files(tmp_path: Path, name: str, damage: list[tuple[float, int, str]]) -> None:
    read, text = FILES[name]
    for share, n_cut, inserted in damage:
        at = int(share * len(text))
        text = text[:at] + inserted + text[at + n_cut :]
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with contextlib.suppress(InputError):
            read(path)


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    read, text = FILES[name]
    path = tmp_path / name
    path.write_text(text)
    assert read(path)
