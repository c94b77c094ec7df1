"""Compiled loops: the decorator, the random stream and the threads that all kernels share."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["compiled", "default_threads", "mix_seeds", "next_below", "run_ranges"]

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a loop over arrays; it releases the interpreter lock and is cached on disk."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


@compiled
def next_below(state: NDArray[np.uint64], n: int) -> int:
    """Advance a SplitMix64 stream and return an integer in ``0 <= i < n`` (n below 2**32).

    Parameters
    ----------
    state : (1,) uint64
        The stream; changed in place.
    n
        Number of outcomes.
    """
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    word = state[0]
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    return int(((word >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


def mix_seeds(seed: np.uint64, number: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return one seed for each number, far from each other's streams ``(n,)``."""
    word = seed + (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = word ^ (word >> np.uint64(31))
    return found


def default_threads() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_ranges(
    work: Callable[[int, int], None], n_items: int, *, size: int, n_threads: int
) -> None:
    """Call ``work(start, stop)`` on consecutive ranges of ``n_items`` items, on several threads.

    ``work`` writes results of different items to different places, so the outcome does not depend
    on the number of threads.
    """
    starts = iter(range(0, n_items, size))
    lock = Lock()

    def take() -> None:
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            work(start, min(start + size, n_items))

    n_threads = min(n_threads, -(-n_items // size))
    if n_threads <= 1:
        take()
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for done in [pool.submit(take) for _ in range(n_threads)]:
            done.result()
