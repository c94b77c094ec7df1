"""Covariates of an adapter, read like activations: what a baseline of plain numbers is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Covariate, Dataset, WithCovariates
from .axis import OnAxis, TokenAxis, quarantine_of
from .errors import InputError, NotFiniteError
from .manifest import digest_json
from .schema import RECORD, SPLITS, Split

__all__ = ["CovariateSource"]


class CovariateSource:
    """Covariates of every token, a channel each; an :class:`~sci_interp.source.ActivationSource`.

    Parameters
    ----------
    adapter, dataset
        Whose covariates; see :class:`~sci_interp.adapter.WithCovariates`.
    fractions
        Shares of the splits, as given to ``extract``.
    like
        A store or stream whose records in quarantine are left out here too.

    Raises
    ------
    InputError
        If the adapter or the dataset has none.
    """

    layer = "covariates"

    def __init__(
        self,
        adapter: Adapter,
        dataset: Dataset,
        *,
        fractions: Mapping[Split, float] | None = None,
        like: OnAxis | None = None,
    ) -> None:
        if not isinstance(adapter, WithCovariates):
            raise InputError(f"the adapter {adapter.name!r} knows no covariates")
        self.covariates: Sequence[Covariate] = tuple(adapter.covariates(dataset))
        if not self.covariates:
            raise InputError(f"the adapter {adapter.name!r} knows no covariate of this dataset")
        self._adapter: WithCovariates = adapter
        self._dataset = dataset
        self._axis = TokenAxis.of(dataset, fractions, left_out=quarantine_of(like))
        self._name = adapter.name

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self._axis

    @property
    def width(self) -> int:
        """Number of covariates."""
        return len(self.covariates)

    @property
    def model(self) -> Mapping[str, str]:
        """Covariates come from no network."""
        return {"name": f"covariates of {self._name}", "digest": self.digest, "dtype": "float32"}

    @property
    def digest(self) -> str:
        """Identity of the data, the splits and the covariates."""
        return digest_json(
            {
                "adapter": self._name,
                "dataset": self._dataset.digest,
                "axis": self._axis.digest,
                "splits": {split: self._axis.token_range([split]) for split in SPLITS},
                "covariates": [[c.name, c.unit, c.definition] for c in self.covariates],
            }
        )

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the covariates ``(stop - start, width)`` of a token range.

        Raises
        ------
        InputError
            If the range leaves the axis, or the adapter gives another shape than it promised.
        NotFiniteError
            If a covariate is NaN or infinite.
        """
        if not 0 <= start <= stop <= self._axis.n_tokens:
            raise InputError(
                f"there are no covariates of the token range {start}:{stop}",
                allowed=f"ranges within 0:{self._axis.n_tokens}",
            )
        starts = self._axis.record_starts
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, stop, side="left"))
        parts = [self._record(index) for index in range(first, last)]
        rows = np.concatenate([np.zeros((0, self.width), np.float32), *parts])
        return rows[start - int(starts[first]) : stop - int(starts[first])]

    def _record(self, index: int) -> NDArray[np.float32]:
        record = str(self._axis.records[RECORD].iloc[index])
        values = self._adapter.covariate_values(self._dataset, record)
        wanted = (int(np.diff(self._axis.record_starts)[index]), self.width)
        if values.shape != wanted:
            raise InputError(
                f"the covariates of record {record!r} have the shape {values.shape}",
                allowed=f"{wanted}: a row for every token, a column for every covariate",
            )
        if not np.isfinite(values).all():
            name = self.covariates[int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])].name
            raise NotFiniteError(f"the covariate {name!r} of record {record!r} is not finite")
        return np.asarray(values, np.float32)
