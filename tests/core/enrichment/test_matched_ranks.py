"""Ranks of both signs of a covariate, their bins, and which features are a pair."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from sci_interp.enrichment.matched_ranks import cut_ranks, join_signs, opposite_signs


def test_bins_hold_equal_weights_as_far_as_ranks_allow():
    def cut(active, n_known, n_bins):
        (counts,) = join_signs(active[None], np.array([-1]), n_known)
        assert counts.sum() == n_known and (cut_ranks(counts, n_bins)[:255] == 0).all()
        return cut_ranks(counts, n_bins)[255:]

    active = np.ones(255, np.int64)
    bins = cut(active, 256, 8)
    assert (bins == np.arange(256) // 32).all()
    # Inactive tokens are one bin, with the levels that fall into the same tenth.
    bins = cut(active, 255 + 745, 10)
    assert bins[0] == 0 and bins[1] == 7 and bins[-1] == 9 and len(np.unique(bins)) == 4
    bins = cut(active * 4, 4 * 255 + 1, 10)
    assert (bins[:26] == 0).all() and bins[27] == 1
    # A level that does not occur has a bin for the other half.
    bins = cut(np.zeros(255, np.int64), 9, 10)
    assert bins[0] == 0 and (bins[1:] == 9).all()
    assert (cut(active, 256, 255) <= 254).all()
    assert (cut(active, 256, 1) == 0).all()


def test_both_signs_are_one_ordering():
    active = np.arange(255 * 3).reshape(3, 255)
    up, down, alone = join_signs(active, np.array([1, 0, -1]), 10**6)
    assert (up[256:] == active[0]).all() and (up[:255] == active[1, ::-1]).all()
    assert (up == down[::-1]).all() and up.sum() == 10**6
    assert (alone[:255] == 0).all() and (alone[256:] == active[2]).all()
    bins = cut_ranks(join_signs(np.ones((2, 255), int), np.array([1, 0]), 511)[0], 7)
    assert (bins == np.arange(511) // 73).all()


def test_pairs_are_found_by_their_names():
    names = ("a b +", "c -", "a b -", "+", "d", "c +", "e -", "-")
    source = SimpleNamespace(names=names, n_features=len(names))
    assert opposite_signs(source).tolist() == [2, 5, 0, -1, -1, 1, -1, -1]
    assert opposite_signs(SimpleNamespace(names=(), n_features=2)).tolist() == [-1, -1]
