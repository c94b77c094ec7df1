"""Which labels are related: what overlaps on the tokens, or belongs to one hierarchy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sci_interp.annotations import AnnotationStore
from sci_interp.schema import SPLITS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["OVERLAP", "count_unrelated", "related_labels"]

Ints = NDArray[np.int64]

#: Two labels are related from this overlap on.
OVERLAP = 0.2
SLICE_TOKENS = 65_536


def related_labels(known: AnnotationStore) -> NDArray[np.bool_]:
    """Return which labels are related ``(n_labels, n_labels)``.

    On the tokens where the groups of both were assessed, with ``both`` the tokens that have both,
    ``small`` and ``large`` those of the rarer and of the commoner label, and ``n`` all::

        overlap = (both / small - large / n) / (1 - large / n)

    It is 1 where the rarer label lies inside the commoner, 0 where it does as often as chance puts
    it there, and negative where they avoid each other. Labels are related from an overlap of 0.2
    on; where they were never assessed together, so that nothing is known; and where their names
    are the same up to the first colon (``BINDING:ATP`` and ``BINDING:ZN``), one hierarchy.
    """
    positive, assessed, n = _count_overlaps(known)
    group = known.group_of_label
    mine = assessed[:, group]  # of the row's label, on tokens where the column's group is known
    n_known = n[np.ix_(group, group)]
    small, large = np.minimum(mine, mine.T), np.maximum(mine, mine.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = large / n_known
        overlap = (positive / small - share) / (1 - share)
    # Not a number: one of them is nowhere, or everywhere, that the other was looked for.
    related = ~(overlap < OVERLAP)
    root = np.array([label.name.partition(":")[0] for label in known.labels])
    return np.asarray(related | (root[:, None] == root), np.bool_)


def count_unrelated(labels: Ints, related: NDArray[np.bool_]) -> int:
    """Return how many groups some labels fall into, if related ones are joined in chains."""
    left, n_groups = set(labels.tolist()), 0
    while left:
        n_groups += 1
        reach = [left.pop()]
        while reach:
            near = related[reach.pop()]
            found = {label for label in left if near[label]}
            left -= found
            reach += found
    return n_groups


def _count_overlaps(known: AnnotationStore) -> tuple[Ints, Ints, Ints]:
    """Return tokens with two labels, with a label where a group is known, with two groups known."""
    n_labels, n_groups = len(known.labels), len(known.groups)
    both = np.zeros((n_labels, n_labels), np.int64)
    assessed = np.zeros((n_labels, n_groups), np.int64)
    n = np.zeros((n_groups, n_groups), np.int64)
    for start, stop in _slices(known):
        piece = known.read(start, stop)
        label, first, last = piece.union()
        has = _indicator(label, first - start, last - start, (n_labels, stop - start))
        bounds = piece.known_start - start, piece.known_stop - start
        seen = _indicator(piece.known_group, *bounds, (n_groups, stop - start))
        both += (has @ has.T).toarray()
        assessed += (has @ seen.T).toarray()
        n += (seen @ seen.T).toarray()
    return both, assessed, n


def _slices(known: AnnotationStore) -> Iterator[tuple[int, int]]:
    """Yield token ranges of whole records."""
    starts = known.axis.record_starts
    first, last = known.axis.record_range(SPLITS)
    while first < last:
        stop = int(np.searchsorted(starts, starts[first] + SLICE_TOKENS, side="right")) - 1
        stop = max(stop, first + 1)
        yield int(starts[first]), int(starts[stop])
        first = stop


def _indicator(
    row: NDArray[np.integer], start: Ints, stop: Ints, shape: tuple[int, int]
) -> csr_array:
    """Return a sparse matrix that is 1 in the ranges of every row."""
    from scipy.sparse import csr_array

    length = stop - start
    before = np.repeat(np.cumsum(length) - length, length)
    column = np.arange(int(length.sum())) - before + np.repeat(start, length)
    ones = np.ones(len(column), np.int64)
    return csr_array((ones, (np.repeat(row, length), column)), shape=shape)
