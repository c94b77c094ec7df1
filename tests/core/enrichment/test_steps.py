"""Gridded records: weighted counts, shifts by whole columns, and labels of whole records."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from grid_world import (
    COLUMNS,
    HALVES,
    ROW_WEIGHTS,
    ROWS,
    grid_axis,
    smooth_fields,
    to_annotations,
    to_features,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from null_reference import to_words
from planted import annotations

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment import enrich
from sci_interp.enrichment.counts import at_or_above, count_split
from sci_interp.enrichment.draws import observe
from sci_interp.enrichment.entries import read_entries
from sci_interp.enrichment.local_null import count_shifts, overlap_at_shifts, shift_table
from sci_interp.enrichment.positions import read_activity
from sci_interp.enrichment.scores import PairList, count_families, count_label_families, score_pairs
from sci_interp.enrichment.selection import select_thresholds
from sci_interp.enrichment.steps import expected_overlap, overlap_at_steps
from sci_interp.enrichment.swap_null import exchange_table
from sci_interp.enrichment.table import has_events
from sci_interp.enrichment.tracks import read_labels
from sci_interp.enrichment.units import Units
from sci_interp.errors import InputError

WEIGHT = np.tile(np.array(ROW_WEIGHTS), COLUMNS)
TESTED = {"n_permutations": 400, "max_permutations": 400, "n_bootstrap": 100, "progress": False}


def table_units(weights, size):
    rows = np.array(weights, np.float64)
    edge = np.array([0, size])
    member = np.zeros(1, np.int64)
    before = np.append(0.0, np.cumsum(rows))
    return Units(edge, np.ones(1), np.array([0, 1]), member, np.array([0, 1]), rows, before, 1)


def runs_of(mask):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]]))).reshape(-1, 2)
    return edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_overlaps_are_those_of_rolled_columns(seed, n_rows, n_columns):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 9, n_rows)
    active, label = rng.random((2, n_columns, n_rows)) < 0.4
    units = table_units(weights, active.size)
    position = np.flatnonzero(active.ravel()).astype(np.int64)
    start, stop = runs_of(label.ravel())
    found = overlap_at_steps(position, start, stop, active.size, units)
    rolled = [(weights * (active & np.roll(label, s, axis=0))).sum() for s in range(n_columns)]
    assert found.tolist() == pytest.approx(rolled)
    expected = expected_overlap(position, start, stop, active.size, units)
    assert expected == pytest.approx(np.mean(rolled))
    if n_rows == 1:
        room, tokens = np.empty(2 * active.size + 1, np.int64), np.empty(active.size, np.int64)
        words = to_words(active.ravel())
        overlap_at_shifts(words, (0, active.size), start, stop, room, tokens)
        assert (weights[0] * tokens).tolist() == pytest.approx(rolled)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_counts_are_sums_of_the_tokens_weights(seed):
    rng = np.random.default_rng(seed)
    axis = grid_axis(4, 3, fractions={"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0})
    fields = smooth_fields(axis, rng)
    features = to_features(axis, [fields, -fields])
    mask = rng.random(fields.shape) < 0.3
    known = to_annotations(axis, {"low": mask})
    found = count_split(features, known, "discovery")
    weight = np.tile(WEIGHT, axis.n_records)
    on = np.stack([fields.ravel() > 0.8, -fields.ravel() > 0.8])
    assert found.n_positive.tolist() == [int(weight[mask.ravel()].sum())]
    assert found.n_known.tolist() == [int(weight.sum())]
    assert at_or_above(found.active)[0, :, 0].tolist() == (on * weight).sum(1).tolist()
    assert (
        at_or_above(found.tokens)[0, :, 0].tolist() == (on * weight * mask.ravel()).sum(1).tolist()
    )


def world(seed=0, *, extent="tokens", known=None, **axis_options):
    rng = np.random.default_rng(seed)
    axis = grid_axis(**axis_options)
    fields = [smooth_fields(axis, rng) for _ in range(3)]
    masks = {"low": fields[0] > 1.0, "other": smooth_fields(axis, rng) > 1.0}
    if extent == "records":
        day = fields[0].mean(axis=(1, 2))
        masks = {"regime": np.broadcast_to((day > 0.1)[:, None, None], fields[0].shape)}
    return axis, to_features(axis, fields), to_annotations(axis, masks, known=known, extent=extent)


def count_moved(features, tracks, feature):
    """Count a feature's entries in the records that a universe holds."""
    ranges = zip(tracks.universe.start, tracks.universe.stop, strict=True)
    found = [(features.read(a, b).feature == feature).sum() for a, b in ranges]
    return np.array([sum(found)], np.int64)


def entries_of(features, tracks, feature):
    chosen = np.array([feature])
    return read_entries(
        features, tracks, chosen=chosen, lowest_bin=np.zeros(1, np.uint8),
        n_entries=count_moved(features, tracks, feature), floors=(1, 128),
    )  # fmt: skip


