"""Records that cannot be used when the data are opened: left out on request, or named at once.

The reference is the same verb over data that never had these records.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pytest
from batch_world import FakeRecipe, OddExecutor
from fake_adapter import FakeAdapter, FakeDataset, make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import read_tree
from quarantine_world import BadAdapter, without

import sci_interp as si
from sci_interp.activations import extract_share
from sci_interp.adapter import Refusal
from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError
from sci_interp.quarantine import Quarantined, from_columns, to_columns

LAYER = "embed"
SMALL = {"layer": LAYER, "unit_tokens": 150, "shard_tokens": 128, "progress": False}
QUARANTINE = {"on_error": "quarantine", "most_quarantined": 0.5}
DATA = make_dataset()
REFUSED = (
    Refusal("bad1", 7, "x.txt line 3: 'J' at place 5", 4),
    Refusal("none", 0, "x.txt line 9: it has no symbol"),
)


@dataclass(frozen=True, eq=False)
class Refusing(FakeDataset):
    """A dataset of whose file some records cannot be used."""

    refused: tuple[Refusal, ...] = REFUSED


def refusing(data=DATA, refused=REFUSED):
    return Refusing(data.texts, data.blocks, refused)


@dataclass(frozen=True)
class RefusingRecipe(FakeRecipe):
    def open(self):
        return FakeAdapter(), refusing()


def extract_both(folder, data, refused, **options):
    """Return the store of data with refused records, and that of data that never had them."""
    found = si.extract(
        FakeAdapter(), refusing(data, refused), out=folder / "a", **SMALL, **QUARANTINE, **options
    )
    return found, si.extract(FakeAdapter(), data, out=folder / "b", **SMALL)


LEFT_OUT = st.lists(
    st.tuples(
        st.integers(0, 999).map("bad{}".format),
        st.integers(0, 50),
        st.text(min_size=1, max_size=400),
        st.none() | st.integers(0, 49),
    ).map(lambda row: Refusal(*row)),
    max_size=12,
    unique_by=lambda each: each.record,
).map(tuple)


@settings(max_examples=10)
@given(refused=LEFT_OUT)
def test_read_is_used_and_quarantined_and_the_rest_is_as_without_them(tmp_path_factory, refused):
    found, expected = extract_both(tmp_path_factory.mktemp("law"), DATA, refused)
    axis = found.axis
    assert axis.n_records + len(refused) == axis.n_read == len(DATA.texts) + len(refused)
    assert [each.record for each in axis.quarantine] == [each.record for each in refused]
    assert [each.n_tokens for each in axis.quarantine] == [each.n_tokens for each in refused]
    assert [each.token for each in axis.quarantine] == [each.token for each in refused]
    pd.testing.assert_frame_equal(axis.records, expected.axis.records)
    assert axis.digest == expected.axis.digest
    alike, other = read_tree(found.path), read_tree(expected.path)
    own = {"records.parquet", "manifest.json"} if refused else set()
    assert {name for name in alike if alike[name] != other[name]} == own
    assert TokenAxis.read(found.path).quarantine == axis.quarantine


def test_any_workers_make_the_same_bytes(tmp_path):
    whole, _ = extract_both(tmp_path, DATA, REFUSED)
    recipe = RefusingRecipe()
    given = {**SMALL, **QUARANTINE, "recipe": recipe}
    si.extract(*recipe.open(), out=tmp_path / "c", executor=OddExecutor(), **given)
    for index in (1, 0):
        extract_share(recipe, out=tmp_path / "d", shard=(index, 2), **SMALL, **QUARANTINE)
    si.extract(*recipe.open(), out=tmp_path / "d", **given)
    expected = read_tree(whole.path)
    assert read_tree(tmp_path / "c") == expected == read_tree(tmp_path / "d")


def test_later_verbs_leave_them_out_with_like_and_stop_without(tmp_path):
    acts, expected = extract_both(tmp_path, DATA, REFUSED)
    adapter, data = FakeAdapter(), refusing()
    verbs = {
        "annotate": lambda d, like, out: si.annotate(
            adapter, d, out=out, like=like, progress=False
        ),
        "nuisances": lambda d, like, out: si.encode_nuisances(
            adapter, d, out=out, like=like, progress=False
        ),
        "stream": lambda d, like, _: si.stream(adapter, d, LAYER, like=like, progress=False),
        "extract": lambda d, like, out: si.extract(adapter, d, out=out, like=like, **SMALL),
    }
    for name, verb in verbs.items():
        with pytest.raises(InputError, match=r"2 records cannot be used, the first of them 'bad1'"):
            verb(data, None, tmp_path / name)
        with pytest.raises(InputError, match=r"of them 'bad1': x.txt line 3"):
            verb(data, expected, tmp_path / name)
        assert not (tmp_path / name).exists()
        axis = verb(data, acts, tmp_path / name).axis
        acts.axis.require_same(axis, "one", "the other")
        assert axis.quarantine == acts.axis.quarantine


def test_they_are_named_before_the_network_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeAdapter, "activations", lambda *_: pytest.fail("it was run"))
    for verb in (si.extract, lambda *a, out, layer, **k: si.stream(*a, layer, progress=False)):
        with pytest.raises(InputError, match="cannot be used") as caught:
            verb(FakeAdapter(), refusing(), out=tmp_path / "a", **SMALL)
        assert "--on-error quarantine" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_they_count_towards_the_largest_share(tmp_path):
    refused = tuple(Refusal(f"bad{n}", 1, "no") for n in range(5))
    given = {**SMALL, "on_error": "quarantine"}
    with pytest.raises(InputError, match="5 of 45 records cannot be used"):
        si.extract(FakeAdapter(), refusing(DATA, refused), out=tmp_path / "a", **given)
    si.extract(FakeAdapter(), refusing(DATA, refused[:4]), out=tmp_path / "b", **given)


def test_records_that_the_network_cannot_use_are_listed_after_them(tmp_path):
    bad = {"record0003": "nan"}
    found = si.extract(BadAdapter(bad), refusing(), out=tmp_path / "a", **SMALL, **QUARANTINE)
    expected = si.extract(FakeAdapter(), without(DATA, bad), out=tmp_path / "b", **SMALL)
    assert found.axis.digest == expected.axis.digest and found.axis.n_read == 42
    assert [each.record for each in found.axis.quarantine] == ["bad1", "none", "record0003"]
    again = si.extract(BadAdapter(bad), refusing(), out=tmp_path / "c", like=found, **SMALL)
    assert again.axis.quarantine == found.axis.quarantine


def test_a_record_without_tokens_is_written_and_read():
    found = tuple(map(Quarantined.refused, REFUSED))
    assert from_columns(to_columns(found)) == found
    with pytest.raises(ValueError, match="no numbers of tokens"):
        from_columns({**to_columns(found), "n_tokens": [7, -1]})
