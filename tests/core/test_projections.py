"""Projections against closed forms, scikit-learn and planted directions."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from sci_interp import activations
from sci_interp.adapter import Label, RecordAnnotations
from sci_interp.annotations import annotate
from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, NotFiniteError, StoreError
from sci_interp.features import encode
from sci_interp.manifest import Manifest, digest_file, digest_json
from sci_interp.projections import (
    ChannelProjection,
    IcaProjection,
    PcaProjection,
    ProbeProjection,
    load_projection,
    moments,
)
from sci_interp.projections.ica import sample_tokens
from sci_interp.projections.moments import Moments, fit_ranges, measure_moments
from sci_interp.source import ArraySource

WIDTH = 5
N_RECORDS = 60
SHARES = {"train": 0.5, "discovery": 0.2, "test": 0.2, "vault": 0.1}


def make_table():
    lengths = np.random.default_rng(1).integers(1, 40, N_RECORDS)
    ids = [f"r{index}" for index in range(N_RECORDS)]
    blocks = [f"b{index // 3}" for index in range(N_RECORDS)]
    return pd.DataFrame({"record": ids, "block": blocks, "n_tokens": lengths})


@pytest.fixture
def source():
    axis = TokenAxis.build(make_table(), SHARES)
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(WIDTH, WIDTH))
    values = generator.laplace(size=(axis.n_tokens, WIDTH)) @ mixing + 4 * np.arange(WIDTH)
    return ArraySource(axis, values.astype(np.float32))


@pytest.fixture
def train(source):
    start, stop = source.axis.token_range(["train"])
    return source.values[start:stop].astype(np.float64)


@dataclass
class Records:
    digest: str = "records"

    @property
    def table(self):
        return make_table()


@dataclass
class Above:
    """Labels tokens by their activations: channel 1 above 5, and channel 2 above a rare 14."""

    source: ArraySource
    unknown: int = -1
    name: str = "above"

    def labels(self, dataset):
        return [
            Label("ONE", "first", "channel 1"),
            Label("RARE", "second", "channel 2"),
            Label("NEVER", "second", "nowhere"),
            Label("ALWAYS", "third", "everywhere"),
            Label("UNKNOWN", "fourth", "not assessed"),
        ]

    def mask(self, name):
        values = self.source.values
        return {
            "ONE": values[:, 1] > 5,
            "RARE": values[:, 2] > 14,
            "ALWAYS": np.ones(len(values), bool),
        }[name]

    def annotate(self, dataset, records):
        rows = self.source.axis.records.set_index("record")
        for index, record in enumerate(records):
            start, stop = rows.loc[record, ["start", "stop"]]
            runs = [
                (name, str(at), at, at + 1)
                for name in ("ONE", "RARE", "ALWAYS")
                for at in np.flatnonzero(self.mask(name)[start:stop]).tolist()
                if name != "ONE" or index != self.unknown
            ]
            assessed = [g for g in ("first", "second") if g != "first" or index != self.unknown]
            yield RecordAnnotations(record, runs, [(g, 0, stop - start) for g in assessed])


@pytest.fixture
def known(source, tmp_path):
    return annotate(Above(source), Records(), out=tmp_path / "known", fractions=SHARES)


def dense(codes, n_features):
    found = np.zeros((codes.n_tokens, n_features), np.float32)
    found[np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr)), codes.feature] = codes.value
    return found


def fit_all(source, known):
    return [
        ChannelProjection.fit(source),
        PcaProjection.fit(source, n_components=3),
        IcaProjection.fit(source, n_components=3, n_tokens=300),
        ProbeProjection.fit(source, known),
    ]


def test_channels_are_z_scores_of_both_signs(source, train):
    found = ChannelProjection.fit(source)
    z = (source.values - train.mean(axis=0)) / train.std(axis=0)
    expected = np.maximum(np.concatenate([z, -z], axis=1), 0)
    np.testing.assert_allclose(dense(found.encode(source.values), 10), expected, atol=1e-4)
    assert found.names[1] == "channel 1 +"
    assert found.names[WIDTH + 1] == "channel 1 -"


def test_a_channel_that_never_varies_is_never_active(source):
    values = source.values.copy()
    values[:, 2] = 7.3
    found = ChannelProjection.fit(ArraySource(source.axis, values))
    codes = found.encode(values + 1)
    assert not {2, 7} & set(codes.feature.tolist())
    assert found.scale[2] == found.scale[7] == 0


def test_components_are_those_of_scikit_learn(source, train):
    found = PcaProjection.fit(source, n_components=3)
    reference = PCA(3, svd_solver="full").fit(train)
    cosines = (found.weight.T @ reference.components_.T).diagonal()
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)
    np.testing.assert_allclose(
        found.details["variance_share"], reference.explained_variance_ratio_, rtol=1e-6
    )
    assert found.names == ("pca 0 +", "pca 1 +", "pca 2 +", "pca 0 -", "pca 1 -", "pca 2 -")
    assert (found.weight[np.abs(found.weight).argmax(axis=0), range(3)] > 0).all()
    assert PcaProjection.fit(source).n_active == WIDTH


def test_independent_components_are_the_planted_ones(source):
    found = IcaProjection.fit(source, seed=3)
    planted = np.random.default_rng(0)
    planted.normal(size=(WIDTH, WIDTH))
    sources = planted.laplace(size=(source.axis.n_tokens, WIDTH))
    score = found.score(source.values)
    match = np.abs(np.corrcoef(sources.T, score.T)[:WIDTH, WIDTH:])
    assert (match.max(axis=0) > 0.95).all()
    assert sorted(match.argmax(axis=0)) == list(range(WIDTH))
    assert found.details["converged"] is True
    assert found.names[0] == "ica 0 +"
    assert IcaProjection.fit(source, seed=3).digest == found.digest


def test_ica_that_does_not_converge_says_so(source):
    found = IcaProjection.fit(source, n_iterations=1)
    assert found.details["converged"] is False


def test_other_warnings_of_ica_are_passed_on(source, monkeypatch):
    from sklearn.decomposition import FastICA

    real = FastICA.fit

    def fit(self, values):
        warnings.warn("odd", UserWarning, stacklevel=1)
        return real(self, values)

    monkeypatch.setattr(FastICA, "fit", fit)
    with pytest.warns(UserWarning, match="odd"):
        IcaProjection.fit(source)


def test_the_sample_is_tokens_of_the_splits_in_order(source, train):
    ranges = fit_ranges(source.axis, ["train"])
    sample = sample_tokens(source, ranges, 50, seed=1)
    assert len(sample) == 50
    rows = [int(np.flatnonzero((train.astype(np.float32) == row).all(axis=1))[0]) for row in sample]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(
        sample_tokens(source, ranges, 10**6, seed=1), train.astype(np.float32)
    )


def brute_force_direction(values, positive, weight, ridge):
    """Ridge regression of class-coded targets: the discriminant, but for its length."""
    mean = np.average(values, axis=0, weights=weight)
    covariance = np.cov(values.T, aweights=weight, ddof=0)
    alpha = ridge * np.trace(covariance) / values.shape[1] * weight.sum()
    model = Ridge(alpha=alpha, fit_intercept=False)
    model.fit(values - mean, np.where(positive, 1.0, 0.0), sample_weight=weight)
    return model.coef_


@pytest.mark.parametrize("unknown", [-1, 0, 5])
@pytest.mark.parametrize("ridge", [1e-6, 0.3])
def test_probes_are_weighted_ridge_regressions_on_known_tokens(source, tmp_path, unknown, ridge):
    adapter = Above(source, unknown)
    known = annotate(adapter, Records(), out=tmp_path / "some", fractions=SHARES)
    found = ProbeProjection.fit(source, known, ridge=ridge)
    records = source.axis.records
    weight = np.repeat(records["weight"], records["stop"] - records["start"]).to_numpy()
    used = np.arange(len(weight)) < source.axis.token_range(["train"])[1]
    for label, name in enumerate(("ONE", "RARE")):
        assessed = used.copy()
        if name == "ONE" and unknown >= 0:
            assessed[slice(*records.loc[unknown, ["start", "stop"]])] = False
        positive = adapter.mask(name)[assessed]
        values = source.values[assessed].astype(np.float64)
        expected = brute_force_direction(values, positive, weight[assessed], ridge)
        direction = found.weight[:, label]
        cosine = direction @ expected / np.linalg.norm(direction) / np.linalg.norm(expected)
        # The ridge regression's class-coded normal equations are centred on the total mean.
        assert cosine > 1 - 1e-5
        score = found.score(source.values[assessed])[:, label]
        low, high = (
            np.average(score[side], weights=weight[assessed][side])
            for side in (~positive, positive)
        )
        assert low < 0 < high
        assert -low / (high - low) == pytest.approx(0.25, abs=1e-3)


def test_labels_that_cannot_be_fitted_are_never_active(source, known):
    found = ProbeProjection.fit(source, known)
    names = ("ONE", "RARE", "NEVER", "ALWAYS", "UNKNOWN")
    assert found.names == tuple(f"probe {name}" for name in names)
    assert set(found.encode(source.values).feature.tolist()) == {0, 1}
    assert (found.scale[:2] > 0).all()
    assert (found.scale[2:] == 0).all()


def test_probes_of_no_known_token_are_never_active(source, tmp_path):
    class Silent(Above):
        def annotate(self, dataset, records):
            return (RecordAnnotations(record, (), ()) for record in records)

    known = annotate(Silent(source), Records(), out=tmp_path / "none", fractions=SHARES)
    found = ProbeProjection.fit(source, known)
    assert len(found.encode(source.values).feature) == 0


def test_probes_refuse_annotations_of_other_records(source, known):
    other = TokenAxis.build(make_table().assign(n_tokens=3), SHARES)
    values = np.zeros((other.n_tokens, WIDTH), np.float32)
    with pytest.raises(StoreError, match="different records"):
        ProbeProjection.fit(ArraySource(other, values), known)
    with pytest.raises(InputError, match="ridge"):
        ProbeProjection.fit(source, known, ridge=0.0)


def test_only_the_splits_asked_for_are_read(source, known):
    _, stop = source.axis.token_range(["train"])
    values = source.values.copy()
    values[stop:] = np.nan
    other = ArraySource(source.axis, values)
    for one, two in zip(fit_all(source, known), fit_all(other, known), strict=True):
        for name in ("mean", "weight", "cut", "scale"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_scale_is_the_largest_activation_on_the_fitted_tokens(source, known):
    start, stop = source.axis.token_range(["train"])
    for found in fit_all(source, known):
        codes = found.encode(source.values[start:stop])
        largest = dense(codes, found.n_features).max(axis=0)
        np.testing.assert_allclose(found.scale, largest, rtol=1e-5)


def test_the_size_of_slices_changes_rounding_only(source, known, monkeypatch):
    whole = fit_all(source, known)
    monkeypatch.setattr(moments, "SLICE_TOKENS", 30)
    for one, two in zip(whole, fit_all(source, known), strict=True):
        for name in ("mean", "weight", "cut", "scale"):
            np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-4, atol=1e-5)


def test_codes_are_the_positive_scores(source, known):
    for found in fit_all(source, known):
        score = found.score(source.values)
        if found.two_sided:
            score = np.concatenate([score, -score], axis=1)
        codes = found.encode(source.values)
        np.testing.assert_array_equal(dense(codes, found.n_features), np.maximum(score, 0))
        assert np.diff(codes.indptr).max() <= found.n_active
        assert codes.feature.dtype == np.uint16
        assert len(found.encode(source.values[:0]).indptr) == 1


def test_projections_are_encoders(source, known, tmp_path):
    for index, found in enumerate(fit_all(source, known)):
        store = encode(found, source, out=tmp_path / str(index), progress=False)
        assert store.names == found.names
        assert store.read(0, 10).n_tokens == 10
    with pytest.raises(StoreError, match="another layer"):
        encode(found, replace(source, layer="deeper"), out=tmp_path / "x", progress=False)


def test_the_whole_way_from_a_network_to_probe_codes(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset(n_records=120)
    known = annotate(adapter, dataset, out=tmp_path / "known")
    stream = activations.stream(adapter, dataset, adapter.default_layer)
    probe = ProbeProjection.fit(stream, known, ["train", "discovery"])
    store = encode(probe, stream, out=tmp_path / "features", progress=False)
    motif = store.names.index("probe MOTIF")
    start, stop = store.axis.token_range(["test"])
    codes = store.read(start, stop)
    level = dense(codes, store.n_features)[:, motif]
    found = known.read(start, stop)
    positive = np.zeros(stop - start, bool)
    runs = found.label == [label.name for label in known.labels].index("MOTIF")
    for first, last in zip(found.start[runs] - start, found.stop[runs] - start, strict=True):
        positive[first:last] = True
    assert roc_auc_score(positive, level) > 0.7


def test_saved_projections_are_the_same(source, known, tmp_path):
    for found in fit_all(source, known):
        path = tmp_path / found.kind
        found.save(path)
        found.save(path)
        again = type(found).load(path)
        assert type(again) is type(found)
        assert again.digest == found.digest
        assert again.names == found.names
        assert again.parent == found.parent
        np.testing.assert_array_equal(
            again.encode(source.values).value, found.encode(source.values).value
        )
    with pytest.raises(StoreError, match="channel projection, not pca"):
        PcaProjection.load(tmp_path / "channel")
    with pytest.raises(StoreError, match="other work"):
        PcaProjection.fit(source).save(tmp_path / "channel")


def test_damaged_projections_are_refused(source, tmp_path):
    ChannelProjection.fit(source).save(tmp_path / "p")
    for name in ("projection.json", "projection.safetensors"):
        path = tmp_path / "p" / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(StoreError, match=name):
            load_projection(tmp_path / "p")
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [("projection", "wavelet"), ("names", ["one"]), ("parent", None), ("details", "x")],
)
def test_projections_that_say_something_else_are_refused(source, tmp_path, key, value):
    ChannelProjection.fit(source).save(tmp_path / "p")
    path = tmp_path / "p" / "projection.json"
    described = json.loads(path.read_text())
    described[key] = value
    path.write_text(json.dumps(described))
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    manifest["files"]["projection.json"] = digest_file(path)
    manifest["digest"] = digest_json(manifest["files"])
    manifest["seal"] = Manifest(**manifest).expected_seal
    (tmp_path / "p" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="does not hold a projection"):
        load_projection(tmp_path / "p")


def test_arrays_that_do_not_fit_together_are_refused(source):
    found = ChannelProjection.fit(source)
    for changed in (
        {"weight": np.ones(3, np.float32)},
        {"cut": np.ones(3, np.float32)},
        {"scale": np.ones(3, np.float32)},
        {"names": ("a",)},
    ):
        with pytest.raises(InputError):
            replace(found, **changed)
    with pytest.raises(NotFiniteError, match="mean"):
        replace(found, mean=np.full(WIDTH, np.nan, np.float32))


def test_not_finite_activations_are_refused(source):
    values = source.values.copy()
    values[3, 1] = np.inf
    with pytest.raises(NotFiniteError, match="tokens"):
        ChannelProjection.fit(ArraySource(source.axis, values))


def test_splits_without_records_are_refused(source):
    axis = TokenAxis.build(make_table(), {"train": 0, "discovery": 1.0})
    with pytest.raises(InputError, match="train hold no record"):
        PcaProjection.fit(ArraySource(axis, source.values))


@pytest.mark.parametrize("n_components", [0, WIDTH + 1])
def test_components_are_at_most_the_channels(source, n_components):
    for kind in (PcaProjection, IcaProjection):
        with pytest.raises(InputError, match="components"):
            kind.fit(source, n_components=n_components)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 99))
def test_moments_of_parts_add_up(cuts, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(40, 3)).astype(np.float32)
    weight = generator.uniform(0.1, 1, 40)
    edges = [0, *sorted(cuts), 40]
    total = Moments.zero(3)
    for start, stop in pairwise(edges):
        total = total + Moments.of(values[start:stop], weight[start:stop])
    np.testing.assert_allclose(total.mean, np.average(values, axis=0, weights=weight), atol=1e-12)
    np.testing.assert_allclose(
        total.covariance,
        np.cov(values.T.astype(np.float64), aweights=weight, ddof=0),
        atol=1e-12,
    )


def test_ranges_to_fit_on_are_whole_records_and_can_be_thinned(source, monkeypatch):
    monkeypatch.setattr(moments, "SLICE_TOKENS", 30)
    axis = source.axis
    ranges = fit_ranges(axis, ["train", "discovery"])
    assert ranges[0][0] == 0
    assert ranges[-1][1] == axis.token_range(["train", "discovery"])[1]
    edges = {edge for pair in ranges for edge in pair}
    assert edges <= set(axis.record_starts.tolist())
    longest = int(np.diff(axis.record_starts).max())
    assert max(stop - start for start, stop in ranges) <= max(30, longest)
    some = fit_ranges(axis, ["train", "discovery"], n_tokens=200)
    assert set(some) < set(ranges)
    assert 100 <= sum(stop - start for start, stop in some) <= 300
    assert measure_moments(source, some).weight == sum(stop - start for start, stop in some)
