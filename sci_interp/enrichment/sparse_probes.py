"""Sparse probes: how well the best few features together tell a label's tokens from the rest.

One feature seldom holds a concept alone. A k-sparse probe (Gurnee et al. 2023, "Finding Neurons in
a Haystack") is a linear classifier on k features. Features, weights and threshold are chosen on
discovery blocks, and everything in the table is measured on test blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError
from sci_interp.manifest import begin_artefact, clear_on_mistake, finish_artefact, read_manifest
from sci_interp.progress import track
from sci_interp.shards import verify_file
from sci_interp.source import FeatureSource
from sci_interp.tables import read_table, write_table

from .counts import at_or_above
from .inputs import KnownSource
from .kernel import default_threads
from .linking import MIN_EVENT_FAMILIES
from .measures import Confusion, auroc, average_precision
from .probe_fit import Probe, fit_probes
from .probe_scores import SCORE_LEVELS, ProbeCounts, Scorecard, count_scores, freeze_thresholds
from .probe_sums import ProbeUniverse
from .protocol import require_inputs
from .table import STRONG_F1
from .tracks import count_event_families
from .universes import SharedUniverses

__all__ = [
    "K",
    "format_sparse_probes",
    "measure_sparse_probes",
    "probe_sources",
    "summarise_sparse_probes",
]

#: Numbers of features.
K = (1, 2, 5, 10)
N_CANDIDATES = 128
RIDGE = 1e-3
#: Bytes that the counts of a block of probes may take.
COUNT_BYTES = 64 * 2**20

KIND = "sparse-probes"
TABLE = "probes"
COLUMNS = (
    "label",
    "k",
    "features",
    "weights",
    "threshold",
    "auroc",
    "average_precision",
    "f1",
    "precision",
    "token_recall",
    "instance_recall",
    "hybrid_f1",
)


def measure_sparse_probes(
    features: FeatureSource,
    known: KnownSource,
    *,
    k: Sequence[int] = K,
    n_candidates: int = N_CANDIDATES,
    ridge: float = RIDGE,
    n_threads: int | None = None,
    count_bytes: int = COUNT_BYTES,
) -> pd.DataFrame:
    """Fit sparse probes to every label on discovery blocks and measure them on test blocks.

    Labels are told from the tokens where their group was assessed. In the fit families weigh
    equally; measures are counts of tokens and instances, not weighted.

    Parameters
    ----------
    features
        A feature store. Its values are activations relative to each feature's scale.
    known
        An annotation store of the same records.
    k
        Numbers of features.
    n_candidates
        Features that a label's probes choose among: those of largest absolute correlation with it.
    ridge
        Strength of the regularisation, relative to the variance of a feature.
    n_threads
        Threads; all processors where omitted. The result does not depend on it.
    count_bytes
        Memory for counts; fewer bytes mean more passes over the codes, and the same result.

    Returns
    -------
    DataFrame
        A row for each ``k`` of each label that is no nuisance and occurs in at least 8 families of
        each half: ``label, k``; ``features`` in the order taken and their ``weights``, joined by
        commas; ``threshold``, the weighted sum with the best F1 of tokens on discovery; and on test
        tokens ``auroc, average_precision``, and at the threshold ``f1, precision, token_recall,
        instance_recall, hybrid_f1``.

    Raises
    ------
    InputError
        If a setting is out of range.
    StoreError
        If the stores were made from different records or with different splits.
    """
    _require_settings(k, n_candidates, ridge)
    require_inputs(features, known, {})
    k = sorted(set(k))
    shared = SharedUniverses(known)
    rows: list[dict[str, Any]] = []
    for group in range(len(shared.groups)):
        universe = ProbeUniverse(features, shared, group, n_threads or default_threads())
        labels = _measurable(universe)
        if len(labels):
            probes = fit_probes(universe, labels, k=k, n_candidates=n_candidates, ridge=ridge)
            rows += _measure(universe, probes, count_bytes)
    order = {label.name: at for at, label in enumerate(known.labels)}
    rows.sort(key=lambda row: (order[row["label"]], row["k"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def probe_sources(
    sources: Mapping[str, FeatureSource],
    known: KnownSource,
    *,
    out: Path | str,
    n_threads: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure the sparse probes of several sources of features and keep the table.

    Parameters
    ----------
    sources
        Feature stores, by name.
    known
        An annotation store of the same records.
    out
        Folder of the table. The same request on a finished folder loads it.
    n_threads
        Threads; all processors where omitted. The result does not depend on it.
    progress
        Whether to tell which source is worked on.

    Returns
    -------
    DataFrame
        The rows of :func:`measure_sparse_probes` behind a column ``source``.

    Raises
    ------
    StoreError
        If the stores are of different records or splits, ``out`` holds other work, or its table is
        damaged.
    """
    folder = Path(out)
    inputs = {f"features {name}": source.digest for name, source in sources.items()}
    inputs["annotations"] = known.digest
    settings = {"k": list(K), "n_candidates": N_CANDIDATES, "ridge": RIDGE}
    if begin_artefact(folder, KIND, inputs=inputs, settings=settings):
        verify_file(folder, f"{TABLE}.parquet", read_manifest(folder, KIND).files)
        return read_table(folder, TABLE)
    parts = []
    with clear_on_mistake(folder):
        for name in track(list(sources), "sparse probes: sources", show=progress):
            part = measure_sparse_probes(sources[name], known, n_threads=n_threads)
            part.insert(0, "source", name)
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        write_table(folder, TABLE, table)
        finish_artefact(folder)
    return table


