"""calibrate: FeatureStore x AnnotationStore -> Calibration.

The whole test is run on the user's own data after an association has been destroyed: label tracks
change families (``exchange``), are rotated inside records (``shift``), or ``both``. A class that
rests on a null which the data now obey should not be called; how often it is, is what this module
measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.annotations import AnnotationSlice
from sci_interp.disk import reading
from sci_interp.errors import InputError
from sci_interp.manifest import begin_artefact, clear_on_mistake, finish_artefact
from sci_interp.progress import track
from sci_interp.schema import LinkClass
from sci_interp.shards import read_whole
from sci_interp.source import FeatureSource
from sci_interp.tables import read_table, write_table

from .chunks import LinkSettings, Study
from .inputs import KnownSource
from .kernel import default_threads
from .linking import link_pairs
from .memory import (
    MemoryAnnotations,
    MemoryFeatures,
    load_annotations,
    load_features,
    without_nuisances,
)
from .protocol import require_inputs
from .selection import select_thresholds
from .significance import Dependence
from .swap_null import map_run
from .tracks import LabelTracks, read_labels
from .units import Units

__all__ = ["Calibration", "Null", "calibrate", "load_calibration", "shift_annotations"]

#: What is destroyed.
Null = Literal["both", "exchange", "shift"]
#: Classes that are false under each: exchanged tracks keep their place in the chain, so a
#: positional link may be real; rotated ones keep their records, so a record-level link may be.
#: A record-level link of a label of whole records is as strong as its links get ("whole"): it is
#: false wherever tracks change families, and in the list of the site-level ones.
FALSE_CLASSES: Mapping[Null, tuple[LinkClass | Literal["whole"], ...]] = {
    "both": ("site", "whole", "regional"),
    "exchange": ("site", "whole", "regional", "record"),
    "shift": ("site", "regional", "positional"),
}

KIND = "calibration"
P_COLUMNS = ("run", "p_local", "p_swap")

Ints = NDArray[np.int64]
_CALLED: Mapping[str, str] = {
    "site": "site-level",
    "whole": "record-level (whole records)",
    "regional": "regional",
    "record": "record-level",
    "positional": "positional",
}


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often the test links what is unrelated.

    Attributes
    ----------
    runs : DataFrame
        One row per run: ``run, n_tested``, links by class, and ``n_whole`` where
        there are labels of whole records: their record-level links, which ``n_record`` leaves out.
    q : float
        The false discovery rate asked for; with nothing to find, also the bound on the share of
        runs with a link.
    null : "both", "exchange" or "shift"
        What was destroyed, and so which classes are false: site-level and regional under all, and
        record-level under ``exchange``, positional under ``shift``.
    p_values : DataFrame
        Columns ``run, p_local, p_swap``: every pair that was tested, in either direction. Where a
        null holds, its p is uniform or larger.
    """

    runs: pd.DataFrame
    q: float
    null: Null = "both"
    p_values: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(P_COLUMNS)))

    @property
    def fired(self) -> NDArray[np.bool_]:
        """Runs with a link of a class that is false ``(n_runs,)``."""
        columns = [f"n_{name}" for name in self._false_classes]
        found: NDArray[np.bool_] = (self.runs[columns] > 0).any(axis=1).to_numpy(bool)
        return found

    @property
    def _false_classes(self) -> list[str]:
        return [name for name in FALSE_CLASSES[self.null] if f"n_{name}" in self.runs]

    @property
    def rate(self) -> float:
        """Share of runs with a link of a class that is false."""
        return float(self.fired.mean())

    @property
    def error(self) -> float:
        """Standard error of the share if its true value is ``q``."""
        return float(np.sqrt(self.q * (1 - self.q) / len(self.runs)))

    @property
    def passed(self) -> bool:
        """Whether the share is at most ``q`` within two standard errors."""
        return self.rate <= self.q + 2 * self.error

    def format(self) -> str:
        """Return the verdict as one line."""
        verdict = "as it should" if self.passed else "MORE OFTEN than it should"
        what = {"both": "exchanged and shifted", "exchange": "exchanged", "shift": "shifted"}
        *others, last = (_CALLED[name] for name in self._false_classes)
        classes = f"{', '.join(others)} or {last}"
        return (
            f"With labels {what[self.null]}, {int(self.fired.sum())} of {len(self.runs)} runs "
            f"called a {classes} link ({self.rate:.1%}; at most "
            f"{self.q:.1%} ± {2 * self.error:.1%} expected): the test fires {verdict}."
        )


