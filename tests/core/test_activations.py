"""extract and stream: the network's rows in their places, whatever interrupts the run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_adapter import FakeAdapter, FakeDataset, make_dataset
from kills import read_tree, run_killed

from sci_interp.activations import extract, stream
from sci_interp.adapter import RecordActivations
from sci_interp.errors import (
    InputError,
    NotFiniteError,
    SciInterpError,
    StoreError,
    UnknownNameError,
)
from sci_interp.source import ActivationSource, StackedSource
from sci_interp.testing import check_adapter
from sci_interp.tokens import ActivationStore

SMALL = {"unit_tokens": 300, "shard_tokens": 128, "progress": False}
LAYERS = ["layers.0", "layers.1"]


def extract_for_kills(out: Path) -> None:
    """Make two stores in one pass; run in a process that is killed."""
    adapter, dataset = FakeAdapter(), make_dataset(n_records=20)
    extract(adapter, dataset, layer=LAYERS, out=out, dtype="bfloat16", **SMALL)


class Faulty(FakeAdapter):
    """Changes what the network yields."""

    def __init__(self, change, **options):
        super().__init__(**options)
        self.change = change

    def activations(self, dataset, records, layers):
        yield from self.change(list(super().activations(dataset, records, layers)))


def with_value(value, *, at=3):
    def change(found):
        for item in found:
            if item.record == "record0007":
                for rows in item.values.values():
                    rows[at % len(rows), 1] = value
        return found

    return change


def test_the_fake_adapter_keeps_the_laws():
    check_adapter(FakeAdapter(), make_dataset())


def test_killed_runs_end_in_the_same_bytes(tmp_path):
    counts = run_killed("test_activations:extract_for_kills", tmp_path, n_trials=5)
    assert counts["n_kills"] >= 2
    whole = read_tree(tmp_path / "whole")
    assert len([name for name in whole if "/c/" in name]) == 2 * 3 * 7
    for trial in range(5):
        assert read_tree(tmp_path / f"trial{trial}") == whole


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_disk_that_refuses_is_a_typed_error_and_the_run_continues(tmp_path, monkeypatch, name):
    adapter, dataset = FakeAdapter(), make_dataset()
    extract(adapter, dataset, layer="embed", out=tmp_path / "whole", **SMALL)
    function, count, refused = getattr(os, name), 0, 0

    def refuse(*arguments, **options):
        nonlocal count
        count += 1
        if count == refused:
            raise OSError(28, "No space left on device")
        return function(*arguments, **options)

    monkeypatch.setattr(os, name, refuse)
    out = tmp_path / "out"
    for refused in range(1, 1000, 11):  # noqa: B007 - the hook above reads it
        count = 0
        try:
            extract(adapter, dataset, layer="embed", out=out, **SMALL)
        except StoreError as error:
            assert "No space left on device" in str(error)  # noqa: PT017 - raised in most turns
            with pytest.raises(StoreError, match=r"is unfinished|is not an artefact"):
                ActivationStore.open(out)
        else:
            break
    assert read_tree(out) == read_tree(tmp_path / "whole")


def test_several_layers_in_one_pass_equal_single_runs(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset()
    passes = []
    run = adapter.activations
    adapter.activations = lambda data, records, layers: (
        passes.append(layers) or run(data, records, layers)
    )
    stores = extract(adapter, dataset, layer=LAYERS, out=tmp_path / "both", **SMALL)
    assert list(stores) == LAYERS and all(layers == LAYERS for layers in passes)
    for layer in LAYERS:
        extract(adapter, dataset, layer=layer, out=tmp_path / layer, **SMALL)
        assert read_tree(tmp_path / "both" / layer) == read_tree(tmp_path / layer)
        assert stores[layer].path == tmp_path / "both" / layer


def test_a_finished_store_is_opened_without_the_network(tmp_path):
    dataset = make_dataset()
    first = extract(FakeAdapter(), dataset, layer="embed", out=tmp_path / "a", **SMALL)
    silent = Faulty(lambda found: pytest.fail("the network ran"))
    again = extract(silent, dataset, layer="embed", out=tmp_path / "a", **SMALL)
    assert again.digest == first.digest


def test_bytes_do_not_depend_on_units_beyond_the_request(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset()
    stores = [
        extract(
            adapter, dataset, layer="embed", out=tmp_path / str(n), **{**SMALL, "unit_tokens": n}
        )
        for n in (50, 10**6)
    ]
    n_tokens = stores[0].axis.n_tokens
    assert np.array_equal(stores[0].read(0, n_tokens), stores[1].read(0, n_tokens))


def test_records_longer_than_units_and_shards(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset(n_records=4, shortest=400, longest=700)
    store = extract(adapter, dataset, layer="embed", out=tmp_path / "a", dtype="float32", **SMALL)
    live = stream(adapter, dataset, "embed")
    assert np.array_equal(store.read(0, store.axis.n_tokens), live.read(0, live.axis.n_tokens))


def test_zeros_are_written_like_other_values(tmp_path):
    def zero(found):
        return [
            RecordActivations(item.record, {name: rows * 0 for name, rows in item.values.items()})
            for item in found
        ]

    store = extract(Faulty(zero), make_dataset(), layer="embed", out=tmp_path / "a", **SMALL)
    assert (tmp_path / "a/activations.zarr/activation/c/0/0").is_file()
    assert not store.read(0, store.axis.n_tokens).any()


def test_progress_goes_to_standard_error(tmp_path, capsys):
    extract(FakeAdapter(), make_dataset(), layer="embed", out=tmp_path / "a")
    captured = capsys.readouterr()
    assert captured.out == "" and "extract: 40 of 40" in captured.err


CASES = {
    "another model": ({"adapter": FakeAdapter(seed=1)}, "model was"),
    "another width": ({"adapter": FakeAdapter(width=8)}, "model was"),
    "other data": ({"dataset": make_dataset(seed=1)}, "dataset was '.{12}[.]{3}' there"),
    "another layer": ({"layer": "layers.0"}, "layer was 'embed' there and is 'layers.0' now"),
    "another dtype": ({"dtype": "bfloat16"}, "dtype was 'float16'"),
    "other shares": ({"fractions": {"train": 1.0}}, "fractions was"),
    "other shards": ({"shard_tokens": 64}, "shard_tokens was 128 there and is 64 now"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_store_of_another_request_is_refused(tmp_path, case):
    request = {"adapter": FakeAdapter(), "dataset": make_dataset(), "layer": "embed", **SMALL}
    out = tmp_path / "a"
    extract(request.pop("adapter"), request.pop("dataset"), out=out, **request)
    before = read_tree(out)
    change, message = CASES[case]
    again = {"adapter": FakeAdapter(), "dataset": make_dataset(), **request, **change}
    with pytest.raises(StoreError, match=message):
        extract(again.pop("adapter"), again.pop("dataset"), out=out, **again)
    assert read_tree(out) == before


def test_the_same_texts_in_other_blocks_are_other_data(tmp_path):
    dataset = make_dataset()
    extract(FakeAdapter(), dataset, layer="embed", out=tmp_path / "a", **SMALL)
    other = replace(dataset, blocks={name: name for name in dataset.texts})
    with pytest.raises(StoreError, match="holds other work"):
        extract(FakeAdapter(), other, layer="embed", out=tmp_path / "a", **SMALL)


def test_an_unknown_layer_is_refused_before_anything_is_written(tmp_path):
    for layer in ("layer.1", ["embed", "layer.1"]):
        with pytest.raises(UnknownNameError, match=r"'layer\.1'.*embed, layers\.0, layers\.1"):
            extract(FakeAdapter(), make_dataset(), layer=layer, out=tmp_path / "a", **SMALL)
    with pytest.raises(UnknownNameError, match=r"mean 'layers\.1'"):
        stream(FakeAdapter(), make_dataset(), "layer.1")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("layers", [[], ["embed", "embed"], ["../embed"], [".."]])
def test_unusable_lists_of_layers_are_refused(tmp_path, layers):
    with pytest.raises(InputError):
        extract(FakeAdapter(), make_dataset(), layer=layers, out=tmp_path / "a", **SMALL)


def test_unusable_settings_are_refused(tmp_path):
    adapter, dataset, out = FakeAdapter(), make_dataset(), tmp_path / "a"
    with pytest.raises(InputError, match=r"'int8'.*float16, bfloat16, float32"):
        extract(adapter, dataset, layer="embed", out=out, dtype="int8")
    with pytest.raises(InputError, match="unit_tokens=0"):
        extract(adapter, dataset, layer="embed", out=out, unit_tokens=0)
    with pytest.raises(InputError, match="no record"):
        extract(adapter, FakeDataset({}, {}), layer="embed", out=out)
    assert not out.exists()


def test_several_layers_do_not_go_into_a_single_store(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset()
    extract(adapter, dataset, layer="embed", out=tmp_path / "a", **SMALL)
    with pytest.raises(StoreError, match="folder of their own"):
        extract(adapter, dataset, layer=LAYERS, out=tmp_path / "a", **SMALL)


FAULTS = {
    "twice": (lambda found: [*found, found[0]], "yielded record 'record.*' twice"),
    "not at all": (lambda found: found[1:], "did not yield record 'record"),
    "a stranger": (
        lambda found: [*found, RecordActivations("stranger", found[0].values)],
        "yielded record 'stranger' without being asked",
    ),
    "no layer": (
        lambda found: [RecordActivations(item.record, {}) for item in found],
        "came without layer 'embed'",
    ),
    "a missing row": (
        lambda found: [
            RecordActivations(i.record, {"embed": i.values["embed"][1:]}) for i in found
        ],
        r"have the shape .*Allowed: \(.*, 16\)",
    ),
    "a missing channel": (
        lambda found: [
            RecordActivations(i.record, {"embed": i.values["embed"][:, 1:]}) for i in found
        ],
        r"have the shape \(.*, 15\)",
    ),
    "doubles": (
        lambda found: [
            RecordActivations(i.record, {"embed": i.values["embed"].astype(float)}) for i in found
        ],
        "and the dtype float64.*float32",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_that_yields_something_else_is_refused(tmp_path, fault):
    change, message = FAULTS[fault]
    with pytest.raises(SciInterpError, match=message):
        extract(Faulty(change), make_dataset(), layer="embed", out=tmp_path / "a", **SMALL)
    live = stream(Faulty(change), make_dataset(), "embed")
    with pytest.raises(SciInterpError, match=message):
        live.read(0, 10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_activations_that_are_not_finite_name_the_record_and_layer(tmp_path, value):
    adapter, dataset = Faulty(with_value(value)), make_dataset()
    with pytest.raises(NotFiniteError, match="record 'record0007', layer 'embed', hold NaN"):
        extract(adapter, dataset, layer="embed", out=tmp_path / "a", **SMALL)
    with pytest.raises(StoreError, match="is unfinished"):
        ActivationStore.open(tmp_path / "a")
    live = stream(adapter, dataset, "embed")
    with pytest.raises(NotFiniteError, match="record0007"):
        live.read(0, live.axis.n_tokens)


def test_overflow_names_the_record_and_advises_bfloat16(tmp_path):
    adapter, dataset = Faulty(with_value(1e5)), make_dataset()
    message = "'record0007', layer 'embed': activations up to 100000 exceed the range of float16"
    with pytest.raises(NotFiniteError, match=message + '.*dtype="bfloat16"'):
        extract(adapter, dataset, layer="embed", out=tmp_path / "a", **SMALL)
    store = extract(adapter, dataset, layer="embed", out=tmp_path / "b", dtype="bfloat16", **SMALL)
    assert store.read(0, store.axis.n_tokens).max() == pytest.approx(1e5, rel=2**-8)


@pytest.mark.parametrize(
    "found", [{}, {"place": np.zeros(1), "share": np.zeros(1)}, {"place": np.zeros((3, 2))}]
)
def test_unusable_coordinates_are_refused(tmp_path, found):
    adapter = FakeAdapter()
    adapter.token_coordinates = lambda dataset, record: found
    with pytest.raises(SciInterpError, match="no usable coordinate 'place' of record 'record"):
        extract(adapter, make_dataset(), layer="embed", out=tmp_path / "a", **SMALL)


def test_an_adapter_may_have_no_coordinates(tmp_path):
    adapter = FakeAdapter()
    adapter.coordinates = ()
    store = extract(adapter, make_dataset(), layer="embed", out=tmp_path / "a", **SMALL)
    assert store.coordinates() == {}


def test_a_committed_file_that_vanished_is_not_passed_over(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset()
    extract(adapter, dataset, layer="embed", out=tmp_path / "a", **SMALL)
    (tmp_path / "a/manifest.json").unlink()
    (tmp_path / "a/activations.zarr/activation/c/1/0").unlink()
    with pytest.raises(StoreError, match="activation/c/1/0 was committed and is missing"):
        extract(adapter, dataset, layer="embed", out=tmp_path / "a", **SMALL)


def test_a_stream_reads_like_a_store(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset()
    live = stream(adapter, dataset, "layers.1")
    store = extract(
        adapter, dataset, layer="layers.1", out=tmp_path / "a", dtype="float32", **SMALL
    )
    assert isinstance(live, ActivationSource)
    assert live.axis.digest == store.axis.digest and live.model == store.model
    assert (live.layer, live.width) == (store.layer, store.width)
    for start, stop in [(0, 0), (0, 1), (3, 700), (200, 201), (0, store.axis.n_tokens)]:
        assert np.array_equal(live.read(start, stop), store.read(start, stop))
    with pytest.raises(InputError, match="is not in the stream"):
        live.read(0, 10**9)


def test_the_digest_of_a_stream_follows_model_data_splits_and_layer():
    def digest(adapter=None, dataset=None, layer="embed", **options):
        return stream(adapter or FakeAdapter(), dataset or make_dataset(), layer, **options).digest

    assert digest() == digest()
    others = {
        digest(FakeAdapter(seed=1)),
        digest(dataset=make_dataset(seed=1)),
        digest(layer="layers.0"),
        digest(fractions={"train": 1.0}),
    }
    assert len(others | {digest()}) == 5


def test_streams_of_several_layers_share_one_pass(tmp_path):
    adapter, dataset = FakeAdapter(), make_dataset()
    passes = []
    run = adapter.activations
    adapter.activations = lambda data, records, layers: (
        passes.append(tuple(layers)) or run(data, records, layers)
    )
    streams = stream(adapter, dataset, LAYERS, unit_tokens=300)
    alone = {layer: stream(FakeAdapter(), dataset, layer, unit_tokens=300) for layer in LAYERS}
    both = StackedSource(list(streams.values()))
    for start in range(0, both.axis.n_tokens - 200, 200):
        values = both.read(start, start + 200)
        for columns, layer in zip((slice(16), slice(16, 32)), LAYERS, strict=True):
            assert np.array_equal(values[:, columns], alone[layer].read(start, start + 200))
    assert set(passes) == {tuple(LAYERS)}
    assert len(passes) == both.sources[0].network.n_run == alone["layers.0"].network.n_run
    assert [streams[layer].digest for layer in LAYERS] == [alone[layer].digest for layer in LAYERS]
    for wrong in ([], ["embed", "embed"]):
        with pytest.raises(InputError, match="different names"):
            stream(adapter, dataset, wrong)


def test_a_stream_keeps_its_last_units_only():
    adapter, dataset = FakeAdapter(), make_dataset()
    asked = []
    run = adapter.activations
    adapter.activations = lambda data, records, layers: (
        asked.append(len(records)) or run(data, records, layers)
    )
    live = stream(adapter, dataset, "embed", unit_tokens=200, cached_units=2)
    for start in range(0, live.axis.n_tokens, 20):
        live.read(start, min(start + 20, live.axis.n_tokens))
    assert sum(asked) == 40
    live.read(0, 1)
    assert sum(asked) > 40
    with pytest.raises(InputError, match="cached_units=0"):
        stream(adapter, dataset, "embed", cached_units=0)
