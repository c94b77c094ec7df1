"""What encoding costs over the encoder's product, and what a training step costs as it grows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sae_data import network
from sae_engines import Ours, Task

import sci_interp as si
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.preactivation import Arithmetic, PreActivation, native_bfloat16

REPEATS = 5
#: Steps of the autoencoder that encodes.
TRAINED_STEPS = 30


def seconds(*jobs: Callable[[], object], repeats: int = REPEATS) -> list[list[float]]:
    """Return processor seconds of each job; the jobs take turns, forth and back."""
    found: list[list[float]] = [[] for _ in jobs]
    for turn in range(repeats):
        order = range(len(jobs)) if turn % 2 == 0 else reversed(range(len(jobs)))
        for index in order:
            before = time.process_time()
            jobs[index]()
            found[index].append(time.process_time() - before)
    return found


def spread(pairs: Sequence[tuple[float, float]]) -> str:
    """Return the ratios of pairs: smallest, median, largest."""
    ratios = [first / second for first, second in pairs]
    return f"{min(ratios):.2f}, {median(ratios):.2f}, {max(ratios):.2f}"


def task_of(features: int, architecture: str, batch_size: int) -> Task:
    """Return a run whose only use are its settings."""
    return Task("sci_interp", architecture, features, 32, batch_size, 100, 0, 1, 1e-3, 0.1, 0.3, "")


def bare_arithmetic() -> Arithmetic:
    """Return the arithmetic of the product that all is compared with: PyTorch's fastest."""
    return "bfloat16" if native_bfloat16() else "float32"


def product(encoder: PreActivation, rows: torch.Tensor) -> None:
    """Compute pre-activations alone, in pieces as encoding does."""
    for part in rows.split(2048):
        encoder(part)


def encoding(store: si.ActivationStore, *, features: int, architecture: str) -> str:
    """Return a row of the table of encoding: in memory, and from store to store."""
    values = store.read(0, store.axis.n_tokens)
    given = torch.from_numpy(values)
    units = Normalisation.fit("scale", given)
    rows = units.apply(given)
    trained = Ours(task_of(features, architecture, 4096), rows)
    for first in range(0, TRAINED_STEPS * 4096, 4096):
        trained.step(rows.roll(-first, 0)[:4096])
    trained.trainer.calibrate([rows[:4096]])
    sae = si.SparseAutoencoder(
        weights=trained.trainer.weights,
        sparsity=trained.trainer.sparsity,
        normalisation=units,
        scale=np.full(features, 10.0, np.float32),
        firing_rate=np.zeros(features, np.float32),
    )
    alone = PreActivation(sae.weights, bare_arithmetic())

    def over_store() -> None:
        with tempfile.TemporaryDirectory() as folder:
            si.encode(sae, store, out=Path(folder) / "codes", progress=False)

    jobs = (lambda: product(alone, rows), lambda: sae.encode(values), over_store)
    seconds(*jobs, repeats=1)
    bare, memory, stored = seconds(*jobs)
    cells = [
        f"{architecture}, {features} features",
        f"{len(values):,}",
        f"{median(bare):.2f}",
        f"{median(memory):.2f}",
        f"{median(stored):.2f}",
        spread(list(zip(memory, bare, strict=True))),
        spread(list(zip(stored, bare, strict=True))),
    ]
    return "| " + " | ".join(cells) + " |"


def growth(width: int, features: int, architecture: str, batch_size: int = 4096) -> str:
    """Return a row of the table of growth: a training step beside the encoder's product."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(2 * batch_size, width, generator=draw)
    engine = Ours(task_of(features, architecture, batch_size), rows)
    alone = PreActivation(engine.trainer.weights, bare_arithmetic())
    batch = rows[:batch_size]
    jobs = (lambda: alone(batch), lambda: engine.step(batch))
    seconds(*jobs, repeats=2)
    bare, step = seconds(*jobs)
    pairs = list(zip(step, bare, strict=True))
    cells = [
        architecture,
        str(width),
        str(features),
        f"{1e3 * median(bare):.0f}",
        f"{1e3 * median(step):.0f}",
        spread(pairs),
        f"{1e3 * (median(step) - median(bare)):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """Return Markdown."""
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join([f"### {title}", "", *head, *rows, ""])


def tables(scratch: Path, proteins: Path | None) -> Iterator[str]:
    """Yield the table of growth, and that of encoding where there are proteins."""
    torch.set_num_threads(1)
    shapes = ((320, 2048), (320, 4096), (320, 8192), (320, 16384), (640, 8192), (1280, 8192))
    ratio = "step / product (min, median, max)"
    yield table(
        "A step of ours as it grows (random activations, batch 4096, 1 thread, processor)",
        ("architecture", "d", "features", "product, ms", "step, ms", ratio, "difference, ms"),
        [growth(width, features, "topk") for width, features in shapes],
    )
    if proteins is None:
        return
    store = network(scratch / "encoding", proteins, n_tokens=60_000, n_held_out=1000)
    ratios = ("in memory / product", "store to store / product")
    yield table(
        f"Encoding over the product alone ({store.width} channels, 1 thread, processor seconds)",
        ("autoencoder", "tokens", "product", "in memory", "store to store", *ratios),
        [
            encoding(store, features=features, architecture=name)
            for features, name in ((4096, "topk"), (4096, "batch_topk"), (1024, "topk"))
        ],
    )
