"""The report's numbers are their definitions; what does not belong together is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_adapter import FakeAdapter, make_dataset
from kills import read_tree, run_killed
from quality_world import (
    MeasuringAdapter,
    changed_copy,
    enrichment_of,
    fake_stream,
    labelled_store,
    links,
    random_source,
    seeded,
    small_sae,
)

import sci_interp as si
from sci_interp.evaluation import Evaluation, evaluate
from sci_interp.evaluation.activity import Activity, density_table, nearest_cosine
from sci_interp.evaluation.endpoints import measure_endpoints
from sci_interp.sae import fidelity
from sci_interp.sae.normalisation import Normalisation

QUIET = {"progress": False, "n_permutations": 20}


def test_activity_and_redundancy_are_their_definitions() -> None:
    source, sae = random_source(), small_sae()
    sae.weights.decoder[5] = sae.weights.decoder[3]
    found = evaluate(sae, source, **QUIET)
    codes = sae.encode(source.values)
    fired = np.bincount(codes.feature, minlength=64)
    table = found.features
    assert np.allclose(table["firing_rate"], fired / len(source.values))
    assert table["alive"].tolist() == (fired > 0).tolist()
    assert found.summary["n_dense"] == (fired > 0.1 * len(source.values)).sum() > 0
    alive = np.flatnonzero(fired > 0)
    units = sae.dictionary / np.linalg.norm(sae.dictionary, axis=1, keepdims=True)
    cosine = (units @ units.T - 3 * np.eye(64))[np.ix_(alive, alive)]
    assert np.allclose(table["cosine"][alive], cosine.max(axis=1), atol=1e-6)
    assert table["nearest"][3] == 5 and table["nearest"][5] == 3
    assert found.summary["n_redundant"] == 2
    assert table["cosine"].isna().sum() == (fired == 0).sum()
    wanted = fidelity(sae, source)
    assert found.fidelity == wanted
    assert found.density["n_features"].sum() == 64
    assert f"FVU {wanted.fvu:.4f} (activations in the network's own units" in str(found)
    assert "Redundant: 2 (" in str(found)
    assert "Stability" not in str(found) and "Unrelated" not in str(found)


def test_rates_fall_into_the_bin_that_begins_with_them() -> None:
    n_fired = np.array([0, 1, 10, 32, 100, 999, 1000, 10**7])
    table = density_table(Activity(n_fired, 10**7))
    assert table["log10_low"].isna().tolist() == [True] + [False] * 12
    assert table["n_features"].tolist() == [1, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1]


def test_a_lonely_feature_has_no_neighbour() -> None:
    cosine, nearest = nearest_cosine(np.eye(3), np.array([True, False, False]))
    assert np.isnan(cosine).all() and nearest.tolist() == [-1] * 3


def test_loss_and_endpoints_come_with_the_network() -> None:
    adapter = MeasuringAdapter()
    data, source = fake_stream(adapter)
    sae = small_sae()
    found = evaluate(sae, source, adapter, dataset=data, n_records=12, **QUIET)
    assert found.fidelity.n_loss_tokens > 0
    chosen = np.unique(np.linspace(0, 59, 12).round().astype(int))
    records = [str(name) for name in source.axis.records["record"].iloc[chosen]]
    wanted = fidelity(sae, source, adapter=adapter, dataset=data, records=records)
    assert found.fidelity == wanted
    plain = dict(adapter.measure(data, records, "layers.1", None))
    spliced = dict(adapter.measure(data, records, "layers.1", sae.reconstruct))
    zero = dict(adapter.measure(data, records, "layers.1", torch.zeros_like))
    late = [name for name in records if len(data.texts[name]) > 10]
    rows = found.endpoints.set_index("endpoint")
    for endpoint, kept in (("score", records), ("late", late)):
        before, after, none = (
            np.array([each[name][endpoint] for name in kept]) for each in (plain, spliced, zero)
        )
        row = rows.loc[endpoint]
        assert (row["n_records"], row["n_missing"]) == (len(kept), 12 - len(kept))
        assert row["untouched"] == pytest.approx(before.mean())
        assert row["deviation"] == pytest.approx(before.std())
        assert row["change"] == pytest.approx(np.abs(after - before).mean())
        assert row["change_zero"] == pytest.approx(np.abs(none - before).mean())
    assert 0 < len(late) < 12
    assert "score: " in str(found) and "mean of all scores" in str(found)
    assert "Loss recovered" in str(found) and "with zeros" in str(found)


def test_an_adapter_that_measures_nothing_has_no_endpoints() -> None:
    data, source = fake_stream()
    found = evaluate(small_sae(), source, FakeAdapter(), dataset=data, n_records=5, **QUIET)
    assert found.endpoints is None and found.fidelity.loss_recovered is not None


class Forgetful(MeasuringAdapter):
    def measure(self, dataset, records, layer, replacement):
        yield from super().measure(dataset, records[1:], layer, replacement)


class Nameless(MeasuringAdapter):
    def measure(self, dataset, records, layer, replacement):
        for record, _ in super().measure(dataset, records, layer, replacement):
            yield record, {"score": 0.0}


class Nothing(MeasuringAdapter):
    def endpoints(self, dataset):
        return {}

    def measure(self, dataset, records, layer, replacement):
        for record in records:
            yield record, {}


@pytest.mark.parametrize("kind", [Forgetful, Nameless])
def test_an_adapter_that_measures_something_else_is_refused(kind) -> None:
    data, _ = fake_stream()
    with pytest.raises(si.SciInterpError, match="other records or endpoints"):
        measure_endpoints(kind(), data, small_sae(), records=list(data.texts), layer="layers.1")


def test_no_endpoint_for_these_data_is_no_table() -> None:
    adapter = Nothing()
    data, source = fake_stream(adapter)
    found = evaluate(small_sae(), source, adapter, dataset=data, n_records=5, **QUIET)
    assert found.endpoints is None


def test_an_endpoint_that_no_record_has_is_not_a_number() -> None:
    data, source = fake_stream()
    short = [name for name, text in data.texts.items() if len(text) <= 10]
    found = measure_endpoints(
        MeasuringAdapter(), data, small_sae(), records=short, layer=source.layer
    )
    assert np.isnan(found.set_index("endpoint").loc["late", "change"])


def test_a_permuted_copy_is_stable_and_a_stranger_is_not() -> None:
    source, sae = random_source(width=48), small_sae(width=48)
    stranger = seeded(small_sae(width=48, seed=5), 5)
    copy = changed_copy(sae, noise=0.02)
    found = evaluate(sae, source, others=[copy, stranger], **QUIET)
    same, other = found.seeds.to_dict("records")
    order = np.argsort(np.random.default_rng(1).permutation(64))
    mine = found.stability[found.stability["other"] == 0]
    assert mine["cosine_partner"].tolist() == order.tolist()
    alive = mine["correlation"].notna()
    assert mine["correlation_partner"][alive].tolist() == order[alive.to_numpy()].tolist()
    assert same["cosine"] > 0.9 and same["cosine_above"] == 1.0 and same["same"] > 0.9
    assert same["correlation_above"] == 1.0 and same["beyond_random"] > 0.95
    assert other["cosine_above"] < 0.05 and other["same"] == 0.0
    assert other["beyond_random"] < 0.1
    assert (mine["cosine_null"] < mine["cosine"]).all()
    means = found.stability.groupby("feature")["cosine"].mean()
    assert np.allclose(found.features["stability_cosine"], means)
    assert [same["seed"], other["seed"]] == [1, 5]
    assert str(found).count("initialisation and data order of its own") == 2


@pytest.mark.parametrize(
    ("training", "text"),
    [({"seed": 0}, "NOT INDEPENDENT: the same seed"), ({}, "not known whether initialisation")],
)
def test_dependent_seeds_are_called_so(training, text) -> None:
    other = dataclasses.replace(small_sae(seed=3), training=training)
    assert text in str(evaluate(small_sae(), random_source(), others=[other], **QUIET))


def mistakes():
    sae = small_sae()
    data, stream = fake_stream()
    table = links((0, "A"))
    yield {"adapter": FakeAdapter()}, "the loss needs both an adapter and a dataset"
    yield {"adapter": FakeAdapter(), "dataset": data}, "are of another network than fake-16"
    yield {"acts": stream, "adapter": FakeAdapter(seed=3), "dataset": data}, "another network"
    few = make_dataset(n_records=50)
    yield {"acts": stream, "adapter": FakeAdapter(), "dataset": few}, "the dataset were made from"
    yield {"acts": random_source(width=5)}, "the autoencoder reads 16 channels"
    yield {"others": [sae]}, "autoencoder 0 of the others is given twice"
    yield {"others": [small_sae(width=8)]}, "autoencoder 0 of the others reads 8 channels"
    elsewhere = dataclasses.replace(small_sae(seed=2), parent={"layer": "layers.7"})
    yield {"others": [elsewhere]}, "made for another layer: 'layers.7'"
    yield {"enrichment": enrichment_of(table, 64)}, "Give known="
    yield {"channels": enrichment_of(table, 64)}, "Give the enrichment of the features"
    yield {"splits": ()}, "the splits [] are not usable"
    yield {"splits": ("train",)}, "the splits train hold no token"
    yield {"n_records": 0}, "n_tokens, n_records, n_permutations = 100000, 0, 20"


@pytest.mark.parametrize(("changes", "message"), list(mistakes()))
def test_what_does_not_belong_together_is_refused(changes, message, tmp_path: Path) -> None:
    given = {"acts": random_source(), "out": tmp_path / "evaluation", **QUIET, **changes}
    with pytest.raises(si.SciInterpError) as told:
        evaluate(small_sae(), given.pop("acts"), given.pop("adapter", None), **given)
    assert message in str(told.value)
    assert not (tmp_path / "evaluation").exists()


def test_another_features_or_annotations_enrichment_is_refused(tmp_path: Path) -> None:
    known = labelled_store(tmp_path / "known", {"A": ("g", {1})}, unknown={})
    given = {"known": known, **QUIET}
    wrong = enrichment_of(links((0, "A")), 63)
    with pytest.raises(si.SciInterpError, match="63 features and the autoencoder has 64"):
        evaluate(small_sae(), random_source(), enrichment=wrong, **given)
    published = enrichment_of(links((0, "A")), 64, settings={"protocol": "interplm"})
    with pytest.raises(si.SciInterpError, match="InterPLM's rule"):
        evaluate(small_sae(), random_source(), enrichment=published, **given)


def test_the_whole_report_is_opened_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = MeasuringAdapter()
    data, source = fake_stream(adapter)
    known = labelled_store(
        tmp_path / "known", {"A": ("g", {1, 2}), "B": ("g", {50, 51})}, unknown={}
    )
    given = {
        "dataset": data,
        "others": [changed_copy(small_sae())],
        "enrichment": enrichment_of(links((0, "A"), (0, "B"), (7, "B")), 64),
        "known": known,
        "n_records": 4,
        "out": tmp_path / "evaluation",
        **QUIET,
    }
    found = evaluate(small_sae(), source, adapter, **given)
    before = read_tree(tmp_path)
    monkeypatch.setattr("sci_interp.evaluation.evaluating._assemble", None)
    again = evaluate(small_sae(), source, adapter, **given)
    assert str(again) == str(found)
    assert again.features["n_unrelated"].tolist() == [2, *[0] * 6, 1, *[0] * 56]
    assert read_tree(tmp_path) == before
    with pytest.raises(si.SciInterpError, match="n_records was 4 there and is 5 now"):
        evaluate(small_sae(), source, adapter, **{**given, "n_records": 5})
    (tmp_path / "evaluation" / "seeds.parquet").write_bytes(b"no")
    with pytest.raises(si.SciInterpError, match=r"seeds\.parquet"):
        Evaluation.open(tmp_path / "evaluation")
    with pytest.raises(si.SciInterpError, match="holds annotations, not evaluation"):
        Evaluation.open(tmp_path / "known")


def test_a_constant_layer_is_refused() -> None:
    source = random_source()
    constant = dataclasses.replace(source, values=np.ones_like(source.values))
    units = Normalisation("scale", torch.ones(16), torch.ones(16), torch.ones(16))
    sae = dataclasses.replace(small_sae(), normalisation=units)
    with pytest.raises(si.SciInterpError, match="all tokens have the same activations"):
        evaluate(sae, constant, **QUIET)


def test_a_killed_evaluation_ends_in_the_same_bytes(tmp_path: Path) -> None:
    counts = run_killed("quality_killed:evaluate_small", tmp_path, n_trials=4)
    assert counts["n_kills"] >= 2
    whole = read_tree(tmp_path / "whole")
    assert {"evaluation.json", "stability.parquet", "features.csv", "manifest.json"} <= set(whole)
    for trial in range(4):
        assert read_tree(tmp_path / f"trial{trial}") == whole
