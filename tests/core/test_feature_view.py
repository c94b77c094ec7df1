"""Maps and tables of features: every level of the store at its place, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from fake_adapter import FakeAdapter, make_dataset
from fake_grid import LATITUDE, LONGITUDE, N_LEVELS, N_TOKENS, GridAdapter, GridWorld

from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes, dequantise
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.features import FeatureStore, encode
from sci_interp.source import ArraySource

SCALE = np.array([2.0, 4.0, 8.0, 1.0], np.float32)


class Levels(GridAdapter):
    """Tells the level too."""

    def token_coordinates(self, dataset: GridWorld, record: str) -> Mapping[str, np.ndarray]:
        found = super().token_coordinates(dataset, record)
        return {**found, "level": (np.arange(N_TOKENS) // 6 % N_LEVELS).astype(float)}


@dataclass
class Channels:
    """Positive channels as features."""

    width: int = 4
    n_features: int = 4
    n_active: int = 4
    digest: str = "channels"
    names: tuple[str, ...] = ("a", "b", "c", "d")

    @property
    def scale(self):
        return SCALE

    def encode(self, values):
        active = values > 0
        feature = np.nonzero(active)[1].astype(np.uint16)
        return Codes(np.append(0, active.sum(axis=1).cumsum()), feature, values[active])


def store_of(axis, tmp_path, seed=0) -> FeatureStore:
    values = np.random.default_rng(seed).normal(size=(axis.n_tokens, 4)).astype(np.float32)
    return encode(Channels(), ArraySource(axis, values), out=tmp_path / "f", progress=False)


def dense_of(store) -> np.ndarray:
    codes = store.read(0, store.axis.n_tokens)
    found = np.zeros((codes.n_tokens, 4), np.float32)
    token = np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr))
    found[token, codes.feature] = dequantise(codes.value, codes.feature, store.scale)
    return found


def test_maps_lie_on_the_grid_of_the_tokens(tmp_path):
    world, adapter = GridWorld(), Levels()
    store = store_of(world.axis, tmp_path)
    names = world.axis.records["record"].tolist()[:5]
    found = store.to_xarray(adapter, world, features=[2, "a"], records=names)
    assert list(found) == ["feature_2", "feature_0"]
    assert found.feature_2.dims == ("record", "latitude", "longitude", "level")
    assert found.feature_2.attrs == {"name": "c"} and found.attrs == {"features": store.digest}
    np.testing.assert_array_equal(found.latitude, np.sort(LATITUDE))
    np.testing.assert_array_equal(found.longitude, LONGITUDE)
    dense = dense_of(store)
    for index, name in enumerate(names):
        along = adapter.token_coordinates(world, name)
        for token in range(N_TOKENS):
            at = {key: values[token] for key, values in along.items()}
            cell = found.sel(record=name, **at)
            row = dense[index * N_TOKENS + token]
            assert (float(cell.feature_2), float(cell.feature_0)) == (row[2], row[0])


def test_records_that_are_times_come_in_their_order_and_one_level_is_no_dimension(tmp_path):
    times = ["2001-01-03", "2001-01-01T06", "2001-01-02"]
    table = pd.DataFrame({"record": times, "block": ["x", "y", "z"], "n_tokens": 48})
    axis = TokenAxis.build(table)
    store = store_of(axis, tmp_path)

    class Flat(GridAdapter):
        def token_coordinates(self, dataset, record):
            found = super().token_coordinates(GridWorld(), "a-0")
            flat = {name: values[np.arange(96) // 6 % 2 == 0] for name, values in found.items()}
            return {**flat, "level": np.full(48, 3.0)}

    found = store.to_xarray(Flat(), None, features=[1])
    assert found.feature_1.dims == ("time", "latitude", "longitude")
    assert found.time.to_index().is_monotonic_increasing and float(found.level) == 3.0
    order = axis.records["record"].tolist()
    row = dense_of(store)[48 * order.index("2001-01-02") :][:48, 1]
    np.testing.assert_array_equal(
        np.sort(found.feature_1.sel(time="2001-01-02").values.ravel()), np.sort(row)
    )


def test_tokens_that_fill_no_grid_lie_one_after_another(tmp_path):
    world = GridWorld()
    store = store_of(world.axis, tmp_path)

    class Mesh(GridAdapter):
        def token_coordinates(self, dataset, record):
            place = np.arange(N_TOKENS, dtype=float)
            return {"latitude": np.sin(place), "longitude": np.cos(place)}

    name = world.axis.records["record"].iloc[0]
    found = store.to_xarray(Mesh(), world, features=[0], records=[name])
    assert found.feature_0.dims == ("record", "token") and found.latitude.dims == ("token",)
    np.testing.assert_array_equal(found.feature_0[0], dense_of(store)[:N_TOKENS, 0])


def test_the_table_has_a_row_for_every_active_feature_of_every_residue(tmp_path):
    adapter, data = FakeAdapter(), make_dataset()
    store = store_of(TokenAxis.of(data), tmp_path)
    table = store.to_table(adapter, data)
    dense = dense_of(store)
    assert list(table) == ["record", "token", "place", "share", "feature", "value"]
    assert len(table) == (dense > 0).sum()
    start = dict(zip(store.axis.records["record"], store.axis.record_starts, strict=False))
    rows = table["record"].map(start).to_numpy() + table["token"].to_numpy()
    np.testing.assert_array_equal(dense[rows, table["feature"]], table["value"])
    np.testing.assert_array_equal(table["place"], table["token"])
    name = store.axis.records["record"].iloc[3]
    some = store.to_table(adapter, data, features=["b"], records=[name])
    assert set(some["record"]) == {name} and set(some["feature"]) == {1}


def test_what_does_not_fit_is_refused(tmp_path):
    adapter, data = FakeAdapter(), make_dataset()
    store = store_of(TokenAxis.of(data), tmp_path)
    with pytest.raises(UnknownNameError, match="no feature 'e'"):
        store.to_table(adapter, data, features=["e"])
    with pytest.raises(UnknownNameError, match="no record 'r'"):
        store.to_table(adapter, data, records=["r"])
    with pytest.raises(InputError, match="no feature 4"):
        store.to_table(adapter, data, features=[4])
    for features in ([], [1, "b"]):
        with pytest.raises(InputError, match="different ones"):
            store.to_xarray(adapter, data, features=features)
    with pytest.raises(InputError, match=r"has other tokens than the first.*to_table"):
        store.to_xarray(adapter, data, features=[0])
    other = make_dataset(seed=1)
    with pytest.raises(InputError, match="Open the dataset that the features were made from"):
        store.to_table(adapter, other)
