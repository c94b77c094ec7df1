"""Small worlds for the tests of counting: in memory, as stores on disk, and workers that die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from planted import annotations, to_codes
from planted_world import World, planted_levels, planted_store

from sci_interp import executors
from sci_interp.adapter import Label
from sci_interp.annotations import AnnotationStore
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.feature_store import FeatureLayout, FeatureStore
from sci_interp.feature_writer import FeatureWriter

ALL_DISCOVERY = {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0}
LABELS = [Label("a", "x", ""), Label("b", "y", ""), Label("c", "x", ""), Label("d", "y", "")]
#: Few permutations, and blocks of two labels.
FAST: dict[str, Any] = {
    "n_permutations": 40,
    "max_permutations": 40,
    "n_bootstrap": 20,
    "n_threads": 1,
    "max_entries": 400,
    "progress": False,
}


def random_world(seed, n_records=5, n_features=4):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, n_records)
    table = pd.DataFrame(
        {"record": [f"r{i}" for i in range(n_records)], "block": "b", "n_tokens": sizes}
    )
    axis = TokenAxis.build(table, ALL_DISCOVERY)
    level = rng.integers(1, 256, (axis.n_tokens, n_features)).astype(np.uint8)
    level[rng.random(level.shape) < 0.5] = 0
    runs, known = [], []
    for record in range(n_records):
        low, high = int(axis.record_starts[record]), int(axis.record_starts[record + 1])
        for _ in range(int(rng.integers(0, 5))):
            start = int(rng.integers(low, high))
            stop = int(rng.integers(start + 1, high + 1))
            label = int(rng.integers(len(LABELS)))
            runs.append((label, 100 * record + 10 * label + int(rng.integers(2)), start, stop))
        for group in range(2):
            if rng.random() < 0.8:
                start = int(rng.integers(low, high))
                known.append((group, start, int(rng.integers(start + 1, high + 1))))
    features = MemoryFeatures(axis, to_codes(level), n_features)
    return axis, features, annotations(axis, LABELS, runs, known), level


def write_features(folder: Path, axis: TokenAxis, codes: Codes, n_features: int) -> FeatureStore:
    """Return a store of codes in memory, with a name and a family for every feature."""
    names = tuple(f"n{at}" for at in range(n_features))
    families = tuple("even" if at % 2 == 0 else "odd" for at in range(n_features))
    layout = FeatureLayout(axis, names, families, np.ones(n_features, np.float32), 1024)
    writer = FeatureWriter(folder, layout, codes.rows, {"codes": "planted"}, {})
    return writer.write(progress=False)


@dataclass(frozen=True)
class Stores:
    """What enrich is given."""

    features: FeatureStore
    known: AnnotationStore
    baseline: FeatureStore


def write_stores(folder: Path, world: World) -> Stores:
    """Return stores of planted features, of their labels, and of another seed's features."""
    known = planted_store(folder / "annotations", world)
    levels = [planted_levels(world, seed) for seed in (0, 1)]
    made = [
        write_features(folder / name, world.axis, to_codes(level), level.shape[1])
        for name, level in zip(("features", "baseline"), levels, strict=True)
    ]
    return Stores(made[0], known, made[1])


def die_first(marks: Path, n_deaths: int, call: Callable[..., Any], *arguments: Any) -> Any:
    """End this process by SIGKILL in the first few calls of all, which leave marks in a folder."""
    for number in range(n_deaths):
        try:
            (marks / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments)


def run_or_die(marks: Path, n_deaths: int, task: Callable[[], None]) -> Any:
    """Do what a worker does with a task, or die; stands in for it in who gives tasks away."""
    return die_first(marks, n_deaths, executors._run_task, task)


@dataclass(eq=False)
class DyingExecutor(Executor):
    """Gives calls to another executor, whose workers die in the first few of them."""

    inner: Executor
    marks: Path
    n_deaths: int

    def submit(self, function, /, *arguments, **options) -> Future[Any]:
        return self.inner.submit(
            die_first, self.marks, self.n_deaths, function, *arguments, **options
        )
