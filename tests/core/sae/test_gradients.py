"""The hand-written backward pass equals autograd on the dense definition."""

from __future__ import annotations

import math

import pytest
import torch
from sae_world import planted_source, random_sae

from sci_interp.sae.dead import STRIDE, add_auxiliary
from sci_interp.sae.gradients import reconstruction_pass
from sci_interp.sae.matryoshka import prefix_sizes
from sci_interp.sae.pattern import Pattern
from sci_interp.sae.settings import resolve_settings
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.trainer import Trainer
from sci_interp.sae.weights import Weights

NAMES = ("encoder", "encoder_bias", "decoder", "decoder_bias")


def leaves(weights: Weights) -> Weights:
    return Weights(*(tensor.clone().requires_grad_() for _, tensor in weights.named()))


def dense_code(rows: torch.Tensor, weights: Weights, mask: torch.Tensor) -> torch.Tensor:
    return torch.relu(rows @ weights.encoder.t() + weights.encoder_bias) * mask


def dense_mask(pattern: Pattern) -> torch.Tensor:
    mask = torch.zeros(pattern.n_rows, pattern.n_features)
    mask[pattern.row, pattern.feature] = 1
    return mask


def rows_of(n: int, width: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(5))


def require_equal(found: Weights, wanted: Weights) -> None:
    for name in NAMES:
        slope = getattr(wanted, name).grad
        if slope is None:
            slope = torch.zeros_like(getattr(wanted, name))
        torch.testing.assert_close(getattr(found, name), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_reconstruction_gradients_are_autograds(architecture) -> None:
    weights = random_sae(architecture=architecture).weights
    rows = rows_of(50, weights.width)
    pre = rows @ weights.encoder.t() + weights.encoder_bias
    pattern = sparsity_of(architecture, 4).select(pre)
    done = reconstruction_pass(rows, weights, pattern)
    free = leaves(weights)
    code = dense_code(rows, free, dense_mask(pattern))
    loss = (code @ free.decoder + free.decoder_bias - rows).square().sum(1).mean()
    loss.backward()
    torch.testing.assert_close(done.loss, loss.detach())
    require_equal(done.gradient, free)


def test_matryoshka_gradients_are_autograds() -> None:
    weights = random_sae().weights
    rows = rows_of(40, weights.width)
    sparsity = sparsity_of("matryoshka", 4)
    pattern = sparsity.select(rows @ weights.encoder.t() + weights.encoder_bias)
    done = sparsity.learn(rows, weights, pattern)
    free = leaves(weights)
    code = dense_code(rows, free, dense_mask(pattern))
    losses = [
        (code[:, :n] @ free.decoder[:n] + free.decoder_bias - rows).square().sum(1).mean()
        for n in prefix_sizes(weights.n_features)
    ]
    loss = torch.stack(losses).mean()
    loss.backward()
    assert len(losses) == 5
    torch.testing.assert_close(done.loss, loss.detach())
    require_equal(done.gradient, free)


def test_dead_features_learn_the_residual() -> None:
    weights = random_sae().weights
    rows, error = rows_of(43, weights.width), 0.3 * rows_of(43, weights.width).flip(0)
    dead = torch.tensor([3, 17, 18, 40, 41, 42, 55, 60, 61, 62, 63])
    step, factor = 6, 0.25
    gradient = Weights(*(torch.zeros_like(tensor) for _, tensor in weights.named()))
    add_auxiliary(gradient, weights, dead, rows=rows, error=error, step=step, factor=factor)
    free = leaves(weights)
    some = slice(step % STRIDE, None, STRIDE)
    pre = torch.relu(rows[some] @ free.encoder[dead].t() + free.encoder_bias[dead])
    kept = torch.zeros_like(pre).scatter_(1, pre.topk(weights.width // 2).indices, 1.0)
    made = (pre * kept) @ free.decoder[dead]
    loss = factor * (made + error[some]).square().sum(1).mean()
    loss.backward()
    assert float(gradient.encoder[dead].abs().sum()) > 0
    require_equal(gradient, free)


def test_without_dead_features_nothing_is_added() -> None:
    weights = random_sae().weights
    gradient = Weights(*(torch.zeros_like(tensor) for _, tensor in weights.named()))
    rows = rows_of(8, weights.width)
    none = torch.zeros(0, dtype=torch.int64)
    add_auxiliary(gradient, weights, none, rows=rows, error=rows, step=0, factor=1.0)
    assert all(float(tensor.abs().sum()) == 0 for _, tensor in gradient.named())


def test_gradient_without_its_parallel_part_keeps_lengths() -> None:
    weights = random_sae().weights
    gradient = torch.randn(weights.decoder.shape, generator=torch.Generator().manual_seed(2))
    weights.drop_parallel(gradient)
    along = (gradient * weights.decoder).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-6, rtol=0)


def settings_for_steps():
    return resolve_settings(
        features=64, k=4, seed=0, architecture="topk", n_tokens=6400, batch_size=128,
        learning_rate=1e-3, splits=("train",), normalisation="scale", warm_up=0.1, decay=0.3,
        auxiliary=0.0, dead_after=None, blend=0.8, precision="float32",
    )  # fmt: skip


def test_training_steps_equal_dense_pytorch() -> None:
    """Twelve steps of the sparse trainer, and of dense TopK with autograd and plain Adam."""
    settings = settings_for_steps()
    weights = random_sae(width=32).weights
    free = leaves(weights)
    trainer = Trainer(weights, settings)
    adam = torch.optim.Adam([getattr(free, name) for name in NAMES])
    _, source = planted_source()
    values = torch.from_numpy(source.read(0, 12 * 128))
    for step, rows in enumerate((values - values.mean(0)).split(128)):
        trainer.update(rows)
        pre = rows @ free.encoder.t() + free.encoder_bias
        top = pre.topk(4)
        code = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
        loss = (code @ free.decoder + free.decoder_bias - rows).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            slope = free.decoder.grad
            slope -= (slope * free.decoder).sum(1, keepdim=True) * free.decoder
            adam.param_groups[0]["lr"] = settings.rate_at(step)
            adam.step()
            free.normalise_decoder()
    for name in NAMES:
        torch.testing.assert_close(
            getattr(weights, name), getattr(free, name).detach(), rtol=1e-3, atol=2e-5
        )


def test_rate_rises_stays_and_falls() -> None:
    settings = settings_for_steps()
    rates = [settings.rate_at(step) for step in range(settings.n_steps)]
    assert settings.n_steps == 50
    assert rates[:5] == pytest.approx([0.2e-3, 0.4e-3, 0.6e-3, 0.8e-3, 1e-3])
    assert rates[5:35] == pytest.approx([1e-3] * 30)
    assert rates[35:] == pytest.approx([1e-3 * left / 15 for left in range(15, 0, -1)])
    assert math.isclose(max(rates), settings.learning_rate)
