"""An autoencoder is told from its neighbours' by what it leaves unexplained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from sci_interp.adapter import RecordActivations
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.sae.interchange.checking import neighbours
from sci_interp.sae.model import SparseAutoencoder
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights

WIDTH = 12


class Layered:
    """Every layer turns the same sparse sums of planted directions a little further."""

    name = "layered"
    default_layer = "blocks.1"
    names = ("embed", "blocks.0", "blocks.1", "blocks.2", "norm")

    def layers(self) -> Mapping[str, int]:
        return {**dict.fromkeys(self.names, WIDTH), "pooled": 3}

    def directions(self, layer: str) -> np.ndarray:
        rng = np.random.default_rng(self.names.index(layer))
        return np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]

    def activations(
        self, dataset: object, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        self.asked = (list(records), list(layers))
        for record in records:
            rng = np.random.default_rng(int(record))
            strength = rng.uniform(1, 2, (30, WIDTH)) * (rng.random((30, WIDTH)) < 0.2)
            values = {name: strength @ self.directions(name) + 0.4 for name in layers}
            yield RecordActivations(
                record, {name: held.astype(np.float32) for name, held in values.items()}
            )


DATA = SimpleNamespace(table=pd.DataFrame({"record": [str(i) for i in range(100)]}))


def sae_of(layer: str, *, declared: str = "blocks.1", width: int = WIDTH) -> SparseAutoencoder:
    basis = torch.from_numpy(Layered().directions(layer).astype(np.float32))[:, :width]
    zeros = torch.zeros(WIDTH)
    centre = torch.full((width,), 0.4)
    return SparseAutoencoder(
        weights=Weights(basis, zeros, basis, torch.zeros(width)),
        sparsity=sparsity_of("topk", 8),
        normalisation=Normalisation("none", centre, centre, torch.ones(width)),
        scale=np.ones(WIDTH, np.float32),
        firing_rate=np.zeros(WIDTH, np.float32),
        parent={"layer": declared},
    )


def test_the_declared_layer_fits() -> None:
    adapter = Layered()
    found = sae_of("blocks.1").check(adapter, DATA, n_records=4)
    assert found.layer == "blocks.1"
    assert list(found.fvu) == ["blocks.1", "blocks.0", "blocks.2"]
    assert found.fvu["blocks.1"] < 0.01 < 0.4 < min(found.fvu["blocks.0"], found.fvu["blocks.2"])
    assert found.n_tokens == 120
    assert adapter.asked[0] == ["0", "33", "66", "99"]
    assert found.format().endswith("on 120 tokens: blocks.1 fits")


def test_unexplained_variance_is_that_of_the_definition() -> None:
    adapter, sae = Layered(), sae_of("blocks.0")
    layer = "blocks.0"
    fvu = sae.check(adapter, DATA, layer, n_records=3).fvu[layer]
    found = adapter.activations(DATA, ["0", "50", "99"], [layer])
    values = np.concatenate([each.values[layer] for each in found])
    error = np.square(values - sae.reconstruct(values)).sum()
    assert fvu == pytest.approx(error / np.square(values - values.mean(0)).sum(), rel=1e-4)


@pytest.mark.parametrize("truth", ["blocks.0", "blocks.2"])
def test_a_neighbour_that_fits_is_named(truth: str) -> None:
    with pytest.raises(
        InputError, match=rf"fits layer '{truth}' and not 'blocks.1'.*layer='{truth}'"
    ):
        sae_of(truth).check(Layered(), DATA)


def test_what_fits_nowhere_is_refused() -> None:
    sae = sae_of("norm")
    bad = replace(sae, weights=replace(sae.weights, decoder=5 * sae.weights.decoder))
    with pytest.raises(InputError, match=r"fits neither layer 'blocks.1' nor its neighbours"):
        bad.check(Layered(), DATA)


def test_wrong_layers_are_named() -> None:
    with pytest.raises(UnknownNameError, match=r"no layer 'block.1'.*mean 'blocks.1'\?"):
        sae_of("blocks.1").check(Layered(), DATA, "block.1")
    with pytest.raises(InputError, match=r"reads 3 channels and layer 'blocks.1' has 12.*pooled"):
        sae_of("blocks.1", width=3).check(Layered(), DATA)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("blocks.1", ["blocks.0", "blocks.2"]),
        ("blocks.0", ["blocks.1", "embed"]),
        ("blocks.2", ["blocks.1", "norm"]),
        ("embed", ["blocks.0"]),
        ("norm", ["blocks.2"]),
    ],
)
def test_neighbours_go_by_number_and_then_by_place(layer: str, expected: list[str]) -> None:
    assert neighbours(layer, Layered.names) == expected
