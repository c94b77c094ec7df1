"""Gate 3's second look at coherence: windows alike beyond the nuisances that they share.

A nuisance (a letter, a band of latitude) is no explanation of a feature that fires at a few of its
tokens, all in one recurrent context. What fires at a nuisance, at all of it or at any part, has
windows no more alike than other windows of the nuisance. The reference windows of gate 2 are
therefore drawn again: each bears the nuisance of the window that it stands for, of the feature's
best ones the first that holds there. One, since explanations are joined by "or": what fires where
three letters meet is explained by none of them. Where too few families have such a token at a like
place, it may lie anywhere; where too few have one at all, the place alone is matched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.threads import one_blas_thread

from .coherence import (
    WINDOWS_PER_CELL,
    MonteCarlo,
    cells_of,
    describe,
    is_fine,
    mean_similarity,
    strata_of,
)
from .explainers import Explainers
from .firing import FiringWindows, rank_in, shuffle_keys
from .stretches import Stretch, split_stretches, stretches, windows_per_block
from .windows import HALVES

__all__ = ["MatchedCoherence", "measure_matched_coherence"]

#: Families that reference windows come from at the least, at a like place and anywhere.
_MIN_FAMILIES = (8, 2)
_NO_NUISANCE = _ANYWHERE = -1
#: Features whose reference windows are drawn in one pass over the records.
_CHUNK = 256
#: Reference windows for each window of a feature that asks for their kind, and of a kind.
_PER_WINDOW, _FEWEST = 4, 16
#: Reference sets that tell how alike windows of like places are.
_N_PLACE = 100

#: What a reference window has in common with the window it stands for: nuisance and cell.
_Kind = tuple[int, int]


@dataclass(frozen=True, eq=False)
class MatchedCoherence:
    """How alike windows are beyond their nuisances, in the order asked.

    Attributes
    ----------
    p : (n,) float64
        Monte Carlo p-value, one-sided.
    share : (n,) float64
        Share of their likeness beyond like places that is left where nuisances are matched too:
        0 where nuisances make all of it, 1 where they make none.
    """

    p: NDArray[np.float64]
    share: NDArray[np.float64]


@one_blas_thread()
def measure_matched_coherence(
    windows: FiringWindows,
    nuisances: NDArray[np.int64],
    explainers: Explainers,
    *,
    n_tested: int,
    q: float = 0.01,
    n_sets: int = 10_000,
    seed: int = 0,
) -> MatchedCoherence:
    """Test whether the places where features fire are more alike than their nuisances make them.

    Parameters
    ----------
    windows
        Windows of the features to test, of two families at least.
    nuisances : (n, n_best)
        Explainers in which their windows are matched, the best first; -1 for none.
    explainers
        What holds where.
    n_tested
        Number of tests, where hopeless features were left out.
    q
        False discovery rate that the p-values must be fine enough for.
    n_sets
        Reference sets for one feature. A tenth is drawn first; all, and ten times as many, only
        where so few features are coherent that fewer cannot tell.
    seed
        Seed of the reference sets.
    """
    left = np.arange(len(nuisances))
    p, share = np.ones(len(left)), np.zeros(len(left))
    for n_drawn in (max(1, n_sets // 10), n_sets, 10 * n_sets):
        for first in range(0, len(left), _CHUNK):
            columns = left[first : first + _CHUNK]
            tests = _tests(windows, columns, nuisances[columns], explainers, seed=seed)
            for column, (test, place) in zip(columns.tolist(), tests, strict=True):
                test.draw(n_drawn)
                p[column] = test.p
                excess = test.observed - place
                share[column] = (test.observed - test.expected) / excess if excess > 0 else 0.0
        if is_fine(p, q, n_tested):
            break
        # The same sets come again, and more of them.
        left = np.flatnonzero(p < MonteCarlo.n_needed / n_drawn)
    return MatchedCoherence(p, share)


def _tests(
    windows: FiringWindows,
    columns: NDArray[np.int64],
    nuisances: NDArray[np.int64],
    explainers: Explainers,
    *,
    seed: int,
) -> Iterator[tuple[MonteCarlo, float]]:
    """Yield the test of every feature, and how alike windows of like places are."""
    at = [windows.of(int(column)) for column in columns]
    rows = np.concatenate([np.arange(one.start, one.stop) for one in at])
    owner = np.repeat(np.arange(len(at)), [one.stop - one.start for one in at])
    axis, token = explainers.axis, windows.token[rows]
    cell = cells_of(axis, token, strata_of(axis))
    shared = _first_that_holds(explainers, token, nuisances[owner])
    kinds = [_kinds(*pair) for pair in zip(shared.tolist(), cell.tolist(), strict=True)]
    of_feature = [np.flatnonzero(owner == number) for number in range(len(at))]
    bank = _Bank.draw(
        explainers, _needs([[kinds[row] for row in mine] for mine in of_feature]), seed
    )
    unit = describe(axis, explainers.adapter, explainers.dataset, token)
    for column, mine in zip(columns.tolist(), of_feature, strict=True):
        observed = float(mean_similarity(unit[mine] @ unit[mine].T, windows.block[rows[mine]]))
        generator = np.random.default_rng([seed, 7, column])
        place = [bank.best(kinds[row][-2:]) for row in mine]
        other = bank.test(explainers, place, np.inf, generator)
        other.draw(_N_PLACE)
        matched = [bank.best(kinds[row]) for row in mine]
        yield bank.test(explainers, matched, observed, generator), other.expected


def _needs(kinds: Sequence[Sequence[Sequence[_Kind]]]) -> dict[_Kind, int]:
    """Return how many windows of every kind are needed, by the kinds of each feature's windows."""
    needs: Counter[_Kind] = Counter()
    for of_feature in kinds:
        asked = Counter(kind for of_window in of_feature for kind in of_window)
        needs |= Counter({kind: max(_FEWEST, _PER_WINDOW * n) for kind, n in asked.items()})
    return dict(needs)


