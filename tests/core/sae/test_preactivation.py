"""The bound of fast pre-activations holds, and admits few entries beside the active ones."""

from __future__ import annotations

import pytest
import torch
from sae_world import random_sae

from sci_interp.sae.preactivation import PreActivation, fast_arithmetic
from sci_interp.sae.tiles import has_tiles

needs_tiles = pytest.mark.skipif(not has_tiles(), reason="needs a processor with AVX-512 VNNI")
ARITHMETICS = [pytest.param("int8", marks=needs_tiles), "bfloat16", "float32"]


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("width", [3, 64, 700])
def test_exact_numbers_lie_within_the_bound_and_one_rounding(arithmetic, width) -> None:
    weights = random_sae(width=width, n_features=90).weights
    weights.encoder.mul_(torch.logspace(-2, 2, 90)[:, None])
    rows = torch.randn(60, width, generator=torch.Generator().manual_seed(1))
    rows *= torch.logspace(-2, 2, 60)[:, None]
    computed = PreActivation(weights, arithmetic)
    pre = computed(rows).double()
    exact = rows.double() @ weights.encoder.double().t() + weights.encoder_bias.double()
    rounding = 0.51 * torch.finfo(computed.dtype).eps
    allowed = computed.error(rows).double()[:, None] + rounding * pre.abs()
    assert ((pre - exact).abs() <= allowed).all()


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_the_bound_follows_the_weights(arithmetic) -> None:
    weights = random_sae().weights
    rows = torch.rand(2, weights.width, generator=torch.Generator().manual_seed(4))
    computed = PreActivation(weights, arithmetic)
    computed(rows)
    before = computed.error(rows)
    weights.encoder.mul_(8.0)
    computed.refresh()
    computed(rows)
    assert (computed.error(rows) > 4 * before).all()


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_few_entries_are_admitted_beside_the_active_ones(arithmetic) -> None:
    sae = random_sae(width=256, n_features=4096, k=32)
    rows = torch.randn(200, 256, generator=torch.Generator().manual_seed(2))
    computed = PreActivation(sae.weights, arithmetic)
    admitted = sae.sparsity.admit(computed(rows), computed.error(rows))
    assert len(admitted.feature) < 6 * 32 * 200


def test_the_fastest_arithmetic_suits_processor_and_selection(monkeypatch) -> None:
    def chosen(n_features: int = 64, *, ranked: bool = True, tiles: bool = True, **found) -> str:
        monkeypatch.setattr("sci_interp.sae.preactivation.has_tiles", lambda: tiles)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
        return fast_arithmetic(n_features, ranked=ranked)

    assert chosen() == "int8"
    assert chosen(63) == "float32"
    assert chosen(ranked=False, avx512_bf16=True) == "bfloat16"
    assert chosen(tiles=False, arm_bf16=True) == "bfloat16"
    assert chosen(amx_bf16=True) == "bfloat16"
    assert chosen(ranked=False) == "float32"
