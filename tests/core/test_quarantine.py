"""Quarantine: bad records are left out whole and counted, and all else is as if they had not been.

The reference for everything is the same verb over the dataset without these records.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from batch_world import OddExecutor
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import read_tree, run_each_killed
from quarantine_world import (
    BAD,
    LAYER,
    QUARANTINE,
    SMALL,
    WAYS,
    BadAdapter,
    BadRecipe,
    extract_bad,
    share_bad,
    ways_of,
    without,
)

import sci_interp as si
from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, NotFiniteError, SciInterpError, StoreError
from sci_interp.quarantine import Quarantined, from_columns, from_rows, to_columns, to_rows

DATA = make_dataset()
#: Of 240 records in blocks of two, so that enough blocks are left to link on.
LARGE = make_dataset(n_records=240, records_per_block=2)
TRAINING = {"features": 24, "k": 3, "n_tokens": 900, "batch_size": 64, "progress": False}
QUIET = {"progress": False}


def extract_good(out, data=DATA, **options):
    return si.extract(FakeAdapter(), data, layer=LAYER, out=out, **SMALL, **options)


def read_all(store):
    return store.read(0, store.axis.n_tokens)


def require_law(axis, data, ways):
    """Read = used + quarantined, in records and in tokens; each bad record is listed once."""
    listed = {each.record: each for each in axis.quarantine}
    assert set(listed) == set(ways) and len(listed) == len(axis.quarantine)
    assert axis.n_records + len(listed) == axis.n_read == len(data.texts)
    n_lost = sum(each.n_tokens for each in listed.values())
    assert axis.n_tokens + n_lost == sum(map(len, data.texts.values()))
    assert all(each.n_tokens == len(data.texts[name]) for name, each in listed.items())
    assert not set(axis.records["record"]) & set(listed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a store with records in quarantine, that one process made."""
    return extract_bad(tmp_path_factory.mktemp("whole") / "a")


@settings(max_examples=12)
@given(places=st.sets(st.integers(0, 39), max_size=12), data=st.data())
def test_read_is_used_and_quarantined_and_the_rest_is_as_without_them(
    tmp_path_factory, places, data
):
    folder, ways = tmp_path_factory.mktemp("law"), ways_of(places)
    store = extract_bad(folder / "a", ways)
    require_law(store.axis, DATA, ways)
    expected = extract_good(folder / "b", without(DATA, ways))
    pd.testing.assert_frame_equal(store.axis.records, expected.axis.records)
    assert store.axis.digest == expected.axis.digest
    np.testing.assert_array_equal(read_all(store), read_all(expected))
    n = store.axis.n_tokens
    ends = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    np.testing.assert_array_equal(store.read(*ends), expected.read(*ends))
    for name, values in expected.coordinates().items():
        np.testing.assert_array_equal(store.coordinates()[name], values)
    edges = list(store.shards())
    assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
    assert edges[-1][1] == n
    # A stream finds the same records but those that are bad for a store alone.
    ways = {name: way for name, way in ways.items() if way not in ("overflow", "coordinates")}
    source = si.stream(BadAdapter(ways), DATA, LAYER, **QUARANTINE, **QUIET)
    require_law(source.axis, DATA, ways)
    plain = si.stream(FakeAdapter(), without(DATA, ways), LAYER)
    np.testing.assert_array_equal(read_all(source), read_all(plain))


def test_each_bad_record_is_listed_with_its_reason_and_place(whole):
    found = {each.record: each for each in whole.axis.quarantine}
    assert list(found.values()) == list(TokenAxis.read(whole.path).quarantine)
    by_way = {way: found[name] for name, way in BAD.items()}
    for way in ("nan", "inf", "-inf"):
        assert (by_way[way].layer, by_way[way].token) == (LAYER, 0)
        assert "NaN or infinity" in by_way[way].reason
    assert by_way["late"].token == by_way["late"].n_tokens - 1
    assert "exceed the range of float16" in by_way["overflow"].reason
    assert (by_way["overflow"].layer, by_way["overflow"].token) == (LAYER, 0)
    for way, reason in (("refused", "has a hole"), ("coordinates", "lies nowhere")):
        assert (by_way[way].layer, by_way[way].token) == ("", None)
        assert by_way[way].reason.endswith(reason)


def test_without_bad_records_the_bytes_are_those_of_raise(tmp_path):
    extract_good(tmp_path / "a")
    extract_bad(tmp_path / "b", {})
    extract_bad(tmp_path / "c", {}, executor=OddExecutor())
    expected = read_tree(tmp_path / "a")
    assert read_tree(tmp_path / "b") == expected == read_tree(tmp_path / "c")
    plain = si.stream(FakeAdapter(), DATA, LAYER)
    assert si.stream(FakeAdapter(), DATA, LAYER, **QUARANTINE, **QUIET).digest == plain.digest


