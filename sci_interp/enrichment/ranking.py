"""Areas under the ROC and the precision-recall curve of pairs, exact, from counts of every level.

Codes are quantised, so a feature ranks tokens by at most 256 levels, the lowest of which is
"inactive". Counts of known and of known positive tokens at each level hold all there is to know of
the ranking; they are integers and add up over slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .chunks import Study
from .counts import order_runs
from .entries import Rows
from .inputs import KnownSource, iterate_slices, known_mask, read_ahead
from .kernel import compiled, run_ranges

__all__ = ["Note", "area_under_roc", "average_precision", "rank_pairs"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Takes feature, label and the positive and known tokens at each level ``(256,)``.
Note = Callable[[int, int, Ints, Ints], None]

N_LEVELS = MAX_LEVEL + 1
#: Pairs whose levels are counted at once, 4 KiB each.
MAX_PAIRS = 2**13
#: Pairs whose areas are computed at once.
PAIRS_AT_ONCE = 64


def rank_pairs(
    study: Study, pairs: pd.DataFrame, split: Split, note: Note | None = None
) -> pd.DataFrame:
    """Return AUROC and average precision of pairs over the known tokens of a split.

    Parameters
    ----------
    study
        Codes and annotations.
    pairs : DataFrame
        Columns ``feature, label``.
    split
        Where to rank.
    note
        Told of every pair how many positive and known tokens are at each level.

    Returns
    -------
    DataFrame
        The index of ``pairs``; columns ``auroc, average_precision``, as scikit-learn defines them,
        ties counted. NaN where every known token, or none, has the label.
    """
    result = pd.DataFrame(np.nan, index=pairs.index, columns=["auroc", "average_precision"])
    ordered = pairs.sort_values(["feature", "label"], kind="stable")
    for first in range(0, len(ordered), MAX_PAIRS):
        part = ordered.iloc[first : first + MAX_PAIRS]
        feature, label = (part[name].to_numpy(np.int64) for name in ("feature", "label"))
        positive, known = count_levels(
            study.features,
            study.known,
            split,
            feature=feature,
            label=label,
            rows=study.rows.held(study.features, split, np.unique(feature)),
            n_threads=study.n_threads,
        )
        positive[:, 0] = study.selection.n_positive[split][label] - positive.sum(axis=1)
        n_known = study.selection.n_known[split][study.selection.group[label]]
        known[:, 0] = n_known - known.sum(axis=1)
        if note is not None:
            for at in range(len(part)):
                note(int(feature[at]), int(label[at]), positive[at], known[at])
        result.loc[part.index] = _areas(positive, known)
    return result


def _areas(positive: Ints, known: Ints) -> Floats:
    """Return both areas ``(n, 2)``, a few pairs at a time: their temporary arrays are large."""
    areas = np.empty((len(positive), 2))
    for first in range(0, len(positive), PAIRS_AT_ONCE):
        rows = slice(first, first + PAIRS_AT_ONCE)
        areas[rows, 0] = area_under_roc(positive[rows], known[rows])
        areas[rows, 1] = average_precision(positive[rows], known[rows])
    return areas


def area_under_roc(positive: Ints, known: Ints) -> Floats:
    """Return the probability that a positive outranks a negative, a tie counting half.

    Parameters
    ----------
    positive, known : (n, n_levels) int64
        Positive tokens, and all tokens, at each level, ascending.

    Returns
    -------
    (n,) float64
        NaN where one of the two kinds is absent.
    """
    negative = known - positive
    below = np.cumsum(negative, axis=1) - negative
    # Weights make products that integers of 64 bits do not hold.
    twice = (positive * (2.0 * below + negative)).sum(axis=1)
    possible = positive.sum(axis=1) * negative.sum(axis=1, dtype=np.float64)
    area: Floats = np.divide(
        twice, 2 * possible, out=np.full(len(twice), np.nan), where=possible > 0
    )
    return area


def average_precision(positive: Ints, known: Ints) -> Floats:
    """Return the sum of precision x gain in recall over falling thresholds.

    Parameters and results are those of :func:`area_under_roc`, but that tokens without a negative
    among them have the area 1.
    """
    n_positive = positive.sum(axis=1)
    hit = np.cumsum(positive[:, ::-1], axis=1)
    active = np.cumsum(known[:, ::-1], axis=1)
    precision = np.divide(hit, active, out=np.zeros(hit.shape), where=active > 0)
    total = (precision * positive[:, ::-1]).sum(axis=1)
    area: Floats = np.divide(
        total, n_positive, out=np.full(len(total), np.nan), where=n_positive > 0
    )
    return area


def count_levels(
    features: FeatureSource,
    known: KnownSource,
    split: Split,
    *,
    feature: Ints,
    label: Ints,
    rows: Rows | None = None,
    n_threads: int = 1,
) -> tuple[Ints, Ints]:
    """Count known tokens at every level of activity, in one pass.

    Parameters
    ----------
    features, known
        Codes and annotations on one axis.
    split
        The split.
    feature, label : (n_pairs,) int64
        The pairs.
    rows
        Rows of the features, in place of the codes.
    n_threads
        Labels are counted on this many threads; the counts do not depend on it.

    Returns
    -------
    positive, known : (n_pairs, 256) int64
        Weight of known positive tokens, and of the tokens known for the label, by level of the
        pair's feature. Level 0, where it is inactive, is left at 0.
    """
    labels, of_label = np.unique(label, return_inverse=True)
    chosen, of_feature = np.unique(feature, return_inverse=True)
    groups, of_group = np.unique(np.asarray(known.group_of_label)[labels], return_inverse=True)
    pair_of = np.full((len(labels), len(chosen)), -1, np.int32)
    pair_of[of_label, of_feature] = np.arange(len(label))
    # Features with a label of a group are columns of it, one group's after another's.
    used = np.zeros((len(groups), len(chosen)), bool)
    used[of_group[of_label], of_feature] = True
    number = np.where(used, np.cumsum(used).reshape(used.shape) - 1, -1).astype(np.int32)
    positive = np.zeros((len(label), N_LEVELS), np.int64)
    everywhere = np.zeros((int(used.sum()), N_LEVELS), np.int64)
    place = np.full(features.n_features, -1, np.int32)
    place[chosen] = np.arange(len(chosen))
    for start, stop, activity in _each_activity(features, split, rows, chosen):
        runs = known.read(start, stop)
        mask = known_mask(runs, start, stop - start, len(known.groups))[groups]
        weight = mask * features.axis.token_weights(start, stop)
        order, bounds = order_runs(runs, labels)
        spans = [np.asarray(edge, np.int64)[order] - start for edge in (runs.start, runs.stop)]
        everyone, of_labels = (weight, number, everywhere), (of_group, pair_of, positive)
        work = partial(_count, activity, place, everyone, of_labels, spans, bounds)
        run_ranges(work, len(groups) + len(labels), size=1, n_threads=n_threads)
    return positive, everywhere[number[of_group[of_label], of_feature]]


def _each_activity(
    features: FeatureSource, split: Split, rows: Rows | None, chosen: Ints
) -> Iterator[tuple[int, int, _Activity | _Levels]]:
    """Yield slices with the activity of the chosen features at least."""
    slices = iterate_slices(features.axis, split)
    if rows is None:
        for start, stop, codes in read_ahead(features, slices):
            level = codes.value.astype(np.uint8, copy=False)
            yield start, stop, _Activity(codes.indptr, codes.feature, level)
        return
    row = np.searchsorted(rows.chosen, chosen).astype(np.int64)
    for start, stop in slices:
        yield start, stop, _Levels(row, rows.level[:, start - rows.origin : stop - rows.origin])


class _Activity(NamedTuple):
    """Codes of a slice."""

    indptr: Ints
    feature: NDArray[np.unsignedinteger]
    level: NDArray[np.uint8]


class _Levels(NamedTuple):
    """Rows of a slice, and which of them the chosen features have."""

    row: Ints
    level: NDArray[np.uint8]


def _count(
    activity: _Activity | _Levels,
    place: NDArray[np.int32],
    everyone: tuple[Ints, NDArray[np.int32], Ints],
    of_labels: tuple[Ints, NDArray[np.int32], Ints],
    spans: list[Ints],
    bounds: Ints,
    begin: int,
    end: int,
) -> None:
    """Count groups, then labels: the numbers ``begin:end`` of both."""
    weight, number, everywhere = everyone
    of_group, pair_of, positive = of_labels
    for each in range(begin, end):
        at = each - len(number)
        if at < 0:
            known, column, counts = weight[each], number[each], everywhere
        else:
            first, last = (edge[bounds[at] : bounds[at + 1]] for edge in spans)
            column, counts = pair_of[at], positive
            known = _inside(weight[of_group[at]], first, last)
        if isinstance(activity, _Levels):
            _add_levels(activity, known, column, counts)
        else:
            _add_codes(activity, known, place, column, counts)


@compiled
def _inside(known: Ints, first: Ints, last: Ints) -> Ints:
    """Return the weights of the tokens in the union of some ranges, 0 elsewhere."""
    found = np.zeros(len(known), np.int64)
    for run in range(len(first)):
        found[first[run] : last[run]] = known[first[run] : last[run]]
    return found


@compiled
def _add_levels(activity: _Levels, known: Ints, column: NDArray[np.int32], counts: Ints) -> None:
    """Add the weight of tokens at the levels of the features that have a column."""
    token = np.flatnonzero(known)
    for at in range(len(column)):
        if column[at] >= 0:
            level, mine = activity.level[activity.row[at]], counts[column[at]]
            for each in token:
                if level[each]:
                    mine[level[each]] += known[each]


@compiled
def _add_codes(
    activity: _Activity,
    known: Ints,
    place: NDArray[np.int32],
    column: NDArray[np.int32],
    counts: Ints,
) -> None:
    """Add the same from codes."""
    for token in np.flatnonzero(known):
        for entry in range(activity.indptr[token], activity.indptr[token + 1]):
            at = place[activity.feature[entry]]
            if at >= 0 and column[at] >= 0:
                counts[column[at], activity.level[entry]] += known[token]
