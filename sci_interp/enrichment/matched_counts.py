"""Counts of levels inside bins of a covariate: exact integers that add up over slices and blocks.

Inside a bin the covariate is nearly the same everywhere. Counts of known and of positive tokens in
every bin, at each of the 256 levels of a feature, hold its average precision there; counts of
every block hold that of any resample of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.codes import Codes
from sci_interp.errors import InputError
from sci_interp.schema import MAX_LEVEL, Split
from sci_interp.source import FeatureSource

from .inputs import KnownSource, RunSlice, iterate_slices, known_mask
from .kernel import compiled, run_ranges
from .matched_ranks import N_RANKS, RANK_ABSENT
from .ranking import average_precision

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "BlockCounts",
    "Contest",
    "Sources",
    "count_blocks",
    "count_inside",
    "inside_bins",
    "measure_counts",
    "resample_blocks",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

N_LEVELS = MAX_LEVEL + 1
#: Resamples that are measured at once.
RESAMPLES_AT_ONCE = 32


class Sources(NamedTuple):
    """What is compared, on one axis.

    Attributes
    ----------
    features, covariates
        Codes of the features and of the covariates.
    known
        Annotations.
    n_bins : int
        Bins of a covariate.
    n_threads : int
        Threads; nothing depends on it.
    """

    features: FeatureSource
    covariates: FeatureSource
    known: KnownSource
    n_bins: int
    n_threads: int


class Contest(NamedTuple):
    """Features that stand against a covariate for one label.

    Attributes
    ----------
    label : int
        The label.
    covariate, opposite : int
        The covariate, and that of the opposite sign or -1.
    bin : (511,) uint8
        Bin of each of the covariate's ranks.
    features : (n_features,) int64
        The features.
    """

    label: int
    covariate: int
    opposite: int
    bin: NDArray[np.uint8]
    features: Ints


class BlockCounts(NamedTuple):
    """Counts of one feature and of its covariate in every block.

    Attributes
    ----------
    positive, known : (n_blocks, n_bins * (256 + 511)) sparse int64
        Weight of positive, and of known tokens: of the feature by bin and level, then of the
        covariate by bin and rank. A row for every block with a known token.
    """

    positive: csr_array
    known: csr_array


def inside_bins(positive: Ints, known: Ints) -> tuple[Floats, Floats]:
    """Return average precision and prevalence inside bins, means weighted by their positives.

    Parameters
    ----------
    positive, known : (n, n_bins, n_levels) int64
        Weight of positive, and of known tokens, by bin and level.

    Returns
    -------
    average_precision, prevalence : (n,) float64
        NaN where there is no positive token.
    """
    inside, tokens = positive.sum(-1), known.sum(-1)
    n_levels = positive.shape[-1]
    area = average_precision(positive.reshape(-1, n_levels), known.reshape(-1, n_levels))
    area = np.where(inside > 0, area.reshape(inside.shape), 0.0)
    share = inside / np.maximum(tokens, 1)
    n_positive = inside.sum(-1)
    with np.errstate(invalid="ignore"):
        means = [(inside * values).sum(-1) / n_positive for values in (area, share)]
    return means[0], means[1]


def count_inside(
    sources: Sources, contests: Sequence[Contest], split: Split
) -> list[tuple[Ints, Ints]]:
    """Count the features of every contest inside the bins of its covariate, in one pass.

    Returns
    -------
    list of (positive, known), each (n_features, n_bins, 256) int64
        Weight of positive, and of known tokens, by feature, bin and level.
    """
    shapes = [(len(contest.features), sources.n_bins, N_LEVELS) for contest in contests]
    found = [(np.zeros(shape, np.int64), np.zeros(shape, np.int64)) for shape in shapes]
    chosen = np.unique(np.concatenate([contest.features for contest in contests]))

    def count(piece: _Slice, codes: Codes, first: int, last: int) -> None:
        value = codes.value.astype(np.uint8, copy=False)
        for contest, pair in zip(contests[first:last], found[first:last], strict=True):
            place = np.full(len(chosen), -1, np.int64)
            place[np.searchsorted(chosen, contest.features)] = np.arange(len(contest.features))
            cell = contest.bin[piece.covariate(contest)]
            for counts, weight in zip(pair, piece.weights(contest), strict=True):
                _add_levels(codes.indptr, codes.feature, value, weight, cell, place, counts)
                counts[:, :, 0] += _sum_by(cell, weight, sources.n_bins)

    for piece in _each_slice(sources, split):
        work = partial(count, piece, _only(piece.features, chosen, sources.features.n_features))
        run_ranges(work, len(contests), size=1, n_threads=sources.n_threads)
    for pair in found:
        for counts in pair:
            counts[:, :, 0] -= counts[:, :, 1:].sum(-1)
    return found


def count_blocks(sources: Sources, contests: Sequence[Contest], split: Split) -> list[BlockCounts]:
    """Count the only feature of every contest and its covariate, block by block, in one pass."""
    axis = sources.features.axis
    edges = axis.record_starts[axis.block_starts]
    half = sources.n_bins * N_LEVELS
    rows = [_Rows(half + sources.n_bins * N_RANKS) for _ in contests]

    def count(piece: _Slice, first: int, last: int) -> None:
        for contest, row in zip(contests[first:last], rows[first:last], strict=True):
            (feature,) = contest.features.tolist()
            rank = piece.covariate(contest)
            cell = contest.bin[rank].astype(np.int64)
            level = _level_of(piece.features, feature)
            cells = (cell * N_LEVELS + level, half + cell * N_RANKS + rank)
            weights = piece.weights(contest)
            stop = piece.start + len(rank)
            for block in range(
                int(np.searchsorted(edges, piece.start, side="right")) - 1,
                int(np.searchsorted(edges, stop, side="left")),
            ):
                begin, end = (int(edge) - piece.start for edge in edges[block : block + 2])
                inside = slice(max(begin, 0), end)
                row.add(block, [each[inside] for each in cells], [w[inside] for w in weights])

    for piece in _each_slice(sources, split):
        run_ranges(partial(count, piece), len(contests), size=1, n_threads=sources.n_threads)
    return [row.finish() for row in rows]


def resample_blocks(
    counts: BlockCounts, n_bins: int, *, n_bootstrap: int, seed: Sequence[int]
) -> Floats:
    """Return measures of resamples of blocks ``(n_bootstrap, 3)``.

    They are the feature's and the covariate's average precision inside bins, and the prevalence;
    NaN where no positive token was drawn.
    """
    n_blocks = counts.known.shape[0]
    random = np.random.default_rng(list(seed))
    result = np.empty((n_bootstrap, 3))
    for first in range(0, n_bootstrap, RESAMPLES_AT_ONCE):
        n = min(RESAMPLES_AT_ONCE, n_bootstrap - first)
        drawn = random.integers(0, n_blocks, (n, n_blocks))
        times = np.stack([np.bincount(row, minlength=n_blocks) for row in drawn], axis=1)
        result[first : first + n] = measure_counts(
            (counts.positive.T @ times).T, (counts.known.T @ times).T, n_bins
        )
    return result


def measure_counts(positive: Ints, known: Ints, n_bins: int) -> Floats:
    """Return the measures of :func:`resample_blocks` of sums of its rows ``(n, cells)``."""
    half = n_bins * N_LEVELS
    found = []
    for part, n_levels in ((slice(half), N_LEVELS), (slice(half, None), N_RANKS)):
        shape = (len(positive), n_bins, n_levels)
        cut = [np.ascontiguousarray(each[:, part]).reshape(shape) for each in (positive, known)]
        found.append(inside_bins(*cut))
    (ours, prevalence), (theirs, _) = found
    return np.stack([ours, theirs, prevalence], axis=1)


@dataclass(frozen=True, eq=False)
class _Slice:
    """Everything known of a token range.

    Attributes
    ----------
    start : int
        Its first token.
    features, covariates : Codes
        Codes of its tokens.
    runs : RunSlice
        Annotations.
    group : (n_labels,) int64
        Group of every label.
    weight : (n_groups, n_tokens) int64
        Weight of every token, 0 where the group was not assessed.
    """

    start: int
    features: Codes
    covariates: Codes
    runs: RunSlice
    group: Ints
    weight: Ints

    def weights(self, contest: Contest) -> tuple[Ints, Ints]:
        """Return the weights of positive, and of known tokens ``(n_tokens,)`` each."""
        known = self.weight[self.group[contest.label]]
        mine = np.asarray(self.runs.label) == contest.label
        change = np.zeros(len(known) + 1, np.int64)
        for edge, step in ((self.runs.start, 1), (self.runs.stop, -1)):
            np.add.at(change, np.asarray(edge, np.int64)[mine] - self.start, step)
        return np.where(np.cumsum(change)[:-1] > 0, known, 0), known

    def covariate(self, contest: Contest) -> Ints:
        """Return the covariate's rank at every token ``(n_tokens,)``."""
        above = _level_of(self.covariates, contest.covariate)
        rank = RANK_ABSENT + above.astype(np.int64)
        if contest.opposite >= 0:
            below = _level_of(self.covariates, contest.opposite)
            if ((above > 0) & (below > 0)).any():
                raise InputError(
                    f"covariates {contest.covariate} and {contest.opposite} are both active at a "
                    "token",
                    allowed="covariates named 'x +' and 'x -' are one number's two signs",
                )
            rank -= below
        return rank