def test_any_workers_make_the_same_bytes(tmp_path, whole):
    expected = read_tree(whole.path)
    extract_bad(tmp_path / "a", workers=2)
    extract_bad(tmp_path / "b", executor=OddExecutor())
    for index in (2, 0, 2):
        share_bad(tmp_path / "c", index, 3)
    extract_bad(tmp_path / "c")  # what no task made is made here
    for name in "abc":
        assert read_tree(tmp_path / name) == expected


def test_killed_and_continued_runs_end_in_the_same_bytes(tmp_path, whole):
    tasks = ["quarantine_world:extract_for_kills", "quarantine_world:share_for_kills"]
    counts = run_each_killed(tasks, tmp_path, n_trials=2)
    for task, found in counts.items():
        assert found["n_kills"] >= 1
        for trial in range(2):
            made = tmp_path / task.split(":")[1] / f"trial{trial}"
            assert read_tree(made) == read_tree(whole.path)


def test_a_run_that_stopped_at_a_bad_record_is_continued_without_it(tmp_path, whole):
    with pytest.raises(SciInterpError, match=r"record00\d\d"):
        extract_bad(tmp_path / "a", on_error="raise")
    extract_bad(tmp_path / "a")
    assert read_tree(tmp_path / "a") == read_tree(whole.path)


def link(folder, adapter, data, source, like):
    """Run the verbs after extract, and return what they made."""
    sae = si.train(source, out=folder / "sae", **TRAINING)
    features = si.encode(sae, source, out=folder / "features", **QUIET)
    known = si.annotate(adapter, data, out=folder / "known", like=like, **QUIET)
    cheap = si.encode_nuisances(adapter, data, out=folder / "cheap", like=like, **QUIET)
    table = si.enrich(
        features, known, out=folder / "enrichment", baselines={"cheap": cheap},
        n_permutations=50, n_bootstrap=10, n_threads=1, **QUIET,
    )  # fmt: skip
    return sae, features, known, cheap, table


def require_equal(ours, theirs):
    """Compare what the verbs made, but for where it comes from."""
    for mine, other in zip(ours[0].weights.named(), theirs[0].weights.named(), strict=True):
        np.testing.assert_array_equal(np.asarray(mine[1]), np.asarray(other[1]))
    for mine, other in ((ours[at], theirs[at]) for at in (1, 3)):
        codes, wanted = read_all(mine), read_all(other)
        for name in ("indptr", "feature", "value"):
            np.testing.assert_array_equal(getattr(codes, name), getattr(wanted, name))
    known, wanted = read_all(ours[2]), read_all(theirs[2])
    for name, values in vars(wanted).items():
        np.testing.assert_array_equal(getattr(known, name), values)
    pd.testing.assert_frame_equal(ours[4].links, theirs[4].links)


class Measured(BadAdapter):
    """An adapter with one endpoint."""

    def endpoints(self, dataset):
        return {"loss": "nats"}

    def measure(self, dataset, records, layer, replacement):
        for record in records:
            assert record not in self.ways
            yield record, {"loss": self.loss(dataset, [record], layer, replacement).total}


@pytest.mark.parametrize("online", [False, True])
def test_later_verbs_make_what_they_make_without_these_records(tmp_path, online):
    ways = {f"record{place:04d}": ("nan", "refused")[place % 2] for place in (3, 40, 41, 77, 200)}
    adapter, rest = BadAdapter(ways), without(LARGE, ways)
    if online:
        source = si.stream(adapter, LARGE, LAYER, on_error="quarantine", **QUIET)
        plain = si.stream(FakeAdapter(), rest, LAYER)
    else:
        given = {"layer": LAYER, "on_error": "quarantine", **SMALL}
        source = si.extract(adapter, LARGE, out=tmp_path / "a", **given)
        plain = extract_good(tmp_path / "b", rest)
    ours = link(tmp_path / "ours", adapter, LARGE, source, source)
    theirs = link(tmp_path / "theirs", BadAdapter({}, everyone=LARGE), rest, plain, None)
    require_equal(ours, theirs)
    for made in (source, *ours[1:4]):
        require_law(made.axis, LARGE, ways)
    # What was left out may be in the dataset that later verbs are given, or not.
    asked = {"feature": 0, "n_records": 2, "n_controls": 20, "n_bootstrap": 10, **QUIET}
    measured, effects = Measured(ways), []
    for data in (LARGE, rest):
        found = si.evaluate(ours[0], source, adapter=adapter, dataset=data, n_tokens=400)
        assert found.summary["n_tokens"] > 0
        effects.append(si.intervene(measured, data, ours[0], codes=ours[1], **asked).effects)
    pd.testing.assert_frame_equal(*effects)
    known = si.annotate(adapter, LARGE, out=tmp_path / "known", **QUIET)
    with pytest.raises(StoreError, match=r"record\d+' is only in .* like=\.\.\."):
        si.enrich(ours[1], known, **QUIET)


