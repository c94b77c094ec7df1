"""Shuffled batches: every row once an epoch, in an order that follows from seed and step alone."""

from __future__ import annotations

import numpy as np
import pytest
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.activations import stream
from sci_interp.axis import TokenAxis
from sci_interp.batches import ShuffledBatches
from sci_interp.errors import InputError
from sci_interp.source import ArraySource


def source(seed=0, **options):
    axis = TokenAxis.build(make_dataset(seed=seed, **options).table)
    values = np.arange(axis.n_tokens, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    return ArraySource(axis, values)


class Counting:
    """A source that remembers what was read."""

    def __init__(self, inner):
        self.inner, self.reads = inner, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read(self, start, stop):
        self.reads.append((start, stop))
        return self.inner.read(start, stop)


@given(
    st.integers(0, 20),
    st.integers(1, 200),
    st.integers(1, 300),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_every_row_occurs_once_an_epoch(seed, batch_size, block_tokens, buffer_blocks, epoch):
    activations = source(seed)
    batches = ShuffledBatches(
        activations,
        splits=("train", "discovery"),
        batch_size=batch_size,
        seed=seed,
        block_tokens=block_tokens,
        buffer_blocks=buffer_blocks,
    )
    start, stop = activations.axis.token_range(("train", "discovery"))
    n = batches.steps_per_epoch
    assert batches.n_tokens == stop - start and n == (stop - start) // batch_size
    drawn = [batches.batch(step) for step in range(epoch * n, (epoch + 1) * n)]
    assert all(rows.shape == (batch_size, 3) and rows.dtype == np.float32 for rows in drawn)
    tokens = np.concatenate(drawn)[:, 0].astype(int)
    assert len(set(tokens)) == len(tokens) == n * batch_size
    assert tokens.min() >= start and tokens.max() < stop


@given(st.integers(0, 5), st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_any_order_of_steps_gives_the_same_bytes(seed, steps):
    def new():
        return ShuffledBatches(
            source(), splits=("train",), batch_size=20, seed=seed, block_tokens=40, buffer_blocks=2
        )

    shared = new()
    for step in steps:
        expected = new().batch(step)
        assert np.array_equal(shared.batch(step), expected)
        assert np.array_equal(shared.tokens(step), expected[:, 0].astype(int))


@given(st.integers(0, 5), st.integers(1, 60), st.integers(0, 12))
def test_orders_of_one_reading_are_those_of_their_own_seed(block_seed, batch_size, step):
    def new(seed, activations):
        options = {"splits": ("train",), "batch_size": batch_size, "block_seed": block_seed}
        return ShuffledBatches(activations, seed=seed, block_tokens=40, buffer_blocks=2, **options)

    counted, alone = Counting(source()), Counting(source())
    shared = new(0, counted).batches(step, [3, block_seed, 7])
    new(0, alone).batch(step)
    assert counted.reads == alone.reads
    for seed, rows in zip([3, block_seed, 7], shared, strict=True):
        assert np.array_equal(new(seed, source()).batch(step), rows)
        assert np.array_equal(new(seed, source()).tokens(step), rows[:, 0].astype(int))
    usual = ShuffledBatches(
        source(),
        splits=("train",),
        batch_size=batch_size,
        seed=block_seed,
        block_tokens=40,
        buffer_blocks=2,
    )
    assert np.array_equal(usual.batch(step), shared[1])


def test_seeds_and_epochs_differ_and_neighbours_are_parted():
    batches = [
        ShuffledBatches(source(), splits=("train",), batch_size=32, seed=seed) for seed in (0, 1)
    ]
    n = batches[0].steps_per_epoch
    assert not np.array_equal(batches[0].tokens(0), batches[1].tokens(0))
    assert not np.array_equal(batches[0].tokens(0), batches[0].tokens(n))
    assert (np.abs(np.diff(batches[0].tokens(0))) == 1).mean() < 0.2


def test_an_epoch_reads_each_block_once_and_a_long_record_in_pieces():
    counting = Counting(source(shortest=100, longest=300))
    batches = ShuffledBatches(
        counting, splits=("train",), batch_size=50, seed=0, block_tokens=128, buffer_blocks=3
    )
    for step in range(batches.steps_per_epoch):
        batches.batch(step)
    assert len(set(counting.reads)) == len(counting.reads)
    assert max(stop - start for start, stop in counting.reads) == 128
    n_reads = len(counting.reads)
    batches.batch(batches.steps_per_epoch * 5)
    assert len(counting.reads) <= n_reads + 6


def test_a_stream_runs_each_record_about_once_an_epoch():
    """Blocks are units of the stream, so that none is computed for a part of its rows."""
    adapter, dataset = FakeAdapter(), make_dataset()
    asked = []
    run = adapter.activations
    adapter.activations = lambda data, records, layers: (
        asked.extend(records) or run(data, records, layers)
    )
    live = stream(adapter, dataset, "layers.0")
    batches = ShuffledBatches(live, splits=("train", "discovery"), batch_size=16, seed=0)
    for step in range(batches.steps_per_epoch):
        batches.batch(step)
    first, last = live.axis.record_range(("train", "discovery"))
    assert sorted(asked) == sorted(live.axis.records["record"].iloc[first:last])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"block_tokens": 0}, "block_tokens=0"),
        ({"buffer_blocks": 0}, "buffer_blocks=0"),
        ({"batch_size": 10**6}, "Lower the batch size"),
        ({"splits": ("train", "vault")}, "not neighbours"),
        ({"splits": ()}, "hold 0 tokens"),
    ],
)
def test_unusable_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        ShuffledBatches(source(), **{"splits": ("train",), "batch_size": 4, "seed": 0, **change})


def test_a_negative_step_is_refused():
    batches = ShuffledBatches(source(), splits=("train",), batch_size=4, seed=0)
    with pytest.raises(InputError, match="step -1"):
        batches.batch(-1)
