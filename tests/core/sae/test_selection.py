"""Selections equal brute force, whatever hint they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sci_interp.sae.selection import (
    above,
    as_numbers,
    highest_of_all,
    highest_of_rows,
    keep_highest,
    loosened,
)

DTYPES = [torch.bfloat16, torch.float32]


def draw(n_rows: int, n_features: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Return numbers of which many are equal, and some rows hold no positive one."""
    numbers = torch.randn(n_rows, n_features, generator=torch.Generator().manual_seed(seed))
    numbers = (numbers * 4).round() / 4
    numbers[::5] = -numbers[::5].abs() - 0.25
    return (numbers + 0.0).to(dtype)  # no negative zeros


def best(row: np.ndarray, k: int) -> list[int]:
    """Return the columns of the k highest positive numbers, the first of equal ones, sorted."""
    order = sorted(range(len(row)), key=lambda j: (-row[j], j))
    return sorted(j for j in order[:k] if row[j] > 0)


cases = given(
    n_rows=st.integers(0, 12),
    n_features=st.integers(1, 40),
    k=st.integers(1, 45),
    dtype=st.sampled_from(DTYPES),
    hint=st.floats(0, 3),
    seed=st.integers(0, 10_000),
)


def key_of(number: float, dtype: torch.dtype) -> int:
    kind = torch.int16 if dtype == torch.bfloat16 else torch.int32
    return int(torch.tensor(number).to(dtype).view(kind))


@settings(max_examples=60, deadline=None)
@cases
def test_highest_of_rows_is_the_sorted_row(n_rows, n_features, k, dtype, hint, seed) -> None:
    pre = draw(n_rows, n_features, dtype, seed)
    indptr, feature, lowest = highest_of_rows(pre, k, key_of(hint, dtype))
    for row, numbers in enumerate(pre.float().numpy()):
        taken = feature[indptr[row] : indptr[row + 1]].tolist()
        assert taken == best(numbers, k)
        if lowest[row]:
            assert float(as_numbers(lowest, dtype)[row]) == numbers[taken].min()


@settings(max_examples=60, deadline=None)
@cases
def test_highest_of_all_is_the_sorted_batch(n_rows, n_features, k, dtype, hint, seed) -> None:
    pre = draw(n_rows, n_features, dtype, seed)
    n_entries = k * max(1, n_rows // 2)
    indptr, feature, lowest = highest_of_all(pre, n_entries, key_of(hint, dtype))
    flat = pre.float().numpy().reshape(-1)
    rows = np.repeat(np.arange(n_rows), np.diff(indptr))
    assert (rows * n_features + feature).tolist() == best(flat, n_entries)
    if lowest:
        assert float(as_numbers(lowest, dtype)) == flat[best(flat, n_entries)].min()


@settings(max_examples=60, deadline=None)
@cases
def test_above_takes_all_at_or_above_a_floor(n_rows, n_features, k, dtype, hint, seed) -> None:
    pre = draw(n_rows, n_features, dtype, seed)
    floor = torch.linspace(-hint - 1, hint, n_rows)
    indptr, feature = above(pre, floor)
    for row, numbers in enumerate(pre.float().numpy()):
        taken = set(feature[indptr[row] : indptr[row + 1]].tolist())
        assert taken >= set(np.flatnonzero(numbers >= float(floor[row])).tolist())
        slack = 2.0**-6 * abs(float(floor[row])) + 1e-6
        assert taken <= set(np.flatnonzero(numbers >= float(floor[row]) - slack).tolist())


@settings(max_examples=60, deadline=None)
@cases
def test_keep_highest_is_the_sorted_row(n_rows, n_features, k, dtype, hint, seed) -> None:
    values = draw(n_rows, n_features, torch.float32, seed).numpy()
    indptr = np.arange(n_rows + 1, dtype=np.int64) * n_features
    kept = keep_highest(indptr, values.reshape(-1), k).reshape(n_rows, n_features)
    for row in range(n_rows):
        assert np.flatnonzero(kept[row]).tolist() == best(values[row], k)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_change_a_selection(dtype) -> None:
    pre = draw(500, 64, dtype, 3)
    before = torch.get_num_threads()
    try:
        found = []
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found.append([*highest_of_rows(pre, 5), *highest_of_all(pre, 2000)[:2]])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_hint_lies_about_an_eighth_to_a_quarter_below(dtype) -> None:
    lowest = key_of(1.7, dtype)
    assert 0.75 * 1.7 < float(as_numbers(loosened(lowest, dtype), dtype)) < 0.9 * 1.7
    assert loosened(0, dtype) == 0
