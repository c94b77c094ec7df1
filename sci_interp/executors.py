"""Executors: tasks that make shards, on processes of this machine, on Dask, or one after another.

A task makes shards that are whole or absent on disk and returns nothing, so that it may be given
away twice, end with its worker, and be given away again.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeAlias

from .errors import InputError, MissingExtraError, SciInterpError, StoreError
from .threads import one_torch_thread

__all__ = ["Shard", "Workers", "open_dask", "parse_shard", "share", "spans"]

#: A task; it can be pickled.
Task: TypeAlias = Callable[[], None]
#: Task ``i`` of ``n`` of an array.
Shard: TypeAlias = tuple[int, int]

#: Tasks for each worker: what a slow or killed worker holds up.
TASKS_PER_WORKER: Final = 4
#: Tasks for an executor that does not say how many workers it has.
TASKS_OF_EXECUTOR: Final = 64
#: Times in a row that workers may end without any task done.
MOST_FAILED_ROUNDS: Final = 3

#: Packages that end a worker by raising an error of theirs in its task.
_SUBMITTERS = ("submitit",)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Workers:
    """Who makes the shards of a verb.

    Attributes
    ----------
    n : int or None
        Processes of this machine, which compute on one thread each. Of 1 that is this process;
        None is this process, with all its threads.
    executor : Executor or None
        In place of them, anything with the interface of :class:`concurrent.futures.Executor`,
        whose workers see the same file system.
    """

    n: int | None = None
    executor: Executor | None = None

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise InputError(f"workers={self.n} is not usable", allowed="1 or more")
        if self.executor is not None and self.n is not None:
            raise InputError(
                f"workers={self.n} and an executor were given", allowed="one of the two"
            )

    @property
    def are_others(self) -> bool:
        """Whether the work is given to other processes."""
        return self.executor is not None or (self.n or 1) > 1

    @property
    def n_tasks(self) -> int:
        """Number of tasks that the work is best cut into."""
        return TASKS_OF_EXECUTOR if self.executor is not None else TASKS_PER_WORKER * (self.n or 1)

    def threads(self) -> AbstractContextManager[None]:
        """Return the context in which this process computes: one thread, if it is a worker."""
        return nullcontext() if self.n is None else one_torch_thread()

    def run(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Run tasks in any order, and yield the number of each that is done.

        Tasks of workers that ended are given away again. Where this process is the only worker,
        tasks run one after another.

        Raises
        ------
        SciInterpError
            What a task raised; or, if workers end again and again, where to look.
        """
        if not self.are_others:
            for index, task in enumerate(tasks):
                task()
                yield index
            return
        waiting = dict(enumerate(tasks))
        n_failed = 0
        while waiting:
            n_before, lost = len(waiting), ""
            with self._opened(len(waiting)) as executor:
                for index, error in _run_round(executor, waiting):
                    if error:
                        lost = error
                    else:
                        del waiting[index]
                        yield index
            n_failed = n_failed + 1 if len(waiting) == n_before else 0
            if n_failed == MOST_FAILED_ROUNDS:
                raise StoreError(
                    f"workers ended {n_failed} times before any of {n_before} tasks was done: "
                    f"{lost}",
                    todo="Look at their memory; take fewer workers. In a script, call under "
                    'if __name__ == "__main__". What is done is kept',
                )

    @contextmanager
    def _opened(self, n_tasks: int) -> Iterator[Executor]:
        if self.executor is not None:
            yield self.executor
            return
        pool = ProcessPoolExecutor(
            min(self.n or 1, n_tasks),
            # Forked processes would hang on the locks of threads that they do not have.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_limit_threads,
        )
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def open_dask(address: str) -> Iterator[Executor]:
    """Yield the executor of a Dask scheduler, whose workers see the same file system.

    Raises
    ------
    MissingExtraError
        If ``distributed`` is not installed.
    InputError
        If no scheduler answers.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise MissingExtraError("distributed", "cluster") from None
    try:
        client = distributed.Client(address)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r}: {error}",
            allowed="the address that dask scheduler prints, such as tcp://10.0.0.1:8786",
        ) from None
    with client:
        yield client.get_executor(pure=False)


def parse_shard(text: str) -> Shard:
    """Return ``(i, n)`` of ``"i/n"``.

    Raises
    ------
    InputError
        If it is not two whole numbers with ``0 <= i < n``.
    """
    first, sign, second = text.partition("/")
    if not (sign and first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise InputError(f"the shard {text!r} cannot be read", allowed="0/16, 1/16, ... 15/16")
    return int(first), int(second)


def share(n_items: int, shard: Shard) -> range:
    """Return the consecutive items that are task ``i`` of ``n``'s; they differ by one at most."""
    index, n_shards = shard
    return range(index * n_items // n_shards, (index + 1) * n_items // n_shards)


def spans(items: Iterable[int], n_spans: int) -> list[range]:
    """Cut numbers into ranges of consecutive ones, about as many as wanted.

    Parameters
    ----------
    items
        Different numbers.
    n_spans
        Wanted number of ranges; gaps make more.
    """
    ordered = sorted(items)
    most = max(1, -(-len(ordered) // n_spans))
    found: list[range] = []
    for item in ordered:
        if found and found[-1].stop == item and len(found[-1]) < most:
            found[-1] = range(found[-1].start, item + 1)
        else:
            found.append(range(item, item + 1))
    return found


@dataclass(frozen=True)
class _Refusal:
    """What a task raised: errors have arguments of their own, and do not travel as they are."""

    kind: type[SciInterpError]
    what: str
    allowed: str
    todo: str

    def rebuild(self) -> SciInterpError:
        error = self.kind.__new__(self.kind)
        SciInterpError.__init__(error, self.what, allowed=self.allowed, todo=self.todo)
        return error


def _run_task(task: Task) -> _Refusal | str | None:
    """Run a task in a worker, and return what went wrong in it, if anything."""
    try:
        task()
    except SciInterpError as error:
        return _Refusal(type(error), error.what, error.allowed, error.todo)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _SUBMITTERS:
            raise  # its time is over
        return traceback.format_exc()
    return None


def _run_round(executor: Executor, tasks: dict[int, Task]) -> Iterator[tuple[int, str]]:
    """Submit tasks, and yield the number of each with why its worker ended, or nothing."""
    futures: dict[Future[_Refusal | str | None], int] = {}
    try:
        for index, task in list(tasks.items()):
            try:
                futures[executor.submit(_run_task, task)] = index
            except RuntimeError as error:  # the pool broke while it was filled
                yield index, str(error)
        for future in as_completed(futures):
            try:
                outcome = future.result()
            except SciInterpError:  # the executor can be given no task
                raise
            except Exception as error:  # noqa: BLE001 - of the executor; tasks return theirs
                yield futures[future], f"{type(error).__name__}: {error}"
                continue
            if isinstance(outcome, _Refusal):
                raise outcome.rebuild()
            if outcome:
                raise RuntimeError(f"a task failed in its worker:\n{outcome}")
            yield futures[future], ""
    finally:
        for future in futures:
            future.cancel()


def _limit_threads() -> None:
    """Let a worker's libraries begin with one thread; the others are for its neighbours."""
    for name in _THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