def calibrate(
    features: FeatureSource,
    known: KnownSource,
    *,
    n_runs: int = 100,
    n_features: int = 512,
    q: float = 0.05,
    seed: int = 0,
    null: Null = "both",
    n_permutations: int = 4_000,
    dependence: Dependence = "bh",
    n_threads: int | None = None,
    out: Path | str | None = None,
    progress: bool = True,
) -> Calibration:
    """Run the whole test on shifted labels and count how often it links; nuisances take no part.

    Parameters
    ----------
    features, known
        The stores, of the same records.
    n_runs
        Number of runs.
    n_features
        Features that take part, chosen at random; they are held in memory.
    q, n_permutations, dependence, n_threads
        As for ``enrich``.
    seed
        Seed of exchanges, shifts, permutations and the choice of features.
    null
        ``"exchange"``: families exchange label tracks; counts all links but positional ones.
        ``"shift"``: tracks are rotated inside records; counts all but record-level ones.
        ``"both"``: one after the other; counts site-level and regional links.
    out
        Folder of the result, which ``plot`` draws. The same request on a finished folder loads it.
    progress
        Whether to tell how many runs are done.

    Raises
    ------
    InputError, StoreError
        As for ``enrich``.
    """
    if n_runs < 1 or n_features < 1:
        raise InputError(
            f"n_runs is {n_runs} and n_features is {n_features}", allowed="1 or more of each"
        )
    if null not in get_args(Null):
        raise InputError(f"null is {null!r}", allowed="'both', 'exchange' or 'shift'")
    require_inputs(features, known, {})
    settings = LinkSettings(
        q=q, n_permutations=n_permutations, dependence=dependence,
        n_threads=n_threads or default_threads(),
    )  # fmt: skip
    folder = Path(out) if out is not None else None
    if folder is not None:
        inputs = {"features": features.digest, "annotations": known.digest}
        request = {
            "n_runs": n_runs, "n_features": n_features, "q": q, "seed": seed, "null": null,
            "n_permutations": n_permutations, "dependence": dependence,
        }  # fmt: skip
        if begin_artefact(folder, KIND, inputs=inputs, settings=request):
            return load_calibration(folder)
    with clear_on_mistake(*([folder] if folder is not None else [])):
        labels = without_nuisances(load_annotations(known))
        if not labels.labels:
            raise InputError("every label is a nuisance", todo="Annotate with labels to be found")
        random = np.random.default_rng([seed, 0])
        size = min(n_features, features.n_features)
        chosen = np.sort(random.choice(features.n_features, size, replace=False))
        held = load_features(features, chosen.astype(np.int64))
        numbers = track(range(n_runs), "calibrate", show=progress)
        done = [
            _link_shifted(run, held, labels, replace(settings, seed=seed), null) for run in numbers
        ]
        rows, pairs = zip(*done, strict=True)
        found = Calibration(pd.DataFrame(rows), q, null, pd.concat(pairs, ignore_index=True))
        if folder is not None:
            write_table(folder, "runs", found.runs)
            write_table(folder, "p_values", found.p_values)
            finish_artefact(folder)
    return found


def _link_shifted(
    run: int,
    held: MemoryFeatures,
    labels: MemoryAnnotations,
    settings: LinkSettings,
    null: Null,
) -> tuple[dict[str, int], pd.DataFrame]:
    """Return the counts of one run, and p of the pairs that it tested."""
    random = np.random.default_rng([settings.seed, 1, run])
    shifted = shift_annotations(labels, random, null=null)
    drawn = int(np.random.SeedSequence([settings.seed, 2, run]).generate_state(1)[0])
    selection = select_thresholds(held, shifted, n_threads=settings.n_threads)
    study = Study.alone(held, shifted, selection, replace(settings, seed=drawn))
    links = link_pairs(study)
    whole = study.by_family[links.table["label"].to_numpy(np.int64)]
    found = links.table["class"].mask(whole & (links.table["class"] == "record"), "whole")
    found = found.value_counts()
    kinds = [name for name in _CALLED if name != "whole" or study.by_family.any()]
    counts = {f"n_{name}": int(found.get(name, 0)) for name in kinds}
    pairs = links.table.assign(run=run)[list(P_COLUMNS)]
    return {"run": run, "n_tested": links.n_tested, **counts}, pairs


def load_calibration(path: Path | str) -> Calibration:
    """Load what ``calibrate`` wrote; its files are checked against their digests.

    Raises
    ------
    StoreError
        If the folder is no calibration, is unfinished, or one of its files is damaged.
    """
    path = Path(path)
    settings = read_whole(path, KIND).settings
    with reading(path):
        q, null = float(settings["q"]), settings["null"]
        if null not in get_args(Null):
            raise ValueError(f"null is {null!r}")
    return Calibration(read_table(path, "runs"), q, null, read_table(path, "p_values"))


