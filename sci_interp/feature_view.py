"""Views of feature codes: maps for gridded records, and a table with a row an active feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .codes import Codes, dequantise
from .errors import InputError, UnknownNameError
from .schema import RECORD, TOKEN
from .source import FeatureSource

if TYPE_CHECKING:
    import xarray

__all__ = ["map_features", "tabulate_features"]

FEATURE, VALUE, TIME = "feature", "value", "time"


class _Reader:
    """Reads chosen features of chosen records, with the coordinates of their tokens."""

    def __init__(
        self,
        source: FeatureSource,
        scale: NDArray[np.float32],
        adapter: Adapter,
        dataset: Dataset,
    ) -> None:
        self._source = source
        self._scale = scale
        self._adapter = adapter
        self._dataset = dataset
        self._names: list[str] = source.axis.records[RECORD].astype(str).tolist()

    def features(self, wanted: Sequence[int | str] | None) -> NDArray[np.int64]:
        """Return the numbers of features that were named by number or name; of None, all."""
        n_features, names = self._source.n_features, self._source.names
        if wanted is None:
            return np.arange(n_features)
        found = []
        for each in wanted:
            if isinstance(each, str):
                if each not in names:
                    raise UnknownNameError("feature", each, names)
                found.append(names.index(each))
            elif 0 <= each < n_features:
                found.append(int(each))
            else:
                raise InputError(f"there is no feature {each}", allowed=f"0 to {n_features - 1}")
        if not found or len(set(found)) < len(found):
            raise InputError(
                f"the features {list(wanted)} are not usable", allowed="different ones"
            )
        return np.array(found, np.int64)

    def records(self, wanted: Sequence[str] | None) -> list[int]:
        """Return the places of records on the axis, in the order given; of None, all."""
        if wanted is None:
            return list(range(len(self._names)))
        place = {name: index for index, name in enumerate(self._names)}
        for each in wanted:
            if each not in place:
                raise UnknownNameError("record", each, self._names)
        return [place[each] for each in wanted]

    def name(self, record: int) -> str:
        """Return the id of a record."""
        return self._names[record]

    def entries(
        self, record: int, features: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return token inside the record, feature and value of every active entry."""
        starts = self._source.axis.record_starts
        codes: Codes = self._source.read(int(starts[record]), int(starts[record + 1]))
        token = np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr))
        kept = np.isin(codes.feature, features)
        feature = codes.feature[kept]
        level = np.asarray(codes.value[kept], np.uint8)
        return token[kept], feature.astype(np.int64), dequantise(level, feature, self._scale)

    def coordinates(self, record: int) -> dict[str, NDArray[np.float64]]:
        """Return every coordinate ``(n_tokens,)`` of a record.

        Raises
        ------
        InputError
            If the dataset's record has another number of tokens.
        """
        name = self.name(record)
        found = self._adapter.token_coordinates(self._dataset, name)
        n_tokens = int(np.diff(self._source.axis.record_starts[record : record + 2])[0])
        for coordinate, values in found.items():
            if len(values) != n_tokens:
                raise InputError(
                    f"record {name!r} has {n_tokens} tokens in the features and {len(values)} "
                    f"values of {coordinate!r} in the dataset",
                    todo="Open the dataset that the features were made from",
                )
        return {coordinate: np.asarray(values, np.float64) for coordinate, values in found.items()}


