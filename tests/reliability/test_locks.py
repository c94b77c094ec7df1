"""One writer per artefact: another is refused by name, and a dead one is not in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import promises
import pytest
import small_run
from kills import read_tree

from sci_interp import locks
from sci_interp.errors import InputError, LockedError, StoreError
from sci_interp.holders import STALE_SECONDS, STALE_VARIABLE, Holder, is_alive
from sci_interp.journal import Journal
from sci_interp.manifest import (
    begin_artefact,
    clear_on_mistake,
    finish_artefact,
    is_finished,
    write_atomically,
)

REQUEST = {"inputs": {}, "settings": {"seed": 0}}


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    locks._release_all()


def begin(folder: Path) -> bool:
    return begin_artefact(folder, "features", **REQUEST)


def elsewhere(work: Callable[[], object]) -> BaseException | None:
    """Do something in another thread and return its error."""
    found: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is returned
            found.append(error)

    thread = threading.Thread(target=run, name="other")
    thread.start()
    thread.join()
    return found[0] if found else None


def put(folder: Path, holder: Holder, *, age: float = 0.0) -> None:
    """Leave a lock as another process would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock.tmp"
    path.write_text(holder.to_json())
    os.utime(path, (time.time() - age,) * 2)


def far(**changes: object) -> Holder:
    """Return a holder on another host."""
    return replace(Holder.here(), host="node7", place="node7 x", token="t", **changes)


def test_the_lock_is_there_while_an_artefact_is_written_and_gone_after(tmp_path: Path) -> None:
    assert not begin(tmp_path / "a")
    holder, alive = locks.read_holder(tmp_path / "a") or (None, False)
    assert alive and holder is not None and holder.pid == os.getpid()
    assert locks.is_held(tmp_path / "a")
    finish_artefact(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"request.json", "manifest.json"}
    assert locks.read_holder(tmp_path / "a") is None and not locks.is_held(tmp_path / "a")


def test_the_same_thread_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    assert not begin(tmp_path / "a")
    error = elsewhere(lambda: begin(tmp_path / "a"))
    assert isinstance(error, LockedError)
    assert "is being written by thread 'MainThread' of this process" in str(error)


def test_what_a_thread_left_is_taken_over_when_it_has_ended(tmp_path: Path) -> None:
    assert elsewhere(lambda: begin(tmp_path / "a")) is None
    assert not begin(tmp_path / "a")


@pytest.mark.parametrize("error", [InputError("wrong"), KeyboardInterrupt(), OSError(5, "bad")])
def test_an_error_gives_the_lock_back(tmp_path: Path, error: BaseException) -> None:
    begin(tmp_path / "a")
    (tmp_path / "a" / "journal.jsonl").write_text("")
    with pytest.raises(type(error)), clear_on_mistake(tmp_path / "a"):
        raise error
    assert elsewhere(lambda: begin(tmp_path / "a")) is None