def summarise_sparse_probes(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each source and k: labels, mean measures, labels with F1 above 0.5."""
    rows = [
        {
            "source": source,
            "k": k,
            "n_labels": len(part),
            "mean_auroc": part["auroc"].mean(),
            "mean_average_precision": part["average_precision"].mean(),
            "n_labels_f1": int((part["f1"] > STRONG_F1).sum()),
        }
        for (source, k), part in table.groupby(["source", "k"], sort=False)
    ]
    names = ("source", "k", "n_labels", "mean_auroc", "mean_average_precision", "n_labels_f1")
    return pd.DataFrame(rows, columns=list(names))


def format_sparse_probes(table: pd.DataFrame) -> str:
    """Return the summary as text."""
    if table.empty:
        return f"Sparse probes: no label occurs in {MIN_EVENT_FAMILIES} families of each half."
    shown = summarise_sparse_probes(table)
    text: str = shown.to_string(index=False, float_format="{:.3f}".format)
    return f"Sparse probes, chosen on discovery and measured on test (F1 of tokens):\n{text}"


def _require_settings(k: Sequence[int], n_candidates: int, ridge: float) -> None:
    if not k or min(k) < 1:
        raise InputError(f"k is {tuple(k)!r}", allowed="numbers of features, each 1 or more")
    if n_candidates < max(k):
        raise InputError(
            f"n_candidates is {n_candidates}", allowed=f"the largest k, {max(k)}, or more"
        )
    if not ridge > 0:
        raise InputError(f"the ridge is {ridge}", allowed="a positive number")


def _measurable(universe: ProbeUniverse) -> NDArray[np.int64]:
    """Return the labels of a universe that are no nuisance and occur in enough families."""
    known = universe.known
    nuisance = np.array([label.nuisance for label in known.labels], bool)
    mine = (np.asarray(known.group_of_label) == universe.group) & ~nuisance
    if not mine.any():
        return np.zeros(0, np.int64)
    axis = universe.features.axis
    for split in ("discovery", "test"):
        mine &= count_event_families(axis, known, split) >= MIN_EVENT_FAMILIES
    return np.flatnonzero(mine).astype(np.int64)


def _measure(
    universe: ProbeUniverse, probes: Sequence[Probe], count_bytes: int
) -> Iterator[dict[str, Any]]:
    size = max(1, count_bytes // (16 * SCORE_LEVELS))
    for first in range(0, len(probes), size):
        cards = [Scorecard.of(probe) for probe in probes[first : first + size]]
        unset = np.zeros(len(cards), np.int64)
        thresholds = freeze_thresholds(count_scores(universe, cards, unset, "discovery"))
        counts = count_scores(universe, cards, thresholds, "test")
        for at, card in enumerate(cards):
            yield _row(universe, card, int(thresholds[at]), counts, at)


def _row(
    universe: ProbeUniverse, card: Scorecard, threshold: int, counts: ProbeCounts, at: int
) -> dict[str, Any]:
    positive, known = counts.positive[at], counts.known[at]
    sizes = {"positive": int(positive.sum()), "known": int(known.sum())}
    at_threshold = Confusion(
        true_positive=at_or_above(positive)[threshold].astype(np.float64),
        active=at_or_above(known)[threshold].astype(np.float64),
        positive=np.asarray(sizes["positive"], np.float64),
        known=np.asarray(sizes["known"], np.float64),
        hit=counts.hit[at].astype(np.float64),
        instances=counts.instances[at].astype(np.float64),
    )
    row: dict[str, Any] = {
        "label": universe.known.labels[card.probe.label].name,
        "k": card.probe.k,
        "features": ",".join(map(str, card.probe.features)),
        "weights": ",".join(f"{weight:.6g}" for weight in card.probe.weights),
        "threshold": card.value(threshold),
        "auroc": float(auroc(positive, known, **sizes)),
        "average_precision": float(average_precision(positive, known, **sizes)),
    }
    names = COLUMNS[COLUMNS.index("f1") :]
    return row | {name: float(getattr(at_threshold, name)) for name in names}
