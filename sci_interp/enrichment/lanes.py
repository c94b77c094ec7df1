"""Sources side by side: what one does on one thread is done while another computes.

A lane takes one source after the other. All lanes share one allowance of memory: a lane waits until
what it asks for is free, and first lets go of what it kept for later, so that no two wait for each
other. No number depends on lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Condition

__all__ = ["MOST_LANES", "Allowance", "LaneClosedError", "run_lanes"]

#: Sources that are worked on at once: what one does on one thread leaves the others to the next.
MOST_LANES = 2


class LaneClosedError(Exception):
    """Another lane failed, or the call ends."""


class Allowance:
    """An amount that lanes share.

    Parameters
    ----------
    total
        The amount.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = Condition()
        self._closed = False
        self._at_work = 0

    @property
    def n_lanes(self) -> int:
        """Lanes that are at work, and do not wait; at least the one that asks."""
        return max(1, self._at_work)

    @contextmanager
    def lane(self) -> Iterator[None]:
        """Count as a lane at work, and close the allowance if it fails."""
        with self._changed:
            self._at_work += 1
        try:
            self.require_open()
            yield
        except BaseException:
            self.close()
            raise
        finally:
            with self._changed:
                self._at_work -= 1

    def require_open(self) -> None:
        """Stop the caller if the allowance was closed.

        Raises
        ------
        LaneClosedError
            If it was.
        """
        if self._closed:
            raise LaneClosedError

    def share(self, n_threads: int) -> int:
        """Return how many of the threads are the caller's while other lanes are at work."""
        return max(1, n_threads // self.n_lanes)

    def take(self, amount: int, let_go: Callable[[], None] | None = None) -> int:
        """Wait for an amount, and return what was taken: no more than there is in all.

        Parameters
        ----------
        amount
            What is asked for.
        let_go
            Called before waiting: gives back all that the caller has. Not needed without.

        Raises
        ------
        LaneClosedError
            If the allowance was closed.
        """
        amount = min(amount, self._total)
        with self._changed:
            if self._free < amount and let_go is not None:
                let_go()
            self._at_work -= 1
            self._changed.wait_for(lambda: self._closed or self._free >= amount)
            self._at_work += 1
            self.require_open()
            self._free -= amount
        return amount

    def give(self, amount: int) -> None:
        """Give an amount back."""
        with self._changed:
            self._free += amount
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody take anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def run_lanes(
    work: Callable[[str, Callable[[], None]], None],
    names: Sequence[str],
    *,
    n_lanes: int,
    allowance: Allowance,
) -> Generator[None, None, None]:
    """Call ``work(name, step)`` for every name, and yield whenever one has called ``step``.

    What a call raises is raised here, once the others have stopped.

    Parameters
    ----------
    work
        Works on one name.
    names
        In the order in which they are begun.
    n_lanes
        Calls at the same time.
    allowance
        Closed at the end, which stops calls that ask for more of it.
    """
    # Steps, and calls that have ended.
    news: SimpleQueue[Future[None] | None] = SimpleQueue()

    def step() -> None:
        allowance.require_open()
        news.put(None)

    def run(name: str) -> None:
        with allowance.lane():
            work(name, step)

    with ThreadPoolExecutor(n_lanes) as pool:
        try:
            for name in names:
                pool.submit(run, name).add_done_callback(news.put)
            n_open = len(names)
            while n_open:
                ended = news.get()
                if ended is None:
                    yield
                    continue
                n_open -= 1
                # What stopped the others comes to light when it has ended itself.
                if not isinstance(ended.exception(), LaneClosedError):
                    ended.result()
            allowance.require_open()
        finally:
            allowance.close()
            pool.shutdown(wait=False, cancel_futures=True)
