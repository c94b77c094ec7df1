"""Every parser as one function of bytes, with files that it reads.

``all_targets(folder)`` is the table: what each name parses, and from what damage starts. The same
table is run by hypothesis in the tests and by ``benchmarks/reliability/fuzz.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fuzz_checkpoints import checkpoint_targets
from fuzz_fields import field_targets, native_targets
from fuzz_results import result_targets
from fuzz_seeds import CIF, FLAT, GFF, JSON, LONG, PDB, STUDY, TEMPEST, TRACKS, WIDE
from fuzz_stores import store_targets

from sci_interp.errors import SciInterpError
from sci_interp.journal import Journal
from sci_interp.study import read_study
from sci_interp_protein.clusters import read_clusters
from sci_interp_protein.record_terms import read_terms
from sci_interp_protein.records import read_fasta
from sci_interp_protein.reference import read_reference
from sci_interp_protein.residue_strings import read_residue_strings
from sci_interp_protein.structures import assign_states, read_chains
from sci_interp_protein.uniprot import read_entries
from sci_interp_weather.bulletins import read_bulletin
from sci_interp_weather.indices import load_indices
from sci_interp_weather.track_files import read_tracks

__all__ = ["Target", "all_targets", "run_target"]


class Target:
    """A parser; no dataclass, whose seeds a failing example would print whole.

    Attributes
    ----------
    seeds : tuple of bytes
        Files that it reads.
    parse : callable
        Parses bytes.
    slow : bool
        Whether one call takes more than some milliseconds.
    native : bool
        Whether a library in C reads the bytes, which damage may crash together with its process.
    """

    def __init__(
        self,
        seeds: tuple[bytes, ...],
        parse: Callable[[bytes], object],
        *,
        slow: bool = False,
        native: bool = False,
    ) -> None:
        self.seeds, self.parse, self.slow, self.native = seeds, parse, slow, native

    def __repr__(self) -> str:
        return f"a parser with {len(self.seeds)} seeds"


def run_target(target: Target, data: bytes) -> str:
    """Parse bytes; return the message of a refusal, or nothing where they are read.

    Whatever else the parser raises is raised here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.parse(data)
        except SciInterpError as error:
            return str(error)
    return ""


def all_targets(folder: Path) -> Mapping[str, Target]:
    """Return every target by name.

    Parameters
    ----------
    folder
        Where targets write the bytes to a file; artefacts that they damage are made here once.
    """
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    found = {name: Target(seeds, parse) for name, seeds, parse in _text_targets(files)}
    slow = (*checkpoint_targets(files), *field_targets(files), *store_targets(folder))
    for name, seeds, parse in (*slow, *result_targets(folder)):
        found[name] = Target(seeds, parse, slow=True)
    for name, seeds, parse in native_targets(files):
        found[name] = Target(seeds, parse, slow=True, native=True)
    return found


def _text_targets(
    files: Path,
) -> Iterator[tuple[str, tuple[bytes, ...], Callable[[bytes], object]]]:
    """Yield name, seeds and parser of everything that is text."""
    for name, (file, read, *texts) in _READERS.items():
        path = files / name / file
        path.parent.mkdir(exist_ok=True)

        def parse(data: bytes, path: Path = path, read: Callable[[Path], object] = read) -> object:
            path.write_bytes(data)
            return read(path)

        yield name, tuple(text.encode() for text in texts), parse


def _entries(path: Path) -> object:
    return list(read_entries(path))


def _states(path: Path) -> object:
    return [assign_states(chain) for chain in read_chains(path)]


def _strings(path: Path) -> object:
    return list(read_residue_strings(path))


def _terms(path: Path) -> object:
    return list(read_terms(path))


def _clusters(path: Path) -> object:
    return read_clusters({"P1": "MK", "P2": "MKV"}, path)


_FASTA = (">sp|P12345|NAME_ECOLI A protein OS=x\nMKVLAX\nggtw*\n>b\nMKV\n", ">a b\nM\n")
_STRINGS = "id\tsequence\tq3\tresolved\nP1\tMK\tHE\t10\nP2\tMKV\tCCC\t111\n"
_CLUSTERS = "cluster\tprotein_id\nA\tP1\nB\tP1;P2\nA\tP2\n"
_REFERENCE = "accession\tname\tcluster\tsequence\tfeatures\nP1\tx\tP1\tMK\tHELIX:1-2;SITE:2:x\n"
_TERMS = "record\tterm\tgroup\tname\nP1\tGO:0005524\tfunction\tATP binding\nP1\t1.1.1.1\tEC\t\n"
_TERMS_WIDE = "Entry\tEC number\tGene Ontology (molecular function)\nP1\t1.1.1.1\tx [GO:0005524]\n"
_INDEX = "# source\ndate,ao\n2001-01-01,0.5\n2001-01-02,-1.25\n2001-01-04,\n2001-01-05,1e-2\n"
_BULLETIN = (
    "342 PM EDT MON JUN 28 2021\n\nVALID 062818Z\nHIGHS 1022 3961069 1020\n3851069 "
    "LOWS 1015 5400823\nCOLD WK 5280837 5180828\nOCFNT 39106 40107\n$$\n"
)
_JOURNAL = (
    f'{{"files": {{"a/c/0": "{"0" * 64}"}}, "info": {{"n": 3}}, "shard": 0}}\n'
    f'{{"files": {{"a/c/1": "{"1" * 64}", "b/c/1": "{"2" * 64}"}}, "info": {{}}, "shard": 1}}\n'
)
#: Name -> file name, reader, texts that it reads.
_READERS: dict[str, tuple[str, Callable[[Path], object], *tuple[str, ...]]] = {
    "fasta": ("x.fasta", read_fasta, *_FASTA),
    "feature table": ("x.tsv", _entries, LONG),
    "feature table, wide": ("x.tsv", _entries, WIDE),
    "GFF": ("x.gff", _entries, GFF),
    "flat file": ("x.dat", _entries, FLAT),
    "UniProt JSON": ("x.json", _entries, JSON),
    "feature file of any format": ("x", _entries, LONG, GFF, FLAT, JSON),
    "residue strings, table": ("x.tsv", _strings, _STRINGS),
    "residue strings": ("x.fasta", _strings, ">P1\nMK\nHE\n>P2\nHHEE\n>P3\nMKV\nHG-\n101\n"),
    "clusters": ("x.tsv", _clusters, _CLUSTERS, "A\tP1\nA\tP2\n"),
    "terms": ("x.tsv", _terms, _TERMS, _TERMS_WIDE),
    "reference set": ("x.tsv", read_reference, _REFERENCE),
    "PDB": ("x.pdb", _states, PDB),
    "mmCIF": ("x.cif", _states, CIF),
    "tracks, CSV": ("x.csv", read_tracks, *TRACKS),
    "tracks, TempestExtremes": ("x.txt", read_tracks, TEMPEST),
    "index": ("x.csv", load_indices, _INDEX),
    "bulletin": ("x.txt", read_bulletin, _BULLETIN),
    "study": ("x.toml", read_study, STUDY),
    "journal": ("journal.jsonl", Journal, _JOURNAL),
}
