"""What the arithmetic that chooses active features changes: agreement with float32, and FVU.

    python benchmarks/speed/arithmetic.py --proteins sequences.fasta.gz --out OUT

Trains on activations of the bundled protein network, as they are and with one channel forty and one
twenty times louder than the others, in float32, bfloat16 and 8-bit numbers, from the same start and
on the same batches. OUT receives ``ARITHMETIC.md``. *FVU*: of held-out tokens, features chosen in
float32, and in the arithmetic of the training. *Chosen alike*: share of the features that float32
chooses on held-out tokens which the arithmetic chooses too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "enrichment")]

import sae_data  # noqa: E402
from sae_engines import Ours, Task  # noqa: E402
from signature import sign  # noqa: E402

from sci_interp.sae.pattern import Pattern  # noqa: E402
from sci_interp.sae.preactivation import Arithmetic, PreActivation  # noqa: E402

ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "bfloat16", "int8")
ARCHITECTURES = ("topk", "batch_topk")
LOUD = {3: 40.0, 77: 20.0}
FEATURES, K, BATCH, STEPS, N_TOKENS, N_HELD_OUT = 4096, 32, 4096, 60, 61_440, 8192
SEEDS = (0, 1)


def scaled(values: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return values with other channel sizes and mean square 1."""
    changed = values * factor
    return changed / changed.square().mean().sqrt()


def train(rows: torch.Tensor, architecture: str, seed: int, arithmetic: Arithmetic) -> Ours:
    """Return the engine after all steps."""
    task = Task(
        "sci_interp", architecture, FEATURES, K, BATCH, STEPS, seed, 1, 2.8e-3, 0.05, 0.3, ""
    )
    engine = Ours(task, rows, precision=arithmetic)
    draw = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(rows), generator=draw) for _ in range(STEPS // 15)])
    for batch in order.split(BATCH):
        engine.step(rows[batch])
    return engine


def choose(engine: Ours, rows: torch.Tensor, arithmetic: Arithmetic) -> tuple[Pattern, float]:
    """Return the features chosen in an arithmetic, and the FVU of reconstructing with them."""
    weights, sparsity = engine.trainer.weights, engine.trainer.sparsity
    pattern = sparsity.select(PreActivation(sparsity.reader(weights), arithmetic)(rows))
    value = sparsity.values(rows, weights, pattern)
    made = pattern.combine(value, weights.decoder) + weights.decoder_bias
    return pattern, float((made - rows).square().sum() / (rows - rows.mean(0)).square().sum())


def shared(left: Pattern, right: Pattern) -> float:
    """Return the share of the left entries that the right pattern has too."""
    keys = [each.row * each.n_features + each.feature for each in (left, right)]
    return float(torch.isin(keys[0], keys[1]).double().mean())


def rows_of_table(train_rows: torch.Tensor, held_out: torch.Tensor, name: str) -> Iterator[str]:
    """Yield the rows of one kind of activations."""
    for architecture in ARCHITECTURES:
        for seed in SEEDS:
            for arithmetic in ARITHMETICS:
                engine = train(train_rows, architecture, seed, arithmetic)
                exact, fvu = choose(engine, held_out, "float32")
                own, own_fvu = choose(engine, held_out, arithmetic)
                cells = (name, architecture, str(seed), arithmetic, f"{fvu:.4f}", f"{own_fvu:.4f}")
                yield f"| {' | '.join(cells)} | {shared(exact, own):.2%} |"


def main() -> None:
    """Train everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder)
        sae_data.network(found, args.proteins, n_tokens=N_TOKENS, n_held_out=N_HELD_OUT)
        paths = (found / f"{part}.npy" for part in ("train", "held_out"))
        parts = [torch.from_numpy(np.load(path, allow_pickle=False)) for path in paths]
    loud = torch.ones(parts[0].shape[1])
    for channel, factor in LOUD.items():
        loud[channel] = factor
    head = (
        "activations",
        "architecture",
        "seed",
        "trained in",
        "FVU, float32",
        "FVU",
        "chosen alike",
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    with torch.no_grad():
        for name, factor in (("as they are", torch.ones_like(loud)), ("two loud channels", loud)):
            for line in rows_of_table(*(scaled(part, factor) for part in parts), name):
                print(line, flush=True)
                lines.append(line)
    args.out.mkdir(parents=True, exist_ok=True)
    command = "python benchmarks/speed/arithmetic.py --proteins FASTA --out OUT"
    text = [
        "# Arithmetic that chooses active features",
        *(
            "",
            f"{FEATURES} features, k = {K}, {STEPS} steps of {BATCH} tokens, lower FVU is better.",
            "",
        ),
        "```sh",
        command,
        "```",
        "",
        *sign(0.0)[:-1],
        "",
        *lines,
    ]
    (args.out / "ARITHMETIC.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