@dataclass(eq=False)
class _Rows:
    """Sparse rows of one contest, block after block; the latest block may go on."""

    n_cells: int
    block: int = -1
    dense: Ints = field(init=False)
    parts: list[tuple[Ints, Ints]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dense = np.zeros((2, self.n_cells), np.int64)

    def add(self, block: int, cells: Sequence[Ints], weights: Sequence[Ints]) -> None:
        """Add tokens of a block by their cells, in positive and known weight."""
        if block != self.block:
            self._close()
            self.block = block
        for total, weight in zip(self.dense, weights, strict=True):
            for each in cells:
                np.add(total, _sum_by(each, weight, self.n_cells), out=total)

    def finish(self) -> BlockCounts:
        """Return all rows."""
        from scipy.sparse import csr_array

        self._close()
        index = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in self.parts)])
        pair = np.concatenate([np.zeros((2, 0), np.int64), *(p[1] for p in self.parts)], axis=1)
        indptr = np.append(0, np.cumsum([len(part[0]) for part in self.parts])).astype(np.int64)
        shape = (len(self.parts), self.n_cells)
        return BlockCounts(*(csr_array((each, index, indptr), shape=shape) for each in pair))

    def _close(self) -> None:
        index = np.flatnonzero(self.dense[1])
        if len(index):
            self.parts.append((index, self.dense[:, index]))
            self.dense[:] = 0


