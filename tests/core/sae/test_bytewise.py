"""The 8-bit product is the exact integer product of rounded rows, whatever the shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.sae.tiles import has_tiles
from sci_interp.sae.weights import Weights

pytestmark = pytest.mark.skipif(not has_tiles(), reason="needs a processor with AVX-512 VNNI")


def world(n_rows: int, width: int, n_features: int, seed: int) -> tuple[torch.Tensor, Weights]:
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.rand(n_features, 1, generator=draw) * 9
    encoder = torch.randn(n_features, width, generator=draw) * sizes
    encoder[seed % n_features] = 0.0
    bias = torch.randn(n_features, generator=draw)
    rows = torch.randn(n_rows, width, generator=draw)
    return rows, Weights(encoder, bias, encoder.clone(), torch.zeros(width))


def rounded(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return integers and the unit of every row, after the definition."""
    unit = rows.abs().amax(1, keepdim=True) / 127
    return (rows / unit).nan_to_num().round().double(), unit


def multiplied(rows: torch.Tensor, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, object]:
    from sci_interp.sae.bytewise import Bytes

    held = Bytes(weights)
    out = torch.full((max(len(rows), Bytes.FEWEST), weights.n_features), 7.0, dtype=torch.bfloat16)
    lost = held.product(rows, out)
    return out[: len(rows)].double(), lost, held


@given(st.integers(1, 300), st.integers(1, 90), st.integers(64, 400), st.integers(0, 9))
def test_it_is_the_product_of_rounded_rows(n_rows, width, n_features, seed) -> None:
    rows, weights = world(n_rows, width, n_features, seed)
    (x, x_unit), (w, w_unit) = rounded(rows), rounded(weights.encoder)
    wanted = (x @ w.t()) * x_unit.double() * w_unit.double().t() + weights.encoder_bias.double()
    found, lost, held = multiplied(rows, weights)
    # One number in a few thousand lies so near to a half that float32 rounds it the other way.
    step = x_unit.double() * (w.abs().amax(1) * w_unit.double().squeeze(1)).unsqueeze(0)
    assert ((found - wanted).abs() <= 2.0**-8 * wanted.abs() + 1.01 * step + 1e-6).all()
    torch.testing.assert_close(lost, (rows - x_unit * x.float()).norm(dim=1), rtol=1e-3, atol=1e-6)
    taken = weights.encoder - w_unit * w.float()
    torch.testing.assert_close(held.lost, taken.norm(dim=1), rtol=1e-3, atol=1e-5)


def test_it_does_not_depend_on_threads_or_neighbours() -> None:
    rows, weights = world(500, 37, 130, 3)
    whole, _, _ = multiplied(rows, weights)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        threaded, _, _ = multiplied(rows, weights)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole, threaded)
    assert torch.equal(whole[100:103], multiplied(rows[100:103].contiguous(), weights)[0])


def test_it_follows_the_weights() -> None:
    rows, weights = world(8, 20, 64, 1)
    before, _, held = multiplied(rows, weights)
    weights.encoder.mul_(-2.0)
    weights.encoder_bias.mul_(-2.0)
    held.refresh()
    out = torch.empty(8, 64, dtype=torch.bfloat16)
    held.product(rows, out)
    assert torch.equal(out.double(), -2.0 * before)
