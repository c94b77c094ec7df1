"""Pilot: study -> how fast this machine is at it, measured on a few records."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .axis import TokenAxis
from .features import encode
from .quarantine import Tolerance
from .schema import BLOCK, N_TOKENS, RECORD, SHARD_TOKENS, START, STOP
from .screening import Screening, UnitRun, run_unit
from .source import ArraySource
from .streams import require_layer
from .study import Study
from .token_layout import TokenLayout, choose_shard_tokens

if TYPE_CHECKING:
    from .sae import SparseAutoencoder

__all__ = ["PILOT_TOKENS", "Pilot", "measure_pilot"]

Value = TypeVar("Value")

#: Tokens that the pilot takes, about, where the data have as many.
PILOT_TOKENS = 8_192
#: Steps of the shorter and of the longer training, whose difference is measured.
STEPS = (2, 6)
#: Side of the matrices whose product tells how fast the processor is.
MATRIX_SIDE = 1_024


@dataclass(frozen=True)
class Pilot:
    """What was measured; speeds are those of this process, with its threads.

    Attributes
    ----------
    n_records, n_tokens : int
        What it was measured on.
    width : int
        Channels of the layer.
    forward, annotate, train, encode : float
        Tokens per second of the network, the annotations, one training, one encoding.
    dense_bytes, code_bytes : float
        Bytes per token of stored activations and of codes.
    dense_shard_tokens, code_shard_tokens : int
        Tokens of a shard of either.
    flops : float
        Floating-point operations per second of a float32 matrix product.
    """

    n_records: int
    n_tokens: int
    width: int
    forward: float
    annotate: float
    train: float
    encode: float
    dense_bytes: float
    code_bytes: float
    dense_shard_tokens: int
    code_shard_tokens: int
    flops: float


def measure_pilot(
    study: Study, adapter: Adapter, dataset: Dataset, *, n_tokens: int = PILOT_TOKENS
) -> Pilot:
    """Run a few records of a study through every step, and measure.

    Parameters
    ----------
    study
        The study.
    adapter, dataset
        Its model and data.
    n_tokens
        Tokens to take, about; records are spread over the whole axis.

    Raises
    ------
    SciInterpError
        If the layer, the data or the settings cannot be used.
    """
    layer = study.study.layer or adapter.default_layer
    width = require_layer(adapter, layer)
    axis = TokenAxis.of(dataset, study.splits, tolerance=Tolerance(**vars(study.extract)))
    sample = _sample(axis, n_tokens)
    if study.extract.on_error == "quarantine":
        sample = _usable(adapter, dataset, sample, {layer: width})
    names = sample.records[RECORD].tolist()
    # The first pass of a network makes ready what later ones find.
    _run(adapter, dataset, sample, (0, 1), {layer: width})
    values, seconds = _timed(
        lambda: _run(adapter, dataset, sample, (0, sample.n_records), {layer: width})
    )
    _, annotating = _timed(lambda: list(adapter.annotate(dataset, names)))
    source = ArraySource(sample, values, layer)
    layout = TokenLayout(
        n_tokens=sample.n_tokens,
        width=width,
        dtype="float16",
        shard_tokens=choose_shard_tokens(width, "float16", most=SHARD_TOKENS),
        coordinates=tuple(adapter.coordinates),
    )
    with tempfile.TemporaryDirectory(prefix="sci-interp-plan-") as folder:
        sae, training = _measure_training(study, source, Path(folder))
        encoding, code_bytes, code_shard_tokens = _measure_encoding(sae, source, Path(folder))
    return Pilot(
        n_records=sample.n_records,
        n_tokens=sample.n_tokens,
        width=width,
        forward=sample.n_tokens / seconds,
        annotate=sample.n_tokens / annotating,
        train=training,
        encode=encoding,
        dense_bytes=width * layout.numpy_dtype.itemsize + 8.0 * len(layout.coordinates),
        code_bytes=code_bytes,
        dense_shard_tokens=layout.shard_tokens,
        code_shard_tokens=code_shard_tokens,
        flops=_measure_flops(),
    )


def _sample(axis: TokenAxis, n_tokens: int) -> TokenAxis:
    """Return records spread over the axis as an axis of their own, all in one split."""
    n_wanted = max(2, -(-n_tokens * axis.n_records // axis.n_tokens))
    places = np.linspace(0, axis.n_records - 1, min(n_wanted, axis.n_records)).astype(np.int64)
    chosen = axis.records.iloc[np.unique(places)]
    table = pd.DataFrame(
        {
            RECORD: chosen[RECORD],
            BLOCK: chosen[BLOCK],
            N_TOKENS: chosen[STOP] - chosen[START],
        }
    )
    return TokenAxis.build(table, {"train": 1.0}, step_weights=axis.step_weights)


def _usable(
    adapter: Adapter, dataset: Dataset, sample: TokenAxis, widths: dict[str, int]
) -> TokenAxis:
    """Return the sample without records that cannot be used; the study itself counts them."""
    screening = Screening(sample, Tolerance("quarantine", 1 - 1 / (sample.n_records + 1)))
    run = UnitRun(adapter, dataset, sample, widths, lambda _, __: None, screening)
    for _ in run.run((0, sample.n_records)):
        pass
    return sample.without(list(screening.found.values()))


def _run(
    adapter: Adapter,
    dataset: Dataset,
    axis: TokenAxis,
    unit: tuple[int, int],
    widths: dict[str, int],
) -> NDArray[np.float32]:
    (layer,) = widths
    values = np.empty((axis.n_tokens, widths[layer]), np.float32)
    for _, start, found in run_unit(adapter, dataset, axis, unit=unit, widths=widths):
        rows = found.values[layer]
        values[start : start + len(rows)] = rows
    return values


def _measure_training(
    study: Study, source: ArraySource, folder: Path
) -> tuple[SparseAutoencoder, float]:
    """Return an autoencoder of the study's settings, and the tokens per second of its training."""
    from .sae import train

    chosen = study.sae
    batch_size = max(1, min(chosen.batch_size, source.axis.n_tokens // 2))

    def run(n_steps: int) -> SparseAutoencoder:
        return train(
            source,
            out=folder / f"sae-{n_steps}",
            features=chosen.features,
            k=chosen.k,
            architecture=chosen.architecture,
            n_tokens=batch_size * n_steps,
            batch_size=batch_size,
            learning_rate=chosen.learning_rate or None,
            penalty=chosen.penalty or None,
            whitening=chosen.whitening,
            precision=chosen.precision,
            splits=("train",),
            progress=False,
        )

    run(1)  # compiles
    _, short = _timed(lambda: run(STEPS[0]))
    sae, long = _timed(lambda: run(STEPS[1]))
    seconds = max(long - short, 1e-3 * long)
    return sae, batch_size * (STEPS[1] - STEPS[0]) / seconds


def _measure_encoding(
    sae: SparseAutoencoder, source: ArraySource, folder: Path
) -> tuple[float, float, int]:
    """Return tokens per second of encoding, bytes per token, and tokens of a shard."""
    sae.encode(source.values[:64])
    store, seconds = _timed(
        lambda: encode(sae, source, out=folder / "codes", check_parent=False, progress=False)
    )
    n_bytes = sum(path.stat().st_size for path in _files(store.path / "codes.zarr"))
    return source.axis.n_tokens / seconds, n_bytes / source.axis.n_tokens, store.shard_tokens


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _measure_flops() -> float:
    """Return the operations per second of the fastest of a few float32 matrix products."""
    matrix = np.random.default_rng(0).normal(size=(MATRIX_SIDE, MATRIX_SIDE)).astype(np.float32)
    seconds = min(_timed(lambda: matrix @ matrix)[1] for _ in range(5))
    return 2.0 * MATRIX_SIDE**3 / seconds


def _timed(work: Callable[[], Value]) -> tuple[Value, float]:
    started = time.perf_counter()
    value = work()
    return value, max(time.perf_counter() - started, 1e-9)
