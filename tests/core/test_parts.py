"""Parts: whole or absent, kept once, and never of two kinds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from sci_interp.disk import digest_json
from sci_interp.errors import StoreError
from sci_interp.parts import RECEIPT_FILE, Parts


def parts_in(tmp_path, **settings):
    return Parts(tmp_path / "a", "features", inputs={}, settings=settings)


def writes(text, *, during=lambda: None):
    def write(folder):
        (folder / "x").mkdir()
        (folder / "x" / "0").write_text(text)
        during()
        return {"x/0": digest(text)}, {"n": 1}

    return write


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def receipt_of(parts, shard):
    return parts.read_file(shard, RECEIPT_FILE)


def test_a_part_is_made_once_and_taken_once(tmp_path):
    parts = parts_in(tmp_path)
    parts.make(7, writes("seven"))
    parts.make(7, lambda _: pytest.fail("it is there"))
    assert parts.names() == {7} and parts.has(7) and not parts.has(8)
    commit = parts.take(7)
    assert (commit.shard, commit.files, commit.info) == (7, {"x/0": digest("seven")}, {"n": 1})
    assert (tmp_path / "a/x/0").read_text() == "seven"
    assert parts.take(7) == commit  # as after a kill between moving and committing
    parts.drop(7)
    assert parts.take(7) is None
    parts.discard()
    assert not (tmp_path / "a.parts").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["x/0", RECEIPT_FILE])
@pytest.mark.parametrize("damage", [cut, flip, os.unlink])
def test_a_damaged_part_is_dropped_and_made_again(tmp_path, name, damage):
    parts_in(tmp_path).make(0, writes("whole"))
    damage(parts_in(tmp_path).read_file(0, name))
    found = parts_in(tmp_path)
    assert found.names() == {0} and not found.has(0) and list(found.folder.iterdir()) == []
    assert found.take(0) is None
    found.make(0, writes("whole"))
    damage(found.read_file(0, name))
    again = parts_in(tmp_path)
    again.make(0, writes("whole"))
    assert again.has(0) and parts_in(tmp_path).has(0)
    assert parts_in(tmp_path).take(0).files == {"x/0": digest("whole")}


def test_pieces_that_a_killed_worker_left_are_no_part(tmp_path):
    parts = parts_in(tmp_path)
    (parts.folder / "000000.0123.tmp" / "x").mkdir(parents=True)
    (parts.folder / "000001").mkdir()
    assert not parts.has(0) and not parts.has(1) and parts.names() == set()


def test_a_part_that_is_being_taken_is_sound(tmp_path):
    parts_in(tmp_path).make(0, writes("a"))
    assert parts_in(tmp_path).take(0) is not None
    assert parts_in(tmp_path).has(0)  # its files are in the artefact, and not yet committed
    flip(tmp_path / "a/x/0")
    assert not parts_in(tmp_path).has(0)


def test_a_part_of_another_request_or_shard_is_not_taken(tmp_path):
    one, other = parts_in(tmp_path, k=1), parts_in(tmp_path, k=2)
    one.make(0, writes("a"))
    shutil.copytree(one.folder / "000000", other.folder / "000000")
    shutil.copytree(one.folder / "000000", one.folder / "000001")
    assert other.take(0) is None and one.take(1) is None
    assert one.take(0) is not None


@pytest.mark.parametrize("name", ["../../outside", "/etc/hostname", ""])
def test_a_receipt_that_names_a_file_outside_is_not_followed(tmp_path, name):
    parts = parts_in(tmp_path)
    parts.make(0, writes("a"))
    receipt = json.loads(receipt_of(parts, 0).read_text())
    receipt["files"] = {name: digest("a")}
    del receipt["digest"]
    receipt_of(parts, 0).write_text(json.dumps({**receipt, "digest": digest_json(receipt)}))
    assert parts_in(tmp_path).take(0) is None


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
    assert parts.take(0).files == {"x/0": digest("other")}


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
