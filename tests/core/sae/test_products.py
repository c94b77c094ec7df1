"""Products over entries equal dense ones, wherever an entry stands; memory is lent once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sci_interp.sae import memory
from sci_interp.sae.memory import reused
from sci_interp.sae.pattern import Pattern


def ragged(n_rows: int, n_features: int, seed: int = 0) -> Pattern:
    """Return a pattern with rows of all lengths, empty ones among them."""
    random = np.random.default_rng(seed)
    mask = random.random((n_rows, n_features)) < random.random((n_rows, 1)) * 0.5
    mask[::4] = False
    indptr = np.concatenate([[0], np.cumsum(mask.sum(1))])
    return Pattern.of(indptr, np.nonzero(mask)[1], n_features)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


@pytest.mark.parametrize("width", [1, 7, 64, 333])
def test_products_are_the_dense_ones(width) -> None:
    pattern = ragged(41, 23)
    rows, table = draw(41, width), draw(23, width)
    entries = (pattern.row, pattern.feature)
    close(pattern.products(rows, table), (rows @ table.t())[entries])
    value, bias = draw(len(pattern.feature)), draw(width)
    dense = torch.zeros(41, 23).index_put(entries, value)
    close(pattern.combine(value, table), dense @ table)
    close(pattern.gather(value, rows), dense.t() @ rows)
    error, slope, loss = pattern.reconstruct(value, table, bias, rows)
    close(error, dense @ table + bias - rows)
    close(slope, pattern.products(error, table))
    close(loss, error.square().sum())


@pytest.mark.parametrize("width", [5, 64, 333])
def test_a_product_is_the_same_wherever_its_entry_stands(width) -> None:
    """Codes depend on it: rounding of bfloat16 decides which entries stand beside an active one."""
    pattern = ragged(41, 23)
    rows, table = draw(41, width), draw(23, width)
    everything = Pattern.of(np.arange(42) * 23, np.tile(np.arange(23), 41), 23)
    whole = everything.products(rows, table).reshape(41, 23)
    assert torch.equal(pattern.products(rows, table), whole[pattern.row, pattern.feature])


def test_transposing_sorts_by_feature_then_row() -> None:
    pattern = ragged(41, 23)
    transposed, order = pattern.by_feature
    assert torch.equal(order, torch.argsort(pattern.feature, stable=True))
    assert torch.equal(transposed.row, pattern.feature[order])
    assert torch.equal(transposed.feature, pattern.row[order])


def test_threads_do_not_change_products() -> None:
    pattern = ragged(300, 40)
    rows, table, value = draw(300, 33), draw(40, 33), draw(len(pattern.feature))
    before = torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            made = pattern.reconstruct(value, table, table[0], rows)
            found.append([*made, pattern.gather(value, rows), pattern.products(rows, table)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_memory_is_lent_again_only_when_it_is_free(monkeypatch) -> None:
    monkeypatch.setattr(memory, "_spare", [])
    first = reused(3, 5)
    place = first.data_ptr()
    part, array = first[1:], first.numpy()
    del first
    assert reused(3, 5).data_ptr() != place
    del part
    assert place not in {held.ctypes.data for held in memory._spare}
    del array
    assert place in {held.ctypes.data for held in memory._spare}
    spare = {held.ctypes.data for held in memory._spare}
    assert reused(5, 3).data_ptr() not in spare
    assert reused(3, 5).data_ptr() in spare
    many = [reused(2, 2) for _ in range(3 * memory.MOST_SPARE)]
    del many
    assert len(memory._spare) == memory.MOST_SPARE
