"""Gradients of priced architectures are autograd's on the dense formulas; prices find their aim."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sae_world import planted_source, random_sae

from sci_interp.sae.abs_topk import mirrored
from sci_interp.sae.gradients import Pass
from sci_interp.sae.pattern import Pattern
from sci_interp.sae.penalised import at_or_above
from sci_interp.sae.settings import TrainingSettings, resolve_settings
from sci_interp.sae.sparsity import Sparsity, sparsity_of
from sci_interp.sae.trainer import Trainer
from sci_interp.sae.weights import Weights

PRICE = 0.07


def settings_of(architecture: str, **changes: Any) -> TrainingSettings:
    given: dict[str, Any] = {
        "features": 64, "k": 4, "seed": 0, "architecture": architecture, "n_tokens": 6400,
        "batch_size": 128, "learning_rate": 1e-3, "splits": ("train",), "normalisation": "scale",
        "warm_up": 0.1, "decay": 0.3, "auxiliary": 0.0, "dead_after": None, "blend": 0.8,
        "precision": "float32",
    }  # fmt: skip
    return resolve_settings(**{**given, **changes})


def rows_of(n: int, width: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(5))


def learned(sparsity: Sparsity, rows: torch.Tensor, weights: Weights) -> Pass:
    reader = sparsity.reader(weights)
    pre = rows[:, : weights.width] @ reader.encoder.t() + reader.encoder_bias
    return sparsity.learn(rows, weights, sparsity.select(pre))


def require_autograd(
    done: Pass,
    weights: Weights,
    loss: Callable[[Weights, dict[str, torch.Tensor]], torch.Tensor],
    own: dict[str, torch.Tensor],
) -> None:
    """Compare loss and every gradient with those of a dense formula of weights and parameters."""
    free = Weights(*(tensor.clone().requires_grad_() for _, tensor in weights.named()))
    parameters = {name: held.clone().requires_grad_() for name, held in own.items()}
    total = loss(free, parameters)
    total.backward()
    torch.testing.assert_close(done.loss, total.detach())
    assert set(done.own) == set(own)
    wanted = {**dict(free.named()), **parameters}
    for name, found in {**dict(done.gradient.named()), **done.own}.items():
        slope = wanted[name].grad
        assert slope is not None and float(slope.abs().max()) > 0
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-5)


def squares(code: torch.Tensor, free: Weights, target: torch.Tensor) -> torch.Tensor:
    return (code @ free.decoder + free.decoder_bias - target).square().sum(1).mean()


@pytest.mark.parametrize("plain", [False, True])
def test_relu_gradients_are_autograds(plain) -> None:
    weights = random_sae().weights
    if not plain:
        weights.decoder.mul_(torch.linspace(0.5, 2.0, weights.n_features)[:, None])
    sparsity = sparsity_of("relu", 4)
    sparsity.prepare(settings_of("relu", plain_penalty=plain), weights)
    sparsity.price = PRICE
    rows = rows_of(50, weights.width)

    def loss(free: Weights, _: dict[str, torch.Tensor]) -> torch.Tensor:
        code = torch.relu(rows @ free.encoder.t() + free.encoder_bias)
        length = torch.ones(len(free.decoder)) if plain else free.decoder.norm(dim=1)
        return squares(code, free, rows) + PRICE * 4.0 * (code * length).sum(1).mean()

    done = learned(sparsity, rows, weights)
    require_autograd(done, weights, loss, {})
    folded = sparsity.finish(weights)
    torch.testing.assert_close(folded.decoder.norm(dim=1), torch.ones(weights.n_features))
    before = torch.relu(rows @ weights.encoder.t() + weights.encoder_bias) @ weights.decoder
    after = torch.relu(rows @ folded.encoder.t() + folded.encoder_bias) @ folded.decoder
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_crosscoder_gradients_are_autograds() -> None:
    weights = random_sae(width=18).weights
    sparsity = sparsity_of("crosscoder", 4)
    sparsity.prepare(settings_of("crosscoder", widths=(10, 5, 3)), weights)
    sparsity.price = PRICE
    rows = rows_of(50, weights.width)

    def loss(free: Weights, _: dict[str, torch.Tensor]) -> torch.Tensor:
        code = torch.relu(rows @ free.encoder.t() + free.encoder_bias)
        parts = free.decoder.split([10, 5, 3], dim=1)
        lengths = torch.stack([part.norm(dim=1) for part in parts]).sum(0)
        return squares(code, free, rows) + PRICE * math.sqrt(18) * (code * lengths).sum(1).mean()

    require_autograd(learned(sparsity, rows, weights), weights, loss, {})


def test_gated_gradients_are_autograds() -> None:
    weights = random_sae().weights
    sparsity = sparsity_of("gated", 4)
    sparsity.prepare(settings_of("gated"), weights)
    sparsity.price = PRICE
    own = sparsity.parameters()
    own["gate_bias"].copy_(torch.linspace(-2.0, 1.0, weights.n_features))
    own["log_scale"].copy_(torch.linspace(-0.3, 0.4, weights.n_features))
    sparsity.follow(4.0)
    sparsity.price = PRICE
    rows = rows_of(50, weights.width)

    def loss(free: Weights, held: dict[str, torch.Tensor]) -> torch.Tensor:
        reading = rows @ free.encoder.t()
        gate = torch.relu(reading + held["gate_bias"])
        magnitude = torch.relu(held["log_scale"].exp() * reading + free.encoder_bias)
        frozen = gate @ free.decoder.detach() + free.decoder_bias.detach()
        through_gate = (frozen - rows).square().sum(1).mean()
        code = magnitude * (gate.detach() > 0)
        return squares(code, free, rows) + through_gate + PRICE * 4.0 * gate.sum(1).mean()

    require_autograd(learned(sparsity, rows, weights), weights, loss, own)


class Jump(torch.autograd.Function):
    """The paper's JumpReLU with its pseudo-derivatives; ``whole`` gives z, and 1 otherwise."""

    @staticmethod
    def forward(ctx, reach, edge, width, whole):
        ctx.save_for_backward(reach, edge)
        ctx.width, ctx.whole = width, whole
        return (reach if whole else 1.0) * (reach > edge)

    @staticmethod
    def backward(ctx, upstream):
        reach, edge = ctx.saved_tensors
        kernel = ((reach - edge).abs() < ctx.width / 2) / ctx.width
        of_edge = -(edge if ctx.whole else 1.0) * kernel * upstream
        of_reach = upstream * (reach > edge) if ctx.whole else None
        return of_reach, of_edge.sum(0), None, None