CHILD = """
import sys, time
from pathlib import Path
from sci_interp.manifest import begin_artefact
begin_artefact(Path(sys.argv[1]), "features", inputs={}, settings={"seed": 0})
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return a process that holds the lock of ``a``."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_another_process_is_named(tmp_path: Path, holding: subprocess.Popen[str]) -> None:
    with pytest.raises(LockedError, match=f"written by process {holding.pid} on .* since 2") as e:
        begin(tmp_path / "a")
    assert "Let it finish, or end it" in str(e.value)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_process_does_not_stand_in_the_way(
    tmp_path: Path, holding: subprocess.Popen[str], reaped: bool
) -> None:
    holding.send_signal(signal.SIGKILL)
    if reaped:
        holding.wait()
    else:  # A zombie is dead, though its process id still exists.
        os.waitid(os.P_PID, holding.pid, os.WEXITED | os.WNOWAIT)
    assert not begin(tmp_path / "a")
    assert locks.is_held(tmp_path / "a")


def test_a_process_id_that_is_used_again_is_not_the_holder(tmp_path: Path) -> None:
    put(tmp_path / "a", replace(Holder.here(), born="1", token="t"))
    assert not begin(tmp_path / "a")


def test_a_dead_host_is_told_by_its_silence(tmp_path: Path, monkeypatch) -> None:
    put(tmp_path / "a", far(pid=1), age=STALE_SECONDS - 60)
    with pytest.raises(LockedError, match="process 1 on node7"):
        begin(tmp_path / "a")
    monkeypatch.setenv(STALE_VARIABLE, "30")
    assert not begin(tmp_path / "a")
    monkeypatch.delenv(STALE_VARIABLE)
    put(tmp_path / "b", far(), age=STALE_SECONDS + 60)
    assert not begin(tmp_path / "b")


@pytest.mark.parametrize("value", ["soon", "0", "-3", "nan"])
def test_an_unusable_time_is_refused(monkeypatch, value: str) -> None:
    monkeypatch.setenv(STALE_VARIABLE, value)
    with pytest.raises(InputError, match=STALE_VARIABLE):
        is_alive(None, 0.0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 3}', "null"])
def test_a_lock_that_cannot_be_read_counts_until_it_is_old(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "lock.tmp"
    path.write_text(content)
    with pytest.raises(LockedError, match="another process"):
        begin(tmp_path / "a")
    os.utime(path, (0, 0))
    assert not begin(tmp_path / "a")


def test_a_lock_is_touched_and_progress_written(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    begin(tmp_path / "a")
    path = tmp_path / "a" / "lock.tmp"
    os.utime(path, (0, 0))
    locks.report("encode", 3, 9, 2.0)
    locks._wake.set()  # A beat that began before the patch lasts longer.
    deadline = time.monotonic() + 30
    progress = tmp_path / "a" / "progress.tmp"
    while path.stat().st_mtime == 0 or not progress.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert json.loads(progress.read_text())["done"] == 3
    finish_artefact(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"request.json", "manifest.json"}


def test_a_holder_that_slept_does_not_write_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    begin(folder)
    journal = Journal(folder / "journal.jsonl")
    put(folder, far())
    before = read_tree(folder)
    for write in (
        lambda: journal.commit(0, {}),
        lambda: write_atomically(folder / "x", "x"),
        lambda: finish_artefact(folder),
    ):
        locks._held[folder.resolve()] = locks._Held(
            folder, Holder.here(), threading.current_thread()
        )
        with pytest.raises(LockedError, match=r"process .* on node7"), clear_on_mistake(folder):
            write()
    assert read_tree(folder) == before


def test_a_lock_that_was_removed_is_noticed(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    (tmp_path / "a" / "lock.tmp").unlink()
    with pytest.raises(LockedError, match="nobody; the lock was removed"):
        finish_artefact(tmp_path / "a")


def test_leftovers_of_a_kill_after_the_manifest_are_removed(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    finish_artefact(tmp_path / "a")
    put(tmp_path / "a", replace(Holder.here(), born="1"))
    for name in ("lock-1.tmp", "progress.tmp", "progress.tmp.tmp"):
        (tmp_path / "a" / name).write_text("")
    assert begin(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"request.json", "manifest.json"}
    put(tmp_path / "a", far())
    assert begin(tmp_path / "a")
    assert (tmp_path / "a" / "lock.tmp").exists()


def test_an_artefact_that_another_finished_meanwhile_is_finished(
    tmp_path: Path, monkeypatch
) -> None:
    take = locks._take

    def finish_first(folder: Path) -> Holder:
        (folder / "request.json").write_text(
            json.dumps({"kind": "features", **REQUEST}, indent=1, sort_keys=True) + "\n"
        )
        (folder / "manifest.json").write_text("{}")
        return take(folder)

    monkeypatch.setattr(locks, "_take", finish_first)
    assert begin(tmp_path / "a")
    assert is_finished(tmp_path / "a") and not (tmp_path / "a" / "lock.tmp").exists()


@pytest.mark.parametrize("code", ["EPERM", "ENOTSUP"])
def test_a_file_system_without_links_has_locks_too(tmp_path: Path, monkeypatch, code: str) -> None:
    import errno

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, code), "no links")

    monkeypatch.setattr(os, "link", refuse)
    begin(tmp_path / "a")
    error = elsewhere(lambda: begin(tmp_path / "a"))
    assert isinstance(error, LockedError)
    put(tmp_path / "b", far())
    with pytest.raises(LockedError, match="node7"):
        begin(tmp_path / "b")


def test_a_disk_that_refuses_is_a_typed_error(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match=r"lock\.tmp cannot be written: Input/output error"):
        begin(tmp_path / "a")
    assert not [path.name for path in (tmp_path / "a").iterdir()]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_holds_nothing(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    child = os.fork()
    if child == 0:
        os._exit(0 if not locks.is_held(tmp_path / "a") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert locks.is_held(tmp_path / "a")


def test_of_many_processes_one_writes_and_the_rest_are_refused_or_find_it_done(
    tmp_path: Path, whole_run: Path
) -> None:
    found, said = promises.race(tmp_path, whole_run, n_writers=3)
    assert found.kept == 3, said


def test_many_threads_take_a_stale_lock_once(tmp_path: Path) -> None:
    put(tmp_path / "a", far(), age=STALE_SECONDS + 60)
    start = threading.Barrier(8)
    won: list[Holder] = []

    def contend() -> None:
        start.wait()
        with suppress(LockedError):
            # The file alone decides here: not what the process knows of its own locks.
            won.append(locks._take(tmp_path / "a"))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["lock.tmp"]


def test_a_run_under_a_lock_ends_in_the_same_bytes(tmp_path: Path, whole_run: Path) -> None:
    put(tmp_path / "annotations", far(), age=STALE_SECONDS + 60)
    small_run.make("annotations", tmp_path)
    assert read_tree(tmp_path / "annotations") == read_tree(whole_run / "annotations")


def test_a_lock_file_says_who_in_json(tmp_path: Path) -> None:
    begin(tmp_path / "a")
    raw = json.loads((tmp_path / "a" / "lock.tmp").read_text())
    assert raw.keys() == asdict(Holder.here()).keys()
    assert raw["pid"] == os.getpid() and abs(raw["started"] - time.time()) < 100
