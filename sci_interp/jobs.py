"""Jobs: an executor whose tasks are jobs of a cluster, such as SLURM, given away by submitit.

A task becomes a file that the job reads, and its outcome one that is read here. Tasks make shards
that are whole or absent, so that a job may be requeued, or be lost and given away again.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from .errors import InputError, MissingExtraError

__all__ = ["open_submitit"]

#: What a job gets where nothing else is said; submitit's own limit of five minutes is short.
DEFAULTS: Final = {"name": "sci-interp", "timeout_min": 60}
#: Options of every cluster; others begin with the name of one.
COMMON: Final = ("name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node")
#: Options that are for the making of submitit's executor, behind the name of a cluster.
OF_EXECUTOR: Final = ("max_num_timeout", "max_pickle_size_gb", "python")
#: Options under which a job would be several processes, which all did the same.
ONE_PROCESS: Final = ("nodes", "tasks_per_node", "slurm_nodes", "slurm_ntasks_per_node")

#: Seconds between two looks at the jobs.
INTERVAL: Final = 0.5
#: Seconds after the end of a job in which its file of results may still appear.
PATIENCE: Final = 15.0


@contextmanager
def open_submitit(folder: Path | str, **parameters: Any) -> Iterator[Executor]:
    """Yield an executor that makes a job of each task; those submitted together are one array.

    On leaving, jobs that are not done are cancelled.

    Parameters
    ----------
    folder
        Where submitit keeps tasks, outcomes and logs, in a new folder of this call that only its
        owner may enter: outcomes are pickles. Jobs must see it under the same path.
    **parameters
        Options of submitit's ``AutoExecutor``: ``timeout_min`` (60), ``mem_gb``,
        ``cpus_per_task``, ``slurm_partition``, ``slurm_array_parallelism`` ...; a job over its time
        is requeued ``slurm_max_num_timeout`` times (3). ``cluster`` is ``"slurm"``; ``"local"`` are
        processes of this machine, to try it out.

    Raises
    ------
    MissingExtraError
        If ``submitit`` is not installed.
    InputError
        If there is no such cluster or option, or the folder cannot be made.
    """
    try:
        submitit: Any = import_module("submitit")
    except ImportError:
        raise MissingExtraError("submitit", "cluster") from None
    if "%" in str(folder):
        raise InputError(f"the folder of jobs {folder} holds a %", todo="Choose another name")
    place = Path(folder).absolute() / f"jobs-{uuid.uuid4().hex[:12]}"
    executor = _JobExecutor(_open_cluster(submitit, place, DEFAULTS | parameters))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _open_cluster(submitit: Any, place: Path, parameters: dict[str, Any]) -> Any:
    """Return submitit's executor, whose folder is made."""
    cluster = parameters.pop("cluster", "slurm")
    _require_usable(cluster, parameters)
    names = [f"{cluster}_{name}" for name in OF_EXECUTOR]
    made_with = {name: parameters.pop(name) for name in names if name in parameters}
    try:
        place.mkdir(parents=True, mode=0o700)
        # It warns of options without the name of a cluster, and takes them.
        with warnings.catch_warnings(action="ignore"):
            executor = submitit.AutoExecutor(place, cluster=cluster, **made_with)
            executor.update_parameters(**parameters)
    except OSError as error:
        raise InputError(
            f"the folder {place} cannot be made: {error.strerror or error}",
            todo="Choose a folder where you may write, and which the jobs see",
        ) from None
    except Exception as error:  # noqa: BLE001 - submitit asserts, or raises NameError
        shutil.rmtree(place, ignore_errors=True)
        first = str(error).partition("\n")[0].partition(" Valid arguments")[0]
        raise InputError(
            f"submitit refuses its options: {first}",
            allowed=f"cluster, {', '.join(COMMON)}, and for SLURM slurm_NAME=VALUE",
        ) from None
    return executor


