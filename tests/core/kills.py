"""Kill a task at chosen instants and let it continue: used by the resume tests of every verb.

A task is a function ``task(out: Path)`` that makes an artefact in ``out`` and continues what it
finds there. The functions here run in a fresh process that imports the task's module once and
forks for every attempt, before any thread is started, so that an attempt costs little more than
the task itself.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Task = Callable[[Path], object]


def run_killed(task: str, folder: Path, *, n_trials: int, seed: int = 0) -> dict[str, int]:
    """Run ``task`` once whole, and ``n_trials`` times with SIGKILLs at random instants.

    Parameters
    ----------
    task
        ``"module:function"``, importable from ``tests/core`` or ``tests/reliability``.
    folder
        Receives ``whole`` and ``trial0``, ``trial1`` ... : finished artefacts to compare.
    n_trials
        Half of them are killed at a random time, half right before a random fsync, rename or
        removal. After up to two kills the task is left to finish.
    seed
        Chooses the instants.

    Returns
    -------
    dict
        ``n_kills``: attempts that were killed; ``n_events``: fsyncs, renames and removals of one
        whole run.
    """
    return _run([task], folder, n_trials=n_trials, seed=seed)[0]


def run_each_killed(
    tasks: Sequence[str], folder: Path, *, n_trials: int, seed: int = 0
) -> dict[str, dict[str, int]]:
    """Do what :func:`run_killed` does for several tasks of one module, in one process.

    Returns
    -------
    dict
        Counts by task; the folders of a task lie in one that is named as its function.
    """
    counts = _run(tasks, folder, n_trials=n_trials, seed=seed)
    return dict(zip(tasks, counts, strict=True))


def _run(tasks: Sequence[str], folder: Path, *, n_trials: int, seed: int) -> list[dict[str, int]]:
    here = Path(__file__).resolve()
    paths = [here.parent, here.parents[1] / "reliability"]
    paths += [here.parents[2], here.parents[2] / "adapters"]
    done = subprocess.run(
        [sys.executable, str(here), str(folder), str(n_trials), str(seed), *tasks],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300 + 30 * n_trials * len(tasks),
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    counts: list[dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return counts


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file by path inside ``folder``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def at_event(action: Callable[[int], None]) -> None:
    """Call ``action(k)`` before the k-th fsync, rename or removal of this process."""
    count = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            action(count)
            return function(*arguments, **options)

        return call

    for name in ("fsync", "replace", "rename", "unlink", "link"):
        setattr(os, name, counted(getattr(os, name)))


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> bool:
    """Return whether the child was killed; any other failure is an error."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        raise SystemExit("the task failed")
    return False


def _count_events(task: Task, out: Path, report: Path) -> None:
    last = 0

    def remember(k: int) -> None:
        nonlocal last
        last = k

    at_event(remember)
    task(out)
    report.write_text(str(last))


def _kill_before(task: Task, out: Path, event: int) -> None:
    def kill(k: int) -> None:
        if k == event:
            os.kill(os.getpid(), signal.SIGKILL)

    at_event(kill)
    task(out)


def _kill_after(task: Task, out: Path, seconds: float) -> bool:
    child = _fork(lambda: task(out))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
    return _wait(child)


def _kill(name: str, folder: Path, n_trials: int, seed: int) -> dict[str, int]:
    """Do what :func:`run_killed` says, and return its counts."""
    module, function = name.split(":")
    task: Task = getattr(importlib.import_module(module), function)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    began = time.monotonic()
    _wait(_fork(lambda: task(folder / "whole")))
    duration = time.monotonic() - began
    _wait(_fork(lambda: _count_events(task, folder / "counted", folder / "events.txt")))
    n_events = int((folder / "events.txt").read_text())
    n_kills = 0
    for trial in range(n_trials):
        out = folder / f"trial{trial}"
        for _ in range(rng.randint(1, 2)):
            if trial % 2:
                event = rng.randint(1, n_events)
                killed = _wait(_fork(lambda: _kill_before(task, out, event)))  # noqa: B023
            else:
                killed = _kill_after(task, out, rng.uniform(0.02, duration))
            n_kills += killed
        _wait(_fork(lambda: task(out)))  # noqa: B023 - the child is waited for in the loop
    return {"n_kills": n_kills, "n_events": n_events}


def main(folder: Path, n_trials: int, seed: int, tasks: Sequence[str]) -> None:
    """Kill every task and print the counts as a list in JSON."""
    folders = [folder / name.split(":")[1] if len(tasks) > 1 else folder for name in tasks]
    counts = [_kill(name, out, n_trials, seed) for name, out in zip(tasks, folders, strict=True)]
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
