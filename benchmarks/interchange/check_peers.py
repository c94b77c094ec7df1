"""Codes of the same autoencoder in this library and in the programs that made or read its files.

    python benchmarks/interchange/check_peers.py > benchmarks/interchange/PEERS.md

Needs the programs (any of sae-lens, eai-sparsify, dictionary-learning) in one environment with this
library; those that are missing are left out, and said so. Random weights, all of whose parts
matter: no bias is zero, decoder rows have different lengths, thresholds differ.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sci_interp as si
from sci_interp.sae import SparseAutoencoder
from sci_interp.sae.abs_topk import mirrored
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights

WIDTH, FEATURES, K, TOKENS = 64, 256, 8, 2000
AIM = 1e-5
FACTS = {"layer": "layers.3", "parent": "a network"}

#: Largest difference of codes, the same in parts of the largest code, and of reconstructions.
Difference = tuple[float, float, float]
#: Direction, program, what it is, and how the difference is found in an empty folder.
Row = tuple[str, str, str, Callable[[Path], Difference]]

PROGRAMS = {
    "sae-lens": "sae_lens",
    "eai-sparsify": "sparsify",
    "dictionary-learning": "dictionary_learning.dictionary",
}
SAELENS: dict[str, dict[str, Any]] = {
    "standard": {},
    "gated": {},
    "topk": {"k": K},
    "topk, rescaled": {"k": K, "rescale_acts_by_decoder_norm": True},
    "abstopk": {"k": K},
    "jumprelu": {},
    "standard, layer_norm": {"normalize_activations": "layer_norm"},
    "topk, constant_norm_rescale": {"k": K, "normalize_activations": "constant_norm_rescale"},
    "standard, b_dec not subtracted": {"apply_b_dec_to_input": False},
    "transcoder": {"d_out": 48, "apply_b_dec_to_input": False},
    "jumprelu_transcoder": {"d_out": 48, "apply_b_dec_to_input": False},
}
LEARNED = {
    "AutoEncoder": "dictionary",
    "AutoEncoderNew": "dictionary",
    "GatedAutoEncoder": "dictionary",
    "JumpReluAutoEncoder": "dictionary",
    "AutoEncoderTopK": "trainers.top_k",
    "BatchTopKSAE": "trainers.batch_top_k",
    "MatryoshkaBatchTopKSAE": "trainers.matryoshka_batch_top_k",
}
OURS = ("topk", "abs_topk", "batch_topk", "matryoshka", "relu", "jumprelu", "gated")


def rows() -> Iterator[Row]:
    """Yield every comparison."""
    for name, settings in SAELENS.items():
        yield ("read", "sae-lens", name, _bound(read_saelens, name.split(",")[0], settings))
    for name in ("batchtopk", "matryoshka_batchtopk"):
        for kind in ("training", "inference"):
            label = f"{name}, {kind} file"
            yield ("read", "sae-lens", label, _bound(read_saelens_training, name, kind))
    for name in ("topk", "topk, transcode"):
        yield ("read", "eai-sparsify", name, _bound(read_sparsify, "transcode" in name))
    for name in LEARNED:
        yield ("read", "dictionary-learning", name, _bound(read_learned, name))
    for name in OURS:
        for kind in ("channel", "layer", "length"):
            label = f"{name}, normalisation {kind}"
            yield ("write", "sae-lens", label, _bound(write_saelens, name, kind))
    yield ("write", "eai-sparsify", "topk, normalisation channel", write_sparsify)


def read_saelens(folder: Path, architecture: str, settings: dict[str, Any]) -> Difference:
    """Let SAELens save an inference autoencoder, and load it here."""
    cls, config = import_module("sae_lens.registry").get_sae_class(architecture)
    theirs = cls(config(d_in=WIDTH, d_sae=FEATURES, **settings))
    _randomise(theirs)
    theirs.save_model(folder)
    return _compare(si.load_sae(folder, **FACTS), theirs)


def read_saelens_training(folder: Path, architecture: str, kind: str) -> Difference:
    """Let SAELens save what trains in batches; in use it is a JumpReLU."""
    registry = import_module("sae_lens.registry")
    cls, config = registry.get_sae_training_class(architecture)
    widths = {"matryoshka_widths": [64, FEATURES]} if "matryoshka" in architecture else {}
    trained = cls(
        config(d_in=WIDTH, d_sae=FEATURES, k=K, rescale_acts_by_decoder_norm=True, **widths)
    )
    _randomise(trained)
    trained.topk_threshold.fill_(2.5)
    trained.save_inference_model(folder / "inference")
    theirs = import_module("sae_lens").SAE.load_from_disk(folder / "inference")
    trained.save_model(folder / "training")
    return _compare(si.load_sae(folder / kind, **FACTS), theirs)


def read_sparsify(folder: Path, transcode: bool) -> Difference:
    """Let sparsify save a sparse coder, and load it here."""
    program = import_module("sparsify")
    config = program.SparseCoderConfig(num_latents=FEATURES, k=K, transcode=transcode)
    theirs = program.SparseCoder(WIDTH, config)
    _randomise(theirs)
    theirs.save_to_disk(folder)
    return _compare(si.load_sae(folder, **FACTS), theirs)


def read_learned(folder: Path, name: str) -> Difference:
    """Save as the trainers of dictionary_learning do, and load it there and here."""
    cls = getattr(import_module(f"dictionary_learning.{LEARNED[name]}"), name)
    counted = {"k": K} if "TopK" in name else {}
    groups = {"group_sizes": [64, FEATURES - 64]} if "Matryoshka" in name else {}
    theirs = cls(WIDTH, FEATURES, **counted, **groups)
    _randomise(theirs)
    if counted:
        theirs.threshold.fill_(1.5)
    torch.save(theirs.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": name, "layer": 3, "lm_name": "a network", **counted}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    return _compare(si.load_sae(folder), cls.from_pretrained(str(folder / "ae.pt")))


def write_saelens(folder: Path, architecture: str, kind: str) -> Difference:
    """Export for SAELens and load it there."""
    ours = make_sae(architecture, kind)
    ours.export(folder, format="saelens")
    return _compare(ours, import_module("sae_lens").SAE.load_from_disk(folder))


def write_sparsify(folder: Path) -> Difference:
    """Export for sparsify and load it there."""
    ours = make_sae("topk", "channel")
    ours.export(folder, format="sparsify")
    return _compare(ours, import_module("sparsify").SparseCoder.load_from_disk(folder))


def make_sae(architecture: str, kind: str) -> SparseAutoencoder:
    """Return an autoencoder of ours with random weights and units."""
    draw = torch.Generator().manual_seed(1)
    half = FEATURES // 2 if architecture == "abs_topk" else FEATURES
    weights = Weights(
        encoder=torch.randn(half, WIDTH, generator=draw) / WIDTH**0.5,
        encoder_bias=0.2 * torch.randn(half, generator=draw),
        decoder=torch.randn(half, WIDTH, generator=draw),
        decoder_bias=torch.randn(WIDTH, generator=draw),
    )
    weights = mirrored(weights) if architecture == "abs_topk" else weights
    sparsity = sparsity_of(architecture, K)
    one_each = torch.rand(FEATURES, generator=draw)
    constant = architecture in ("batch_topk", "matryoshka")
    sparsity.restore(
        {
            "threshold": torch.tensor(0.7) if constant else one_each,
            "gate_bias": one_each - 0.5,
            "magnitude_scale": one_each + 0.5,
        }
    )
    centre = torch.randn(WIDTH, generator=draw)
    return SparseAutoencoder(
        weights=weights,
        sparsity=sparsity,
        normalisation=Normalisation(kind, centre, centre, 0.5 + torch.rand(WIDTH, generator=draw)),
        scale=np.ones(FEATURES, np.float32),
        firing_rate=np.zeros(FEATURES, np.float32),
        parent={"model": "a network", "layer": "layers.3"},
    )


def _bound(function: Callable[..., Difference], *given: Any) -> Callable[[Path], Difference]:
    return lambda folder: function(folder, *given)


def _randomise(module: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(0)
    for name, held in module.named_parameters():
        plain = held.ndim > 1 and "enc" in name
        size = WIDTH**-0.5 if plain else 0.3
        held.data = size * torch.randn(held.shape, generator=draw)
        if name == "threshold":
            held.data.abs_()


def _compare(ours: SparseAutoencoder, theirs: Any) -> Difference:
    draw = np.random.default_rng(3)
    loud = draw.uniform(0.5, 4.0, (TOKENS, 1))
    x = (loud * draw.standard_normal((TOKENS, WIDTH)) + 0.5).astype(np.float32)
    codes = ours.encode(x)
    mine = np.zeros((TOKENS, ours.n_features), np.float32)
    mine[np.repeat(np.arange(TOKENS), np.diff(codes.indptr)), codes.feature] = codes.value
    if ours.architecture == "abs_topk":
        half = ours.n_features // 2
        mine = mine[:, :half] - mine[:, half:]
    with torch.no_grad():
        tokens = torch.from_numpy(x)
        found = theirs.encode(tokens)
        if isinstance(found, tuple):
            found = torch.zeros(TOKENS, FEATURES).scatter(1, found.top_indices, found.top_acts)
            rebuilt = theirs(tokens, torch.zeros(TOKENS, WIDTH)).sae_out
        else:
            rebuilt = theirs(tokens)
    assert (mine != 0).any(axis=1).mean() > 0.9
    apart = np.abs(mine - found.numpy()).max()
    wrong = np.abs(ours.reconstruct(x) - rebuilt.numpy()).max()
    return float(apart), float(apart / mine.max()), float(wrong / rebuilt.abs().max())


def available() -> dict[str, str]:
    """Return the version of every program that is installed."""
    found = {}
    for distribution, module in PROGRAMS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module(module)
            found[distribution] = metadata.version(distribution)
        except ImportError:
            continue
    return found


def compare_all() -> tuple[list[str], int]:
    """Return a line for every row whose program is installed, and how many miss the aim."""
    lines, n_missed = [], 0
    found = available()
    for direction, program, name, measure in rows():
        if program not in found:
            continue
        with tempfile.TemporaryDirectory() as folder:
            apart, codes, rebuilt = measure(Path(folder))
        missed = max(codes, rebuilt) > AIM
        n_missed += missed
        end = " misses the aim |" if missed else " |"
        numbers = f"{apart:.1e} | {codes:.1e} | {rebuilt:.1e}"
        lines.append(f"| {direction} | {program} | {name} | {numbers} |{end}")
    return lines, n_missed


def main() -> int:
    """Print the table; return how many rows miss the aim."""
    warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):  # the programs print
        found = available()
        lines, n_missed = compare_all()
    versions = {**found, "torch": torch.__version__, "python": platform.python_version()}
    print("# Codes in this library and in the programs that made or read its files\n")
    print("```sh\npython benchmarks/interchange/check_peers.py\n```\n")
    print(f"- date: {datetime.now(UTC).date()}")
    print(f"- versions: {', '.join(f'{name} {held}' for name, held in versions.items())}")
    for program in (name for name in PROGRAMS if name not in found):
        print(f"- not installed, left out: {program}")
    print(f"- {TOKENS:,} random tokens of width {WIDTH}, {FEATURES} features, k = {K}, float32")
    print(f"- {len(lines) - n_missed} of {len(lines)} rows reach the aim, {AIM:.0e}\n")
    print("Largest differences. The aim is for those in parts of the largest value: both sides add")
    print("up in float32, and codes of 20 differ by units of its last place.\n")
    print("| direction | program | autoencoder | codes | in parts | reconstruction, in parts | |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    return n_missed


if __name__ == "__main__":
    sys.exit(main())