def tabulate_features(
    source: FeatureSource,
    scale: NDArray[np.float32],
    adapter: Adapter,
    dataset: Dataset,
    *,
    features: Sequence[int | str] | None = None,
    records: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return a row for every active feature of every token.

    Parameters
    ----------
    source
        The codes.
    scale : (n_features,) float32
        Activation that level 255 stands for.
    adapter, dataset
        Tell the coordinates of tokens.
    features
        Numbers or names; all by default.
    records
        Their ids, in the order wanted; all by default, in the order of the axis.

    Returns
    -------
    DataFrame
        ``record``, ``token`` (inside its record, from 0), a column for every coordinate,
        ``feature`` and ``value``.

    Raises
    ------
    InputError
        If there is no such feature, or the dataset does not fit.
    UnknownNameError
        If there is no such record, or feature of that name.
    """
    reader = _Reader(source, scale, adapter, dataset)
    wanted = reader.features(features)

    def rows() -> Iterator[pd.DataFrame]:
        for record in reader.records(records):
            token, feature, value = reader.entries(record, wanted)
            along = {name: each[token] for name, each in reader.coordinates(record).items()}
            columns: Mapping[str, Any] = {RECORD: reader.name(record), TOKEN: token, **along}
            yield pd.DataFrame({**columns, FEATURE: feature, VALUE: value})

    return pd.concat(rows(), ignore_index=True)


def map_features(
    source: FeatureSource,
    scale: NDArray[np.float32],
    adapter: Adapter,
    dataset: Dataset,
    *,
    features: Sequence[int | str],
    records: Sequence[str] | None = None,
) -> xarray.Dataset:
    """Return features as maps: dense arrays on the coordinates that all records share.

    Memory is ``4 * n_features * n_tokens`` bytes of the chosen features and records.

    Parameters
    ----------
    source, scale, adapter, dataset, records
        As for :func:`tabulate_features`.
    features
        Numbers or names.

    Returns
    -------
    Dataset
        A variable ``feature_N`` for every feature, on the record (``time``, in its order, where
        every id is one) and on the coordinates where tokens fill their grid; a coordinate of one
        value is no dimension. Otherwise on ``token``, along which the coordinates lie.

    Raises
    ------
    InputError
        If there is no such feature, the dataset does not fit, or records differ in their tokens.
    UnknownNameError
        If there is no such record, or feature of that name.
    """
    import xarray

    reader = _Reader(source, scale, adapter, dataset)
    wanted, chosen = reader.features(features), reader.records(records)
    names = [reader.name(record) for record in chosen]
    times = _parse_times(names)
    if times is not None:
        order = np.argsort(times, kind="stable")
        chosen, times = [chosen[at] for at in order], times[order]
    grid = _Grid(reader.coordinates(chosen[0]))
    rank = np.full(source.n_features, -1)
    rank[wanted] = np.arange(len(wanted))
    values = np.zeros((len(wanted), len(chosen), grid.n_cells), np.float32)
    for at, record in enumerate(chosen):
        grid.require_same(reader.coordinates(record), reader.name(record))
        token, feature, value = reader.entries(record, wanted)
        values[rank[feature], at, grid.cell[token]] = value
    along = TIME if times is not None else RECORD
    labels = times if times is not None else np.array(names, object)
    shape = (len(chosen), *grid.shape)
    return xarray.Dataset(
        {
            f"feature_{feature}": (
                (along, *grid.dimensions),
                values[at].reshape(shape),
                {"name": source.names[feature]} if source.names else {},
            )
            for at, feature in enumerate(wanted.tolist())
        },
        coords={along: (along, labels), **grid.coordinates},
        attrs={"features": source.digest},
    )


class _Grid:
    """Where the tokens of a record lie: on a grid of their coordinates, or one after another."""

    def __init__(self, along: Mapping[str, NDArray[np.float64]]) -> None:
        self._along = along
        n_tokens = len(next(iter(along.values()))) if along else 0
        found = {name: np.unique(values, return_inverse=True) for name, values in along.items()}
        axes = {name: each for name, each in found.items() if len(each[0]) > 1}
        self.shape = tuple(len(values) for values, _ in axes.values())
        self.n_cells = int(np.prod(self.shape))
        self.cell = np.zeros(n_tokens, np.int64)
        for values, place in axes.values():
            self.cell = self.cell * len(values) + place
        self.dimensions = tuple(axes)
        self.coordinates: dict[str, Any] = {name: each[0][0] for name, each in found.items()}
        self.coordinates |= {name: (name, values) for name, (values, _) in axes.items()}
        if self.n_cells != n_tokens or len(np.unique(self.cell)) < n_tokens:
            self.shape, self.n_cells, self.dimensions = (n_tokens,), n_tokens, (TOKEN,)
            self.cell = np.arange(n_tokens)
            self.coordinates = {name: (TOKEN, values) for name, values in along.items()}

    def require_same(self, along: Mapping[str, NDArray[np.float64]], record: str) -> None:
        """Refuse a record whose tokens lie elsewhere."""
        for name, values in self._along.items():
            if not np.array_equal(values, along[name]):
                raise InputError(
                    f"record {record!r} has other tokens than the first: its {name!r} differs",
                    todo="Take records of one shape, or to_table, which takes any",
                )


def _parse_times(names: Sequence[str]) -> NDArray[np.datetime64] | None:
    """Return ids as times where all are dates, with or without an hour."""
    try:
        return np.array([np.datetime64(name) for name in names]).astype("datetime64[ns]")
    except ValueError:
        return None
