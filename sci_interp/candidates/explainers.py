"""All that may explain a feature on one axis: the known labels, and the adapter's nuisances."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset
from sci_interp.annotations import AnnotationSlice, AnnotationStore
from sci_interp.axis import TokenAxis
from sci_interp.enrichment.kept import KeptSlices
from sci_interp.schema import RECORD

from .stretches import Stretch, indicator

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Explainers", "expand"]

#: Annotations that are kept in memory.
KEPT_BYTES = 2**27


def expand(
    start: NDArray[np.integer[Any]], stop: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the range and the token of every token of half-open ranges."""
    length = np.asarray(stop - start, np.int64)
    owner = np.repeat(np.arange(len(start)), length)
    first = np.cumsum(length) - length
    return owner, np.arange(len(owner)) - first[owner] + start[owner]


@dataclass(frozen=True, eq=False)
class Explainers:
    """Labels of an annotation store, followed by the adapter's nuisances.

    Nuisances (token identity, k-mers, position, climatology) are known at every token and form
    one further group.

    Attributes
    ----------
    known : AnnotationStore
        The labels.
    adapter, dataset
        Who knows the nuisances.
    """

    known: AnnotationStore
    adapter: Adapter
    dataset: Dataset

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self.known.axis

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, then of the nuisances."""
        return (*(label.name for label in self.known.labels), *self.adapter.nuisances().names)

    @cached_property
    def is_nuisance(self) -> NDArray[np.bool_]:
        """Which explainers are no finding ``(n_explainers,)``."""
        flags = [label.nuisance for label in self.known.labels]
        return np.array(flags + [True] * (len(self.names) - len(flags)), bool)

    @property
    def n_groups(self) -> int:
        """Number of label groups, and one for the nuisances."""
        return len(self.known.groups) + 1

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """Group of every explainer ``(n_explainers,)``."""
        n_nuisances = len(self.names) - len(self.known.labels)
        return np.append(self.known.group_of_label, np.full(n_nuisances, self.n_groups - 1))

    def read(self, stretch: Stretch) -> tuple[csr_array, csr_array]:
        """Return what is positive and what was assessed in a stretch.

        Returns
        -------
        positive : (n_tokens, n_explainers) sparse
            Ones where an explainer holds.
        assessed : (n_tokens, n_groups) sparse
            Ones where a group is known.
        """
        found = self._kept.get(stretch.start, stretch.stop)
        run, token = expand(found.start, found.stop)
        nuisance_token, nuisance = self._nuisances(stretch)
        positive = indicator(
            np.append(token - stretch.start, nuisance_token),
            np.append(found.label[run], nuisance + len(self.known.labels)),
            (stretch.n_tokens, len(self.names)),
        )
        run, token = expand(found.known_start, found.known_stop)
        always = np.arange(stretch.n_tokens)
        assessed = indicator(
            np.append(token - stretch.start, always),
            np.append(found.known_group[run], np.full(len(always), self.n_groups - 1)),
            (stretch.n_tokens, self.n_groups),
        )
        return positive, assessed

    @cached_property
    def _kept(self) -> KeptSlices[AnnotationSlice]:
        # Banks of windows read the same stretches at random, many times.
        return KeptSlices(self.known.read, most_bytes=KEPT_BYTES)

    def _nuisances(self, stretch: Stretch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if len(self.names) == len(self.known.labels):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        ids = self.axis.records[RECORD].iloc[stretch.first : stretch.last]
        starts = self.axis.record_starts[stretch.first : stretch.last] - stretch.start
        tokens, features = [], []
        for record, start in zip(ids, starts, strict=True):
            token, feature = self.adapter.nuisance_codes(self.dataset, str(record))
            tokens.append(token + start)
            features.append(feature)
        return np.concatenate(tokens), np.concatenate(features)
