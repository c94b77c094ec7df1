"""Activations for the training benchmark: a planted dictionary, or a layer of the bundled network.

Both are centred and have mean square 1, which is what ``sci_interp.train`` shows its trainer.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from Bio.SeqIO.FastaIO import SimpleFastaParser
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag, normalize

import sci_interp as si

#: No engine's seed: one that starts from the same draws would start at the answer.
PLANTED_SEED = 8_191


def planted(
    folder: Path, *, width: int, n_directions: int, n_active: int, n_tokens: int, n_held_out: int
) -> None:
    """Write tokens that are sums of a few of many known directions, with noise.

    Directions occur with a frequency of 1 / (10 + rank), strengths are exponential beyond 0.5, and
    noise has a tenth of the length of the sum.
    """
    draw = torch.Generator().manual_seed(PLANTED_SEED)
    directions = normalize(torch.randn(n_directions, width, generator=draw), dim=1)
    frequency = 1.0 / (10.0 + torch.arange(n_directions))
    n_all = n_tokens + n_held_out
    values = torch.empty(n_all, width)
    for first in range(0, n_all, 8192):
        n = min(8192, n_all - first)
        chosen = torch.multinomial(frequency, n * n_active, True, generator=draw)
        strength = 0.5 + torch.empty(n, n_active).exponential_(2.0, generator=draw)
        made = embedding_bag(
            chosen.reshape(n, n_active), directions, per_sample_weights=strength, mode="sum"
        )
        noise = normalize(torch.randn(n, width, generator=draw), dim=1)
        values[first : first + n] = made + 0.1 * made.norm(dim=1, keepdim=True) * noise
    write(folder, values.numpy(), n_held_out, directions.numpy())


def network(folder: Path, proteins: Path, *, n_tokens: int, n_held_out: int) -> si.ActivationStore:
    """Write activations of the bundled protein network, shuffled; returns the store behind them.

    Parameters
    ----------
    folder
        Where ``train.npy`` and ``held_out.npy`` go, and the store.
    proteins
        Gzipped FASTA file; its first proteins with enough residues are taken, none longer than
        1,000.
    n_tokens, n_held_out
        Tokens to learn from, and to look at.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fasta, clusters = folder / "proteins.fasta", folder / "clusters.tsv"
    wanted = n_tokens + n_held_out
    total, lines, blocks = 0, [], ["cluster\tprotein_id"]
    with gzip.open(proteins, "rt") as handle:
        for index, (_, sequence) in enumerate(SimpleFastaParser(handle)):
            if len(sequence) <= 1000:
                lines.append(f">p{index}\n{sequence}\n")
                blocks.append(f"p{index}\tp{index}")
                total += len(sequence)
            if total >= wanted:
                break
    fasta.write_text("".join(lines))
    clusters.write_text("\n".join(blocks) + "\n")
    adapter = si.load_adapter("protein")
    data = adapter.open(fasta, clusters=clusters)
    store = si.extract(adapter, data, layer=adapter.default_layer, out=folder / "activations")
    values = store.read(0, store.axis.n_tokens)
    values = values[np.random.default_rng(0).permutation(len(values))[:wanted]]
    write(folder, values, n_held_out, None)
    return store


def write(
    folder: Path,
    values: NDArray[np.float32],
    n_held_out: int,
    directions: NDArray[np.float32] | None,
) -> None:
    """Centre, scale and write activations; the last ones are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    values = values - values[:-n_held_out].mean(0)
    values /= np.sqrt(np.square(values[:-n_held_out]).mean())
    np.save(folder / "train.npy", values[:-n_held_out])
    np.save(folder / "held_out.npy", values[-n_held_out:])
    if directions is not None:
        np.save(folder / "directions.npy", directions)
