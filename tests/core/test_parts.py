"""Parts: whole or absent, kept once, and never of two kinds."""

from __future__ import annotations

import os

import pytest

from sci_interp.errors import StoreError
from sci_interp.parts import Parts


def parts_in(tmp_path, **settings):
    return Parts(tmp_path / "a", "features", inputs={}, settings=settings)


def writes(text, *, during=lambda: None):
    def write(folder):
        (folder / "x").mkdir()
        (folder / "x" / "0").write_text(text)
        during()
        return {"x/0": text}, {"n": 1}

    return write


def test_a_part_is_made_once_and_taken_once(tmp_path):
    parts = parts_in(tmp_path)
    parts.make(7, writes("seven"))
    parts.make(7, lambda _: pytest.fail("it is there"))
    assert parts.names() == {7} and parts.has(7) and not parts.has(8)
    commit = parts.take(7)
    assert (commit.shard, commit.files, commit.info) == (7, {"x/0": "seven"}, {"n": 1})
    assert (tmp_path / "a/x/0").read_text() == "seven"
    assert parts.take(7) == commit  # as after a kill between moving and committing
    parts.drop(7)
    assert parts.take(7) is None
    parts.discard()
    assert not (tmp_path / "a.parts").exists()


def test_pieces_of_a_part_are_dropped(tmp_path):
    parts = parts_in(tmp_path)
    parts.make(0, writes("a"))
    parts.read_file(0, "x/0").unlink()
    parts.make(1, writes("b"))
    parts.read_file(1, "receipt.json").unlink()
    assert parts.take(0) is None and parts.take(1) is None and parts.names() == set()


def test_a_worker_that_fails_leaves_no_part(tmp_path):
    parts = parts_in(tmp_path)

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="000003 cannot be written: No space left"):
        parts.make(3, writes("a", during=full))
    with pytest.raises(KeyError):
        parts.make(3, writes("a", during={}.popitem))
    assert parts.names() == set() and list(parts.folder.iterdir()) == []


def test_two_workers_that_make_the_same_shard_keep_it_once(tmp_path):
    parts = parts_in(tmp_path)
    parts.make(0, writes("same", during=lambda: parts.make(0, writes("same"))))
    assert parts.names() == {0} and len(list(parts.folder.iterdir())) == 1


def test_two_workers_that_make_other_bytes_are_told_of(tmp_path):
    parts = parts_in(tmp_path)
    with pytest.raises(StoreError, match="000000 came out differently in two workers"):
        parts.make(0, writes("one", during=lambda: parts.make(0, writes("other"))))
    assert parts.take(0).files == {"x/0": "other"}


def test_a_disk_that_refuses_to_move_is_a_typed_error(tmp_path, monkeypatch):
    parts = parts_in(tmp_path)
    parts.make(0, writes("a"))

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError, match=r"cannot be moved into .*cross-device"):
        parts.take(0)


def test_parts_of_other_requests_lie_apart(tmp_path):
    one, other = parts_in(tmp_path, k=1), parts_in(tmp_path, k=2)
    assert one.folder != other.folder
    one.require_key(one.key)
    with pytest.raises(StoreError, match="a worker opened another"):
        one.require_key(other.key)
