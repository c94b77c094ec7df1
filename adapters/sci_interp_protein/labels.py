"""The labels of residues: UniProt types and their kinds, DSSP states, identity and position."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sci_interp.adapter import Label

from .alphabet import AMINO_ACIDS
from .feature_types import GROUP_OF_TYPE

__all__ = [
    "FINE_STATES",
    "NUISANCE_LABELS",
    "STATE_LABELS",
    "feature_label",
    "nuisance_known",
    "nuisance_runs",
    "state_label",
    "state_runs",
]

TERMINUS: Final = 20
#: Physico-chemical classes as runs of residues; a residue may be in several.
RESIDUE_CLASSES: Final[dict[str, str]] = {
    "hydrophobic": "AVILMFWC",
    "aromatic": "FWYH",
    "positive": "KRH",
    "negative": "DE",
    "polar": "STNQ",
    "tiny": "AGS",
}

_TYPE_DEFINITIONS: Final[dict[str, str]] = {
    "HELIX": "helix (alpha, 3-10 or pi)",
    "STRAND": "extended strand or isolated beta bridge",
    "TURN": "hydrogen-bonded turn",
    "SIGNAL": "signal peptide",
    "TRANSIT": "transit peptide to an organelle",
    "PROPEP": "part removed when the protein matures",
    "PEPTIDE": "released active peptide",
    "TRANSMEM": "stretch that crosses a membrane",
    "INTRAMEM": "stretch inside a membrane that does not cross it",
    "TOPO_DOM": "stretch on one side of a membrane",
    "DOMAIN": "domain",
    "REPEAT": "repeat",
    "REGION": "region of interest",
    "COILED": "coiled coil",
    "COMPBIAS": "stretch of biased composition",
    "ACT_SITE": "residue active in catalysis",
    "BINDING": "residue that binds a ligand, metal or cofactor",
    "SITE": "other residue of interest",
    "MOTIF": "short sequence motif",
    "ZN_FING": "zinc finger",
    "DNA_BIND": "stretch that binds DNA",
    "MOD_RES": "modified residue",
    "LIPID": "residue with a lipid",
    "CARBOHYD": "glycosylated residue",
    "DISULFID": "the two cysteines of a disulfide bond",
    "CROSSLNK": "residues of another covalent bond",
}

#: DSSP letter -> (label, definition); letters of the eight-state alphabet only.
FINE_STATES: Final[dict[str, tuple[str, str]]] = {
    "H": ("HELIX:alpha", "alpha helix (DSSP H)"),
    "G": ("HELIX:3-10", "3-10 helix (DSSP G)"),
    "I": ("HELIX:pi", "pi helix (DSSP I)"),
    "P": ("POLYPROLINE", "polyproline II helix (DSSP P)"),
    "E": ("STRAND:extended", "extended strand in a ladder (DSSP E)"),
    "B": ("STRAND:bridge", "isolated beta bridge (DSSP B)"),
    "S": ("BEND", "bend (DSSP S)"),
}
#: Coarse labels of both alphabets; TURN is told by the eight-state one only.
_COARSE: Final = {"HELIX": "[HGI]+", "STRAND": "[EB]+"}
_FINE_GROUP: Final = "secondary_structure_fine"

NUISANCE_LABELS: Final[tuple[Label, ...]] = (
    *(
        Label(f"amino_acid={letter}", "amino_acid", f"residue {letter}", nuisance=True)
        for letter in AMINO_ACIDS
    ),
    *(
        Label(f"residue_class={name}", "amino_acid", f"residues of {letters}", nuisance=True)
        for name, letters in RESIDUE_CLASSES.items()
    ),
    Label("position=N-terminus", "position", f"first {TERMINUS} residues", nuisance=True),
    Label("position=C-terminus", "position", f"last {TERMINUS} residues", nuisance=True),
)

_IDENTITY = re.compile(rf"([{AMINO_ACIDS}])\1*")
_CLASSES = {name: re.compile(f"[{letters}]+") for name, letters in RESIDUE_CLASSES.items()}
_STANDARD = re.compile(f"[{AMINO_ACIDS}]+")


def feature_label(kind: str, note: str = "") -> Label:
    """Return the label of a UniProt type, or of one kind of it that notes tell apart."""
    definition = f"{_TYPE_DEFINITIONS[kind]} (UniProt {kind})"
    if note:
        return Label(f"{kind}:{note}", GROUP_OF_TYPE[kind], f"{definition}, noted as {note!r}")
    return Label(kind, GROUP_OF_TYPE[kind], definition)


def state_label(letter: str) -> Label:
    """Return the label of one letter of the eight-state alphabet."""
    name, definition = FINE_STATES[letter]
    return Label(name, _FINE_GROUP, definition)


#: Labels that per-residue state strings can give, beside HELIX, STRAND and TURN.
STATE_LABELS: Final[tuple[Label, ...]] = tuple(state_label(letter) for letter in FINE_STATES)


def state_runs(states: str, *, fine: bool) -> Iterator[tuple[str, int, int]]:
    """Yield (label, start, stop) of a string of DSSP states, ``?`` where unknown.

    Parameters
    ----------
    states
        One letter a residue: H, G, I, P, E, B, T, S, C or ``?``.
    fine
        Whether the string tells eight states; then TURN, BEND and the finer labels come too.
    """
    patterns = dict(_COARSE)
    if fine:
        patterns["TURN"] = "T+"
        patterns.update({name: f"{letter}+" for letter, (name, _) in FINE_STATES.items()})
    for name, pattern in patterns.items():
        for match in re.finditer(pattern, states):
            yield name, match.start(), match.end()


def state_groups(*, fine: bool) -> tuple[str, ...]:
    """Return the label groups that a string of states assesses."""
    coarse = (GROUP_OF_TYPE["HELIX"],)
    return (*coarse, GROUP_OF_TYPE["TURN"], _FINE_GROUP) if fine else coarse


def nuisance_runs(sequence: str) -> Iterator[tuple[str, int, int]]:
    """Yield (label, start, stop) of residue identity, residue classes and the two ends.

    Neighbouring residues of the same letter or class are one run.
    """
    for match in _IDENTITY.finditer(sequence):
        yield f"amino_acid={match.group(1)}", match.start(), match.end()
    for name, pattern in _CLASSES.items():
        for match in pattern.finditer(sequence):
            yield f"residue_class={name}", match.start(), match.end()
    n = len(sequence)
    yield "position=N-terminus", 0, min(TERMINUS, n)
    yield "position=C-terminus", max(0, n - TERMINUS), n


def nuisance_known(sequence: str) -> Iterator[tuple[str, int, int]]:
    """Yield (group, start, stop): position is always known, identity where the residue is."""
    for match in _STANDARD.finditer(sequence):
        yield "amino_acid", match.start(), match.end()
    yield "position", 0, len(sequence)


def ordered_labels(kinds: Iterable[tuple[str, str]], *, fine: bool) -> tuple[Label, ...]:
    """Return labels in their fixed order: types, each followed by its kinds; states; nuisances.

    Parameters
    ----------
    kinds
        Pairs (type, note) that are labels; an empty note is the type itself.
    fine
        Whether eight-state strings are among the sources.
    """
    rank = {kind: index for index, kind in enumerate(GROUP_OF_TYPE)}
    chosen = sorted(set(kinds), key=lambda pair: (rank[pair[0]], pair[1]))
    features = [feature_label(kind, note) for kind, note in chosen]
    taken = {label.name for label in features}
    states = [label for label in STATE_LABELS if fine and label.name not in taken]
    return (*features, *states, *NUISANCE_LABELS)
