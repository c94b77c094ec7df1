from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.errors import InputError
from sci_interp_protein.alphabet import Vocabulary
from sci_interp_protein.batches import (
    LENGTH_STEP,
    build_batch,
    padded_length,
    plan_batches,
    plan_windows,
)

settings = st.integers(2, 40).flatmap(
    lambda window: st.tuples(st.integers(1, 200), st.just(window), st.integers(0, window - 1))
)


@given(settings)
def test_kept_ranges_tile_the_protein(setting):
    n_residues, window, overlap = setting
    windows = plan_windows("P", n_residues, window=window, overlap=overlap)
    kept = [at for w in windows for at in range(w.keep_start, w.keep_stop)]
    assert kept == list(range(n_residues))


@given(settings)
def test_windows_are_full_and_overlap_enough(setting):
    n_residues, window, overlap = setting
    windows = plan_windows("P", n_residues, window=window, overlap=overlap)
    assert {w.stop - w.start for w in windows} == {min(window, n_residues)}
    assert (windows[0].start, windows[-1].stop) == (0, n_residues)
    for left, right in itertools.pairwise(windows):
        assert left.stop - right.start >= overlap


@given(settings)
def test_every_residue_comes_from_the_window_where_it_is_farthest_from_a_cut(setting):
    n_residues, window, overlap = setting
    windows = plan_windows("P", n_residues, window=window, overlap=overlap)

    def margin(w, at):
        left = at - w.start if w.start else n_residues
        right = w.stop - 1 - at if w.stop < n_residues else n_residues
        return min(left, right) if w.start <= at < w.stop else -1

    for chosen in windows:
        for at in range(chosen.keep_start, chosen.keep_stop):
            assert margin(chosen, at) >= max(margin(w, at) for w in windows) - 1


@pytest.mark.parametrize(("window", "overlap"), [(10, 10), (10, -1), (0, 0)])
def test_impossible_windows_are_refused(window, overlap):
    with pytest.raises(InputError, match="cannot overlap"):
        plan_windows("P", 5, window=window, overlap=overlap)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 200))
def test_batches_hold_every_window_once_within_the_budget(lengths, budget):
    windows = [
        w for i, n in enumerate(lengths) for w in plan_windows(f"P{i}", n, window=50, overlap=10)
    ]
    batches = list(plan_batches(windows, budget))
    found = [w for batch in batches for w in batch]
    assert sorted(found, key=repr) == sorted(windows, key=repr)
    assert [w.n_tokens for w in found] == sorted((w.n_tokens for w in found), reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * padded_length(batch) <= budget


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_padding_reaches_the_next_step_and_holds_no_residue(lengths):
    sequences = {f"P{i}": "A" * n for i, n in enumerate(lengths)}
    windows = [
        w for i, n in enumerate(lengths) for w in plan_windows(f"P{i}", n, window=1022, overlap=0)
    ]
    vocabulary = Vocabulary()
    batch = build_batch(windows, sequences, vocabulary)
    n_rows, length = batch.tokens.shape
    assert (n_rows, length) == (len(windows), padded_length(windows))
    assert length % LENGTH_STEP == 0 and 0 <= length - max(w.n_tokens for w in windows) < 64
    assert batch.residues.sum(1).tolist() == lengths
    assert ((batch.tokens == vocabulary.pad).sum(1) == length - batch.residues.sum(1) - 2).all()


def test_length_sorting_pads_less_than_the_order_of_the_file():
    rng = np.random.default_rng(0)
    windows = [
        plan_windows(f"P{i}", int(n), window=1022, overlap=0)[0]
        for i, n in enumerate(rng.integers(30, 1000, 200))
    ]
    n_real = sum(w.n_tokens for w in windows)
    n_sorted = sum(len(b) * b[0].n_tokens for b in plan_batches(windows, 4096))
    assert n_sorted < 1.1 * n_real


def test_tokens_mark_true_ends_only():
    vocabulary = Vocabulary()
    sequence = "MKTAYIAKQR"
    windows = plan_windows("P", len(sequence), window=6, overlap=4)
    batch = build_batch(windows, {"P": sequence}, vocabulary)
    letters = ["".join(_short(vocabulary.tokens[t]) for t in row) for row in batch.tokens]
    assert [row.rstrip("_") for row in letters] == ["^MKTAYI", "TAYIAK", "YIAKQR$"]
    for row, window in enumerate(windows):
        kept = batch.tokens[row, batch.kept(row)].tolist()
        stretch = sequence[window.keep_start : window.keep_stop]
        assert kept == vocabulary.encode(stretch).tolist()
        assert batch.residues[row].sum() == window.stop - window.start


def _short(token: str) -> str:
    return {"<cls>": "^", "<eos>": "$", "<pad>": "_"}.get(token, token)


def test_a_vocabulary_of_another_order_counts_its_own_way():
    plain = Vocabulary()
    turned = Vocabulary(tuple(reversed(plain.tokens)))
    sequence = "ACDX"
    assert [turned.tokens[i] for i in turned.encode(sequence)] == list(sequence)
    assert turned.missing == ()
    assert Vocabulary(("<cls>", "A")).missing[:2] == ("<pad>", "<eos>")
