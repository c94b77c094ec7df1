"""Manifests: one request per folder, written last, and every change is noticed."""

from __future__ import annotations

import json
import os
import shlex

import pytest

from sci_interp.errors import InputError, StoreError
from sci_interp.folders import find_artefacts
from sci_interp.manifest import (
    COMMAND,
    begin_artefact,
    clear_on_mistake,
    digest_file,
    digest_json,
    finish_artefact,
    is_finished,
    read_json,
    read_manifest,
    write_atomically,
)

REQUEST = {"inputs": {"data": "d" * 64}, "settings": {"seed": 0, "sizes": [1, 2]}}


def make(folder):
    begin_artefact(folder, "features", **REQUEST)
    write_atomically(folder / "values.bin", b"values")
    return finish_artefact(folder)


def test_an_artefact_begins_is_unfinished_and_is_finished(tmp_path):
    folder = tmp_path / "deep" / "run"
    assert not begin_artefact(folder, "features", **REQUEST)
    assert not is_finished(folder)
    with pytest.raises(StoreError, match="is unfinished: its run was interrupted"):
        read_manifest(folder)
    assert not begin_artefact(folder, "features", **REQUEST)
    manifest = make(folder)
    assert begin_artefact(folder, "features", **REQUEST)
    assert read_manifest(folder, "features") == manifest
    assert manifest.files == {
        name: digest_file(folder / name) for name in ("request.json", "values.bin")
    }
    assert manifest.digest == digest_json(manifest.files)
    assert manifest.versions["numpy"] and manifest.versions["python"]


def test_the_same_work_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        make(tmp_path / name)
    for file in ("request.json", "manifest.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_settings_are_compared_as_json(tmp_path):
    begin_artefact(tmp_path / "a", "features", inputs={}, settings={"sizes": (1, 2)})
    begin_artefact(tmp_path / "a", "features", inputs={}, settings={"sizes": [1, 2]})


def test_known_digests_are_taken_and_temporary_files_left_out(tmp_path):
    begin_artefact(tmp_path / "a", "features", **REQUEST)
    (tmp_path / "a" / "big.bin").write_bytes(b"1")
    (tmp_path / "a" / "torn.tmp").write_bytes(b"2")
    manifest = finish_artefact(tmp_path / "a", files={"big.bin": "known"})
    assert manifest.files["big.bin"] == "known" and "torn.tmp" not in manifest.files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sae"}, "it is features, not sae"),
        ({"inputs": {"data": "e" * 64}}, "data was 'd{12}[.]{3}' there and is 'e{12}[.]{3}' now"),
        ({"inputs": {"axis": "e", "data": "e"}}, "data was 'ddd"),
        ({"settings": {"seed": 1, "sizes": [1, 2]}}, "seed was 0 there and is 1 now"),
        ({"settings": {"seed": 0}}, r"sizes was \[1, 2\] there and is None now"),
    ],
)
def test_another_request_is_refused_and_the_difference_named(tmp_path, change, message):
    make(tmp_path / "a")
    request = {"kind": "features", **REQUEST, **change}
    with pytest.raises(StoreError, match=message):
        begin_artefact(tmp_path / "a", request.pop("kind"), **request)


def test_an_input_is_told_by_its_name_where_the_settings_have_one(tmp_path):
    for model in ("small", "large"):
        request = {"inputs": {"model": model[0] * 64}, "settings": {"model": model}}
        if model == "small":
            begin_artefact(tmp_path / "a", "activations", **request)
    with pytest.raises(StoreError, match="model was 'small' there and is 'large' now"):
        begin_artefact(tmp_path / "a", "activations", **request)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"file/a cannot be made: Not a directory. Choose an out"):
        begin_artefact(tmp_path / "file" / "a", "features", **REQUEST)


@pytest.mark.parametrize(
    ("error", "file", "kept"),
    [
        (InputError("wrong"), "part.tmp", False),
        (InputError("wrong"), "journal.jsonl", True),
        (InputError("wrong"), "manifest.json", True),
        (KeyboardInterrupt(), "part.tmp", True),
    ],
)
def test_a_mistake_leaves_nothing_unless_a_part_is_committed(tmp_path, error, file, kept):
    begin_artefact(tmp_path / "a", "features", **REQUEST)
    (tmp_path / "a" / file).write_text("{}")
    with pytest.raises(type(error)), clear_on_mistake(tmp_path / "a"):
        raise error
    assert (tmp_path / "a").exists() == kept


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(StoreError, match="is not an artefact of this library"):
            begin_artefact(path, "features", **REQUEST)
        with pytest.raises(StoreError, match="is not an artefact of this library"):
            read_manifest(path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_was_killed_in_its_first_write_can_begin_again(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "request.json.tmp").write_text('{"ki')
    assert not begin_artefact(tmp_path / "a", "features", **REQUEST)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"kind": "features", "inputs": 3}'])
