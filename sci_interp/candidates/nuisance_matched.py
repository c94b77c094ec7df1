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
    windows_per_block,
)
from .explainers import Explainers
from .firing import FiringWindows, shuffle_keys
from .stretches import Stretch, split_stretches, stretches
from .windows import HALVES

__all__ = ["measure_matched_coherence"]

#: Families that reference windows come from at the least, at a like place and anywhere.
_MIN_FAMILIES = (8, 2)
_NO_NUISANCE = _ANYWHERE = -1
#: Features whose reference windows are drawn in one pass over the records.
_CHUNK = 256

#: What a reference window has in common with the window it stands for: nuisance and cell.
_Kind = tuple[int, int]


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
) -> NDArray[np.float64]:
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

    Returns
    -------
    (n,) float64
        Monte Carlo p-values, one-sided.
    """
    left = np.arange(len(nuisances))
    p = np.ones(len(left))
    for n_drawn in (max(1, n_sets // 10), n_sets, 10 * n_sets):
        for first in range(0, len(left), _CHUNK):
            columns = left[first : first + _CHUNK]
            tests = _tests(windows, columns, nuisances[columns], explainers, seed=seed)
            for column, test in zip(columns.tolist(), tests, strict=True):
                test.draw(n_drawn)
                p[column] = test.p
        if is_fine(p, q, n_tested):
            break
        # The same sets come again, and more of them.
        left = np.flatnonzero(p < MonteCarlo.n_needed / n_drawn)
    return p


def _tests(
    windows: FiringWindows,
    columns: NDArray[np.int64],
    nuisances: NDArray[np.int64],
    explainers: Explainers,
    *,
    seed: int,
) -> Iterator[MonteCarlo]:
    """Yield the test of every feature, with its reference windows."""
    at = [windows.of(int(column)) for column in columns]
    rows = np.concatenate([np.arange(one.start, one.stop) for one in at])
    owner = np.repeat(np.arange(len(at)), [one.stop - one.start for one in at])
    axis, token = explainers.axis, windows.token[rows]
    cell = cells_of(axis, token, strata_of(axis))
    shared = _first_that_holds(explainers, token, nuisances[owner])
    kinds = [_kinds(*pair) for pair in zip(shared.tolist(), cell.tolist(), strict=True)]
    bank = _Bank.draw(explainers, [kind for those in kinds for kind in those], seed=seed)
    where = (axis, explainers.adapter, explainers.dataset)
    unit = describe(*where, token)
    for number, column in enumerate(columns.tolist()):
        mine = np.flatnonzero(owner == number)
        used, place = np.unique([bank.best(kinds[row]) for row in mine], return_inverse=True)
        size = np.array([len(bank.token[kind]) for kind in used])
        stop = np.cumsum(size)[place]
        reference = describe(*where, np.concatenate([bank.token[kind] for kind in used]))
        yield MonteCarlo(
            reference @ reference.T,
            np.concatenate([bank.block[kind] for kind in used]),
            np.stack([stop - size[place], stop]),
            float(mean_similarity(unit[mine] @ unit[mine].T, windows.block[rows[mine]])),
            np.random.default_rng([seed, 7, column]),
        )


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

    @classmethod
    def draw(cls, explainers: Explainers, kinds: Sequence[_Kind], *, seed: int) -> _Bank:
        """Draw the bank from discovery and test records, each kind from many families."""
        number = {kind: at for at, kind in enumerate(dict.fromkeys(kinds))}
        draw = _Draw(explainers, number, seed)
        axis = explainers.axis
        records = axis.record_range(HALVES)
        first, last = np.searchsorted(axis.block_starts, records)
        order = np.random.default_rng([seed, 8]).permutation(np.arange(first, last))
        for block in order.tolist():
            if draw.is_complete:
                break
            draw.add(block)
        return cls(number, *draw.close())


class _Draw:
    """Fills every kind with windows, one a family or, of gridded records, a few a block."""

    def __init__(self, explainers: Explainers, number: dict[_Kind, int], seed: int) -> None:
        self._explainers, self._seed = explainers, seed
        self._strata = strata_of(explainers.axis)
        self._most = windows_per_block(explainers.axis, WINDOWS_PER_CELL)
        #: Nuisances that kinds ask for; the last row below is for none of them.
        self._asked = np.unique([one for one, _ in number if one != _NO_NUISANCE]).astype(np.int64)
        row = {int(one): at for at, one in enumerate(self._asked)} | {_NO_NUISANCE: -1}
        #: Kind of every nuisance and cell, -1 for none. The last columns: other cells, any.
        shape = (len(self._asked) + 1, 3 + max(cell for _, cell in number))
        self._kind = np.full(shape, -1, np.int64)
        for (nuisance, cell), at in number.items():
            self._kind[row[nuisance], cell] = at
        self._room = np.full(len(number), WINDOWS_PER_CELL)
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
            found = found[:, _rank(found[0]) < self._most]
        kept = _rank(found[0]) < self._room[found[0]]
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


def _rank(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many entries of the same group stand before each ``(n,)``."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(group)))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, lengths)
    return rank
