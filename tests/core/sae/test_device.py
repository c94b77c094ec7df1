"""Training on a device: torch operations do what the compiled loops do, wherever they run.

Most tests compute the device's way on the processor. On the meta device, which has shapes and no
numbers, whatever would wait for a number fails, and so does a tensor that was left behind.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from device_world import BESIDE, batches_for, draw, require_close, trainer_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sae_world import random_sae
from torch.utils._python_dispatch import TorchDispatchMode

from sci_interp.errors import NotFiniteError
from sci_interp.sae.dead import add_auxiliary
from sci_interp.sae.device import DeviceEngine
from sci_interp.sae.device.choosing import DEVICE_ARCHITECTURES
from sci_interp.sae.device.pattern import DevicePattern
from sci_interp.sae.engine import HOST
from sci_interp.sae.pattern import Pattern
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights

#: State that no step on the device reads.
ON_HOST = ("step", "curve", "sparsity.threshold")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def chosen(pattern: Pattern) -> set[tuple[int, int]]:
    """Return the active entries as pairs of row and feature."""
    pairs = list(zip(pattern.row.tolist(), pattern.feature.tolist(), strict=True))
    if isinstance(pattern, DevicePattern):
        return {pair for pair, kept in zip(pairs, pattern.positive.tolist(), strict=True) if kept}
    return set(pairs)


# What a pattern computes


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 10)),
    share=st.floats(0.0, 1.0),
)
def test_a_pattern_computes_what_the_compiled_one_does(seed, shape, share) -> None:
    """Any entries, rows and features without any among them."""
    n_rows, n_features, width = shape
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(n_rows, n_features, generator=generator) < share
    indptr = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
    feature = mask.nonzero()[:, 1].contiguous()
    one = Pattern(indptr, feature, n_features)
    two = DevicePattern(indptr, feature, n_features, torch.ones(len(feature), dtype=torch.bool))
    table, rows, bias = draw(n_features, width), draw(n_rows, width), draw(width)
    value = draw(len(feature), seed=seed)
    kept = torch.rand(len(feature), generator=generator) < 0.5
    for first, second in (
        (one.row, two.row),
        (one.products(rows, table), two.products(rows, table)),
        (one.combine(value, table), two.combine(value, table)),
        *zip(
            one.reconstruct(value, table, bias, rows),
            two.reconstruct(value, table, bias, rows),
            strict=True,
        ),
        (one.gather(value, rows), two.gather(value, rows)),
        (one.totals(value), two.totals(value)),
        (one.counts(), two.counts()),
        (one.subset(kept).indptr, two.subset(kept).indptr),
        (one.subset(kept).feature, two.subset(kept).feature),
        (
            one.subset(kept).combine(value[kept], table),
            two.subset(kept).combine(value[kept], table),
        ),
    ):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_totals_are_the_same_in_any_order() -> None:
    """As a device adds in any."""
    n = 5000
    feature = torch.randint(0, 7, (n,), generator=torch.Generator().manual_seed(0))
    value = draw(n) * torch.logspace(-6, 6, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    found = []
    for at in (torch.arange(n), order):
        pattern = DevicePattern(torch.tensor([0, n]), feature[at], 7, torch.ones(n) > 0)
        found.append(pattern.totals(value[at]))
    assert torch.equal(*found)
    wanted = torch.zeros(7, dtype=torch.float64).index_add_(0, feature, value.double())
    torch.testing.assert_close(found[0], wanted.float(), rtol=1e-6, atol=0)


# What is selected


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(1, 20),
    n_features=st.integers(2, 40),
    k=st.integers(1, 40),
    shift=st.floats(-2.0, 1.0),
)
def test_the_same_entries_are_selected(seed, n_rows, n_features, k, shift) -> None:
    """With few or no positive pre-activations too, which only the device's pattern fills up."""
    k = min(k, n_features)
    pre = draw(n_rows, n_features, seed=seed) + shift
    for architecture in ("topk", "abs_topk", "batch_topk"):
        sparsity = sparsity_of(architecture, k)
        one, two = HOST.select(sparsity, pre), BESIDE.select(sparsity, pre)
        assert chosen(one) == chosen(two)
        assert len(two.feature) == k * n_rows
        assert torch.equal(one.counts(), two.counts())
        inside = torch.ones(len(two.feature), dtype=torch.bool)
        inside[two.indptr[:-1][two.indptr[:-1] < len(inside)]] = False
        assert (two.feature.diff()[inside[1:]] > 0).all()


@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_of_equal_bfloat16_numbers_either_is_taken(architecture) -> None:
    """Their values are those that the compiled selection takes."""
    pre = draw(50, 64).bfloat16()
    sparsity = sparsity_of(architecture, 5)
    one, two = (engine.select(sparsity, pre) for engine in (HOST, BESIDE))
    values = [pre[each.row, each.feature].sort().values for each in (one, two)]
    assert torch.equal(*values)


# One pass, one step, and what the optimiser makes of it


@pytest.mark.parametrize("architecture", DEVICE_ARCHITECTURES)
def test_loss_and_gradients_are_those_of_the_compiled_pass(architecture) -> None:
    (rows,) = batches_for(architecture, 1)
    weights = random_sae(width=32).weights
    read = rows[:, :32].contiguous()
    pre = read @ weights.encoder.t() + weights.encoder_bias
    sparsity = sparsity_of(architecture, 4)
    one, two = (
        sparsity.learn(rows, weights, engine.select(sparsity, pre)) for engine in (HOST, BESIDE)
    )
    assert float(two.loss) == pytest.approx(float(one.loss), rel=1e-5)
    torch.testing.assert_close(two.error, one.error, rtol=1e-5, atol=1e-5)
    require_close(two.gradient, one.gradient, rtol=1e-5)
    assert torch.equal(one.counts, two.counts)