def shift_values(entries, tracks):
    """Return U at every shift, a row a family; all have as many shifts."""
    activity = read_activity(entries, 0, 0, tracks.units)
    n_shifts = count_shifts(tracks.units)
    table = shift_table(activity, tracks.units, tracks.runs, 0, n_shifts)
    return table.value.reshape(len(table.first), -1)


def test_a_shift_of_zero_is_the_observed_score_and_scores_average_to_nothing():
    axis, features, known = world(1, n_blocks=8)
    tracks = read_labels(axis, known, "test", 0)
    entries = entries_of(features, tracks, 0)
    scores = shift_values(entries, tracks)
    assert scores.shape[1] == COLUMNS
    first = score_pairs(entries, tracks, PairList(*np.zeros((3, 1), np.int64)), n_threads=1).first
    assert scores[:, 0].sum() == pytest.approx(first[0])
    assert scores.mean(axis=1) == pytest.approx(np.zeros(len(scores)), abs=1e-9)


def test_tracks_are_exchanged_inside_seasons_alone():
    axis, features, known = world(2, n_blocks=12, exchange=2)
    tracks = read_labels(axis, known, "discovery", 0)
    first, last = axis.record_range(["discovery"])
    season = axis.records["exchange"].to_numpy(str)[first:last][tracks.units.first[:-1]]
    bounds = tracks.units.stratum
    for low, high in itertools.pairwise(bounds):
        assert len(set(season[tracks.units.member[low:high]])) == 1
    assert len(bounds) == 1 + len(set(season))
    entries = entries_of(features, tracks, 0)
    activity = read_activity(entries, 0, 0, tracks.units)
    table = exchange_table(activity, tracks.units, tracks.runs, 0)
    robust = score_pairs(entries, tracks, PairList(*np.zeros((3, 1), np.int64)), n_threads=1)
    assert table.value[table.own].sum() == pytest.approx(robust.first[0])
    assert observe(table) == pytest.approx(robust.statistic[0])


def test_exchanged_tracks_score_what_their_masks_overlap():
    """Brute force on (columns, rows): weighted overlap less its mean over shifts of columns."""
    axis, features, known = world(9, n_blocks=10)
    tracks = read_labels(axis, known, "discovery", 0)
    activity = read_activity(entries_of(features, tracks, 0), 0, 0, tracks.units)
    table = exchange_table(activity, tracks.units, tracks.runs, 0)
    units, size, n = tracks.units, ROWS * COLUMNS, len(tracks.units.member)
    first, _ = axis.token_range(["discovery"])
    label = np.zeros(units.start[-1], bool)
    begin, end = tracks.runs.record[0, [0, -1]]
    for run in range(begin, end):
        label[tracks.runs.start[run] : tracks.runs.stop[run]] = True
    codes = features.read(first, first + len(label))
    token = np.repeat(np.arange(len(label)), np.diff(codes.indptr))[codes.feature == 0]
    active = np.zeros(len(label), bool)
    active[token] = True
    x, y = (mask.reshape(-1, COLUMNS, ROWS) for mask in (active, label))

    def score(own, other):
        records = range(units.first[own], units.first[own + 1])
        sources = range(units.first[other], units.first[other + 1])
        total = 0.0
        for at, record in enumerate(records):
            a, b = x[record], y[sources[at % len(sources)]]
            both = (a & b).sum(axis=0) - a.sum(axis=0) * b.sum(axis=0) / COLUMNS
            total += units.weight[record] * (both * np.array(ROW_WEIGHTS)).sum()
        return total

    assert units.start[1] == size
    for row in range(0, len(table.first), 3):
        place = table.deck[row] % n
        stratum = np.searchsorted(units.stratum, place, side="right") - 1
        others = units.member[units.stratum[stratum] : units.stratum[stratum + 1]]
        family = units.member[place]
        by_feature = table.deck[row] < n
        expected = [score(family, o) if by_feature else score(o, family) for o in others]
        found = table.value[table.first[row] : table.first[row] + len(others)]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_record_with_unknown_tokens_keeps_its_columns():
    axis, features, _ = world(3, n_blocks=4)
    size = ROWS * COLUMNS
    ranges = [(0, r * size + 7, (r + 1) * size) for r in range(axis.n_records) if r % 2]
    known = annotations(axis, [Label("low", "phenomena", "")], [(0, 1, size + 8, size + 9)], ranges)
    tracks = read_labels(axis, known, "discovery", 0)
    assert (np.diff(tracks.units.start) == size).all()
    entries = entries_of(features, tracks, 0)
    held = [
        np.count_nonzero(features.read(r * size, (r + 1) * size).feature == 0)
        for r in range(*axis.record_range(["discovery"]))
        if r % 2
    ]
    assert entries.first[-1] == sum(held)


