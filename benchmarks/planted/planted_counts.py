"""Counts of all pairs of a feature and a label, for rules that the library does not have.

Plain sparse products over whole tokens: slow and simple, so that nothing of the library's own
counting is judged by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from planted_data import Ints, World, tokens_of
from scipy.sparse import csr_array

from sci_interp.enrichment.measures import Confusion, auroc
from sci_interp.schema import MAX_LEVEL, Split

__all__ = ["FLOORS", "Half", "at_threshold", "pick"]

Floats = NDArray[np.float64]
#: Thresholds that rivals choose among, as levels: InterPLM's 0, .15, .5, .6 and .8 of the scale.
FLOORS = (1, 168, 224, 232, 245)


@dataclass(frozen=True, eq=False)
class Half:
    """One split of a world.

    Attributes
    ----------
    world : World
        The world.
    split : str
        ``"discovery"`` or ``"test"``.
    """

    world: World
    split: Split

    @cached_property
    def records(self) -> tuple[int, int]:
        """Half-open range of records."""
        return self.world.axis.record_range([self.split])

    @cached_property
    def bounds(self) -> Ints:
        """First token of every record in the split, and the number of tokens, from 0."""
        first, last = self.records
        starts = self.world.axis.record_starts[first : last + 1]
        bounds: Ints = starts - starts[0]
        return bounds

    @cached_property
    def levels(self) -> csr_array:
        """Levels ``(n_tokens, n_features)``."""
        codes = self.world.features.read(*self.world.axis.token_range([self.split]))
        shape = (codes.n_tokens, self.world.features.n_features)
        level = codes.value.astype(np.int32)
        return csr_array((level, codes.feature.astype(np.int32), codes.indptr), shape=shape)

    def active(self, floor: int) -> csr_array:
        """Return where features reach a level, as ones ``(n_tokens, n_features)``."""
        found = self.levels.copy()
        found.data = (found.data >= floor).astype(np.int32)
        found.eliminate_zeros()
        return found

    @cached_property
    def tokens_of_label(self) -> list[Ints]:
        """Distinct tokens of every label, from the split's first token."""
        runs, axis = self.world.runs, self.world.axis
        first, last = axis.token_range([self.split])
        inside = (runs.start >= first) & (runs.start < last)
        found = []
        for label in range(len(self.world.labels)):
            mine = inside & (runs.label == label)
            found.append(np.unique(tokens_of(runs.start[mine], runs.stop[mine])[1] - first))
        return found

    @cached_property
    def group(self) -> Ints:
        """Group of every label."""
        names = [label.group for label in self.world.labels]
        place = {name: at for at, name in enumerate(dict.fromkeys(names))}
        return np.array([place[name] for name in names], np.int64)

    @cached_property
    def known_records(self) -> NDArray[np.bool_]:
        """Records in which each group was assessed ``(n_groups, n_records)``."""
        return self.world.runs.known[:, slice(*self.records)]

    @cached_property
    def _per_record(self) -> csr_array:
        n_tokens = int(self.bounds[-1])
        ones = np.ones(n_tokens, np.int32)
        return csr_array(
            (ones, np.arange(n_tokens), self.bounds), shape=(len(self.bounds) - 1, n_tokens)
        )

    def confusion(self, floor: int) -> Confusion:
        """Return the counts of all pairs at one level ``(n_labels, n_features)``."""
        active = self.active(floor)
        indicator = self._rows(self.tokens_of_label, active.shape[0])
        sizes = np.diff(self.bounds)
        per_group = self.known_records.astype(np.float64) @ (self._per_record @ active).toarray()
        known = (self.known_records @ sizes)[self.group][:, None]
        positive = np.array([len(tokens) for tokens in self.tokens_of_label])[:, None]
        nothing = np.zeros((1, 1))
        return Confusion(
            (indicator @ active).toarray().astype(np.float64),
            per_group[self.group],
            positive.astype(np.float64),
            known.astype(np.float64),
            nothing,
            nothing,
        )

    def record_t(self, floor: int) -> tuple[Floats, Floats]:
        """Return the t of scores summed over records, and its degrees of freedom.

        The score of a record is TP - X Y / n; records count as independent, which homologues and
        neighbouring days are not.
        """
        active = self.active(floor)
        n_active = (self._per_record @ active).toarray().astype(np.float64)
        sizes = np.diff(self.bounds).astype(np.float64)
        shape = (len(self.world.labels), active.shape[1])
        statistic, freedom = np.zeros(shape), np.zeros(shape)
        for label, tokens in enumerate(self.tokens_of_label):
            record = np.searchsorted(self.bounds, tokens, "right") - 1
            held, n_positive = np.unique(record, return_counts=True)
            where = np.split(tokens, np.cumsum(n_positive)[:-1]) if len(tokens) else []
            both = (self._rows(where, active.shape[0]) @ active).toarray()
            score = both - n_active[held] * (n_positive / sizes[held])[:, None]
            informative = (n_active[held] > 0) & (n_active[held] < sizes[held][:, None])
            informative &= (n_positive < sizes[held])[:, None]
            score = np.where(informative, score, 0.0)
            spread = np.sqrt((score**2).sum(axis=0))
            statistic[label] = np.divide(
                score.sum(axis=0), spread, out=np.zeros(shape[1]), where=spread > 0
            )
            freedom[label] = informative.sum(axis=0) - 1
        return statistic, freedom

    def auroc(self) -> Floats:
        """Return the area under the ROC curve of all pairs ``(n_labels, n_features)``."""
        n_features = self.levels.shape[1]
        record = np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))
        row = np.repeat(np.arange(self.levels.shape[0]), np.diff(self.levels.indptr))
        cell = self.levels.indices.astype(np.int64) * MAX_LEVEL + self.levels.data - 1
        n_cells, shape = n_features * MAX_LEVEL, (n_features, MAX_LEVEL)
        sizes = np.diff(self.bounds)
        found = np.empty((len(self.world.labels), n_features))
        of_group = [
            np.bincount(cell[known[record[row]]], minlength=n_cells).reshape(shape)
            for known in self.known_records
        ]
        for label, tokens in enumerate(self.tokens_of_label):
            positive = np.zeros(self.levels.shape[0], np.bool_)
            positive[tokens] = True
            on_label = np.bincount(cell[positive[row]], minlength=n_cells).reshape(shape)
            found[label] = auroc(
                on_label,
                of_group[self.group[label]],
                positive=len(tokens),
                known=int(sizes[self.known_records[self.group[label]]].sum()),
            )
        return found

    @staticmethod
    def _rows(tokens: Sequence[Ints], n_tokens: int) -> csr_array:
        indptr = np.append(0, np.cumsum([len(one) for one in tokens]))
        index = np.concatenate([np.zeros(0, np.int64), *tokens])
        return csr_array(
            (np.ones(len(index), np.int32), index, indptr), shape=(len(tokens), n_tokens)
        )


def pick(values: Sequence[Floats]) -> Ints:
    """Return the number of the threshold at which a measure is best ``(n_labels, n_features)``."""
    best: Ints = np.argmax(np.stack(values), axis=0)
    return best


def at_threshold(values: Sequence[Floats], chosen: Ints) -> Floats:
    """Return values at the chosen thresholds ``(n_labels, n_features)``."""
    found: Floats = np.take_along_axis(np.stack(values), chosen[None], axis=0)[0]
    return found
