"""A lazy xarray view of an activation source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from .schema import CHANNEL, RECORD, SPLIT, TOKEN
from .source import ActivationSource

__all__ = ["view_source"]


class _SourceArray(BackendArray):
    """Reads token ranges of a source as xarray asks for them."""

    def __init__(self, source: ActivationSource) -> None:
        self._source = source
        self.shape = (source.axis.n_tokens, source.width)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[np.float32]:
        values: NDArray[np.float32] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return values

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        tokens, channels = key
        if isinstance(tokens, slice):
            wanted = range(*tokens.indices(self.shape[0]))
            if len(wanted) == 0:
                return np.empty(self.shape, np.float32)[:0, channels]
            low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
            rows = self._source.read(low, high + 1)
            return rows[:: wanted.step, channels]
        row = int(tokens) % self.shape[0]
        one: NDArray[np.float32] = self._source.read(row, row + 1)[0, channels]
        return one


def view_source(
    source: ActivationSource, coordinates: Mapping[str, NDArray[np.float64]]
) -> xarray.DataArray:
    """Return a source as ``(token, channel)``, read when it is indexed.

    Parameters
    ----------
    source
        The activations.
    coordinates
        Numeric coordinates ``(n_tokens,)`` by name.

    Returns
    -------
    DataArray
        With the coordinates ``record`` and ``split`` and those given, all along ``token``; its
        attributes name the layer and the model.
    """
    records = source.axis.records
    lengths = np.diff(source.axis.record_starts)
    along = {name: (TOKEN, values) for name, values in coordinates.items()}
    for name in (RECORD, SPLIT):
        along[name] = (TOKEN, np.repeat(records[name].to_numpy(object), lengths))
    return xarray.DataArray(
        xarray.Variable((TOKEN, CHANNEL), indexing.LazilyIndexedArray(_SourceArray(source))),
        coords=along,
        name="activation",
        attrs={"layer": source.layer, "model": source.model["name"]},
    )
