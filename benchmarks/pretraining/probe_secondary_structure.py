"""Linear probes of three-state secondary structure: one per layer, residues with coordinates only.

    python benchmarks/pretraining/probe_secondary_structure.py MODEL_DIR TRAIN.tsv.gz VALID.tsv.gz

A softmax regression on standardised activations is fitted on the training chains and its accuracy
is printed for the validation chains; chains are never split.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from sci_interp_protein.alphabet import CLS, EOS, PAD, encode_letters
from sci_interp_protein.bytenet import ByteNet, ByteNetConfig

STATES = "HEC"
Chain = tuple[str, str, str]


def read_chains(path: Path, limit: int) -> list[Chain]:
    """Return (sequence, states, resolved) of the first ``limit`` chains."""
    with gzip.open(path, "rt", newline="") as handle:
        rows = csv.DictReader(handle, delimiter="\t")
        return [(row["sequence"], row["q3"], row["resolved"]) for row in rows][:limit]


def load_model(folder: Path) -> ByteNet:
    """Return the trained network."""
    config = json.loads((folder / "config.json").read_text())
    sizes = {name: config[name] for name in ByteNetConfig().to_dict()}
    model = ByteNet(ByteNetConfig(**sizes))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def batches(chains: list[Chain], budget: int) -> Iterator[list[Chain]]:
    """Yield chains of similar length, at most ``budget`` padded tokens together."""
    batch: list[Chain] = []
    for chain in sorted(chains, key=lambda chain: len(chain[0])):
        if batch and (len(batch) + 1) * (len(chain[0]) + 2) > budget:
            yield batch
            batch = []
        batch.append(chain)
    yield batch


@torch.no_grad()
def collect(
    model: ByteNet, chains: list[Chain], layers: list[int]
) -> tuple[dict[int, Tensor], Tensor]:
    """Return activations ``(n, width)`` of each block and the states ``(n,)``."""
    caught: dict[int, Tensor] = {}
    handles = [
        model.blocks[layer].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: caught.__setitem__(layer, output)
        )
        for layer in layers
    ]
    values: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    targets: list[NDArray[np.int64]] = []
    for batch in batches(chains, 16_384):
        tokens = torch.full((len(batch), max(len(c[0]) for c in batch) + 2), PAD)
        keep = torch.zeros(tokens.shape, dtype=torch.bool)
        for row, (sequence, states, resolved) in enumerate(batch):
            letters = [CLS, *encode_letters(sequence), EOS]
            tokens[row, : len(letters)] = torch.tensor(letters)
            known = np.frombuffer(resolved.encode(), dtype="S1") == b"1"
            keep[row, 1 : 1 + len(sequence)] = torch.from_numpy(known)
            targets.append(np.array([STATES.index(state) for state in states])[known])
        with torch.autocast("cpu", torch.bfloat16):
            model(tokens)
        for layer in layers:
            values[layer].append(caught[layer][keep].to(torch.bfloat16))
    for handle in handles:
        handle.remove()
    return {layer: torch.cat(parts) for layer, parts in values.items()}, torch.from_numpy(
        np.concatenate(targets)
    )


def fit_and_score(train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], epochs: int) -> float:
    """Return the validation accuracy of a softmax regression."""
    x, y = train
    mean, std = x.float().mean(0), x.float().std(0) + 1e-6
    torch.manual_seed(0)
    probe = nn.Linear(x.shape[1], len(STATES))
    steps = epochs * (len(x) // 4096)
    optimizer = torch.optim.Adam(probe.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x) - 4095, 4096):
            pick = order[at : at + 4096]
            loss = nn.functional.cross_entropy(probe((x[pick].float() - mean) / std), y[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        guess = probe((valid[0].float() - mean) / std).argmax(1)
    return float((guess == valid[1]).float().mean())


def main() -> None:
    """Print the accuracy of every layer."""
    parser = argparse.ArgumentParser(description="Linear probes of secondary structure")
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--chains", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--layers", type=int, nargs="*")
    args = parser.parse_args()
    model = load_model(args.model)
    layers = args.layers or list(range(len(model.blocks)))
    train, train_states = collect(model, read_chains(args.train, args.chains), layers)
    valid, valid_states = collect(model, read_chains(args.valid, 10**9), layers)
    print(f"{len(train_states)} training and {len(valid_states)} validation residues")
    for layer in layers:
        accuracy = fit_and_score(
            (train[layer], train_states), (valid[layer], valid_states), args.epochs
        )
        print(f"blocks.{layer}\tQ3 {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
