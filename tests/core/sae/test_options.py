"""Options that compose with every architecture: whitening, first decoder bias, resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sae_world import planted_source, random_sae, train_small

from sci_interp.errors import InputError
from sci_interp.sae import load_sae, train
from sci_interp.sae.adam import Adam
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.resampling import resample
from sci_interp.sae.settings import resolve_settings
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.trainer import Trainer
from sci_interp.sae.weights import Weights
from sci_interp.sae.whitening import RIDGE, folded, whitening_matrix
from sci_interp.source import ArraySource


def correlated(n: int, width: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    mixed = torch.randn(n, width, generator=draw) @ torch.randn(width, width, generator=draw)
    mixed -= mixed.mean(0)
    return mixed / mixed.square().mean().sqrt()


def test_whitened_tokens_are_uncorrelated() -> None:
    rows = correlated(5000, 12)
    matrix = whitening_matrix(rows)
    white = rows.double() @ matrix
    values = torch.linalg.eigvalsh(torch.cov(rows.double().t(), correction=0))
    wanted = torch.diag(values / (values + RIDGE))
    torch.testing.assert_close(torch.cov(white.t(), correction=0), wanted, atol=1e-6, rtol=0)
    assert torch.equal(matrix, whitening_matrix(rows))


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "gated"])
def test_whitening_is_folded_exactly(architecture) -> None:
    """The folded autoencoder does to tokens what the other does to whitened tokens."""
    sae = random_sae(architecture=architecture)
    rows = correlated(3000, sae.width)
    matrix = whitening_matrix(rows)
    none = Normalisation("none", torch.zeros(16), torch.zeros(16), torch.ones(16))
    inner = replace(sae, normalisation=none)
    outer = replace(inner, weights=folded(sae.weights, matrix))
    before = inner.encode((rows.double() @ matrix).float().numpy())
    after = outer.encode(rows.numpy())
    changed = np.abs(np.diff(before.indptr) - np.diff(after.indptr))
    assert changed.mean() < 1e-3  # a value that rounds to the other side of a threshold
    inside = inner.reconstruct((rows.double() @ matrix).float())
    wanted = (inside.double() @ torch.linalg.inv(matrix)).float()
    close = torch.isclose(outer.reconstruct(rows), wanted, rtol=1e-3, atol=1e-3).all(1)
    assert close.float().mean() > 0.999


@pytest.mark.parametrize("architecture", ["topk", "gated", "abs_topk"])
def test_whitening_trains_and_saves(architecture, tmp_path) -> None:
    """Directions are found though two channels are 30 times louder than the others."""
    directions, source = planted_source()
    loud = np.where(np.arange(32) < 2, 30.0, 1.0).astype(np.float32)
    louder = ArraySource(source.axis, source.values * loud)
    options = {"features": 96, "k": 3, "n_tokens": 150_000, "batch_size": 512, "progress": False}
    found = {}
    for whitening in (False, True):
        out = tmp_path / str(whitening)
        sae = train(
            louder, out=out, architecture=architecture, whitening=whitening, precision="float32",
            **options,
        )  # fmt: skip
        rows = sae.dictionary / loud
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found[whitening] = (directions @ rows.T).max(axis=1).mean()
    assert found[True] > max(0.9, found[False] + 0.05)
    assert load_sae(tmp_path / "True").training["whitening"] is True
    assert "whitening" not in load_sae(tmp_path / "False").training


def test_the_geometric_median_ignores_outliers() -> None:
    values = torch.randn(999, 6, generator=torch.Generator().manual_seed(0)) + 2.0
    values[:50] = 1000.0
    units = Normalisation.fit("scale", values, "geometric_median")
    assert float((units.centre - 2.0).abs().max()) < 0.2
    assert float((units.mean - 2.0).abs().min()) > 40
    gradient = torch.nn.functional.normalize(values.double() - units.centre, dim=1).mean(0)
    assert float(gradient.norm()) < 1e-3
    torch.testing.assert_close(units.apply(values).square().sum(1).mean(), torch.tensor(6.0))
    one_point = Normalisation.fit("scale", torch.eye(3), "geometric_median")
    torch.testing.assert_close(one_point.centre, torch.full((3,), 1 / 3))


def test_the_first_bias_is_in_the_file(tmp_path) -> None:
    sae = train_small(tmp_path / "sae", centre="geometric_median")
    again = load_sae(tmp_path / "sae")
    assert not torch.equal(sae.normalisation.centre, sae.normalisation.mean)
    assert torch.equal(again.normalisation.centre, sae.normalisation.centre)
    assert again.training["centre"] == "geometric_median"


def test_resampled_features_point_at_what_is_missing() -> None:
    weights = random_sae().weights
    before = weights.encoder.clone()
    dead = torch.tensor([3, 9, 40])
    error = torch.zeros(20, 16)
    error[4, 2], error[11, 7] = -2.0, 3.0
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 16, generator=draw)
    options = {"error": error, "rows": rows, "generator": draw}
    fresh = resample(weights, dead, same_layer=True, **options)
    assert fresh.tolist() == [3, 9]  # two tokens lack anything
    axes = torch.eye(16)
    found = {tuple(row.tolist()) for row in weights.decoder[fresh]}
    assert found == {tuple(axes[2].tolist()), tuple((-axes[7]).tolist())}
    alive = torch.tensor([j for j in range(64) if j not in (3, 9, 40)])
    torch.testing.assert_close(
        weights.encoder[fresh], weights.decoder[fresh] * before[alive].norm(dim=1).mean()
    )
    assert torch.equal(weights.encoder[alive], before[alive])
    assert len(resample(weights, dead[:0], same_layer=True, **options)) == 0
    fresh = resample(weights, dead[:1], same_layer=False, **options)
    read = weights.encoder[3] / weights.encoder[3].norm()
    assert float((torch.nn.functional.normalize(rows, dim=1) @ read).max()) > 0.999


def test_resampling_leaves_fewer_dead(tmp_path) -> None:
    changes = {"features": 64, "n_tokens": 60_000, "auxiliary": 0.0}
    without = train_small(tmp_path / "without", **changes)
    with_it = train_small(tmp_path / "with", revival="resampling", **changes)
    assert with_it.training["dead_fraction"] < without.training["dead_fraction"]
    assert with_it.training["curve"][-1]["fvu"] < 0.9 * without.training["curve"][-1]["fvu"]


@pytest.mark.parametrize("architecture", ["topk", "abs_topk", "relu", "gated", "jumprelu"])
def test_features_that_cannot_fire_start_anew(architecture) -> None:
    """Four features are closed for good; only resampling opens them."""
    _, source = planted_source()
    values = torch.from_numpy(source.read(0, 40 * 128))
    batches = (values - values.mean(0)).split(128)
    fired = {}
    for revival in ("auxiliary", "resampling"):
        settings = resolve_settings(
            features=64, k=4, seed=0, architecture=architecture, n_tokens=80 * 128, batch_size=128,
            learning_rate=1e-3, splits=("train",), normalisation="scale", warm_up=0.1, decay=0.3,
            auxiliary=0.0, dead_after=1000, blend=0.8, precision="float32", revival=revival,
        )  # fmt: skip
        trainer = Trainer(random_sae(width=32).weights, settings)
        trainer.begin(batches[0])
        own = trainer.sparsity.parameters()
        trainer.weights.encoder[:4] = 0.0
        trainer.weights.encoder_bias[:4] = 0.0 if architecture == "abs_topk" else -50.0
        if architecture == "gated":
            own["gate_bias"][:4] = -50.0
        if architecture == "jumprelu":
            own["log_threshold"][:4] = 6.0
        for rows in batches:
            trainer.update(rows)
        silent = trainer.state()["silent"][:4]
        fired[revival] = int((silent < 39 * 128).sum())
    assert fired == {"auxiliary": 0, "resampling": 4}


def test_revived_features_get_what_is_usual() -> None:
    weights = random_sae().weights
    weights.encoder_bias.copy_(torch.linspace(-3.0, 1.0, 64))
    sparsity_of("relu", 4).revive(torch.tensor([5]), weights)
    assert float(weights.encoder_bias[5]) == pytest.approx(-1.0, abs=0.1)
    sparsity_of("topk", 4).revive(torch.tensor([6]), weights)
    assert float(weights.encoder_bias[6]) == 0.0


def test_the_optimiser_forgets_rows() -> None:
    weights = Weights(torch.ones(4, 3), torch.ones(4), torch.ones(4, 3), torch.ones(3))
    adam = Adam(dict(weights.named()))
    adam.step({name: torch.ones_like(held) for name, held in weights.named()}, 0.1)
    adam.forget(torch.tensor([1, 2]))
    state = adam.state()
    for kind in ("first", "second"):
        for name in ("encoder", "encoder_bias", "decoder"):
            moment = state[f"{kind}.{name}"]
            assert (moment[1:3] == 0).all() and (moment[[0, 3]] > 0).all()
        assert (state[f"{kind}.decoder_bias"] > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalty": 0.1}, "architecture 'topk' has no penalty"),
        ({"penalty": 0.0, "architecture": "relu"}, "penalty=0.0 is not usable"),
        ({"penalty": float("nan"), "architecture": "relu"}, "penalty=nan"),
        ({"plain_penalty": True, "architecture": "gated"}, "'gated' has no plain penalty"),
        ({"revival": "prayer"}, "revival 'prayer' is unknown"),
        ({"centre": "mode"}, "centre 'mode' is unknown"),
        ({"whitening": True, "normalisation": "none"}, "whitening needs tokens of one layer"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, message, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        train_small(tmp_path / "sae", **changes)
    assert not (tmp_path / "sae").exists()