def test_a_sweep_and_workers_read_a_stream_without_these_records(tmp_path):
    ways = {name: way for name, way in BAD.items() if way in ("nan", "refused")}
    source = si.stream(BadAdapter(ways), DATA, LAYER, **QUARANTINE, **QUIET)
    plain = si.stream(FakeAdapter(), without(DATA, ways), LAYER)
    grid = {"grid": {"k": [2, 3]}, "features": 24, "n_tokens": 200, "batch_size": 32, **QUIET}
    made = si.sweep(source, out=tmp_path / "a", **grid)
    expected = si.sweep(plain, out=tmp_path / "b", **grid)
    ours, theirs = (each.table.drop(columns="seconds") for each in (made, expected))
    pd.testing.assert_frame_equal(ours, theirs)
    assert "2 quarantined" in si.show(tmp_path / "a")
    sae, recipe = (
        si.load_sae(next((tmp_path / "a").glob("*/manifest.json")).parent),
        BadRecipe(ways=ways),
    )
    alone = si.encode(sae, source, out=tmp_path / "c", **QUIET, workers=1)
    si.encode(sae, source, out=tmp_path / "d", recipe=recipe, executor=OddExecutor(), **QUIET)
    assert read_tree(tmp_path / "c") == read_tree(tmp_path / "d")
    require_law(alone.axis, DATA, ways)


def test_a_record_that_is_bad_in_one_layer_is_left_out_of_all(tmp_path):
    ways = {"record0005": "nan"}
    adapter, layers = BadAdapter(ways, only="layers.0"), ["layers.0", "layers.1"]
    given = {"layer": layers, "on_error": "quarantine", **SMALL}
    made = si.extract(adapter, DATA, out=tmp_path / "a", **given)
    assert made["layers.0"].axis.digest == made["layers.1"].axis.digest
    assert made["layers.1"].axis.quarantine[0].layer == "layers.0"
    # Also where the layer that is bad was finished before, and only the other is made.
    expected = read_tree(tmp_path / "a" / "layers.1")
    for path in (tmp_path / "a" / "layers.1").rglob("manifest.json"):
        path.unlink()
    journal = tmp_path / "a" / "layers.1" / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:2]))
    si.extract(adapter, DATA, out=tmp_path / "a", **given)
    assert read_tree(tmp_path / "a" / "layers.1") == expected
    # A layer that was made alone knows nothing of the others' bad records.
    si.extract(adapter, DATA, out=tmp_path / "b" / "layers.1", **{**given, "layer": "layers.1"})
    with pytest.raises(StoreError, match="leaves out other records"):
        si.extract(adapter, DATA, out=tmp_path / "b", **given)


def test_a_record_that_others_spoil_is_not_bad(tmp_path):
    class Spoiling(BadAdapter):
        """All records of a unit are NaN where one is."""

        def activations(self, dataset, records, layers):
            for found in super().activations(dataset, records, layers):
                if set(self.ways) & set(records):
                    found.values[LAYER][:] = np.nan
                yield found

    ways = {"record0005": "nan"}
    given = {"layer": LAYER, "on_error": "quarantine", **SMALL}
    store = si.extract(Spoiling(ways), DATA, out=tmp_path / "a", **given)
    require_law(store.axis, DATA, ways)
    expected = extract_good(tmp_path / "b", without(DATA, ways))
    np.testing.assert_array_equal(read_all(store), read_all(expected))


def test_records_that_are_bad_only_together_stop_the_run(tmp_path):
    class Crowded(FakeAdapter):
        def activations(self, dataset, records, layers):
            for found in super().activations(dataset, records, layers):
                if len(records) > 1:
                    found.values[LAYER][:] = np.nan
                yield found

    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        si.extract(Crowded(), DATA, layer=LAYER, out=tmp_path / "a", **SMALL, **QUARANTINE)


def test_errors_of_the_adapter_are_no_bad_records(tmp_path):
    class Wrong(FakeAdapter):
        def activations(self, dataset, records, layers):
            for found in super().activations(dataset, records, layers):
                found.values[LAYER] = found.values[LAYER][:-1]
                yield found

    with pytest.raises(SciInterpError, match="have the shape"):
        si.extract(Wrong(), DATA, layer=LAYER, out=tmp_path / "a", **SMALL, **QUARANTINE)


