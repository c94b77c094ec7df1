"""The vocabulary of UniProt feature types: spellings, old names, groups and notes.

Types follow https://www.uniprot.org/help/sequence_annotation (UniProt, CC BY 4.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = [
    "BOND_TYPES",
    "EXCLUDED_TYPES",
    "GROUP_OF_TYPE",
    "OLD_TYPES",
    "SECONDARY_TYPES",
    "Entry",
    "Feature",
    "canonical_type",
    "clean_note",
    "modernise",
]


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of a feature table.

    Attributes
    ----------
    type : str
        Today's UniProt key, e.g. ``"BINDING"``.
    start, end : int
        Residues, counted from 1, both included.
    note : str
        Cleaned note: ``"ATP"``, ``"Protein kinase"``.
    line : int
        Line of the file, counted from 1; 0 where the format does not tell.
    """

    type: str
    start: int
    end: int
    note: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What one file says of one protein.

    Attributes
    ----------
    ids : tuple of str
        Names that the protein goes by, best first: accession, entry name, older accessions.
    features : tuple of Feature
        Its features; none is a statement too: the protein was looked at.
    sequence : str
        Its residues where the file states them, else ``""``.
    """

    ids: tuple[str, ...]
    features: tuple[Feature, ...]
    sequence: str = ""


#: Type -> label group. Types of one group were looked for together by the curators.
GROUP_OF_TYPE: Final[dict[str, str]] = {
    "HELIX": "secondary_structure",
    "STRAND": "secondary_structure",
    "TURN": "turns",
    "SIGNAL": "processing",
    "TRANSIT": "processing",
    "PROPEP": "processing",
    "PEPTIDE": "processing",
    "TRANSMEM": "topology",
    "INTRAMEM": "topology",
    "TOPO_DOM": "topology",
    "DOMAIN": "domains",
    "REPEAT": "domains",
    "REGION": "domains",
    "COILED": "domains",
    "COMPBIAS": "domains",
    "ACT_SITE": "sites",
    "BINDING": "sites",
    "SITE": "sites",
    "MOTIF": "sites",
    "ZN_FING": "sites",
    "DNA_BIND": "sites",
    "MOD_RES": "modifications",
    "LIPID": "modifications",
    "CARBOHYD": "modifications",
    "DISULFID": "modifications",
    "CROSSLNK": "modifications",
}

#: Known types that make no label: they cover the whole product (CHAIN), describe the sequence
#: record, its variants or experiments on it, or follow from position alone (INIT_MET).
EXCLUDED_TYPES: Final = (
    "CHAIN",
    "CONFLICT",
    "INIT_MET",
    "MUTAGEN",
    "NON_CONS",
    "NON_STD",
    "NON_TER",
    "UNSURE",
    "VARIANT",
    "VAR_SEQ",
)

#: Names that UniProt has given up -> today's.
OLD_TYPES: Final[dict[str, str]] = {
    "METAL": "BINDING",
    "NP_BIND": "BINDING",
    "CA_BIND": "BINDING",
    "THIOETH": "CROSSLNK",
    "THIOLEST": "CROSSLNK",
    "SE_CYS": "NON_STD",
    "VARSPLIC": "VAR_SEQ",
    "SIMILAR": "REGION",
}

#: Types whose two positions are the ends of a bond, not a range.
BOND_TYPES: Final = frozenset({"DISULFID", "CROSSLNK"})

#: Types that say something only where a structure is known.
SECONDARY_TYPES: Final = ("HELIX", "STRAND", "TURN")

#: Spellings of the JSON and GFF3 formats, without blanks and in lower case.
_LONG_NAMES: Final[dict[str, str]] = {
    "activesite": "ACT_SITE",
    "alternativesequence": "VAR_SEQ",
    "betastrand": "STRAND",
    "bindingsite": "BINDING",
    "calciumbinding": "CA_BIND",
    "chain": "CHAIN",
    "coiledcoil": "COILED",
    "compositionalbias": "COMPBIAS",
    "crosslink": "CROSSLNK",
    "disulfidebond": "DISULFID",
    "dnabinding": "DNA_BIND",
    "domain": "DOMAIN",
    "glycosylation": "CARBOHYD",
    "helix": "HELIX",
    "initiatormethionine": "INIT_MET",
    "intramembrane": "INTRAMEM",
    "lipidation": "LIPID",
    "metalbinding": "METAL",
    "modifiedresidue": "MOD_RES",
    "motif": "MOTIF",
    "mutagenesis": "MUTAGEN",
    "naturalvariant": "VARIANT",
    "nonadjacentresidues": "NON_CONS",
    "nonstandardresidue": "NON_STD",
    "nonterminalresidue": "NON_TER",
    "nucleotidebinding": "NP_BIND",
    "peptide": "PEPTIDE",
    "propeptide": "PROPEP",
    "region": "REGION",
    "repeat": "REPEAT",
    "sequenceconflict": "CONFLICT",
    "sequenceuncertainty": "UNSURE",
    "signal": "SIGNAL",
    "signalpeptide": "SIGNAL",
    "site": "SITE",
    "topologicaldomain": "TOPO_DOM",
    "transitpeptide": "TRANSIT",
    "transmembrane": "TRANSMEM",
    "turn": "TURN",
    "zincfinger": "ZN_FING",
}
_KEYS: Final = {*GROUP_OF_TYPE, *EXCLUDED_TYPES, *OLD_TYPES}

#: Old names of what is bound -> the ChEBI names that UniProt uses today.
_LIGANDS: Final[dict[str, str]] = {
    "Calcium": "Ca(2+)",
    "Cobalt": "Co(2+)",
    "Divalent metal cation": "a divalent metal cation",
    "Magnesium": "Mg(2+)",
    "Manganese": "Mn(2+)",
    "NAD": "NAD(+)",
    "NADP": "NADP(+)",
    "Nickel": "Ni(2+)",
    "Potassium": "K(+)",
    "Pyridoxal phosphate": "pyridoxal 5'-phosphate",
    "Sodium": "Na(+)",
    "Substrate": "substrate",
    "Thiamine pyrophosphate": "thiamine diphosphate",
    "Zinc": "Zn(2+)",
}

_QUALIFIER = re.compile(
    r"\s*(\((by similarity|potential|probable|with [^()]*)\)|\{[^{}]*\}|/\w+=\S*)", re.IGNORECASE
)
_NUMBERING = re.compile(r"(^|\s+)\d+(-\d+)?[a-z]?(?=$| \()")
_ALTERNATIVE_END = re.compile(r"^or \d+$", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]+")
_MAX_NOTE = 80


@lru_cache(maxsize=65536)
def canonical_type(name: str) -> str | None:
    """Return the feature key that a file's spelling stands for (maybe an old one), or None.

    Examples
    --------
    >>> canonical_type("Beta strand"), canonical_type("TOPO_DOM"), canonical_type("gene")
    ('STRAND', 'TOPO_DOM', None)
    """
    if name.upper() in _KEYS:
        return name.upper()
    return _LONG_NAMES.get(re.sub(r"[\s_-]+", "", name).lower())


@lru_cache(maxsize=65536)
def clean_note(note: str) -> str:
    """Return the part of a note that names a kind: no numbering, evidence, detail or partner.

    Examples
    --------
    >>> clean_note("Zinc 2; via tele nitrogen"), clean_note("ABC transporter 1")
    ('Zinc', 'ABC transporter')
    >>> clean_note("Helical; Name=3"), clean_note("Or 24"), clean_note("PH (Potential).")
    ('Helical', '', 'PH')
    """
    text = _UNPRINTABLE.sub(" ", note)
    text = _QUALIFIER.sub("", text).partition(";")[0]
    text = " ".join(text.split()).rstrip(".,")
    if _ALTERNATIVE_END.match(text):
        return ""
    text = _NUMBERING.sub("", text).strip(" .,")
    return text[:_MAX_NOTE].rstrip()


@lru_cache(maxsize=65536)
def modernise(key: str, note: str) -> tuple[str, str]:
    """Return today's type and the cleaned note of a feature key and its raw note.

    METAL, NP_BIND and CA_BIND are BINDING; the metals and cofactors that they name become
    today's ligand names, so that files of different years share labels.

    Examples
    --------
    >>> modernise("METAL", "Zinc 1"), modernise("CA_BIND", "2"), modernise("HELIX", "")
    (('BINDING', 'Zn(2+)'), ('BINDING', 'Ca(2+)'), ('HELIX', ''))
    """
    modern = OLD_TYPES.get(key, key)
    cleaned = clean_note(note)
    if modern == "BINDING":
        cleaned = cleaned.removesuffix(" binding")
        if key == "CA_BIND" and not cleaned:
            cleaned = "Calcium"
        cleaned = _LIGANDS.get(cleaned, cleaned)
    return modern, cleaned
