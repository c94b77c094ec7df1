"""The counting kernel equals a brute-force count, cell by cell."""

from __future__ import annotations

import itertools

import numpy as np
import planted
import pytest
from count_world import LABELS, random_world
from hypothesis import given, settings
from hypothesis import strategies as st

from sci_interp.enrichment.counts import Counts, at_or_above, count_split
from sci_interp.enrichment.inputs import bin_of_level, iterate_slices
from sci_interp.enrichment.scores import count_label_families
from sci_interp.enrichment.tracks import count_event_families, read_labels
from sci_interp.schema import BIN_FLOORS


def brute_force(axis, known, level):
    bins = bin_of_level(BIN_FLOORS)
    n_features, n_bins = level.shape[1], len(BIN_FLOORS)
    counts = Counts.zero(
        np.arange(len(LABELS)),
        known.group_of_label,
        n_groups=2,
        n_features=n_features,
        n_bins=n_bins,
    )
    all_ = known.everything
    mask = np.zeros((2, axis.n_tokens), bool)
    for group, start, stop in zip(all_.known_group, all_.known_start, all_.known_stop, strict=True):
        mask[group, start:stop] = True
    counts.n_known[:] = mask.sum(1)
    for group in range(2):
        for token in np.flatnonzero(mask[group]):
            for feature in np.flatnonzero(level[token]):
                counts.active[group, feature, bins[level[token, feature]]] += 1
                counts.entries[group, feature, bins[level[token, feature]]] += 1
    for label in range(len(LABELS)):
        positive, instances = set(), {}
        rows = zip(all_.label, all_.instance, all_.start, all_.stop, strict=True)
        for of_label, instance, start, stop in rows:
            tokens = [t for t in range(start, stop) if mask[known.group_of_label[label], t]]
            if of_label == label and tokens:
                positive.update(tokens)
                instances.setdefault(instance, set()).update(tokens)
        counts.n_positive[label] = len(positive)
        counts.n_instances[label] = len(instances)
        for feature in range(n_features):
            for token in positive:
                if level[token, feature]:
                    counts.tokens[label, feature, bins[level[token, feature]]] += 1
            for tokens in instances.values():
                top = max(level[t, feature] for t in tokens)
                if top:
                    counts.instances[label, feature, bins[top]] += 1
    return counts


def assert_equal(left, right):
    for name, value in vars(right).items():
        np.testing.assert_array_equal(getattr(left, name), value, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counts_equal_brute_force(seed):
    axis, features, known, level = random_world(seed)
    assert_equal(count_split(features, known, "discovery"), brute_force(axis, known, level))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_counts_add_up_over_slices_and_threads(monkeypatch, n_threads, size):
    axis, features, known, _ = random_world(3, n_records=12)
    whole = count_split(features, known, "discovery", n_threads=1)
    slices = list(iterate_slices(axis, "discovery", n_tokens=size))
    assert slices[0][0] == 0 and slices[-1][1] == axis.n_tokens
    monkeypatch.setattr("sci_interp.enrichment.counts.slice_records", lambda *_, **__: iter(slices))
    assert_equal(count_split(features, known, "discovery", n_threads=n_threads), whole)


def test_zero_is_neutral_and_label_blocks_are_parts():
    _, features, known, _ = random_world(4)
    whole = count_split(features, known, "discovery")
    zero = Counts.zero(whole.labels, whole.group, n_groups=2, n_features=4, n_bins=len(BIN_FLOORS))
    assert_equal(whole + zero, whole)
    part = count_split(features, known, "discovery", labels=np.array([1, 3]))
    np.testing.assert_array_equal(part.tokens, whole.tokens[[1, 3]])
    np.testing.assert_array_equal(part.active, whole.active)


def test_at_or_above_cumulates_from_the_top():
    np.testing.assert_array_equal(at_or_above(np.array([[1, 2, 4]])), [[7, 6, 4]])


def test_pointers_of_labels_are_narrow_and_equal_a_count_by_hand():
    rng = np.random.default_rng(5)
    axis = planted.build_axis(rng, 30)
    runs = planted.random_tracks(rng, axis, 3, share=0.6)
    tracks = [planted.paint(axis, of_label) for of_label in runs]
    world = planted.make_world(rng, axis, runs, tracks)
    found = read_labels(axis, world.known, "test", 0)
    assert found.runs.record.dtype == np.int32
    first, last = axis.record_range(["test"])
    edges = axis.record_starts[first : last + 1]
    blocks = axis.records["block"].to_numpy()[first:last]
    for label, track in enumerate(tracks):
        n_tokens = np.array([track[a:b].sum() for a, b in itertools.pairwise(edges)])
        covered = np.append(0, np.cumsum(found.runs.stop - found.runs.start))
        np.testing.assert_array_equal(np.diff(covered[found.runs.record[label]]), n_tokens)
        assert count_event_families(axis, world.known, "test")[label] == len(
            set(blocks[n_tokens > 0])
        )
    whole = count_label_families(found, 0, 3)
    parts = [count_label_families(found, at, at + 1) for at in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
