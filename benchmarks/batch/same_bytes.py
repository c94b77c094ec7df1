"""One study by one process, a pool, Dask with killed workers, an array with requeues: digests.

    python benchmarks/batch/same_bytes.py STUDY.toml FOLDER [way ...]

Each way runs the study into ``FOLDER/WAY``. Whoever makes the shards, all artefacts have the same
bytes; the table says so, and how many workers were killed and tasks given twice on the way.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sci_interp as si
from sci_interp.executors import open_dask
from sci_interp.study import Study, read_study
from sci_interp.study_shares import run_share

N_WORKERS = 2
N_TASKS = 8
REQUEUED = 0.3
#: Seconds between two kills, and their number.
KILL_EVERY = 20.0
MOST_KILLED = 4
#: Seconds after which a task of the array is killed, at most.
KILL_WITHIN = 15.0


def run_alone(study: Study) -> str:
    """Run in this process."""
    si.run(study, progress=False)
    return ""


def run_pool(study: Study) -> str:
    """Run with processes of this machine."""
    si.run(study, workers=N_WORKERS, progress=False)
    return f"{N_WORKERS} processes"


def run_dask(study: Study) -> str:
    """Run on a local cluster, whose workers are killed on the way."""
    import distributed

    with (
        distributed.LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=N_WORKERS,
            threads_per_worker=1,
            dashboard_address=None,
            config={"distributed.scheduler.allowed-failures": 100},
        ) as cluster,
        open_dask(cluster.scheduler_address) as executor,
        _killing(cluster) as killed,
    ):
        si.run(study, executor=executor, progress=False)
    return f"{len(killed)} workers killed"


@contextmanager
def _killing(cluster: object) -> Iterator[list[int]]:
    killed: list[int] = []
    ended = threading.Event()
    draw = random.Random(0)

    def kill() -> None:
        while len(killed) < MOST_KILLED and not ended.wait(KILL_EVERY):
            nannies = list(cluster.workers.values())  # type: ignore[attr-defined]
            pid = draw.choice(nannies).pid
            if pid:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def run_array(study: Study) -> str:
    """Run an array's tasks in any order: 30 % are killed on the way, and given again."""
    draw = random.Random(1)
    tasks = list(range(N_TASKS))
    draw.shuffle(tasks)
    n_requeued = 0
    while tasks:
        task = tasks.pop(0)
        child = os.fork()
        if child == 0:
            run_share(study, shard=(task, N_TASKS), progress=False)
            os._exit(0)
        if draw.random() < REQUEUED:
            time.sleep(draw.uniform(0.0, KILL_WITHIN))
            os.kill(child, signal.SIGKILL)
            tasks.append(task)
            n_requeued += 1
        os.waitpid(child, 0)
    si.run(study, progress=False)
    return f"{N_TASKS} tasks, {n_requeued} killed and requeued"


WAYS: dict[str, Callable[[Study], str]] = {
    "alone": run_alone,
    "pool": run_pool,
    "dask": run_dask,
    "array": run_array,
}


def main() -> None:
    """Run one way in this process, or all, each in a process of its own, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], default=[])
    chosen = parser.parse_args()
    if len(chosen.ways) == 1:
        (way,) = chosen.ways
        study = read_study(chosen.study)
        started = time.monotonic()
        note = WAYS[way](replace(study, out=(chosen.folder / way).absolute()))
        print(f"{way}\t{time.monotonic() - started:.0f}\t{note}")
        return
    digests = {}
    print(f"{'way':<8}{'digest of all artefacts':<26}{'seconds':>8}  on the way")
    for way in chosen.ways or WAYS:
        words = [sys.executable, __file__, str(chosen.study), str(chosen.folder), way]
        said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
        _, seconds, note = said.strip("\n").split("\n")[-1].split("\t")
        digests[way] = si.verify(chosen.folder / way).digest
        print(f"{way:<8}{digests[way][:24]:<26}{seconds:>8}  {note}")
    if len(set(digests.values())) > 1:
        sys.exit("the digests differ")


if __name__ == "__main__":
    main()