def test_labels_of_whole_records_are_shifted_from_record_to_record():
    axis, features, known = world(4, extent="records", n_blocks=8, n_days=11)
    tracks = read_labels(axis, known, "test", 0)
    assert len(tracks.units.start) == len(tracks.units.first)
    scores = shift_values(entries_of(features, tracks, 0), tracks)
    assert scores.shape[1] == 11
    assert scores.mean() == pytest.approx(0.0, abs=1e-9)


def test_planted_links_are_found_in_both_extents_and_chance_is_not():
    _, features, known = world(5, n_blocks=40, n_days=20)
    table = enrich(features, known, **TESTED).table
    site = table[table["class"] == "site"]
    assert set(zip(site["feature"], site["label"], strict=True)) == {(0, "low")}
    _, features, known = world(6, extent="records", n_blocks=40, n_days=20)
    table = enrich(features, known, **TESTED).table
    assert table.loc[table["feature"] == 0, "class"].tolist() == ["site"]
    assert not (table.loc[table["feature"] != 0, "class"] == "site").any()


def test_measures_are_in_cells_of_the_largest_area():
    axis, features, known = world(7, n_blocks=16)
    table = enrich(features, known, **TESTED).table
    row = table[(table["feature"] == 0) & (table["label"] == "low")].iloc[0]
    first, last = axis.token_range([row["direction"].split()[-1]])
    weight = np.tile(WEIGHT, axis.n_records)[first:last]
    assert row["n_known"] == round(weight.sum() / max(ROW_WEIGHTS))


def test_event_recall_counts_an_event_once():
    axis, features, known = world(8, n_blocks=16)
    every = known.everything
    low = np.unique(every.instance[every.label == 0])
    event = axis.records["block"].astype("category").cat.codes.to_numpy()[low % 10**6]
    told = type(known)(axis, known.labels, every, np.stack([low, event]).astype(np.int64))
    row = enrich(features, told, **TESTED).table.query("feature == 0 and label == 'low'").iloc[0]
    first, last = axis.record_range([row["direction"].split()[-1]])
    inside = (low % 10**6 >= first) & (low % 10**6 < last)
    assert row["n_events"] == len(set(event[inside].tolist()))
    assert row["event_recall"] == 1.0 >= row["instance_recall"]
    alone = enrich(features, known, **TESTED).table.query("feature == 0 and label == 'low'").iloc[0]
    assert alone["n_events"] == alone["n_instances"]
    assert has_events(row.to_frame().T) and not has_events(alone.to_frame().T)
    assert alone["event_recall"] == alone["instance_recall"]


def test_records_of_different_length_cannot_be_joined():
    table = pd.DataFrame({"record": list("abcd"), "block": list("abcd"), "n_tokens": [5, 5, 10, 5]})
    axis = TokenAxis.build(
        table, HALVES | {"discovery": 1.0, "test": 0.0}, step_weights=ROW_WEIGHTS
    )
    ranges = [(0, int(a), int(b)) for a, b in itertools.pairwise(axis.record_starts)]
    known = annotations(axis, [Label("low", "g", "")], [], ranges)
    with pytest.raises(InputError, match="records of one length"):
        read_labels(axis, known, "discovery", 0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_counts_of_blocks_add_up_to_those_of_the_known_tokens(seed):
    rng = np.random.default_rng(seed)
    axis = grid_axis(6, 4)
    fields = smooth_fields(axis, rng)
    features = to_features(axis, [fields, -fields])
    size = ROWS * COLUMNS
    unknown = rng.random((axis.n_records, size)) < 0.3
    known = []
    for record in range(axis.n_records):
        edges = np.flatnonzero(np.diff(np.concatenate([[1], unknown[record].astype(int), [1]])))
        known += [
            (0, record * size + a, record * size + b) for a, b in edges.reshape(-1, 2).tolist()
        ]
    mask = (fields > 0.5) & ~unknown.reshape(fields.shape)
    source = to_annotations(axis, {"low": mask}, known=known)
    selection = select_thresholds(features, source, n_threads=1)
    for split in ("discovery", "test"):
        tracks = read_labels(axis, source, split, 0)
        chosen = np.arange(2)
        entries = read_entries(
            features, tracks, chosen=chosen, lowest_bin=selection.bin[0][0],
            n_entries=selection.entries[split][0, chosen, selection.bin[0][0]],
            floors=selection.floors,
        )  # fmt: skip
        pairs = PairList(chosen, selection.bin[0][0].astype(np.int64), np.zeros(2, np.int64))
        both, active, hit = count_families(entries, tracks, pairs, n_threads=1).sum(axis=1)
        n_known, positive, n_instances = count_label_families(tracks, 0, 1).sum(axis=(1, 2))
        table = selection.confusion(0, split, chosen, np.zeros(2, np.int64))
        assert both == pytest.approx(table.true_positive * selection.unit)
        assert active == pytest.approx(table.active * selection.unit)
        assert hit == pytest.approx(table.hit)
        assert (n_known, positive) == pytest.approx(
            (table.known[0] * selection.unit, table.positive[0] * selection.unit)
        )
        assert n_instances == table.instances[0]
