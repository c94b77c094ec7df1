"""Gate 2: a feature's top windows resemble each other more than matched windows do.

The windows of a feature come from different families. A reference set takes, for each of them, a
window at a similar place (distance to the nearer end, or relative position; on a grid a band of
rows) of a record of similar stratum (on a grid: season) from another family. The p-value is Monte
Carlo and exact for the sets drawn: (1 + b) / (1 + B), stopped early after enough reference sets
were as coherent (Besag & Clifford, 1991).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset
from sci_interp.axis import TokenAxis
from sci_interp.schema import EXCHANGE, RECORD, STRATUM
from sci_interp.threads import one_blas_thread

from .multiplicity import adjust_p
from .stretches import block_of_records, windows_per_block
from .windows import HALVES, TopWindows

__all__ = [
    "WINDOWS_PER_CELL",
    "Coherence",
    "MonteCarlo",
    "ReferenceWindows",
    "cells_of",
    "describe",
    "is_fine",
    "mean_similarity",
    "measure_coherence",
    "strata_of",
]

#: Distances to an end of the record that are a place of their own.
_END_EDGES = (2, 8, 32)
_N_INNER = 6
_N_STRATA = 4
#: Reference windows of one kind of place and stratum.
WINDOWS_PER_CELL = 64
#: Similarities this close are equal: another BLAS rounds single precision otherwise.
_TIE = 1e-5


@dataclass(frozen=True, eq=False)
class Coherence:
    """Result of gate 2 for the features tested, in the order asked.

    Attributes
    ----------
    cosine : (n,) float64
        Mean cosine similarity between windows of different families.
    excess : (n,) float64
        The same, minus the mean over the reference sets.
    p : (n,) float64
        Monte Carlo p-value, one-sided.
    """

    cosine: NDArray[np.float64]
    excess: NDArray[np.float64]
    p: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ReferenceWindows:
    """A bank of random windows: for each kind of place and stratum one from each of 64 families.

    Gridded records have fewer blocks, each with records to spare: several windows come from each.

    Attributes
    ----------
    cell : (n_windows,) int64
        Place and stratum of every window, ascending.
    block : (n_windows,) int64
        Its family.
    similarity : (n_windows, n_windows) float32
        Cosine similarity of their descriptors.
    """

    cell: NDArray[np.int64]
    block: NDArray[np.int64]
    similarity: NDArray[np.float32]

    @classmethod
    def draw(
        cls, axis: TokenAxis, adapter: Adapter, dataset: Dataset, *, seed: int
    ) -> ReferenceWindows:
        """Draw the bank from discovery and test records, each cell from many families."""
        generator = np.random.default_rng([seed, 1])
        block_of_record = block_of_records(axis)
        tokens, cells, blocks = [], [], []
        strata, most = strata_of(axis), windows_per_block(axis, WINDOWS_PER_CELL)
        seen: dict[int, Counter[int]] = {}
        for record in generator.permutation(np.arange(*axis.record_range(HALVES))):
            start, stop = axis.record_starts[record : record + 2]
            block = int(block_of_record[record])
            cell = cells_of(axis, np.arange(start, stop), strata)
            for value in np.unique(cell).tolist():
                families = seen.setdefault(value, Counter())
                if families.total() < WINDOWS_PER_CELL and families[block] < most:
                    families[block] += 1
                    tokens.append(start + generator.choice(np.flatnonzero(cell == value)))
                    cells.append(value)
                    blocks.append(block)
        order = np.argsort(cells, kind="stable")
        token = np.array(tokens, np.int64)[order]
        unit = describe(axis, adapter, dataset, token)
        return cls(np.array(cells)[order], np.array(blocks)[order], unit @ unit.T)

    def rows(self, cell: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first row of every cell asked, and the one after its last ``(2, n)``."""
        return np.stack([np.searchsorted(self.cell, cell, side) for side in ("left", "right")])


