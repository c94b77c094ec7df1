"""Covariates are read like activations and become a baseline in both signs."""

from __future__ import annotations

import numpy as np
import pytest
from fake_adapter import FakeAdapter, make_dataset

from sci_interp.adapter import Covariate, WithCovariates
from sci_interp.covariates import CovariateSource
from sci_interp.errors import InputError, NotFiniteError
from sci_interp.projections import encode_covariates


class Measured(FakeAdapter):
    """A fake adapter that knows place and symbol at every token."""

    change = ""

    def covariates(self, dataset):
        found = (Covariate("place", "", "from 0"), Covariate("symbol", "", "its number"))
        return () if self.change == "none" else found

    def covariate_values(self, dataset, record):
        symbols = dataset.symbols(record)
        values = np.stack([np.arange(len(symbols)), symbols], axis=1).astype(np.float32)
        if self.change == "shape":
            return values[:, :1]
        if self.change == "nan":
            values[0, 1] = np.nan
        return values


def test_any_range_is_read_as_the_records_say():
    data, adapter = make_dataset(n_records=12), Measured()
    source = CovariateSource(adapter, data)
    assert isinstance(adapter, WithCovariates) and not isinstance(FakeAdapter(), WithCovariates)
    whole = source.read(0, source.axis.n_tokens)
    starts = source.axis.record_starts
    record = source.axis.records["record"].iloc[3]
    assert (whole[starts[3] : starts[4]] == adapter.covariate_values(data, record)).all()
    for start, stop in [(0, 1), (5, 5), (int(starts[2]) - 1, int(starts[4]) + 2)]:
        assert (source.read(start, stop) == whole[start:stop]).all()
    assert source.width == 2 and source.digest == CovariateSource(adapter, data).digest


def test_features_are_both_signs_by_name(tmp_path):
    data = make_dataset(n_records=40)
    store = encode_covariates(Measured(), data, out=tmp_path / "c", progress=False)
    assert store.names == ("place +", "symbol +", "place -", "symbol -")
    source = CovariateSource(Measured(), data)
    values = source.read(0, source.axis.n_tokens)
    codes = store.read(0, source.axis.n_tokens)
    token = np.repeat(np.arange(source.axis.n_tokens), np.diff(codes.indptr))
    high = values[token[codes.feature == 0], 0]
    assert high.min() > values[token[codes.feature == 2], 0].max()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("none", InputError, "no covariate of this dataset"),
        ("shape", InputError, "have the shape"),
        ("nan", NotFiniteError, "'symbol' of record .* is not finite"),
    ],
)
def test_what_an_adapter_may_not_give(change, error, message):
    adapter = Measured()
    adapter.change = change
    with pytest.raises(error, match=message):
        CovariateSource(adapter, make_dataset(n_records=6)).read(0, 5)


def test_an_adapter_without_covariates_and_a_range_outside_are_refused():
    data = make_dataset(n_records=6)
    with pytest.raises(InputError, match="knows no covariates"):
        CovariateSource(FakeAdapter(), data)
    with pytest.raises(InputError, match="no covariates of the token range"):
        CovariateSource(Measured(), data).read(0, 10**6)
