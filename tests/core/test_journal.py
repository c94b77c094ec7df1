"""The journal: what was committed is read back whole, and nothing else is."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.errors import StoreError
from sci_interp.journal import Journal

FILES = {"b/c/0": "2" * 64, "a/c/0/0": "1" * 64}


def filled(path, n):
    journal = Journal(path)
    for shard in range(n):
        journal.commit(shard, {f"a/{shard}": "0" * 64}, {"n": shard})
    return journal


def test_commits_are_read_back(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.n_committed == 0 and journal.entries == {}
    journal.commit(0, FILES, {"n_tokens": 5})
    journal.commit(2, {"x": "3" * 64})
    again = Journal(tmp_path / "journal.jsonl")
    assert again.entries == journal.entries
    assert again.entries[0].files == FILES and again.entries[0].info == {"n_tokens": 5}
    assert again.n_committed == 1
    assert again.files == {**FILES, "x": "3" * 64}


def test_bytes_do_not_depend_on_the_order_of_the_mapping(tmp_path):
    for name, files in (("1", FILES), ("2", dict(reversed(FILES.items())))):
        Journal(tmp_path / name).commit(0, files)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_end_is_forgotten_and_overwritten(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    filled(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))])
    journal = Journal(path)
    assert journal.n_committed == whole[: min(cut, len(whole))].count(b"\n")
    for shard in range(journal.n_committed, 3):
        journal.commit(shard, {f"a/{shard}": "0" * 64}, {"n": shard})
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"shard": 0}',
        b'{"shard": "x", "files": {}, "info": {}}',
        b'{"shard": 0, "files": [], "info": {}}',
        b'{"shard": 0, "files": {}, "info": 3}',
    ],
)
def test_a_line_that_is_no_commit_is_refused(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    filled(path, 1)
    path.write_bytes(line + b"\n" + path.read_bytes())
    with pytest.raises(StoreError, match=r"journal\.jsonl, line 1 is no commit"):
        Journal(path)


def test_a_shard_that_occurs_twice_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = filled(path, 1)
    with pytest.raises(StoreError, match="shard 0 is already committed"):
        journal.commit(0, FILES)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(StoreError, match="line 2: shard 0 was committed before"):
        Journal(path)


def test_a_journal_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        Journal(tmp_path)


def test_a_full_disk_is_a_typed_error_and_the_next_commit_repairs(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    journal = filled(path, 1)
    write = os.write

    def torn(handle, data):
        write(handle, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", torn)
        with pytest.raises(StoreError, match="No space left on device"):
            journal.commit(1, FILES)
    assert Journal(path).n_committed == 1
    journal.commit(1, FILES)
    assert [json.loads(line)["shard"] for line in path.read_text().splitlines()] == [0, 1]


def test_two_writers_do_not_overwrite_each_other(tmp_path):
    path = tmp_path / "journal.jsonl"
    one, two = filled(path, 1), Journal(path)
    one.commit(1, FILES)
    whole = path.read_bytes()
    with pytest.raises(StoreError, match="is being written by another process"):
        two.commit(1, FILES)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:20])
    with pytest.raises(StoreError, match="is being written by another process"):
        one.commit(2, FILES)