class Largest(TorchDispatchMode):
    """Remembers the most numbers that an operation returned."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.most = max(self.most, each.numel())
        return made


@pytest.mark.parametrize("architecture", DEVICE_ARCHITECTURES)
def test_no_tensor_has_a_row_of_channels_for_every_entry(architecture) -> None:
    """The largest is that of the batch, not 16 times it as the gathered rows would be."""
    (rows,) = batches_for(architecture, 1)
    weights = random_sae(width=32).weights
    pattern = BESIDE.select(sparsity_of(architecture, 16), draw(128, 64))
    with Largest() as seen:
        sparsity_of(architecture, 16).learn(rows, weights, pattern)
    assert len(pattern.feature) == 16 * 128
    assert 0 < seen.most <= rows.numel()


@pytest.mark.parametrize("signed", [False, True])
def test_dead_features_learn_the_same(signed) -> None:
    weights = random_sae().weights
    rows, error = draw(43, weights.width), 0.3 * draw(43, weights.width).flip(0)
    mask = torch.zeros(64, dtype=torch.bool)
    mask[[3, 17, 18, 40, 41, 42, 55, 60, 61, 62, 63]] = True
    found = []
    for engine in (HOST, BESIDE):
        gradient = Weights(*(torch.zeros_like(tensor) for _, tensor in weights.named()))
        dead = engine.marked(mask, 11)
        assert torch.equal(dead, mask.nonzero().flatten())
        add_auxiliary(
            gradient, weights, dead, rows=rows, error=error, step=6, factor=0.25, signed=signed,
            patterns=engine.patterns,
        )  # fmt: skip
        found.append(gradient)
    assert float(found[0].encoder.abs().sum()) > 0
    require_close(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize("architecture", DEVICE_ARCHITECTURES)
def test_steps_are_the_same(architecture) -> None:
    """Twelve, with dead features, lengths held and both moments of the optimiser."""
    one, two = (trainer_of(architecture, engine) for engine in (HOST, BESIDE))
    for rows in batches_for(architecture, 12):
        one.update(rows)
        two.update(rows)
    require_close(two.weights, one.weights, rtol=1e-4)
    for (name, held), other in zip(one.state().items(), two.state().values(), strict=True):
        torch.testing.assert_close(other, held, rtol=2e-3, atol=1e-4, msg=name)
    assert one.curve[-1][3] > 0
    torch.testing.assert_close(two.weights.decoder.norm(dim=1), torch.ones(64))


def test_fewer_parts_at_once_are_the_same() -> None:
    whole, parts = (trainer_of("topk", BESIDE, accumulate=each) for each in (1, 4))
    for rows in batches_for("topk", 6):
        whole.update(rows)
        parts.update(rows)
    require_close(parts.weights, whole.weights, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "abs_topk", "transcoder"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_step_waits_for_the_device_once(architecture, precision, monkeypatch) -> None:
    """And no tensor of it is on the processor: the meta device would refuse both."""
    reads = []

    def read(tensor: torch.Tensor) -> list[float]:
        reads.append(tensor.device.type)
        return [1.0, 512.0, 9.0]

    trainer = trainer_of(
        architecture, DeviceEngine(torch.device("meta")), precision=precision, dead_after=1
    )
    rows = trainer._engine.move(batches_for(architecture, 1)[0])
    trainer.step = 1  # not one that is recorded
    monkeypatch.setattr(torch.Tensor, "tolist", read)
    trainer.update(rows)
    assert reads == ["meta"]
    kept = [held for name, held in trainer.state().items() if name not in ON_HOST]
    assert len(kept) == 13
    assert {held.device.type for held in kept} == {"meta"}
    trainer.step = 2
    with pytest.raises((RuntimeError, NotImplementedError)):
        trainer.update(rows)


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    trainer = trainer_of("topk", BESIDE)
    rows = batches_for("topk", 1)[0].clone()
    rows[5, 3] = torch.inf
    with pytest.raises(NotFiniteError, match="the loss of training step 0"):
        trainer.update(rows)


# On a CUDA device


@needs_cuda
@pytest.mark.parametrize("architecture", DEVICE_ARCHITECTURES)
def test_steps_on_cuda_are_those_of_the_processor(architecture) -> None:
    cuda = DeviceEngine(torch.device("cuda"))
    one, two = trainer_of(architecture, HOST), trainer_of(architecture, cuda)
    for rows in batches_for(architecture, 12):
        one.update(rows)
        two.update(cuda.move(rows))
    require_close(two.weights, one.weights, rtol=1e-3)


@needs_cuda
@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_a_step_on_cuda_waits_once(architecture) -> None:
    cuda = DeviceEngine(torch.device("cuda"))
    trainer = trainer_of(architecture, cuda, precision="bfloat16")
    batches = [cuda.move(rows) for rows in batches_for(architecture, 6)]
    for rows in batches[:-1]:
        trainer.update(rows)
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        trainer.update(batches[-1])
        torch.cuda.set_sync_debug_mode("default")
    assert len([each for each in caught if "synchronizing" in str(each.message)]) == 1
