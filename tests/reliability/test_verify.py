"""verify: whatever is changed in a run is found and named, and an unchanged run is intact."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import changes
import pytest
import small_run
from changes import flip, named

import sci_interp as si
from sci_interp.cli import main
from sci_interp.errors import InputError, StoreError
from sci_interp.journal import Journal
from sci_interp.manifest import (
    begin_artefact,
    digest_file,
    digest_json,
    finish_artefact,
    format_manifest,
    parse_manifest,
)


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole_run, tmp_path / "run")


def check(path: Path, digest: str = "") -> si.Verification:
    return si.verify(path, digest=digest, progress=False)


def test_an_unchanged_run_is_intact(whole_run: Path) -> None:
    found = check(whole_run)
    assert found.intact and found.notes == () and found.remedies == {}
    assert [path.name for path in found.artefacts] == sorted(small_run.VERBS)
    files = [path for path in whole_run.rglob("*") if path.is_file()]
    assert found.n_files == len(files) - len(small_run.VERBS)
    assert f"intact; digest of the whole {found.digest}" in found.format()
    assert check(whole_run, found.digest).intact


@pytest.mark.parametrize("change", changes.CHANGES)
def test_a_change_of_any_file_is_found_and_named(run: Path, change: changes.Change) -> None:
    n_tried, missed = changes.unnoticed(run, [change])
    assert n_tried > 40 and missed == []
    found = check(run)
    assert found.intact and found.remedies == {}


def test_every_bit_of_a_manifest_counts(run: Path) -> None:
    path = run / "sae" / "manifest.json"
    data = path.read_bytes()
    for at in range(0, len(data) * 8, 5):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(bytes(changed))
        assert "manifest.json" in named(check(run / "sae")), at


def test_the_command_that_makes_it_again_is_named(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run" / "annotations"
    words = ["annotate", "--adapter", "protein", "--out", str(out)]
    assert main(words) == 0
    assert main(["verify", str(tmp_path)]) == 0
    (out / "runs.parquet").write_bytes(b"")
    capsys.readouterr()
    assert main(["verify", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f"fault  {out / 'runs.parquet'}: its bytes are not those" in told
    assert f"delete the folder and give again: sci-interp {' '.join(words)}" in told
    assert f"command   sci-interp {' '.join(words)}" in si.show(out)


def test_without_a_command_the_verb_is_named(run: Path) -> None:
    (run / "features" / "features.json").unlink()
    assert "call encode with the same arguments again" in check(run).format()
    (run / "features" / "manifest.json").write_text("{")
    assert "call encode with the same arguments again" in check(run).format()
    (run / "features" / "request.json").write_text("{")
    assert "make it again" in check(run).format()


def reseal(folder: Path, **changes: object) -> None:
    """Change a manifest as somebody would who knows how it is made."""
    made = replace(parse_manifest(folder / "manifest.json"), **changes)
    made = replace(made, digest=digest_json(made.files))
    text = format_manifest(replace(made, seal=made.expected_seal))
    (folder / "manifest.json").write_text(text)


def test_a_manifest_that_does_not_agree_with_its_request_is_found(run: Path) -> None:
    reseal(run / "sae", settings={"k": 99})
    assert named(check(run)) == {"sae/manifest.json"}
    manifest = parse_manifest(run / "features" / "manifest.json")
    files = {name: digest for name, digest in manifest.files.items() if name != "request.json"}
    (run / "features" / "request.json").write_text("[]")
    reseal(run / "features", files=files)
    assert named(check(run)) >= {"features/manifest.json"}


def test_whoever_writes_all_anew_is_found_by_the_digest_that_was_kept(run: Path) -> None:
    kept = check(run).digest
    path = run / "annotations" / "labels.parquet"
    path.write_bytes(path.read_bytes() + b"\0")
    files = dict(parse_manifest(run / "annotations" / "manifest.json").files)
    files["labels.parquet"] = digest_file(path)
    reseal(run / "annotations", files=files)
    alone = check(run)
    assert alone.intact
    assert any("enrichment was made from other annotations" in note for note in alone.notes)
    found = check(run, kept)
    assert not found.intact
    assert f"{kept} was expected" in found.format()


def test_a_manifest_without_a_seal_is_read_and_noted(run: Path) -> None:
    path = run / "sae" / "manifest.json"
    old = asdict(parse_manifest(path))
    del old["seal"], old["command"]
    path.write_text(json.dumps(old))
    found = check(run)
    assert found.intact
    assert any("has no seal" in note for note in found.notes)


def test_added_files_are_noted_and_data_that_was_added_is_a_fault(run: Path) -> None:
    (run / "sae" / "notes.txt").write_text("mine")
    (run / "features" / "codes.zarr" / "000000" / "value" / "c").mkdir(exist_ok=True)
    (run / "features" / "codes.zarr" / "000000" / "value" / "c" / "9").write_bytes(b"0")
    found = check(run)
    assert named(found) == {"features/codes.zarr/000000/value/c/9"}
    assert any("notes.txt is not part of the artefact" in note for note in found.notes)


def test_committed_shards_of_an_unfinished_artefact_are_checked(run: Path) -> None:
    features = run / "features"
    (features / "manifest.json").unlink()
    assert named(check(run)) == {"features/manifest.json"}
    assert "give the command that made it again; it continues" in check(run).format()
    shard = next(iter(Journal(features / "journal.jsonl").files))
    flip(features / shard, random.Random(0))
    assert named(check(run)) == {"features/manifest.json", f"features/{shard}"}
    (features / "journal.jsonl").write_text("x\n")
    assert named(check(run)) == {"features/manifest.json", "features/journal.jsonl"}


def test_finished_parts_of_an_unfinished_artefact_are_checked(tmp_path: Path) -> None:
    begin_artefact(tmp_path / "sweep", "sweep", inputs={}, settings={})
    begin_artefact(tmp_path / "sweep" / "run", "sae", inputs={}, settings={})
    finish_artefact(tmp_path / "sweep" / "run")
    (tmp_path / "sweep" / "run" / "request.json").write_text("{}")
    assert named(check(tmp_path)) == {"sweep/manifest.json", "sweep/run/request.json"}


def test_what_cannot_be_read_is_a_fault(run: Path) -> None:
    (run / "sae" / "sae.json").unlink()
    (run / "sae" / "sae.json").mkdir()
    assert "sae.json: it cannot be read: Is a directory" in check(run).format()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        check(tmp_path / "absent")
    with pytest.raises(StoreError, match="holds no artefact"):
        check(tmp_path)
