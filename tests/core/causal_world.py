"""A network that is solved on paper: what an intervention does to it has a closed form.

A record is a list of amounts of planted directions per token. The network is a layer that passes
on, and a readout: endpoint ``linear`` is the sum over tokens of ``x . readout``, ``square`` that of
``|x|^2``. Records may lack the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from sci_interp.adapter import ModelIdentity, RecordActivations, Replacement
from sci_interp.hooks import capture, replace
from sci_interp.sae import SparseAutoencoder
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights

WIDTH, N_FEATURES, N_TOKENS = 12, 8, 6
SPLITS = {"train": 0.2, "discovery": 0.2, "test": 0.6}
LAYER = "middle"


@dataclass(frozen=True, eq=False)
class Records:
    """Activations ``(n_records, N_TOKENS, WIDTH)`` of records, some of a block."""

    values: np.ndarray
    names: list[str]
    blocks: list[str]
    without_square: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        return f"{self.values.sum():.17g}"

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame({"record": self.names, "block": self.blocks, "n_tokens": N_TOKENS})

    def of(self, record: str) -> torch.Tensor:
        return torch.from_numpy(self.values[self.names.index(record)])


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.middle = torch.nn.Identity()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.middle(states)


@dataclass(eq=False)
class SolvedAdapter:
    """As much of an adapter as an intervention needs; it counts its forward passes."""

    readout: np.ndarray
    noise: float = 0.0
    passes: dict[str, int] = field(default_factory=lambda: {"untouched": 0, "changed": 0})
    network: Network = field(default_factory=Network)
    name = "solved"
    default_layer = LAYER

    @property
    def model(self) -> ModelIdentity:
        return ModelIdentity("solved", "d" * 64, "float32")

    def layers(self) -> Mapping[str, int]:
        return {LAYER: WIDTH}

    def activations(
        self, dataset: Records, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        for record in records:
            with capture(self.network, layers) as found:
                self.network(dataset.of(record))
            yield RecordActivations(record, {name: found[name].numpy() for name in layers})

    def endpoints(self, dataset: Records) -> Mapping[str, str]:
        return {"linear": "sum of the readout", "square": "sum of squares"}

    def measure(
        self,
        dataset: Records,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        for record in records:
            self.passes["untouched" if replacement is None else "changed"] += 1
            if replacement is None:
                states = self.network(dataset.of(record))
            else:
                with replace(self.network, layer, replacement):
                    states = self.network(dataset.of(record))
            found = states.double().numpy()
            linear = float((found @ self.readout).sum()) + self.noise * self.passes["changed"]
            lacks = record in dataset.without_square
            yield record, {"linear": linear, "square": np.nan if lacks else float((found**2).sum())}


def make_sae(*, kind: str = "scale", seed: int = 0, decoder: np.ndarray | None = None):
    """An autoencoder that reads planted orthogonal directions and writes ``decoder``."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0][:N_FEATURES].astype(np.float32)
    encoder = torch.from_numpy(basis)
    centre = torch.full((WIDTH,), 0.25)
    spread = torch.linspace(0.5, 2.0, WIDTH) if kind == "channel" else torch.full((WIDTH,), 0.5)
    return SparseAutoencoder(
        weights=Weights(
            encoder=encoder,
            encoder_bias=torch.zeros(N_FEATURES),
            decoder=encoder if decoder is None else torch.from_numpy(decoder),
            decoder_bias=torch.zeros(WIDTH),
        ),
        sparsity=sparsity_of("topk", 2),
        normalisation=Normalisation(kind, centre, centre, spread),
        scale=np.ones(N_FEATURES, np.float32),
        firing_rate=np.linspace(0.1, 0.3, N_FEATURES, dtype=np.float32),
        parent={"layer": LAYER, "model_digest": "d" * 64},
    )


def make_records(*, n_blocks: int = 30, per_block: int = 3, seed: int = 0, **options) -> Records:
    rng = np.random.default_rng(seed)
    n = n_blocks * per_block
    values = rng.standard_normal((n, N_TOKENS, WIDTH)).astype(np.float32)
    names = [f"r{index:03d}" for index in range(n)]
    return Records(values, names, [f"b{index // per_block:02d}" for index in range(n)], **options)