def shift_annotations(
    known: KnownSource, random: np.random.Generator, *, null: Null = "both"
) -> MemoryAnnotations:
    """Return annotations whose tracks change families, are rotated inside records, or both.

    Inside every split, group and exchange stratum, families exchange the tracks of all the group's
    labels together, records paired cyclically and runs mapped by relative position; then a common
    fraction of every record's length rotates the tracks of a family, but for labels of whole
    records, which would look the same. What is known stays in place;
    gridded records count as known whole.
    ``null`` says whether only the first, only the second, or both happen.
    """
    columns: list[list[Ints]] = [[] for _ in range(7)]
    for split in ("discovery", "test", "vault"):
        for group in range(len(known.groups)):
            tracks = read_labels(known.axis, known, split, group)
            if len(tracks.units.first) > 1:
                for column, values in zip(
                    columns, _shift_tracks(tracks, random, null), strict=False
                ):
                    column.append(values)
            columns[4].append(np.full(len(tracks.universe.start), group))
            columns[5].append(tracks.universe.start)
            columns[6].append(tracks.universe.stop)
    joined = [np.concatenate([np.zeros(0, np.int64), *column]) for column in columns]
    return MemoryAnnotations(known.axis, known.labels, AnnotationSlice(*joined))


def _shift_tracks(
    tracks: LabelTracks, random: np.random.Generator, null: Null
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return label, instance, start and stop of the shifted runs on the common axis."""
    units = tracks.units
    label, instance, start, stop = _listed(tracks)
    order = np.argsort(start, kind="stable")
    start_of = np.searchsorted(start[order], units.start)
    rows: list[tuple[int, int, int, int]] = []
    n_rows = len(units.row_weight)
    alone = np.arange(len(units.member))
    donor = alone if null == "shift" else _partners(units, random)
    for family, other in enumerate(donor):
        fraction = 0.0 if null == "exchange" or tracks.by_family else random.random()
        n_other = int(units.first[other + 1] - units.first[other])
        for at, record in enumerate(range(units.first[family], units.first[family + 1])):
            source = int(units.first[other]) + at % n_other
            sizes = [int(units.start[r + 1] - units.start[r]) for r in (source, record)]
            shift = int(fraction * (sizes[1] // n_rows)) * n_rows
            for run in order[start_of[source] : start_of[source + 1]]:
                begin = int(start[run] - units.start[source])
                end = begin + int(stop[run] - start[run])
                if n_rows == 1:
                    begin, end = map_run(begin, end, sizes[0], sizes[1])
                begin, end = min(begin, sizes[1]), min(end, sizes[1])
                if begin == end:
                    continue
                origin = int(units.start[record])
                key = (int(label[run]), int(instance[run]) * len(units.weight) + record)
                rows += [
                    (*key, origin + a, origin + b)
                    for a, b in _rotate(begin + shift, end + shift, sizes[1])
                ]
    table = np.array(rows, np.int64).reshape(-1, 4)
    first, last = _token(table[:, 2], tracks), _token(table[:, 3] - 1, tracks) + 1
    return tracks.labels[table[:, 0]], table[:, 1], first, last


def _listed(tracks: LabelTracks) -> tuple[Ints, Ints, Ints, Ints]:
    """Return label, instance, start and stop of every annotated run in known coordinates."""
    listed = tracks.instances
    label_of_instance = np.repeat(np.arange(len(tracks.labels)), np.diff(listed.first))
    instance = np.repeat(np.arange(len(listed.family)), np.diff(listed.run))
    return label_of_instance[instance], instance, listed.start, listed.stop


def _partners(units: Units, random: np.random.Generator) -> Ints:
    """Return which family each family takes its tracks from."""
    donor = np.empty(len(units.member), np.int64)
    for first, last in zip(units.stratum[:-1], units.stratum[1:], strict=True):
        members = units.member[first:last]
        donor[members] = random.permutation(members)
    return donor


def _rotate(start: int, stop: int, n_tokens: int) -> list[tuple[int, int]]:
    """Return the pieces of a rotated run inside a record."""
    if start >= n_tokens:
        return [(start - n_tokens, stop - n_tokens)]
    if stop <= n_tokens:
        return [(start, stop)]
    return [(start, n_tokens), (0, stop - n_tokens)]


def _token(coordinate: Ints, tracks: LabelTracks) -> Ints:
    """Return the token of a known coordinate."""
    universe = tracks.universe
    before = np.append(0, np.cumsum(universe.stop - universe.start))
    at = np.searchsorted(before, coordinate, side="right") - 1
    token: Ints = universe.start[at] + coordinate - before[at]
    return token
