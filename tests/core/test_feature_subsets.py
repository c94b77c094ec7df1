"""Subsets of features read like stores that hold only those."""

from __future__ import annotations

import numpy as np
import pytest
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_interp.codes import Codes
from sci_interp.feature_subsets import FeatureSubset, split_families
from sci_interp.features import FeatureStore, encode_nuisances


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    out = tmp_path_factory.mktemp("nuisances") / "store"
    return encode_nuisances(FakeAdapter(), make_dataset(), out=out, progress=False)


def dense(codes: Codes, n_features: int) -> np.ndarray:
    values = np.zeros((codes.n_tokens, n_features), np.uint8)
    values[np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr)), codes.feature] = codes.value
    return values


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_a_subset_is_some_columns(store: FeatureStore, data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.integers(0, store.n_features - 1)))
    ends = [data.draw(st.integers(0, store.axis.n_tokens)) for _ in range(2)]
    chosen = np.array(sorted(kept), np.int64)
    subset = FeatureSubset(store, chosen)
    found, everything = subset.read(min(ends), max(ends)), store.read(min(ends), max(ends))
    expected = dense(everything, store.n_features)[:, chosen]
    np.testing.assert_array_equal(dense(found, subset.n_features), expected)
    assert subset.names == tuple(store.names[index] for index in chosen)


def test_families_part_the_store(store: FeatureStore) -> None:
    families = split_families(store)
    assert list(families) == list(dict.fromkeys(FakeAdapter().nuisances().families))
    together = np.sort(np.concatenate([subset.chosen for subset in families.values()]))
    np.testing.assert_array_equal(together, np.arange(store.n_features))
    assert len({subset.digest for subset in families.values()} | {store.digest}) == 1 + len(
        families
    )
    assert all(subset.axis is store.axis for subset in families.values())