def _require_usable(cluster: object, parameters: dict[str, Any]) -> None:
    """Refuse what submitit takes and this executor cannot use."""
    if cluster == "debug":
        raise InputError("the cluster 'debug' runs no jobs", allowed="slurm, local")
    for name in ONE_PROCESS:
        if parameters.get(name, 1) != 1:
            raise InputError(
                f"{name}={parameters[name]!r}: a job is one process",
                todo="More jobs at a time: slurm_array_parallelism",
            )
    if "slurm_time" in parameters:
        raise InputError("slurm_time is not usable", allowed="timeout_min=MINUTES")


@dataclass(frozen=True)
class _Call:
    """A call that is made again in a requeued job; its task goes on after what it made."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self) -> Any:
        return self.function(*self.arguments, **self.options)

    def checkpoint(self) -> Any:
        """Return what submitit runs after the job was preempted, or was over its time."""
        return import_module("submitit.helpers").DelayedSubmission(self)


@dataclass(eq=False)
class _JobExecutor(Executor):
    """Gives calls to a cluster; a thread submits them, and looks at their jobs."""

    cluster: Any
    #: All that are not done.
    _futures: set[Future[Any]] = field(default_factory=set)
    _new: list[tuple[Future[Any], _Call]] = field(default_factory=list)
    _jobs: dict[Future[Any], Any] = field(default_factory=dict)
    #: When the job of a future was first seen without an outcome.
    _ended: dict[Future[Any], float] = field(default_factory=dict)
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="jobs", daemon=True)
        self._thread.start()

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> Future[Any]:
        """Return the future of a call."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._futures.add(future)
            self._new.append((future, _Call(function, arguments, options)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls."""
        with self._lock:
            self._closed = True
            futures = list(self._futures) if cancel_futures else []
        for future in futures:
            future.cancel()
        if wait:
            self._thread.join()

    def _watch(self) -> None:
        n_before = 0
        while True:
            with self._lock:
                # Calls that come together become one array: wait until no more come.
                is_whole = len(self._new) == n_before or self._closed
                ready, self._new = (self._new, []) if is_whole else ([], self._new)
                n_before, is_last = len(self._new), self._closed
            self._send([(future, call) for future, call in ready if not future.cancelled()])
            for future in list(self._jobs):
                self._look(future)
            with self._lock:
                self._futures = {future for future in self._futures if not future.done()}
            if is_last and not self._jobs:
                return
            time.sleep(INTERVAL)

    def _send(self, calls: Sequence[tuple[Future[Any], _Call]]) -> None:
        if not calls:
            return
        try:
            jobs = self.cluster.submit_array([call for _, call in calls])
        except Exception as error:  # noqa: BLE001 - of submitit, of its commands, of pickling
            for future, _ in calls:
                _end(future, error=_refused(error))
            return
        self._jobs |= {future: job for (future, _), job in zip(calls, jobs, strict=True)}

    def _look(self, future: Future[Any]) -> None:
        """Take the outcome of a job, if it is done."""
        job = self._jobs[future]
        if future.cancelled():
            with suppress(OSError):
                job.cancel(check=False)
        else:
            try:
                if not job.done():
                    return
                now = time.monotonic()
                if not job.paths.result_pickle.exists():
                    if now - self._ended.setdefault(future, now) < PATIENCE:
                        return
                    where = f"state {job.state}, log {job.paths.stderr}"
                    raise RuntimeError(f"job {job.job_id} ended without a result: {where}")
                _end(future, result=job.result())
            except Exception as error:  # noqa: BLE001 - of the job; tasks return theirs
                _end(future, error=_last_line(error))
        del self._jobs[future]
        self._ended.pop(future, None)


def _end(future: Future[Any], *, result: Any = None, error: Exception | None = None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _refused(error: Exception) -> InputError:
    return InputError(
        f"the jobs cannot be submitted: {error}",
        todo="Look at the options (partition, account, time), and whether the cluster takes jobs",
    )


def _last_line(error: Exception) -> Exception:
    """Return an error without the trace of its job, which is in the job's log."""
    trace = re.search(r"-{22}\n(.*)\n-{22}", str(error), re.DOTALL)
    if trace is None:
        return error
    return type(error)(trace[1].rstrip().rpartition("\n")[2])