def cells_of(
    axis: TokenAxis, tokens: NDArray[np.int64], strata: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the kind of place and the stratum of tokens as one number each ``(n,)``.

    Parameters
    ----------
    axis
        The records.
    tokens : (n,) int64
        Tokens on the axis.
    strata : (n_records,) int64
        Stratum of every record.
    """
    record = np.searchsorted(axis.record_starts, tokens, "right") - 1
    stratum = strata[record]
    n_rows = _rows_of_a_level(axis.step_weights)
    if n_rows > 1:
        band: NDArray[np.int64] = (tokens % n_rows) * _N_INNER // n_rows
        return band + _N_INNER * stratum
    head = tokens - axis.record_starts[record]
    tail = axis.record_starts[record + 1] - 1 - tokens
    near = np.minimum(head, tail)
    end = np.searchsorted(_END_EDGES, near, "right")
    inner = (head * _N_INNER) // (head + tail + 1)
    place = np.where(near < _END_EDGES[-1], 2 * end + (tail < head), 2 * len(_END_EDGES) + inner)
    cell: NDArray[np.int64] = place * _N_STRATA + stratum
    return cell


def _rows_of_a_level(step_weights: Sequence[int]) -> int:
    """Return after how many tokens the weights of a step repeat: levels have the same rows."""
    n = len(step_weights)
    for rows in range(1, n + 1):
        if n % rows == 0 and tuple(step_weights[:rows]) * (n // rows) == tuple(step_weights):
            return rows
    return n


def strata_of(axis: TokenAxis) -> NDArray[np.int64]:
    """Return the stratum of every record ``(n_records,)``."""
    exchange = axis.records[EXCHANGE].to_numpy(str)
    if (exchange != "").any():
        return np.unique(exchange, return_inverse=True)[1].astype(np.int64)
    stratum = axis.records[STRATUM].to_numpy()
    edges = np.quantile(stratum, np.linspace(0, 1, _N_STRATA + 1)[1:-1])
    found: NDArray[np.int64] = np.searchsorted(edges, stratum, "right").astype(np.int64)
    return found


def describe(
    axis: TokenAxis, adapter: Adapter, dataset: Dataset, tokens: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the adapter's descriptors of windows, scaled to unit length ``(n, n_numbers)``."""
    ids = axis.records[RECORD]
    record = np.searchsorted(axis.record_starts, tokens, "right") - 1
    order = np.argsort(record, kind="stable")
    starts = np.flatnonzero(np.diff(record[order], prepend=-1))
    found: NDArray[np.float32] = np.zeros((len(tokens), 1), np.float32)
    for rows in np.split(order, starts[1:]):
        here = int(record[rows[0]])
        local = tokens[rows] - axis.record_starts[here]
        described = adapter.describe_windows(dataset, str(ids.iloc[here]), local)
        if found.shape[1] != described.shape[1]:
            found = np.zeros((len(tokens), described.shape[1]), np.float32)
        found[rows] = described
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (found / np.maximum(length, 1e-12)).astype(np.float32)
    return unit


def mean_similarity(
    similarity: NDArray[np.float32], block: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean similarity over pairs of different families.

    Parameters
    ----------
    similarity
        ``(..., n, n)``.
    block
        ``(..., n)`` family of every window.
    """
    differ = block[..., :, None] != block[..., None, :]
    total = np.where(differ, similarity, 0.0).sum(axis=(-2, -1), dtype=np.float64)
    mean: NDArray[np.float64] = total / np.maximum(differ.sum(axis=(-2, -1)), 1)
    return mean


@one_blas_thread()
def measure_coherence(
    windows: TopWindows,
    chosen: Sequence[int] | NDArray[np.int64],
    *,
    axis: TokenAxis,
    adapter: Adapter,
    dataset: Dataset,
    q: float = 0.01,
    n_sets: int = 10_000,
    seed: int = 0,
) -> Coherence:
    """Test whether the top windows of features resemble each other.

    Parameters
    ----------
    windows
        Strongest windows of all features.
    chosen
        Features to test; each needs windows of at least two families.
    axis, adapter, dataset
        Where the windows lie, and who can describe them.
    q
        False discovery rate that the p-values must be fine enough for.
    n_sets
        Most reference sets for one feature. A tenth is drawn first; the rest only where so few
        features are coherent that a tenth cannot tell, and for no feature that 10 sets matched.
    seed
        Seed of the reference sets.
    """
    if len(chosen) == 0:
        nothing = np.zeros(0)
        return Coherence(nothing, nothing, nothing)
    bank = ReferenceWindows.draw(axis, adapter, dataset, seed=seed)
    rows = np.flatnonzero(np.isin(windows.feature, chosen))
    unit = describe(axis, adapter, dataset, windows.token[rows])
    cell = cells_of(axis, windows.token[rows], strata_of(axis))
    tests = []
    for feature in chosen:
        at = windows.of(int(feature))
        here = slice(*np.searchsorted(rows, [at.start, at.stop]))
        observed = float(mean_similarity(unit[here] @ unit[here].T, windows.block[rows[here]]))
        generator = np.random.default_rng([seed, 2, int(feature)])
        test = MonteCarlo(bank.similarity, bank.block, bank.rows(cell[here]), observed, generator)
        tests.append(test)
    for test in tests:
        test.draw(max(1, n_sets // 10))
    if not is_fine(np.array([test.p for test in tests]), q):
        for test in tests:
            test.draw(n_sets)
    cosine = np.array([test.observed for test in tests])
    expected = np.array([test.expected for test in tests])
    return Coherence(cosine, cosine - expected, np.array([test.p for test in tests]))


def is_fine(p: NDArray[np.float64], q: float, n_tested: int | None = None) -> bool:
    """Return whether the smallest p-values are small enough to be told apart from chance.

    Parameters
    ----------
    p : (n,)
        P-values.
    q
        False discovery rate asked.
    n_tested
        Number of tests, where large p-values were left out.
    """
    return bool((adjust_p(p, n_tested)[p == p.min(initial=1.0)] <= q).all())


class MonteCarlo:
    """Draws reference sets for one feature, until enough were as coherent as its windows.

    Parameters
    ----------
    similarity : (n_bank, n_bank) float32
        Similarity of the windows that may be drawn.
    block : (n_bank,) int64
        Their families.
    rows : (2, n_windows) int64
        First row, and row after the last, from which a stand-in for each window is drawn.
    observed
        Mean similarity of the feature's own windows.
    generator
        Who draws.
    """

    n_needed = 10
    batch = 250

    def __init__(
        self,
        similarity: NDArray[np.float32],
        block: NDArray[np.int64],
        rows: NDArray[np.int64],
        observed: float,
        generator: np.random.Generator,
    ) -> None:
        self._similarity, self._block = similarity, block
        self._low, self._high = rows
        self._pairs = np.triu_indices(rows.shape[1], 1)
        self._generator = generator
        self.observed = observed
        self.n_drawn = 0
        self.n_as_high = 0
        self.total = 0.0

    @property
    def p(self) -> float:
        """The p-value of the sets drawn so far."""
        if self.n_as_high >= self.n_needed:
            return self.n_as_high / self.n_drawn
        return (1 + self.n_as_high) / (1 + self.n_drawn)

    @property
    def expected(self) -> float:
        """Mean similarity of the sets drawn so far."""
        return self.total / self.n_drawn

    def draw(self, n_sets: int) -> None:
        """Draw until there are ``n_sets`` in all, or enough were as coherent."""
        while self.n_drawn < n_sets and self.n_as_high < self.n_needed:
            values = self._values(min(self.batch, n_sets - self.n_drawn))
            reached = np.cumsum(values >= self.observed - _TIE) + self.n_as_high
            if reached[-1] >= self.n_needed:
                values = values[: int(np.argmax(reached >= self.n_needed)) + 1]
            self.n_as_high += int((values >= self.observed - _TIE).sum())
            self.n_drawn += len(values)
            self.total += float(values.sum())

    def _values(self, n_sets: int) -> NDArray[np.float64]:
        """Return the mean similarity of new reference sets, over pairs of different families."""
        drawn = self._generator.integers(self._low, self._high, size=(n_sets, len(self._low)))
        one, other = drawn[:, self._pairs[0]], drawn[:, self._pairs[1]]
        differ = self._block[one] != self._block[other]
        similarity = self._similarity[one, other] * differ
        total = similarity.sum(axis=1, dtype=np.float64)
        mean: NDArray[np.float64] = total / np.maximum(differ.sum(axis=1), 1)
        return mean
