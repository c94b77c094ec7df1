"""What the tests of workers share: recipes that other processes can follow, and tasks that die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_adapter import FakeAdapter, FakeDataset, make_dataset

from sci_interp.recipes import Recipe


@dataclass(frozen=True)
class FakeRecipe(Recipe):
    """Opens the fake adapter, which no distribution provides."""

    adapter: str = "fake"
    n_records: int = 40
    network_seed: int = 0

    def open(self) -> tuple[FakeAdapter, FakeDataset]:
        return FakeAdapter(seed=self.network_seed), make_dataset(n_records=self.n_records)


@dataclass(frozen=True)
class DyingRecipe(FakeRecipe):
    """Ends its process by SIGKILL in its first few openings, which leave marks in a folder."""

    marks: Path = Path()
    n_deaths: int = 2

    def open(self) -> tuple[FakeAdapter, FakeDataset]:
        for number in range(self.n_deaths):
            try:
                (self.marks / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open()


@dataclass(eq=False)
class OddExecutor(Executor):
    """Runs tasks in this process in the reverse order, each twice, and loses every third."""

    held: list[tuple[Future[Any], Callable[[], Any]]] = field(default_factory=list)
    n_submitted: int = 0
    n_run: int = 0

    def submit(self, function, /, *arguments, **options):
        future: Future[Any] = Future()
        self.n_submitted += 1
        if self.n_submitted % 3 == 0:
            future.set_exception(ConnectionError("the worker is gone"))
            return future
        self.held.append((future, lambda: function(*arguments, **options)))
        # What was submitted last runs first; the first of all waits for company.
        if len(self.held) > 1:
            self._run()
        else:
            future.set_exception(ConnectionError("the worker was preempted"))
        return future

    def _run(self) -> None:
        while self.held:
            future, call = self.held.pop()
            call()
            self.n_run += 2
            outcome = call()
            if not future.done():
                future.set_result(outcome)