@pytest.mark.parametrize(("n_bad", "workers"), [(4, None), (5, None), (40, None), (40, 2)])
def test_more_than_a_share_of_bad_records_is_a_bad_input(tmp_path, n_bad, workers):
    ways = dict.fromkeys(list(DATA.texts)[:n_bad], "nan")
    options = {"most_quarantined": 0.1, "workers": workers}
    if n_bad == 4:
        require_law(extract_bad(tmp_path / "a", ways, **options).axis, DATA, ways)
        return
    message = r"5 of 40 records cannot be used, more than a share of 0\.1; .* --most-quarantined"
    with pytest.raises(InputError, match=message):
        extract_bad(tmp_path / "a", ways, **options)
    with pytest.raises(InputError, match="more than a share"):
        si.stream(BadAdapter(ways), DATA, LAYER, on_error="quarantine", **QUIET)


def test_a_finished_store_is_opened_only_where_as_much_may_be_left_out(tmp_path, whole):
    assert extract_bad(whole.path).digest == whole.digest
    with pytest.raises(StoreError, match=r"leaves out 7 records.*on_error=.quarantine"):
        extract_bad(whole.path, on_error="raise")
    with pytest.raises(InputError, match="7 of 40 records"):
        extract_bad(whole.path, most_quarantined=0.1)
    share_bad(tmp_path / "a", 0, 1)
    with pytest.raises(StoreError, match="leaves out"):
        extract_bad(tmp_path / "a", on_error="raise")


def test_like_leaves_out_beforehand(tmp_path, whole):
    later = si.extract(FakeAdapter(), DATA, layer="embed", out=tmp_path / "a", like=whole, **SMALL)
    assert later.axis.digest == whole.axis.digest
    require_law(later.axis, DATA, BAD)
    assert si.stream(FakeAdapter(), DATA, LAYER, like=later).axis.digest == whole.axis.digest
    # What is bad besides is added; bad records of the other are not even run.
    more = si.extract(
        BadAdapter({**BAD, "record0030": "nan"}), DATA, layer=LAYER, out=tmp_path / "b",
        like=whole, **SMALL, **QUARANTINE,
    )  # fmt: skip
    require_law(more.axis, DATA, {**BAD, "record0030": "nan"})
    assert more.axis.n_tokens == len(read_all(more))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on_error": "skip"}, r"on_error='skip'.*'raise', 'quarantine'"),
        ({"on_error": "quarantine", "most_quarantined": 1.0}, "most_quarantined=1.0"),
        ({"on_error": "quarantine", "most_quarantined": -0.1}, "most_quarantined=-0.1"),
        ({"on_error": "quarantine", "most_quarantined": math.nan}, "most_quarantined=nan"),
    ],
)
def test_other_settings_are_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        si.extract(FakeAdapter(), DATA, layer=LAYER, out=tmp_path / "a", **given)
    with pytest.raises(InputError, match=message):
        si.stream(FakeAdapter(), DATA, LAYER, **given)
    assert not (tmp_path / "a").exists()


def test_no_axis_is_left_without_records():
    axis = TokenAxis.of(DATA)
    everyone = [Quarantined(name, 1, "") for name in DATA.texts]
    with pytest.raises(InputError, match="no record that can be used"):
        axis.without(everyone)
    assert axis.without([Quarantined("another", 1, "")]) is axis


@given(
    st.lists(
        st.builds(
            Quarantined, st.text(), st.integers(1, 2**40), st.text(), st.text(),
            st.none() | st.integers(0, 2**40),
        )
    )
)  # fmt: skip
def test_lists_are_read_as_they_were_written(found):
    assert from_columns(json.loads(json.dumps(to_columns(found)))) == tuple(found)
    by_token = {3 * number: each for number, each in enumerate(found)}
    assert from_rows(json.loads(json.dumps(to_rows(by_token)))) == by_token


GOOD_ROW = {"start": 0, "record": "a", "n_tokens": 3, "reason": "", "layer": "", "token": None}


@pytest.mark.parametrize(
    "change",
    [{"start": "0"}, {"record": 1}, {"reason": None}, {"n_tokens": 0}, {"n_tokens": -1},
     {"token": -1}, {"token": "x"}, {"layer": 2}, {"other": 1}],
)  # fmt: skip
def test_other_lists_are_refused(change):
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_rows([{**GOOD_ROW, **change}])


def test_ways_are_all_tried():
    assert set(BAD.values()) == set(WAYS)
