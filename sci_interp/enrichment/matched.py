"""Features against the best covariate at matched magnitude: whether they know more than it says.

A label that a covariate defines (low pressure) has features that merely follow the covariate. So
tokens are cut into bins of equal weight by the label's best covariate, and average precision is
measured inside the bins, where the covariate hardly varies: of the best feature, and of what is
left of the covariate itself. Both are chosen on one half of the blocks and measured on the other,
both ways round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError
from sci_interp.manifest import begin_artefact, clear_on_mistake, finish_artefact, read_manifest
from sci_interp.progress import track
from sci_interp.schema import BIN_FLOORS, MAX_LEVEL, SPLITS, Split
from sci_interp.shards import verify_file
from sci_interp.source import FeatureSource
from sci_interp.tables import read_table, write_table

from .counts import Counts, count_split
from .inputs import KnownSource
from .kernel import default_threads
from .linking import MIN_EVENT_FAMILIES
from .matched_counts import (
    BlockCounts,
    Contest,
    Sources,
    count_blocks,
    count_inside,
    inside_bins,
    measure_counts,
    resample_blocks,
)
from .matched_ranks import N_RANKS, cut_ranks, join_signs, opposite_signs
from .measures import average_precision
from .protocol import require_inputs
from .selection import DIRECTIONS, Direction
from .tracks import count_event_families
from .universes import SharedUniverses

__all__ = ["compare_matched", "format_matched"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Features that a label is screened for, by average precision over all tokens.
N_CANDIDATES = 16
#: Bytes that the counts of a block of labels may take.
COUNT_BYTES = 128 * 2**20
#: Nominal coverage of the intervals.
LEVEL = 0.95

KIND = "matched"
TABLE = "matched"
COLUMNS = (
    "label",
    "direction",
    "covariate",
    "feature",
    "feature_name",
    "n_positive",
    "n_blocks",
    "ap_feature",
    "ap_covariate",
    "prevalence",
    "gain_over_covariate",
    "gain_low",
    "gain_high",
    "gain_over_chance",
    "gain_over_chance_low",
    "gain_over_chance_high",
    "beats_field",
)
SHOWN = tuple(name for name in COLUMNS if name not in {"feature_name", "n_blocks"})


def compare_matched(
    features: FeatureSource,
    known: KnownSource,
    covariates: FeatureSource,
    *,
    out: Path | str | None = None,
    n_bins: int = 10,
    n_bootstrap: int = 1_000,
    seed: int = 0,
    n_threads: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare each label's best feature with its best covariate, inside bins of that covariate.

    On the selecting half: the covariate of highest average precision; the edges of its bins, which
    hold equal weights of assessed tokens as far as its ranks allow; the 16 features of highest
    average precision over all tokens, in one coarse pass over the codes; and of these the one that
    is best inside the bins. A feature that is good inside bins but not among the 16 is missed,
    which can only understate the gain. On the testing half: everything that is reported.

    A covariate ranks tokens on both sides of its mean: features named ``"x +"`` and ``"x -"`` are
    one ordering, ascending for the first and descending for the second, so that no increasing
    function of a covariate knows more than it. Where the opposite sign is missing, tokens at which
    a covariate is inactive are its lowest rank: one bin, in which it tells nothing.

    Tokens count with their areas. Blocks are resampled for the intervals, from which the bias of
    average precision is taken, while the gains themselves hold it. They are for one label each: no
    correction is made for the number of labels.

    Parameters
    ----------
    features
        A feature store.
    known
        An annotation store of the same records.
    covariates
        A feature store of covariates in both signs, as ``encode_covariates`` makes it. Both are
        never active at the same token.
    out
        Folder of the table. The same request on a finished folder loads it.
    n_bins
        Bins of the covariate, 1 to 255.
    n_bootstrap
        Resamples of blocks; 0 gives no interval.
    seed
        Seed of the resamples.
    n_threads
        Threads; all processors where omitted. The result does not depend on it.
    progress
        Whether to tell how far it is.

    Returns
    -------
    DataFrame
        Two rows, one for each ``direction``, for each ``label`` that is no nuisance and has a
        token in each half: names of ``covariate`` and ``feature_name``, the ``feature``'s number;
        of the testing half ``n_positive`` (tokens, in units of the largest) and ``n_blocks`` with
        the label; means over bins, weighted by the positives in them, of average precision
        (``ap_feature``, ``ap_covariate``) and of what chance gets (``prevalence``);
        ``gain_over_covariate`` and ``gain_over_chance``, the feature's minus theirs, with 95 %
        intervals; ``beats_field``, whether both intervals lie above 0 (a covariate can be worse
        than chance inside bins, and losing to chance is no merit of a feature). Intervals and
        verdict are empty for labels in fewer than 8 blocks of the testing half.

    Raises
    ------
    InputError
        If a setting is out of range, or both signs of a covariate are active at a token.
    StoreError
        If the stores are of different records or splits, ``out`` holds other work, or its table is
        damaged.
    """
    settings = {
        "n_bins": n_bins,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
        "n_candidates": N_CANDIDATES,
        "covariate": "both signs in one ordering",
    }
    _require_settings(n_bins, n_bootstrap, seed)
    require_inputs(features, known, {"covariates": covariates})
    folder = Path(out) if out is not None else None
    if folder is not None:
        inputs = {"features": features.digest, "annotations": known.digest}
        inputs["covariates"] = covariates.digest
        if begin_artefact(folder, KIND, inputs=inputs, settings=settings):
            verify_file(folder, f"{TABLE}.parquet", read_manifest(folder, KIND).files)
            return read_table(folder, TABLE)
    shared = SharedUniverses(known)
    sources = Sources(features, covariates, shared, n_bins, n_threads or default_threads())
    with clear_on_mistake(*([folder] if folder is not None else [])):
        rows = _compare(sources, n_bootstrap, seed, progress)
        table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"beats_field": "boolean"})
        if folder is not None:
            write_table(folder, TABLE, table)
            finish_artefact(folder)
    return table


