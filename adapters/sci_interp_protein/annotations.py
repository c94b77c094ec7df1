"""annotate: feature files x structures x state strings -> what is known of every protein."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Label, RecordAnnotations
from sci_interp.errors import InputError

from .feature_types import BOND_TYPES, GROUP_OF_TYPE, SECONDARY_TYPES, Entry
from .labels import nuisance_known, nuisance_runs, ordered_labels, state_groups, state_runs
from .record_index import RecordIndex
from .record_terms import RecordTerms, TermRow, collect_terms, read_terms
from .residue_strings import StateTrack, read_residue_strings
from .structures import StructureSource, read_structure_tracks
from .uniprot import read_entries

__all__ = ["AnnotationBuilder", "AnnotationSet", "load_annotations"]

PathOrPaths: TypeAlias = Path | str | Sequence[Path | str]

#: Kinds told apart by notes become labels from this many proteins on.
MIN_RECORDS: Final = 10
#: A kind that covers more of its type than this says no more than the type.
_MAX_SHARE: Final = 0.95
_ASSESSED_GROUPS: Final = tuple(
    dict.fromkeys(group for kind, group in GROUP_OF_TYPE.items() if kind not in SECONDARY_TYPES)
)


def load_annotations(
    sequences: Mapping[str, str],
    *,
    features: PathOrPaths | None = None,
    structures: StructureSource | None = None,
    residue_strings: PathOrPaths | None = None,
    terms: PathOrPaths | None = None,
    refused: Sequence[str] = (),
    min_records: int = MIN_RECORDS,
) -> AnnotationSet:
    """Read everything that is known about ``sequences``.

    Where several sources give secondary structure for a protein, coordinates win over state
    strings and these over feature files; a source decides only the groups that it assesses
    (three-state strings and coordinates tell nothing of turns).

    Parameters
    ----------
    sequences
        Residues by record id.
    features
        UniProt features: TSV, GFF3, flat file or JSON, plain or gzipped; one path or several.
    structures
        Coordinates, see :func:`~sci_interp_protein.structures.read_structure_tracks`.
    residue_strings
        DSSP strings, see :func:`~sci_interp_protein.residue_strings.read_residue_strings`.
    terms
        Terms of whole proteins, see :func:`~sci_interp_protein.record_terms.read_terms`.
    refused
        Ids of proteins that cannot be used; what files say of them is passed over.
    min_records
        Kinds of a type (``"BINDING:ATP"``), and terms, become labels from this many proteins on.

    Raises
    ------
    InputError
        If a file cannot be read, is for other proteins, or a feature leaves its protein.
    """
    builder = AnnotationBuilder(sequences, refused)
    for path in _paths(features):
        builder.add_entries(read_entries(path), str(path))
    for path in _paths(residue_strings):
        builder.add_tracks(read_residue_strings(path), str(path))
    if structures is not None:
        builder.add_tracks(read_structure_tracks(structures, sequences), "structures")
    for path in _paths(terms):
        builder.add_terms(read_terms(path), str(path))
    return builder.build(min_records=min_records)


def _paths(given: PathOrPaths | None) -> tuple[Path, ...]:
    if given is None:
        return ()
    return (Path(given),) if isinstance(given, str | Path) else tuple(Path(item) for item in given)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Feature rows sorted by record, then position; ``(n_rows,)`` each.

    ``first_row`` ``(n_records + 1,)``; ``kind`` and ``special`` index ``AnnotationSet.labels``
    (special is -1 where the note makes no label); positions local, half-open.
    """

    first_row: NDArray[np.int64]
    kind: NDArray[np.int32]
    special: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class AnnotationSet:
    """What is known of every protein.

    Attributes
    ----------
    labels : tuple of Label
        All labels, in a fixed order.
    """

    labels: tuple[Label, ...]
    _index: RecordIndex
    _rows: _Rows
    _assessed: NDArray[np.bool_]
    _tracks: Mapping[int, StateTrack] = field(default_factory=dict)
    _terms: RecordTerms = field(default_factory=RecordTerms)

    def of(self, record: str) -> RecordAnnotations:
        """Return the runs and the known ranges of one record.

        UniProt's secondary structure is known from the first to the last annotated element;
        other UniProt groups over every protein of a feature file; states where they are given;
        groups of terms where a term of the group, or its absence, is stated; residue identity and
        position always.

        Raises
        ------
        InputError
            If there is no such record.
        """
        index = self._index.find((record,))
        if index is None:
            raise InputError(f"there is no protein {record!r}")
        sequence = self._index.sequences[self._index.records[index]]
        track = self._tracks.get(index)
        from_track = state_groups(fine=track.fine) if track else ()
        runs, known = self._feature_part(index, from_track)
        if track:
            for name, start, stop in state_runs(track.states, fine=track.fine):
                runs.append((name, f"{start + 1}-{stop}", start, stop))
            known += [(g, *span) for g in from_track for span in _known_spans(track.states)]
        if self._assessed[index]:
            known += [(group, 0, len(sequence)) for group in _ASSESSED_GROUPS]
        runs += [(name, name, 0, len(sequence)) for name in self._terms.terms.get(index, ())]
        known += [(group, 0, len(sequence)) for group in self._terms.groups.get(index, ())]
        runs += [(name, f"{a + 1}-{b}", a, b) for name, a, b in nuisance_runs(sequence)]
        known += nuisance_known(sequence)
        return RecordAnnotations(record, runs, known)

    def _feature_part(
        self, index: int, decided: Sequence[str]
    ) -> tuple[list[tuple[str, str, int, int]], list[tuple[str, int, int]]]:
        """Return runs of the feature rows, and the known range of their secondary structure."""
        rows = slice(*self._rows.first_row[index : index + 2].tolist())
        columns = (self._rows.kind, self._rows.special, self._rows.start, self._rows.stop)
        runs: dict[tuple[str, str, int, int], None] = {}
        low, high = len(self._index.sequences[self._index.records[index]]), 0
        for kind, special, start, stop in zip(*(c[rows].tolist() for c in columns), strict=True):
            label = self.labels[kind]
            if label.name in SECONDARY_TYPES:
                low, high = min(low, start), max(high, stop)
            if label.group in decided:
                continue
            key = f"{start + 1}-{stop}"
            ends = _run_ends(label.name, start, stop)
            for chosen in (kind, special) if special >= 0 else (kind,):
                name = self.labels[chosen].name
                runs.update(dict.fromkeys((name, key, a, b) for a, b in ends))
        secondary = dict.fromkeys(GROUP_OF_TYPE[kind] for kind in SECONDARY_TYPES)
        known = [(group, low, high) for group in secondary if high and group not in decided]
        return list(runs), known


