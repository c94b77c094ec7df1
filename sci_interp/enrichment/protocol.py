"""enrich: FeatureStore x AnnotationStore -> EnrichmentResult."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sci_interp.axis import TokenAxis
from sci_interp.differences import first_difference
from sci_interp.errors import InputError, StoreError
from sci_interp.executors import Shard, Workers
from sci_interp.manifest import begin_artefact, clear_on_mistake, is_finished, read_json
from sci_interp.progress import track
from sci_interp.schema import BIN_FLOORS, MAX_ENTRIES, RECORD, REQUEST_FILE, SPLIT
from sci_interp.source import FeatureSource

from .chunks import LinkSettings
from .count_plan import CountPlan
from .count_shards import SourceCounts, make_share, share_out
from .curves import trace_curves
from .design import describe_design, measure_splits
from .inputs import KnownSource
from .interplm import INTERPLM_FLOORS
from .kernel import default_threads
from .outcomes import Outcome, link_sources
from .references import CEILING, add_references
from .result import KIND, MAIN, EnrichmentResult, load_enrichment, write_enrichment
from .significance import Dependence
from .summary import ALWAYS_ON, build_summary
from .tested import list_tested
from .universes import SharedUniverses

__all__ = ["enrich", "enrich_share", "require_inputs"]

Protocol = Literal["two-stage", "interplm"]
#: Bytes of annotations that are kept in memory, for an entry that is held at once.
KEPT_PER_ENTRY = 1


def enrich(
    features: FeatureSource,
    known: KnownSource,
    *,
    out: Path | str | None = None,
    baselines: Mapping[str, FeatureSource] | None = None,
    ceiling: FeatureSource | None = None,
    q: float = 0.05,
    seed: int = 0,
    n_permutations: int = 4_000,
    max_permutations: int = 100_000,
    n_per_label: int = 0,
    n_bootstrap: int = 2_000,
    dependence: Dependence = "bh",
    protocol: Protocol = "two-stage",
    n_threads: int | None = None,
    max_entries: int = MAX_ENTRIES,
    progress: bool = True,
    workers: int | None = None,
    executor: Executor | None = None,
) -> EnrichmentResult:
    """Link features to labels, with error rates, intervals and baselines.

    Thresholds are chosen and pairs screened on one half of the blocks; the pairs that pass are
    tested on the other by permutation under three nulls, and all must be rejected. The halves then
    change places, and the findings are united at the false discovery rate ``q``.

    Parameters
    ----------
    features
        A feature store.
    known
        An annotation store of the same records.
    out
        Folder of the result. The same request on a finished folder loads it.
    baselines
        Feature stores that go through the same protocol, by name.
    ceiling
        Features that were fitted to the labels, such as a linear probe's. They go through the same
        protocol and stand last in the summary; they are no baseline.
    q
        False discovery rate.
    seed
        Seed of permutations and resamples.
    n_permutations
        Draws of a pair, the same for all pairs. They stop early where a pair is clearly no link.
    max_permutations
        Draws where so few pairs are left that their p must be finer.
    n_per_label
        Features of a label that are tested by permutation at most, those with the largest T on
        the selecting half; 0 tests all that pass the screen. Bounds the time of large studies.
    n_bootstrap
        Resamples of families for the intervals; 0 gives none, and no verdict on replication.
    dependence
        ``"bh"`` (Benjamini & Hochberg), ``"by"`` (Benjamini & Yekutieli) for any dependence, or
        ``"maxt"`` (Westfall & Young) for no false link at all: ``q`` then bounds the probability
        of a single false rejection, and all ``n_permutations`` are drawn of every pair.
    protocol
        ``"two-stage"``, or ``"interplm"``: the published variant, which tests nothing.
    n_threads
        Threads; all processors where omitted. The result does not depend on it.
    max_entries
        Activity entries held at once, five bytes each; labels and counts take up to five times as
        much. More are faster: the data are read less often.
    progress
        Whether to tell which source is worked on.
    workers
        Processes that share the counting, on one thread each; the bytes are the same with any
        number. They leave their counts beside ``out``, so that a killed call goes on; 1 is this
        process, which does the same. None counts in memory, on ``n_threads``.
    executor
        In place of ``workers``: whose workers share the counting, for example those of Dask.

    Raises
    ------
    InputError
        If a setting is out of range, or workers cannot open what they count.
    StoreError
        If the stores were made from different records or with different splits, or ``out`` holds
        other work.
    """
    baselines = dict(baselines or {})
    settings: dict[str, Any] = {
        "q": q,
        "seed": seed,
        "n_permutations": n_permutations,
        "max_permutations": max_permutations,
        "n_per_label": n_per_label,
        "n_bootstrap": n_bootstrap,
        "dependence": dependence,
        "protocol": protocol,
    }
    _require_settings(settings)
    _require_names(baselines)
    references = baselines if ceiling is None else {**baselines, CEILING: ceiling}
    require_inputs(features, known, references)
    makers, folder = Workers(workers, executor), Path(out) if out is not None else None
    _require_folder(makers, folder)
    if folder is not None:
        inputs = _inputs(features, known, baselines, ceiling)
        if begin_artefact(folder, KIND, inputs=inputs, settings=settings):
            return load_enrichment(folder)
    test = LinkSettings(
        q=q,
        seed=seed,
        n_permutations=n_permutations,
        max_permutations=max_permutations,
        dependence=dependence,
        n_threads=n_threads or default_threads(),
        max_entries=max_entries,
        n_per_label=n_per_label,
    )
    sources = {MAIN: features, **references}
    outcomes: dict[str, Outcome] = {}
    with clear_on_mistake(*([folder] if folder is not None else [])):
        known = SharedUniverses(known, most_bytes=KEPT_PER_ENTRY * max_entries)
        counts = _plan_counts(sources, known, test, protocol=protocol, out=folder)
        if makers.are_others or (makers.n is not None and folder is not None):
            share_out(list(counts.values()), makers, progress=progress)
        steps = link_sources(counts, test, settings, outcomes)
        with closing(steps):  # An interruption stops what is under work.
            for _ in track(steps, "enrich: steps", total=3 * len(sources), show=progress):
                continue
        in_order = {name: outcomes[name] for name in sources}
        result = _assemble(in_order, settings, features.axis)
        if folder is not None:
            # The last thing beside the folder is gone before the folder is finished.
            for each in counts.values():
                each.discard()
            write_enrichment(folder, result)
            result = replace(result, path=folder)
    return result


def enrich_share(
    features: FeatureSource,
    known: KnownSource,
    *,
    out: Path | str,
    shard: Shard,
    baselines: Mapping[str, FeatureSource] | None = None,
    ceiling: FeatureSource | None = None,
    protocol: Protocol = "two-stage",
    max_entries: int = MAX_ENTRIES,
    progress: bool = True,
) -> int:
    """Count one task's shards of an array; :func:`enrich` of the same adds them up.

    Parameters
    ----------
    features, known, out, baselines, ceiling, protocol, max_entries, progress
        As for :func:`enrich`; its other settings come after counting.
    shard
        ``(i, n)``: which task of how many.

    Returns
    -------
    int
        Number of shards that are this task's; 0 where the result is finished.

    Raises
    ------
    InputError, StoreError
        As for :func:`enrich`.
    """
    baselines, folder = dict(baselines or {}), Path(out)
    _require_names(baselines)
    references = baselines if ceiling is None else {**baselines, CEILING: ceiling}
    require_inputs(features, known, references)
    inputs, path = _inputs(features, known, baselines, ceiling), folder / REQUEST_FILE
    request = {"kind": KIND, "inputs": inputs}
    if path.is_file() and (found := read_json(path)) != {**found, **request}:
        raise StoreError(
            f"{folder} holds other work: {first_difference(found, {**found, **request})}",
            todo="Choose another output folder, or delete this one",
        )
    if is_finished(folder):
        return 0
    sources = {MAIN: features, **references}
    test = LinkSettings(max_entries=max_entries)
    counts = _plan_counts(sources, SharedUniverses(known), test, protocol=protocol, out=folder)
    return make_share(list(counts.values()), shard, progress=progress)


def _inputs(
    features: FeatureSource,
    known: KnownSource,
    baselines: Mapping[str, FeatureSource],
    ceiling: FeatureSource | None,
) -> dict[str, str]:
    """Return the digests of all that a result is made from."""
    inputs = {"features": features.digest, "annotations": known.digest}
    inputs |= {f"baseline {name}": store.digest for name, store in baselines.items()}
    return inputs | ({"ceiling": ceiling.digest} if ceiling is not None else {})


def _plan_counts(
    sources: Mapping[str, FeatureSource],
    known: KnownSource,
    test: LinkSettings,
    *,
    protocol: str,
    out: Path | None,
) -> dict[str, SourceCounts]:
    floors = BIN_FLOORS if protocol == "two-stage" else INTERPLM_FLOORS
    given: Any = {"floors": floors, "count_bytes": test.count_bytes}
    return {
        name: SourceCounts(source, known, CountPlan.of(source, known, **given), out, test.n_threads)
        for name, source in sources.items()
    }


def require_inputs(
    features: FeatureSource, known: KnownSource, baselines: Mapping[str, FeatureSource]
) -> None:
    """Refuse stores of different records or splits, and splits without data.

    Raises
    ------
    StoreError, InputError
        With the offending store or split.
    """
    _require_same_axis(features, known.axis, "the annotations")
    for name, store in baselines.items():
        _require_same_axis(features, store.axis, f"the baseline {name!r}")
    present = set(features.axis.records[SPLIT])
    for split in ("discovery", "test"):
        if split not in present:
            raise InputError(
                f"no block fell into the {split} half",
                todo="Use more records, of more blocks, or other split shares",
            )


def _require_same_axis(features: FeatureSource, axis: TokenAxis, other: str) -> None:
    features.axis.require_same(axis, "the features", other)
    ours, theirs = (table.records[SPLIT].to_numpy(str) for table in (features.axis, axis))
    moved = np.flatnonzero(ours != theirs)
    if len(moved):
        at = int(moved[0])
        raise StoreError(
            f"the features and {other} divide the records differently: "
            f"{features.axis.records[RECORD].iloc[at]!r} is in {ours[at]} and in {theirs[at]}, "
            f"and {len(moved) - 1} more differ",
            todo="Make both with the same split shares",
        )


def _require_folder(makers: Workers, folder: Path | None) -> None:
    if makers.are_others and folder is None:
        raise InputError(
            "workers leave their counts beside the result, and it has no folder",
            todo="Give out=FOLDER, which all workers see",
        )


def _require_names(baselines: Mapping[str, FeatureSource]) -> None:
    for name in sorted({MAIN, ALWAYS_ON, CEILING} & set(baselines)):
        raise InputError(f"a baseline cannot be called {name!r}", allowed="any other name")


def _require_settings(settings: Mapping[str, Any]) -> None:
    allowed: dict[str, tuple[bool, str]] = {
        "q": (0 < settings["q"] < 1, "between 0 and 1"),
        "seed": (settings["seed"] >= 0, "0 or more"),
        "n_permutations": (settings["n_permutations"] >= 1, "1 or more"),
        "max_permutations": (settings["max_permutations"] >= 1, "1 or more"),
        "n_per_label": (settings["n_per_label"] >= 0, "0 (all) or more"),
        "n_bootstrap": (settings["n_bootstrap"] >= 0, "0 or more"),
        "dependence": (settings["dependence"] in get_args(Dependence), "'bh', 'by' or 'maxt'"),
        "protocol": (settings["protocol"] in get_args(Protocol), "'two-stage' or 'interplm'"),
    }
    for name, (fine, text) in allowed.items():
        if not fine:
            raise InputError(f"{name} is {settings[name]!r}", allowed=text)


def _assemble(
    outcomes: Mapping[str, Outcome],
    settings: Mapping[str, Any],
    axis: TokenAxis,
) -> EnrichmentResult:
    selections = {name: done.study.selection for name, done in outcomes.items() if name != MAIN}
    ceiling = selections.pop(CEILING, None)
    tables = {
        name: add_references(
            done.table,
            selections if name == MAIN else {},
            ceiling if name != CEILING else None,
        )
        for name, done in outcomes.items()
    }
    main = outcomes[MAIN]
    curves = trace_curves(main.table, {name: done.curves for name, done in outcomes.items()})
    rows = [done.summary for name, done in outcomes.items() if name != CEILING]
    rows.append(main.always_on)
    rows += [done.summary for name, done in outcomes.items() if name == CEILING]
    return EnrichmentResult(
        table=tables.pop(MAIN),
        ceiling=tables.pop(CEILING, None),
        summary=build_summary(rows),
        baselines=tables,
        settings=settings,
        not_identifiable={name: done.links.not_identifiable for name, done in outcomes.items()},
        splits=measure_splits(axis),
        design=describe_design(axis, main.study.known, main.study.selection),
        tested=list_tested(main.study, main.links),
        curves=curves,
    )
