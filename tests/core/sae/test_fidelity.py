"""Fidelity equals its definitions, computed the long way."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fake_adapter import FakeAdapter, make_dataset
from sae_world import planted_source, random_sae, train_small

from sci_interp.adapter import TokenLoss
from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, SciInterpError
from sci_interp.sae import fidelity, train
from sci_interp.source import ArraySource, StackedSource


def test_numbers_are_their_definitions(tmp_path) -> None:
    _, source = planted_source()
    sae = train_small(tmp_path / "sae")
    found = fidelity(sae, source, splits=("test",), out=tmp_path / "fidelity.json")
    values = source.read(*source.axis.token_range(["test"])).astype(np.float64)
    error = np.square(values - sae.reconstruct(values.astype(np.float32))).sum()
    codes = sae.encode(values.astype(np.float32))
    assert found.fvu == pytest.approx(error / np.square(values - values.mean(0)).sum(), rel=1e-6)
    assert found.l0 == pytest.approx(len(codes.feature) / len(values))
    n_silent = sae.n_features - len(np.unique(codes.feature))
    assert found.dead_fraction == n_silent / sae.n_features
    assert found.n_tokens == len(values) and found.loss_recovered is None
    assert json.loads((tmp_path / "fidelity.json").read_text())["fvu"] == found.fvu


class LinearAdapter:
    """The loss of a record is the squared distance of its activations to a target, per token."""

    name = "linear"

    def __init__(self, source: ArraySource) -> None:
        self.source = source
        self.target = source.values + 0.5

    def loss(self, dataset, records, layer, replacement, *, seed=0) -> TokenLoss:
        total = TokenLoss(0.0, 0)
        axis = self.source.axis
        for index in np.flatnonzero(axis.records["record"].isin(records)):
            start, stop = axis.record_starts[index], axis.record_starts[index + 1]
            values = torch.from_numpy(self.source.values[start:stop])
            seen = values if replacement is None else replacement(values)
            distance = (seen.numpy() - self.target[start:stop]) ** 2
            total += TokenLoss(float(distance.sum(dtype=np.float64)), int(stop - start))
        return total


def test_loss_recovered_on_a_linear_network(tmp_path) -> None:
    _, source = planted_source(n_tokens=4000)
    sae = train_small(tmp_path / "sae")
    adapter = LinearAdapter(source)
    chosen = source.axis.records["record"].iloc[-5:].tolist()
    found = fidelity(sae, source, adapter=adapter, dataset=object(), records=chosen)
    values, target = source.values[-500:], adapter.target[-500:]
    mean = sae.normalisation.mean.numpy()

    def loss(seen):
        return np.square(seen - target).sum(1).mean()

    wanted = [loss(values), loss(sae.reconstruct(values)), loss(mean), loss(np.zeros(32))]
    assert found.loss_original == pytest.approx(wanted[0], rel=1e-5)
    assert found.loss_reconstructed == pytest.approx(wanted[1], rel=1e-5)
    assert found.loss_mean == pytest.approx(wanted[2], rel=1e-5)
    assert found.loss_zero == pytest.approx(wanted[3], rel=1e-5)
    share = (wanted[2] - wanted[1]) / (wanted[2] - wanted[0])
    assert found.loss_recovered == pytest.approx(share, rel=1e-4)
    assert found.n_loss_tokens == 500


def test_loss_recovered_is_not_clipped() -> None:
    _, source = planted_source(n_tokens=2000)
    sae = random_sae(width=32)
    adapter = LinearAdapter(source)
    sae.weights.decoder.mul_(50)
    found = fidelity(sae, source, adapter=adapter, dataset=object())
    assert found.loss_recovered < 0


def test_a_real_splice_recovers_most_of_the_loss(tmp_path) -> None:
    adapter, dataset = FakeAdapter(), make_dataset(n_records=60)
    axis = TokenAxis.build(dataset.table, {"train": 0.6, "test": 0.4})
    held = {
        found.record: found.values["layers.1"]
        for found in adapter.activations(dataset, axis.records["record"].tolist(), ["layers.1"])
    }
    values = np.concatenate([held[name] for name in axis.records["record"]])
    source = ArraySource(axis, values, layer="layers.1")
    sae = train(
        source, out=tmp_path / "sae", features=64, k=8, n_tokens=60_000, batch_size=256,
        splits=("train",), progress=False,
    )  # fmt: skip
    found = fidelity(sae, source, adapter=adapter, dataset=dataset)
    assert found.n_loss_tokens > 50
    assert found.loss_original != found.loss_mean
    assert found == fidelity(sae, source, adapter=adapter, dataset=dataset)
    assert abs(found.loss_reconstructed - found.loss_original) < abs(
        found.loss_mean - found.loss_original
    )


def test_constant_activations_are_refused() -> None:
    sae = random_sae()
    table = pd.DataFrame({"record": ["a"], "block": ["a"], "n_tokens": [20]})
    axis = TokenAxis.build(table, {"test": 1.0})
    source = ArraySource(axis, np.ones((20, sae.width), np.float32))
    with pytest.raises(InputError, match="no variance"):
        fidelity(sae, source)


def test_what_cannot_be_measured_is_refused() -> None:
    _, source = planted_source(n_tokens=2000)
    sae = random_sae(width=32)
    with pytest.raises(InputError, match="both an adapter and a dataset"):
        fidelity(sae, source, adapter=LinearAdapter(source))
    both = StackedSource([source, source])
    with pytest.raises(InputError, match=r"measured at one layer, and 'array \+ array' is several"):
        fidelity(sae, both, adapter=LinearAdapter(source), dataset=object())
    with pytest.raises(InputError, match="vault hold no token"):
        fidelity(sae, source, splits=("vault",))
    sizes = iter([10, 10, 11, 10])
    uneven = SimpleNamespace(name="uneven", loss=lambda *_a, **_k: TokenLoss(1.0, next(sizes)))
    with pytest.raises(SciInterpError, match=r"scored \[10, 11\] tokens"):
        fidelity(sae, source, adapter=uneven, dataset=object())