def _run_ends(kind: str, start: int, stop: int) -> tuple[tuple[int, int], ...]:
    """Return the runs of one instance: a bond is its two ends."""
    if kind in BOND_TYPES and stop - start > 1:
        return (start, start + 1), (stop - 1, stop)
    return ((start, stop),)


def _known_spans(states: str) -> list[tuple[int, int]]:
    known = np.frombuffer(states.encode("ascii"), np.uint8) != ord("?")
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


class AnnotationBuilder:
    """Collects facts, in a few bytes each, and makes an :class:`AnnotationSet` of them.

    Parameters
    ----------
    sequences
        Residues by record id.
    refused
        Ids of proteins that cannot be used.
    """

    def __init__(self, sequences: Mapping[str, str], refused: Sequence[str] = ()) -> None:
        self._index = RecordIndex(sequences, refused)
        self._pairs: dict[tuple[str, str], int] = {}
        self._columns = tuple(array("i") for _ in range(4))
        self._assessed = np.zeros(len(self._index.records), np.bool_)
        self._tracks: dict[int, StateTrack] = {}
        self._tables: list[tuple[str, Iterable[TermRow]]] = []

    def add_entries(self, entries: Iterable[Entry], where: str) -> None:
        """Take what a feature file says; proteins that are no record are passed over.

        Raises
        ------
        InputError
            If no protein is a record, or a feature leaves its protein.
        """
        n_seen, n_found, first = 0, 0, ""
        for entry in entries:
            n_seen += 1
            first = first or entry.ids[0]
            index = self._index.find(entry.ids)
            n_found += self._index.knows(entry.ids)
            if index is not None:
                self._add_entry(index, entry, where)
        self._index.refuse_strangers(where, n_seen, n_found, first)

    def _add_entry(self, index: int, entry: Entry, where: str) -> None:
        self._index.check_sequence(index, entry.sequence, where)
        self._assessed[index] = True
        record = self._index.records[index]
        n_residues = len(self._index.sequences[record])
        records, pairs, starts, stops = self._columns
        for feature in entry.features:
            if feature.end > n_residues:
                line = f" line {feature.line}" if feature.line else ""
                raise InputError(
                    f"{where}{line}: {feature.type} {feature.start}-{feature.end} of {record!r} "
                    f"ends past its last residue, {n_residues}",
                    allowed=f"residues 1 to {n_residues}",
                    todo="Use a feature file and a FASTA of the same release",
                )
            pair = (feature.type, feature.note)
            records.append(index)
            pairs.append(self._pairs.setdefault(pair, len(self._pairs)))
            starts.append(feature.start - 1)
            stops.append(feature.end)

    def add_tracks(self, tracks: Iterable[StateTrack], where: str) -> None:
        """Take strings of states; later ones replace earlier ones of the same protein.

        Raises
        ------
        InputError
            If no protein is a record, or a string does not fit its protein.
        """
        n_seen, n_found, first = 0, 0, ""
        for track in tracks:
            n_seen += 1
            first = first or track.protein
            index = self._index.find((track.protein,))
            n_found += self._index.knows((track.protein,))
            if index is not None:
                stated = track.sequence or "X" * len(track.states)
                self._check_track(index, track, stated, where)
                self._tracks[index] = track
        self._index.refuse_strangers(where, n_seen, n_found, first)

    def _check_track(self, index: int, track: StateTrack, stated: str, where: str) -> None:
        if track.sequence:
            self._index.check_sequence(index, stated, where)
        record = self._index.records[index]
        n_residues = len(self._index.sequences[record])
        if len(track.states) != n_residues:
            raise InputError(
                f"{where}: {record!r} has {len(track.states)} states and {n_residues} residues",
                allowed="one state for every residue of the FASTA",
                todo="Use files of the same sequences",
            )

    def add_terms(self, rows: Iterable[TermRow], where: str) -> None:
        """Take a table of terms of whole proteins; it is read when the set is built."""
        self._tables.append((where, rows))

    def build(self, *, min_records: int = MIN_RECORDS) -> AnnotationSet:
        """Choose the labels and return everything, sorted.

        Raises
        ------
        InputError
            If a table of terms is for other proteins.
        """
        record, pair, start, stop = (np.frombuffer(c, np.int32) for c in self._columns)
        chosen = self._choose_pairs(record, pair, min_records)
        fine = any(track.fine for track in self._tracks.values())
        states = [(kind, "") for kind in SECONDARY_TYPES[: 3 if fine else 2] if self._tracks]
        labels = ordered_labels([*chosen, *states], fine=fine)
        place = {label.name: at for at, label in enumerate(labels)}
        kind_of = [place[kind] for kind, _ in self._pairs]
        special_of = [
            place[f"{kind}:{note}"] if note and (kind, note) in chosen else -1
            for kind, note in self._pairs
        ]
        kinds, specials = np.array(kind_of, np.int32)[pair], np.array(special_of, np.int32)[pair]
        order = np.lexsort((specials, kinds, stop, start, record))
        rows = _Rows(
            first_row=np.searchsorted(record[order], np.arange(len(self._assessed) + 1)),
            kind=kinds[order],
            special=specials[order],
            start=start[order],
            stop=stop[order],
        )
        terms = collect_terms(self._index, self._tables, min_records=min_records)
        labels = (*labels, *terms.labels)
        return AnnotationSet(labels, self._index, rows, self._assessed, self._tracks, terms)

    def _choose_pairs(
        self, record: NDArray[np.int32], pair: NDArray[np.int32], min_records: int
    ) -> set[tuple[str, str]]:
        """Return the types present, and their kinds that occur in enough proteins."""
        names = list(self._pairs)
        in_records = np.unique(np.stack([pair, record]), axis=1)[0]
        n_records = np.bincount(in_records, minlength=len(names))
        n_rows = np.bincount(pair, minlength=len(names))
        of_kind: Counter[str] = Counter()
        for (kind, _), n in zip(names, n_rows.tolist(), strict=True):
            of_kind[kind] += n
        chosen = {(kind, "") for kind in of_kind}
        for at, (kind, note) in enumerate(names):
            common = n_records[at] >= min_records and n_rows[at] <= _MAX_SHARE * of_kind[kind]
            if note and common:
                chosen.add((kind, note))
        return chosen