@pytest.mark.parametrize("penalty", [None, 0.02])
def test_jumprelu_gradients_are_the_papers(penalty) -> None:
    weights = random_sae().weights
    sparsity = sparsity_of("jumprelu", 4)
    sparsity.prepare(settings_of("jumprelu", penalty=penalty, warm_up=0.0), weights)
    rows = rows_of(400, weights.width)
    sparsity.begin(rows, weights)
    own = sparsity.parameters()
    own["log_threshold"].add_(torch.linspace(-0.4, 0.4, weights.n_features))
    sparsity.follow(4.0)
    width = float(sparsity.state()["bandwidth"])

    def loss(free: Weights, held: dict[str, torch.Tensor]) -> torch.Tensor:
        reach = torch.relu(rows @ free.encoder.t() + free.encoder_bias)
        edge = held["log_threshold"].exp()
        code = Jump.apply(reach, edge, width, True)
        n_active = Jump.apply(reach, edge, width, False).sum(1).mean()
        if penalty is None:
            return squares(code, free, rows) + 16 * 10.0 * (n_active / 4 - 1).square()
        return squares(code, free, rows) + 16 * penalty * n_active

    done = learned(sparsity, rows, weights)
    require_autograd(done, weights, loss, own)
    reach = rows @ weights.encoder.t() + weights.encoder_bias
    torch.testing.assert_close(done.counts, (reach > sparsity.threshold).sum(0))


def test_abs_topk_gradients_are_autograds() -> None:
    weights = random_sae().weights
    rows = rows_of(50, weights.width)

    def loss(free: Weights, _: dict[str, torch.Tensor]) -> torch.Tensor:
        pre = rows @ free.encoder.t() + free.encoder_bias
        kept = torch.zeros_like(pre).scatter_(1, pre.abs().topk(4).indices, 1.0)
        return squares(pre * kept, free, rows)

    sparsity = sparsity_of("abs_topk", 4)
    done = learned(sparsity, rows, weights)
    assert float(done.value.min()) < 0
    require_autograd(done, weights, loss, {})