def format_matched(table: pd.DataFrame) -> str:
    """Return the comparison as text."""
    if table.empty:
        return "Features against the best covariate: no label occurs in both halves."
    beats = table.groupby("label", sort=False)["beats_field"]
    judged = int(beats.apply(lambda each: each.notna().all()).sum())
    better = int(beats.apply(lambda each: bool(each.fillna(False).all())).sum())
    text: str = table[list(SHOWN)].to_string(index=False, float_format="{:.3f}".format)
    return (
        "Features against the best covariate at matched magnitude (average precision inside bins "
        f"of its level, measured on the half that did not choose):\n{text}\n"
        f"{better} of {judged} judged labels have a feature that beats it both ways round."
    )


def _require_settings(n_bins: int, n_bootstrap: int, seed: int) -> None:
    allowed = {
        "n_bins": (n_bins, 1 <= n_bins <= MAX_LEVEL, f"1 to {MAX_LEVEL}"),
        "n_bootstrap": (n_bootstrap, n_bootstrap >= 0, "0 (no interval) or more"),
        "seed": (seed, seed >= 0, "0 or more"),
    }
    for name, (value, fine, text) in allowed.items():
        if not fine:
            raise InputError(f"{name} is {value}", allowed=text)


def _compare(sources: Sources, n_bootstrap: int, seed: int, progress: bool) -> list[dict[str, Any]]:
    known, axis = sources.known, sources.features.axis
    n_blocks = {split: count_event_families(axis, known, split) for split in ("discovery", "test")}
    present = np.minimum(*n_blocks.values()) > 0
    present &= [not label.nuisance for label in known.labels]
    labels = np.flatnonzero(present).astype(np.int64)
    size = max(1, COUNT_BYTES // _bytes_per_label(sources))
    rows: list[dict[str, Any]] = []
    firsts = range(0, len(labels), size)
    for first in track(firsts, "matched: blocks of labels", show=progress):
        block = labels[first : first + size]
        parts = []
        for way in DIRECTIONS:
            contests = _choose(sources, block, way.selecting)
            counts = count_blocks(sources, contests, way.testing)
            parts.append(
                [
                    _row(sources, way, contest, count, n_blocks[way.testing], n_bootstrap, seed)
                    for contest, count in zip(contests, counts, strict=True)
                ]
            )
        rows += [row for pair in zip(*parts, strict=True) for row in pair]
    return rows


def _bytes_per_label(sources: Sources) -> int:
    axis, levels = sources.features.axis, sources.n_bins * (MAX_LEVEL + 1)
    counted = sources.features.n_features * len(BIN_FLOORS)
    counted += sources.covariates.n_features * MAX_LEVEL + N_CANDIDATES * levels
    # A block has an entry in as many cells of either as it has tokens at most.
    cells = levels + sources.n_bins * N_RANKS
    in_blocks = min(cells * len(axis.block_starts), 2 * axis.n_tokens)
    return 16 * counted + 24 * in_blocks


def _choose(sources: Sources, labels: Ints, selecting: Split) -> list[Contest]:
    """Return every label's covariate, its bins, and the feature that is best inside them."""
    contests = list(_screen(sources, labels, selecting))
    counts = count_inside(sources, contests, selecting)
    return [
        contest._replace(features=contest.features[[int(inside_bins(*pair)[0].argmax())]])
        for contest, pair in zip(contests, counts, strict=True)
    ]


def _screen(sources: Sources, labels: Ints, selecting: Split) -> Iterator[Contest]:
    def count(source: FeatureSource, floors: Sequence[int]) -> Counts:
        return count_split(
            source,
            sources.known,
            selecting,
            labels=labels,
            floors=floors,
            n_threads=sources.n_threads,
        )

    ours = count(sources.features, BIN_FLOORS)
    theirs = count(sources.covariates, range(1, MAX_LEVEL + 1))
    opposite = opposite_signs(sources.covariates)
    for at, label in enumerate(labels):
        tokens, active, n_positive, n_known = _of_label(theirs, at)
        positive = join_signs(tokens, opposite, n_positive)
        ranks = join_signs(active, opposite, n_known)
        best = int(_areas(positive[:, 1:], ranks[:, 1:], n_positive, n_known).argmax())
        bins = cut_ranks(ranks[best], sources.n_bins)
        order = np.argsort(-_areas(*_of_label(ours, at)), kind="stable")[:N_CANDIDATES]
        features = np.sort(order).astype(np.int64)
        yield Contest(int(label), best, int(opposite[best]), bins, features)


def _of_label(counts: Counts, at: int) -> tuple[Ints, Ints, int, int]:
    """Return one label's counts: at every level, and of all tokens; positive, and known."""
    group = counts.group[at]
    totals = int(counts.n_positive[at]), int(counts.n_known[group])
    return counts.tokens[at], counts.active[group], *totals


def _areas(positive: Ints, known: Ints, n_positive: int, n_known: int) -> Floats:
    """Return average precision from counts above the lowest rank ``(n, n_ranks)``."""
    return average_precision(positive, known, positive=n_positive, known=n_known)


def _row(
    sources: Sources,
    way: Direction,
    contest: Contest,
    counts: BlockCounts,
    n_blocks: Ints,
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    (feature,) = contest.features.tolist()
    positive, known = (np.asarray(each.sum(axis=0))[None] for each in counts)
    ours, theirs, chance = measure_counts(positive, known, sources.n_bins)[0].tolist()
    gains = np.array([ours - theirs, ours - chance])
    low = high = np.full(2, np.nan)
    judged = n_bootstrap > 0 and n_blocks[contest.label] >= MIN_EVENT_FAMILIES
    if judged:
        stream = (seed, SPLITS.index(way.testing))
        drawn = resample_blocks(counts, sources.n_bins, n_bootstrap=n_bootstrap, seed=stream)
        low, high = _interval(drawn[:, :1] - drawn[:, 1:], gains)
    # Both parts of the counts hold every token once.
    n_positive = int(positive.sum()) // 2 / max(sources.features.axis.step_weights)
    return {
        "label": sources.known.labels[contest.label].name,
        "direction": way.name,
        "covariate": _name(sources.covariates, contest.covariate),
        "feature": feature,
        "feature_name": _name(sources.features, feature),
        "n_positive": round(n_positive),
        "n_blocks": int(n_blocks[contest.label]),
        "ap_feature": ours,
        "ap_covariate": theirs,
        "prevalence": chance,
        "gain_over_covariate": gains[0],
        "gain_low": low[0],
        "gain_high": high[0],
        "gain_over_chance": gains[1],
        "gain_over_chance_low": low[1],
        "gain_over_chance_high": high[1],
        "beats_field": bool((low > 0).all()) if judged else pd.NA,
    }


def _interval(drawn: Floats, found: Floats) -> Floats:
    """Return both ends ``(2, n)`` of intervals from resamples ``(n_bootstrap, n)``.

    A finely resolved ranking of few independent tokens has an average precision above chance
    though it knows nothing. Resamples hold fewer independent tokens, and are above what was found
    by about as much as that is above the truth; so quantiles are lowered by twice that.
    """
    tail = (1 - LEVEL) / 2
    above = np.nanmean(drawn, axis=0) - found
    ends: Floats = np.nanquantile(drawn, [tail, 1 - tail], axis=0) - 2 * above
    return ends


def _name(source: FeatureSource, number: int) -> str:
    return source.names[number] if source.names else str(number)
