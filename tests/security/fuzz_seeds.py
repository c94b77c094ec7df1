"""Files that the parsers of text read, small and with every part that a parser looks at."""

from __future__ import annotations

__all__ = ["CIF", "FLAT", "GFF", "JSON", "LONG", "PDB", "STUDY", "TEMPEST", "TRACKS", "WIDE"]

_BACKBONE = ("N", "CA", "C", "O")
_ATOMS = [
    (4 * r + i, atom, r, 1.5 * r, 1.2 * i, 0.7 * (r % 3))
    for r in range(1, 9)
    for i, atom in enumerate(_BACKBONE)
]
PDB = "".join(
    f"ATOM  {n:5d}  {a:<3} GLY A{r:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {a[0]}\n"
    for n, a, r, x, y, z in _ATOMS
)
_CIF_COLUMNS = (
    "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id",
    "label_asym_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z",
    "occupancy", "B_iso_or_equiv", "auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num",
)  # fmt: skip
CIF = (
    "data_x\nloop_\n"
    + "".join(f"_atom_site.{name}\n" for name in _CIF_COLUMNS)
    + "".join(
        f"ATOM {n} {a[0]} {a} . GLY A {r} ? {x} {y} {z} 1.0 0.0 {r} A 1\n"
        for n, a, r, x, y, z in _ATOMS
    )
)
FLAT = (
    "ID   A_B                     Reviewed;           9 AA.\nAC   P1; Q1;\n"
    "DT   01-JAN-2000, integrated into UniProtKB/Swiss-Prot.\nRN   [1]\nRA   X.;\n"
    "FT   METAL         3      3       Zinc 1 (By similarity).\nFT   HELIX         4      7\n"
    'FT   BINDING         3\nFT                   /ligand="Zn(2+)"\n'
    "FT   SIGNAL          <1..?\nFT   SITE            P1-2:3..4\n"
    "SQ   SEQUENCE   9 AA;  900 MW;  0000000000000000 CRC64;\n     MKVLAAGGC\n//\n"
)
_ROW = '{"type": "Helix", "location": {"start": {"value": 1}, "end": {"value": 2}}}'
_SITE = (
    '{"type": "Binding site", "description": "x", "ligand": {"name": "ATP"}, "location": '
    '{"start": {"value": 1, "modifier": "OUTSIDE"}, "end": {"value": null}}}'
)
JSON = (
    '{"results": [{"primaryAccession": "P1", "uniProtkbId": "A_B", "secondaryAccessions": ["Q1"], '
    f'"sequence": {{"value": "MKV"}}, "features": [{_ROW}, {_SITE}]}}]}}'
)
LONG = (
    "protein_id\tfeature\tstart\tend\tnote\n"
    "P1\tHELIX\t1\t2\t\nP1\tBINDING\t<3\t?\tATP\nP2\tDOMAIN\t1\t9\tSH3 1\n"
)
WIDE = 'Entry\tHelix\tBinding\nP1\tHELIX 1..2; HELIX 4..5\tBINDING 7; /ligand="ATP"\nP2\t\t\n'
GFF = (
    "##gff-version 3\n##sequence-region P1 1 9\n"
    "P1\tUniProtKB\tHelix\t1\t2\t.\t.\t.\tNote=a%2Cb;Ligand=ATP\n"
    "P2\tUniProtKB\tDomain\t3\t4\t.\t.\t.\t\t\n##FASTA\n>P1\nMKV\n"
)
STUDY = (
    '[study]\nadapter = "protein"\nout = "runs/mine"\nseed = 3\n[data]\npath = "x.fasta"\n'
    'more = ["a", "s3://b/c"]\n[sae]\nfeatures = 64\nk = 4\npenalty = 0.5\n'
    'architecture = "relu"\n[baselines]\nuse = ["pca", "probe"]\n[splits]\ntrain = 0.2\n'
    'discovery = 0.3\ntest = 0.3\nvault = 0.2\n[enrich]\nq = 0.05\n[model]\ndevice = "cpu"\n'
)
TRACKS = (
    "# by hand\ntrack_id,time,lat,lon,status\nA,2005-08-28 12:00:00,27.0,272.0,EX\n",
    "storm,iso_time,latitude,longitude\nB,2005-08-28T06:00Z,-10.0,179.5\n",
    "storm,year,month,day,hour,i,j,lon,lat\n0, 2005, 8, 28, 18, 1, 2, 274.0, 25.0\n",
)
TEMPEST = (
    "start\t2\t2005\t8\t28\t0\n\t100\t200\t274.0\t25.0\t9.5e+04\t2005\t8\t28\t0\n"
    "\t101\t200\t272.0\t26.0\t9.4e+04\t2005\t8\t28\t6\nstart 1 2005 8 29 0\n"
    "\t7\t10.0\t-20.0\t9.9e+04\t2005\t8\t29\t0\n"
)
