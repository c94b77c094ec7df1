"""The bound of fast pre-activations holds, and admits few entries beside the active ones."""

from __future__ import annotations

import pytest
import torch
from sae_world import random_sae

from sci_interp.sae.preactivation import PreActivation


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [3, 64, 700])
def test_exact_numbers_lie_within_the_bound_and_one_rounding(dtype, width) -> None:
    weights = random_sae(width=width, n_features=90).weights
    weights.encoder.mul_(torch.logspace(-2, 2, 90)[:, None])
    rows = torch.randn(60, width, generator=torch.Generator().manual_seed(1))
    rows *= torch.logspace(-2, 2, 60)[:, None]
    computed = PreActivation(weights, dtype)
    pre = computed(rows).double()
    exact = rows.double() @ weights.encoder.double().t() + weights.encoder_bias.double()
    allowed = computed.error(rows).double()[:, None] + 0.51 * torch.finfo(dtype).eps * pre.abs()
    assert ((pre - exact).abs() <= allowed).all()


def test_the_bound_follows_the_weights() -> None:
    weights = random_sae().weights
    rows = torch.ones(2, weights.width)
    computed = PreActivation(weights, torch.bfloat16)
    before = computed.error(rows)
    weights.encoder.mul_(8.0)
    computed.refresh()
    assert (computed.error(rows) > 4 * before).all()


def test_few_entries_are_admitted_beside_the_active_ones() -> None:
    sae = random_sae(width=256, n_features=4096, k=32)
    rows = torch.randn(200, 256, generator=torch.Generator().manual_seed(2))
    computed = PreActivation(sae.weights, torch.bfloat16)
    admitted = sae.sparsity.admit(computed(rows), computed.error(rows))
    assert len(admitted.feature) < 4 * 32 * 200