def _first_that_holds(
    explainers: Explainers, token: NDArray[np.int64], nuisances: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the first of each token's ``nuisances`` (n, n_best) that holds there, -1 for none."""
    found = np.full(len(token), _NO_NUISANCE, np.int64)
    for stretch in split_stretches(explainers.axis, HALVES):
        here = np.flatnonzero((token >= stretch.start) & (token < stretch.stop))
        if len(here) == 0:
            continue
        positive, _ = explainers.read(stretch)
        held = positive[token[here] - stretch.start].toarray() > 0
        asked = nuisances[here]
        good = np.take_along_axis(held, np.maximum(asked, 0), axis=1) & (asked >= 0)
        first = np.take_along_axis(asked, np.argmax(good, axis=1)[:, None], axis=1)[:, 0]
        found[here] = np.where(good.any(axis=1), first, _NO_NUISANCE)
    return found


def _kinds(nuisance: int, cell: int) -> list[_Kind]:
    """Return what may stand for a window: the closest match first, anything last."""
    sets = dict.fromkeys((nuisance, _NO_NUISANCE))
    return [(one, where) for one in sets for where in (cell, _ANYWHERE)]


@dataclass(frozen=True, eq=False)
class _Bank:
    """Reference windows of every kind asked: tokens and their families."""

    number: dict[_Kind, int]
    token: list[NDArray[np.int64]]
    block: list[NDArray[np.int64]]

    def best(self, kinds: Sequence[_Kind]) -> int:
        """Return the first of some kinds that enough families have, else the last."""
        for kind in kinds:
            found = self.number[kind]
            n_families = len(np.unique(self.block[found]))
            if n_families >= _MIN_FAMILIES[kind[1] == _ANYWHERE]:
                break
        return found

    def test(
        self,
        explainers: Explainers,
        kinds: Sequence[int],
        observed: float,
        generator: np.random.Generator,
    ) -> MonteCarlo:
        """Return the test of windows, each of which has reference windows of a kind."""
        used, at_kind, n_windows = np.unique(kinds, return_inverse=True, return_counts=True)
        size = np.maximum(_FEWEST, _PER_WINDOW * n_windows)
        size = np.minimum(size, [len(self.token[kind]) for kind in used])
        token, block = (
            np.concatenate([part[kind][:n] for kind, n in zip(used, size, strict=True)])
            for part in (self.token, self.block)
        )
        unit = describe(explainers.axis, explainers.adapter, explainers.dataset, token)
        stop = np.cumsum(size)[at_kind]
        rows = np.stack([stop - size[at_kind], stop])
        return MonteCarlo(unit @ unit.T, block, rows, observed, generator)

    @classmethod
    def draw(cls, explainers: Explainers, needs: dict[_Kind, int], seed: int) -> _Bank:
        """Draw the bank from discovery and test records, each kind from many families."""
        draw = _Draw(explainers, needs, seed)
        axis = explainers.axis
        records = axis.record_range(HALVES)
        first, last = np.searchsorted(axis.block_starts, records)
        order = np.random.default_rng([seed, 8]).permutation(np.arange(first, last))
        for block in order.tolist():
            if draw.is_complete:
                break
            draw.add(block)
        return cls({kind: at for at, kind in enumerate(needs)}, *draw.close())


class _Draw:
    """Fills every kind with windows, one a family or, of gridded records, a few a block."""

    def __init__(self, explainers: Explainers, needs: dict[_Kind, int], seed: int) -> None:
        self._explainers, self._seed = explainers, seed
        self._strata = strata_of(explainers.axis)
        self._most = windows_per_block(explainers.axis, WINDOWS_PER_CELL)
        #: Nuisances that kinds ask for; the last row below is for none of them.
        self._asked = np.unique([one for one, _ in needs if one != _NO_NUISANCE]).astype(np.int64)
        row = {int(one): at for at, one in enumerate(self._asked)} | {_NO_NUISANCE: -1}
        #: Kind of every nuisance and cell, -1 for none. The last columns: other cells, any.
        shape = (len(self._asked) + 1, 3 + max(cell for _, cell in needs))
        self._kind = np.full(shape, -1, np.int64)
        for at, (nuisance, cell) in enumerate(needs):
            self._kind[row[nuisance], cell] = at
        self._room = np.array(list(needs.values()), np.int64)
        self._found: list[NDArray[np.int64]] = [np.zeros((3, 0), np.int64)]

    @property
    def is_complete(self) -> bool:
        """Whether no kind has room left."""
        return not self._room.any()

    def add(self, block: int) -> None:
        """Take windows of every kind with room from a block, at random."""
        axis = self._explainers.axis
        found = np.zeros((2, 0), np.int64)
        for stretch in stretches(axis, *axis.block_starts[block : block + 2]):
            kind, token = self._places(stretch)
            new = np.stack([kind, token + stretch.start])
            found = np.concatenate([found, new], axis=1)
            found = found[:, np.lexsort((shuffle_keys(found[1], self._seed), found[0]))]
            found = found[:, rank_in(found[0]) < self._most]
        kept = rank_in(found[0]) < self._room[found[0]]
        kind, token = found[:, kept]
        np.subtract.at(self._room, kind, 1)
        self._found.append(np.stack([kind, token, np.full(len(kind), block)]))

    def _places(self, stretch: Stretch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return kind and token of all that may be taken from a stretch."""
        open_kind = (self._kind >= 0) & (self._room[self._kind] > 0)
        is_open: NDArray[np.bool_] = np.asarray(open_kind.any(axis=1))
        positive, _ = self._explainers.read(stretch)
        open_rows = np.flatnonzero(is_open[:-1])
        holds = positive[:, self._asked[open_rows]].tocoo()
        every = np.arange(stretch.n_tokens if is_open[-1] else 0)
        row = np.append(open_rows[holds.col], np.full(len(every), len(self._asked)))
        token = np.append(holds.row.astype(np.int64), every)
        axis = self._explainers.axis
        cell = cells_of(axis, stretch.start + np.arange(stretch.n_tokens), self._strata)
        cell = np.minimum(cell, self._kind.shape[1] - 2)
        kind = np.append(self._kind[row, cell[token]], self._kind[row, _ANYWHERE])
        token = np.append(token, token)
        wanted = (kind >= 0) & (self._room[kind] > 0)
        return kind[wanted], token[wanted]

    def close(self) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Return tokens and families of every kind."""
        kind, token, block = np.concatenate(self._found, axis=1)
        order = np.argsort(kind, kind="stable")
        cuts = np.searchsorted(kind[order], np.arange(1, len(self._room)))
        return np.split(token[order], cuts), np.split(block[order], cuts)