def test_transcoder_gradients_are_autograds() -> None:
    weights = random_sae(width=12).weights
    weights = Weights(
        weights.encoder[:, :7].contiguous(), weights.encoder_bias, weights.decoder,
        weights.decoder_bias,
    )  # fmt: skip
    rows = rows_of(50, 19)

    def loss(free: Weights, _: dict[str, torch.Tensor]) -> torch.Tensor:
        top = (rows[:, :7] @ free.encoder.t() + free.encoder_bias).topk(4)
        code = torch.zeros(50, 64).scatter(1, top.indices, top.values.relu())
        return squares(code, free, rows[:, 7:])

    require_autograd(learned(sparsity_of("transcoder", 4), rows, weights), weights, loss, {})


def test_both_sides_of_a_direction_write_opposites() -> None:
    weights = random_sae().weights
    both = mirrored(weights)
    rows = rows_of(30, weights.width)
    pre = rows @ weights.encoder.t() + weights.encoder_bias
    kept = torch.zeros_like(pre).scatter_(1, pre.abs().topk(4).indices, 1.0)
    signed = (pre * kept) @ weights.decoder
    sides = rows @ both.encoder.t() + both.encoder_bias
    top = sides.topk(4)
    code = torch.zeros_like(sides).scatter(1, top.indices, top.values)
    torch.testing.assert_close(code @ both.decoder, signed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["relu", "gated", "jumprelu"])
def test_a_given_penalty_rises_and_stays(architecture) -> None:
    settings = settings_of(architecture, penalty=0.5)
    sparsity = sparsity_of(architecture, 4)
    sparsity.prepare(settings, random_sae().weights)
    seen = []
    for _ in range(8):
        seen.append(sparsity.price)
        sparsity.follow(30.0)
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5])


def test_a_steered_price_rises_where_too_many_are_active() -> None:
    sparsity = sparsity_of("relu", 4)
    sparsity.prepare(settings_of("relu"), random_sae().weights)
    first = sparsity.price
    sparsity.follow(8.0)
    assert sparsity.price > first
    sparsity.follow(2.0)
    assert sparsity.price == pytest.approx(first)
    sparsity.follow(0.0)
    assert 0 < sparsity.price < first


def test_a_penalty_says_its_own_k() -> None:
    weights = random_sae().weights
    sparsity = sparsity_of("relu", 4)
    sparsity.prepare(settings_of("relu", penalty=0.5), weights)
    pre = torch.zeros(10, 64)
    pre[:, :7] = 1.0
    sparsity.calibrate(iter([pre - 0.5, pre - 0.5]))
    assert sparsity.k == 7


@pytest.mark.parametrize("architecture", ["relu", "gated", "jumprelu", "crosscoder"])
def test_a_trainer_continues_where_it_stood(architecture) -> None:
    """State taken after 3 steps, given to a new trainer, leads to the same weights."""
    changes = {"widths": (20, 12)} if architecture == "crosscoder" else {}
    settings = settings_of(architecture, **changes)
    _, source = planted_source()
    values = torch.from_numpy(source.read(0, 6 * 128))
    batches = (values - values.mean(0)).split(128)
    one = Trainer(random_sae(width=32).weights, settings)
    one.begin(batches[0])
    state: dict[str, torch.Tensor] = {}
    for step, rows in enumerate(batches):
        if step == 3:
            state = {name: held.clone() for name, held in one.state().items()}
        one.update(rows)
    two = Trainer(random_sae(width=32, seed=1).weights, settings)
    two.restore(state)
    for rows in batches[3:]:
        two.update(rows)
    for name, held in one.state().items():
        assert torch.equal(held, two.state()[name]), name


def test_the_pattern_above_floors_is_the_dense_one() -> None:
    pre = rows_of(9, 40).to(torch.bfloat16)
    floor = torch.linspace(-1.0, 1.0, 40)
    found = at_or_above(pre, floor)
    mask = pre >= floor.to(torch.bfloat16)
    assert isinstance(found, Pattern)
    assert torch.equal(found.row, mask.nonzero()[:, 0])
    assert torch.equal(found.feature, mask.nonzero()[:, 1])
    assert torch.equal(found.indptr.diff(), mask.sum(1))
