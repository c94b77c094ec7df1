"""Sparse codes: rows, joins, and a quantisation with a known error."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.codes import Codes, dequantise, feature_dtype, quantise
from sci_interp.errors import NotFiniteError
from sci_interp.schema import LEVELS_PER_OCTAVE, MAX_LEVEL

DENSE = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).random((12, 5), np.float32)
        * (np.random.default_rng(seed + 1).random((12, 5)) < 0.3)
    ).astype(np.float32)
)


def to_codes(dense):
    token, feature = np.nonzero(dense)
    indptr = np.append(0, np.cumsum((dense != 0).sum(axis=1))).astype(np.int64)
    return Codes(indptr, feature.astype(np.uint16), dense[token, feature])


def to_dense(codes, width):
    dense = np.zeros((codes.n_tokens, width), np.float32)
    token = np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr))
    dense[token, codes.feature] = codes.value
    return dense


@given(DENSE, st.integers(0, 12), st.integers(0, 12))
def test_rows_are_the_rows_of_the_matrix(dense, a, b):
    start, stop = sorted((a, b))
    assert np.array_equal(to_dense(to_codes(dense).rows(start, stop), 5), dense[start:stop])


@given(DENSE, st.lists(st.integers(0, 12), max_size=4))
def test_joining_what_was_cut_gives_the_whole(dense, cuts):
    edges = [0, *sorted(cuts), 12]
    parts = [to_codes(dense).rows(a, b) for a, b in pairwise(edges)]
    joined = Codes.concatenate(parts)
    whole = to_codes(dense)
    for name in ("indptr", "feature", "value"):
        one, other = getattr(joined, name), getattr(whole, name)
        assert np.array_equal(one, other) and one.dtype == other.dtype


@given(st.lists(st.floats(2**-7, 1, width=32), min_size=1), st.floats(2**-10, 2**10, width=32))
def test_quantisation_is_within_half_a_level(shares, scale):
    scales = np.array([scale], np.float32)
    value = (np.array(shares, np.float32) * scales).astype(np.float32)
    feature = np.zeros(len(value), np.uint16)
    level = quantise(value, feature, scales)
    ratio = dequantise(level, feature, scales) / value
    assert np.abs(np.log2(ratio)).max() <= 0.5 / LEVELS_PER_OCTAVE + 1e-5
    again = quantise(dequantise(level, feature, scales), feature, scales)
    assert np.array_equal(again, level)


def test_levels_are_clipped_and_ascend():
    scale = np.ones(1, np.float32)
    value = np.array([0.0, 1e-30, 2**-8, 0.25, 0.5, 1.0, 7.0], np.float32)
    level = quantise(value, np.zeros(7, np.uint16), scale)
    assert level.tolist() == [1, 1, 1, MAX_LEVEL - 64, MAX_LEVEL - 32, MAX_LEVEL, MAX_LEVEL]


def test_a_feature_that_never_fired_in_training_is_at_the_top():
    level = quantise(np.ones(1, np.float32), np.zeros(1, np.uint16), np.zeros(1, np.float32))
    assert level.tolist() == [MAX_LEVEL]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        quantise(np.array([value], np.float32), np.zeros(1, np.uint16), np.ones(1, np.float32))


def test_the_index_dtype_holds_every_feature():
    assert feature_dtype(2**16) is np.uint16 and feature_dtype(2**16 + 1) is np.uint32
