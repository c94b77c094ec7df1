"""status: what is done, what runs, what stopped, and how long the rest will take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import sci_interp as si
from sci_interp import locks
from sci_interp.cli import main
from sci_interp.errors import InputError, StoreError
from sci_interp.holders import Holder
from sci_interp.journal import Journal
from sci_interp.manifest import begin_artefact, clear_on_mistake, finish_artefact
from sci_interp.parts import Parts

ACTIVATIONS = {"n_tokens": 1000, "shard_tokens": 300}


def begin(folder: Path, kind: str = "activations", **settings: object) -> Journal:
    begin_artefact(folder, kind, inputs={}, settings=settings)
    return Journal(folder / "journal.jsonl")


def leave(folder: Path) -> None:
    """End a writer as a kill does: its lock stays, its process is gone."""
    locks.release(folder)
    (folder / "lock.tmp").write_text(replace(Holder.here(), born="1").to_json())


def only(path: Path):
    (found,) = si.status(path).artefacts
    return found


def test_a_finished_run_is_done(whole_run: Path) -> None:
    found = si.status(whole_run)
    assert found.n_by_state == {"done": 5}
    text = found.format()
    assert text.startswith(f"{whole_run}: 5 artefacts, 5 done\n")
    assert "  features     features      done     3 shards\n" in text


def test_a_running_artefact_has_shards_speed_and_time_left(tmp_path: Path) -> None:
    journal = begin(tmp_path / "acts", **ACTIVATIONS)
    journal.commit(0, {})
    progress = {"label": "extract", "done": 30, "total": 90, "seconds": 20.0}
    (tmp_path / "acts" / "progress.tmp").write_text(json.dumps(progress))
    found = only(tmp_path / "acts")
    assert (found.state, found.n_shards, found.n_shards_wanted) == ("running", 1, 4)
    assert (found.per_second, found.seconds_left) == (1.5, 40.0)
    assert found.format().startswith(
        "1 of 4 shards, 30 of 90 of this step, 1.5 per s, about 40 s left, process"
    )
    locks.release(tmp_path / "acts")


@pytest.mark.parametrize(
    ("seconds", "told"), [(100, "about 100 s"), (600, "about 10 min"), (9000, "about 2.5 h")]
)
def test_the_time_left_is_readable(tmp_path: Path, seconds: int, told: str) -> None:
    begin(tmp_path / "a")
    progress = {"label": "x", "done": 1, "total": 2, "seconds": seconds}
    (tmp_path / "a" / "progress.tmp").write_text(json.dumps(progress))
    assert told in only(tmp_path).format()
    locks.release(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"done": "x", "total": 1, "seconds": 1}'])
def test_progress_that_cannot_be_read_is_left_out(tmp_path: Path, text: str) -> None:
    begin(tmp_path / "a")
    (tmp_path / "a" / "progress.tmp").write_text(text)
    assert only(tmp_path).done is None
    locks.release(tmp_path / "a")


def test_a_killed_writer_has_stopped(tmp_path: Path) -> None:
    begin(tmp_path / "a", **ACTIVATIONS)
    leave(tmp_path / "a")
    found = only(tmp_path)
    assert found.state == "stopped"
    assert f"process {os.getpid()} on" in found.note
    assert "is gone; the command that made it continues it" in found.note


def test_a_writer_that_was_interrupted_long_ago_has_stopped(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    locks.release(tmp_path / "a")
    assert only(tmp_path).state == "stopped"


def test_a_mistake_is_told_until_the_next_attempt(tmp_path: Path) -> None:
    journal = begin(tmp_path / "a")
    journal.commit(0, {})
    with pytest.raises(StoreError), clear_on_mistake(tmp_path / "a"):
        raise StoreError("the disk is full", todo="Make room")
    found = only(tmp_path)
    assert (found.state, found.note) == ("failed", "StoreError: the disk is full. Make room.")
    begin(tmp_path / "a")
    assert only(tmp_path).state == "running"
    finish_artefact(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "journal.jsonl", "manifest.json", "request.json"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["request.json", "manifest.json"])
def test_what_cannot_be_read_is_damaged(tmp_path: Path, name: str) -> None:
    begin(tmp_path / "a")
    finish_artefact(tmp_path / "a")
    begin(tmp_path / "b")
    finish_artefact(tmp_path / "b")
    (tmp_path / "a" / name).write_text("{")
    found = si.status(tmp_path)
    assert found.n_by_state == {"done": 1, "damaged": 1}
    (tmp_path / "a" / "manifest.json").unlink()
    assert only(tmp_path / "a").state in ("damaged", "stopped")


def test_a_damaged_journal_does_not_hide_the_rest(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    (tmp_path / "a" / "journal.jsonl").write_text("x\n")
    assert only(tmp_path).n_shards is None
    locks.release(tmp_path / "a")


def test_shards_of_workers_wait(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "acts", "activations", inputs={}, settings=ACTIVATIONS)
    for shard in range(3):
        parts.make(shard, lambda _: ({}, {}))
    (parts.folder / "000007").mkdir()  # a piece of one
    found = only(tmp_path)
    assert (found.kind, found.state, found.n_shards) == ("parts", "waiting", 3)
    begin(tmp_path / "acts", **ACTIVATIONS)
    assert si.status(tmp_path).n_by_state == {"running": 1, "waiting": 1}
    assert "acts.parts  parts         waiting  3 shards, made by workers" in (
        si.status(tmp_path).format()
    )
    locks.release(tmp_path / "acts")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        si.status(tmp_path / "absent")
    with pytest.raises(StoreError, match="holds no artefact"):
        si.status(tmp_path)


WRITER = """
import sys, time
from pathlib import Path
from sci_interp import locks
from sci_interp.manifest import begin_artefact
from sci_interp.progress import track
locks.BEAT_SECONDS = 0.05
begin_artefact(Path(sys.argv[1]), "sae", inputs={}, settings={})
for step in track(range(1000), "train", show=False):
    time.sleep(0.02)
"""


def test_a_process_tells_how_far_it_is(tmp_path: Path, capsys) -> None:
    out = tmp_path / "sae"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(out)]) as child:
        deadline = time.monotonic() + 60
        while not (out / "progress.tmp").exists():
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.02)
        assert main(["status", str(tmp_path)]) == 0
        told = capsys.readouterr().out
        verified = si.verify(tmp_path, progress=False).format()
        child.kill()
    assert "1 artefacts, 1 running" in told
    assert "of 1000 of this step" in told and "per s" in told and " left, process " in told
    assert f"it is being written by process {child.pid}" in verified
    assert "1 stopped" in si.status(tmp_path).format()