def _each_slice(sources: Sources, split: Split) -> Iterator[_Slice]:
    axis, known = sources.features.axis, sources.known
    group = np.asarray(known.group_of_label, np.int64)
    for start, stop in iterate_slices(axis, split):
        runs = known.read(start, stop)
        mask = known_mask(runs, start, stop - start, len(known.groups))
        weight = mask * axis.token_weights(start, stop)
        features, covariates = (s.read(start, stop) for s in (sources.features, sources.covariates))
        yield _Slice(start, features, covariates, runs, group, weight)


def _only(codes: Codes, chosen: Ints, n_features: int) -> Codes:
    """Return the codes of some features, numbered anew."""
    place = np.full(n_features, -1, np.int32)
    place[chosen] = np.arange(len(chosen))
    at = place[codes.feature]
    kept = at >= 0
    before = np.append(0, kept.cumsum())
    return Codes(before[codes.indptr], at[kept].astype(np.uint32), codes.value[kept])


def _level_of(codes: Codes, feature: int) -> NDArray[np.uint8]:
    """Return one feature's level at every token ``(n_tokens,)``, 0 where it is inactive."""
    level = np.zeros(codes.n_tokens, np.uint8)
    value = codes.value.astype(np.uint8, copy=False)
    _spread(codes.indptr, codes.feature, value, feature, level)
    return level


def _sum_by(cell: NDArray[np.integer], weight: Ints, n_cells: int) -> Ints:
    """Return the weight in every cell; floats below 2**53 make the sums exact."""
    return np.bincount(cell, weights=weight, minlength=n_cells).astype(np.int64)


@compiled
def _spread(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    value: NDArray[np.uint8],
    chosen: int,
    level: NDArray[np.uint8],
) -> None:
    for token in range(len(level)):
        for entry in range(indptr[token], indptr[token + 1]):
            if feature[entry] == chosen:
                level[token] = value[entry]


@compiled
def _add_levels(
    indptr: Ints,
    feature: NDArray[np.unsignedinteger],
    value: NDArray[np.uint8],
    weight: Ints,
    cell: NDArray[np.uint8],
    place: Ints,
    counts: Ints,
) -> None:
    for token in range(len(weight)):
        if weight[token]:
            for entry in range(indptr[token], indptr[token + 1]):
                at = place[feature[entry]]
                if at >= 0:
                    counts[at, cell[token], value[entry]] += weight[token]