def test_a_damaged_request_is_refused(tmp_path, text):
    make(tmp_path / "a")
    (tmp_path / "a" / "request.json").write_text(text)
    with pytest.raises(StoreError):
        begin_artefact(tmp_path / "a", "features", **REQUEST)
    with pytest.raises(StoreError):
        read_manifest(tmp_path / "a")


def changed(path, **parts):
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


@pytest.mark.parametrize(
    "parts",
    [
        {"files": {}},
        {"files": []},
        {"digest": "0" * 64},
        {"kind": "sae"},
        {"inputs": {}},
        {"settings": {"seed": 1, "sizes": [1, 2]}},
        {"versions": {"numpy": "0.1"}},
        {"command": "sci-interp other"},
        {"seal": "0" * 64},
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, parts):
    make(tmp_path / "a")
    changed(tmp_path / "a" / "manifest.json", **parts)
    with pytest.raises(StoreError, match=r"was changed|is not a manifest"):
        read_manifest(tmp_path / "a")


def test_a_manifest_from_before_there_were_seals_is_read(tmp_path):
    make(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    old = json.loads(path.read_text())
    del old["seal"], old["command"]
    path.write_text(json.dumps(old))
    assert read_manifest(tmp_path / "a").files.keys() == {"request.json", "values.bin"}


def test_the_command_is_kept_without_its_folder_and_not_in_parts(tmp_path):
    def under(out):
        words = ["sci-interp", "encode", "my sae", "acts", "--out", str(out)]
        token = COMMAND.set((words, str(out)))
        try:
            return make(out), make(out / "part"), words
        finally:
            COMMAND.reset(token)

    made, part, words = under(tmp_path / "a")
    assert made.command == "sci-interp encode 'my sae' acts --out '{folder}'"
    assert made.command_in(tmp_path / "a") == shlex.join(words)
    assert part.command == ""
    other, _, words = under(tmp_path / "b")
    assert other == made and other.command_in(tmp_path / "b") == shlex.join(words)


def test_the_command_of_several_layers_names_the_folder_above(tmp_path):
    token = COMMAND.set((["sci-interp", "extract", "--out", "run"], str(tmp_path)))
    try:
        assert make(tmp_path / "layer").command == "sci-interp extract --out run"
        COMMAND.set((["sci-interp", "extract", "--out", str(tmp_path)], str(tmp_path)))
        made = make(tmp_path / "other")
    finally:
        COMMAND.reset(token)
    assert made.command == "sci-interp extract --out '{parent}'"
    assert made.command_in(tmp_path / "x").endswith(f"--out {tmp_path}")


def test_artefacts_are_found_and_their_parts_and_hidden_folders_are_not(tmp_path):
    for name in ("b", "a/deep/er", "b/part", ".hidden"):
        make(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert list(find_artefacts(tmp_path)) == [tmp_path / "a" / "deep" / "er", tmp_path / "b"]
    assert list(find_artefacts(tmp_path, depth=2)) == [tmp_path / "b"]


def test_a_manifest_of_other_fields_or_another_kind_is_refused(tmp_path):
    make(tmp_path / "a")
    with pytest.raises(StoreError, match=r"not sae\. Name a folder that train made"):
        read_manifest(tmp_path / "a", "sae")
    changed(tmp_path / "a" / "manifest.json", surplus=1)
    with pytest.raises(StoreError, match="is not a manifest"):
        read_manifest(tmp_path / "a")


def test_a_refused_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def refuse(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match="Input/output error"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "parts",
    [
        {"inputs": []}, {"settings": "x"}, {"files": {"a.bin": 1}}, {"versions": {"numpy": None}},
        {"kind": 1}, {"command": "rm -rf ."}, {"command": "sci-interp 'extract"},
        *({"files": {name: "0" * 64}} for name in ("../a", "/etc/passwd", "a\0", "", "..\\a")),
    ],
)  # fmt: skip
def test_a_manifest_that_agrees_with_itself_is_still_checked(tmp_path, parts):
    make(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    raw = {**json.loads(path.read_text()), **parts}
    raw["digest"] = digest_json(raw["files"])
    raw["seal"] = digest_json({name: value for name, value in raw.items() if name != "seal"})
    path.write_text(json.dumps(raw))
    with pytest.raises(StoreError, match=r"is not a manifest: .*"):
        read_manifest(tmp_path / "a")


def test_nesting_and_size_of_json_are_limited(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    path.write_text('{"a":' * 100_000)
    with pytest.raises(StoreError, match="cannot be read"):
        read_json(path)
    monkeypatch.setattr("sci_interp.disk.MAX_JSON_BYTES", 10)
    with pytest.raises(StoreError, match=r"has 500,000 bytes. Allowed: at most 10"):
        read_json(path)
