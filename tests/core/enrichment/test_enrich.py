"""The verb: artefacts, equality of repeated and differently bounded runs, refusals."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import planted
import pytest
from scipy import stats

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment import calibrate, enrich, format_table, load_enrichment
from sci_interp.enrichment.chunks import LinkSettings, Study, each_chunk
from sci_interp.enrichment.intervals import bootstrap_pairs
from sci_interp.enrichment.linking import link_pairs
from sci_interp.enrichment.measures import Confusion
from sci_interp.enrichment.memory import MemoryAnnotations, load_annotations, without_nuisances
from sci_interp.enrichment.scores import score_pairs
from sci_interp.enrichment.selection import (
    COUNTED,
    DIRECTIONS,
    select_thresholds,
    share_of_scale,
)
from sci_interp.enrichment.summary import always_on_f1
from sci_interp.enrichment.table import COLUMNS, build_table, sort_rows
from sci_interp.enrichment.table import __doc__ as documentation
from sci_interp.enrichment.universes import SharedUniverses
from sci_interp.errors import InputError, StoreError
from sci_interp.schema import BIN_FLOORS

FAST = {"n_permutations": 200, "max_permutations": 200, "n_bootstrap": 100, "progress": False}


def small_world(seed, *, n_families=90, nuisance=()):
    rng = np.random.default_rng(seed)
    axis = planted.build_axis(rng, n_families, largest=3, length=(40, 80))
    runs = planted.random_tracks(rng, axis, 3, share=0.6)
    tracks = [planted.paint(axis, of_label) for of_label in runs]
    features = [track & (rng.random(axis.n_tokens) < 0.7) for track in tracks]
    features += [planted.paint(axis, of) for of in planted.random_tracks(rng, axis, 6)]
    return planted.make_world(rng, axis, runs, features, nuisance=nuisance)


@pytest.fixture(scope="module")
def world():
    return small_world(0)


@pytest.fixture(scope="module")
def noise(world):
    rng = np.random.default_rng(9)
    features = [rng.random(world.axis.n_tokens) < 0.1 for _ in range(3)]
    runs = [[(0, 1)]]
    return planted.make_world(rng, world.axis, runs, features).features


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_result_is_written_loaded_and_repeated_to_the_byte(tmp_path, world, noise):
    made = enrich(world.features, world.known, out=tmp_path / "a", baselines={"=x": noise}, **FAST)
    again = enrich(world.features, world.known, out=tmp_path / "b", baselines={"=x": noise}, **FAST)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert made.digest == again.digest
    loaded = load_enrichment(tmp_path / "a")
    pd.testing.assert_frame_equal(loaded.table, made.table)
    pd.testing.assert_frame_equal(loaded.summary, made.summary)
    pd.testing.assert_frame_equal(loaded.baselines["=x"], made.baselines["=x"])
    assert loaded.settings == made.settings
    assert loaded.not_identifiable == made.not_identifiable
    assert tuple(loaded.table.columns) == COLUMNS
    assert (loaded.links["class"] != "none").all()
    assert "'=x" in (tmp_path / "a" / "summary.csv").read_text()
    finished = enrich(
        world.features, world.known, out=tmp_path / "a", baselines={"=x": noise}, **FAST
    )
    pd.testing.assert_frame_equal(finished.table, made.table)


def test_interrupted_work_is_done_again(tmp_path, world, monkeypatch):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    enrich(world.features, world.known, out=whole, **FAST)

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sci_interp.enrichment.result.finish_artefact", fail)
        with pytest.raises(KeyboardInterrupt):
            enrich(world.features, world.known, out=torn, **FAST)
    with pytest.raises(StoreError, match="unfinished"):
        load_enrichment(torn)
    enrich(world.features, world.known, out=torn, **FAST)
    assert digests(whole) == digests(torn)


def test_threads_and_memory_bounds_change_nothing(world, monkeypatch):
    one = enrich(world.features, world.known, n_threads=1, **FAST)
    many = enrich(world.features, world.known, n_threads=3, **FAST)
    pd.testing.assert_frame_equal(one.table, many.table)
    for name, value in (
        ("counts.COUNT_ENTRIES", 50), ("inputs.SLICE_TOKENS", 50), ("intervals.MAX_NUMBERS", 1),
    ):  # fmt: skip
        monkeypatch.setattr(f"sci_interp.enrichment.{name}", value)
    bounded = select_thresholds(world.features, world.known, count_bytes=1)
    settings = LinkSettings(n_permutations=200, max_permutations=200, max_entries=1)
    study = Study.alone(world.features, world.known, bounded, settings)
    table, _ = build_table(study, link_pairs(study), n_bootstrap=100)
    shared = [name for name in COLUMNS if name in table]
    pd.testing.assert_frame_equal(table[shared], one.table[shared])
    monkeypatch.undo()
    free = select_thresholds(world.features, world.known)
    for number in (0, 1):
        np.testing.assert_array_equal(bounded.bin[number], free.bin[number])
    for split in COUNTED:
        np.testing.assert_array_equal(bounded.n_families[split], free.n_families[split])


def test_at_most_so_many_features_of_a_label_are_tested_and_the_true_one_is_among_them(world):
    selection = select_thresholds(world.features, world.known)
    settings = LinkSettings(n_permutations=200, max_permutations=200)
    free = link_pairs(Study.alone(world.features, world.known, selection, settings))
    few = link_pairs(
        Study.alone(world.features, world.known, selection, replace(settings, n_per_label=1))
    )
    assert few.n_tested < free.n_tested
    for direction in (0, 1):
        of = few.table[few.table["direction"] == direction]
        assert not of["label"].duplicated().any()
    linked = few.table[few.table["class"] == "site"]
    assert {(int(pair.feature), int(pair.label)) for pair in linked.itertuples()} == {
        (0, 0),
        (1, 1),
        (2, 2),
    }


def test_what_was_not_tested_is_called_so_and_the_design_stands_above_the_table(world):
    rng = np.random.default_rng(2)
    track = world.label_track[0]
    copies = [track & (rng.random(world.axis.n_tokens) < 0.8) for _ in range(4)]
    runs = [[(0, 1)]]
    made = planted.make_world(rng, world.axis, runs, copies)
    result = enrich(made.features, world.known, n_per_label=1, **FAST)
    untested = result.table["class"] == "not tested"
    assert untested.sum() >= 2, "all four are strong on both halves, one or two were tested"
    unjudged = result.table["class"] == "not identifiable"
    assert ((untested | unjudged) == result.table["p"].isna()).all()
    above, _, _ = result.format().partition("n_instances")
    assert "at most 1 features per label and direction" in above
    assert "Nulls: local" in above
    records = world.axis.records[world.axis.records["split"] == "test"]
    sizes = (records["stop"] - records["start"]).groupby(records["block"]).sum()
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    families = f"test: {len(sizes)} families (effective {effective:.1f}), {len(records)} records"
    assert families in above
    n_records = records.groupby("block").size()
    assert (
        f"a family has, in the median and at most, {round(n_records.median())} and "
        f"{n_records.max()} records, {round(sizes.median())} and {sizes.max()} tokens"
    ) in above
    assert "Labels: 3, of which 3 are in 8 families of each half" in above
    free = enrich(made.features, world.known, **FAST)
    assert "Tested: at most" not in free.format().partition("n_instances")[0]


def test_every_column_is_documented_once_and_every_source_is_named():
    first, _, sources = (documentation or "").partition("\n====  ")
    names = re.findall(r"^``([^`]+)``", first, flags=re.MULTILINE)
    listed = [name.strip() for words in names for name in words.split(",")]
    assert sorted(listed) == sorted(COLUMNS)
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", first)}
    assert cited == {int(number) for number in re.findall(r"^\[(\d+)\] ", sources, re.MULTILINE)}


def test_thresholds_maximise_hybrid_f1_and_prefer_the_higher(world):
    selection = select_thresholds(world.features, world.known)
    chosen = selection.confusion(0, "discovery", slice(None), 0).hybrid_f1
    first, last = world.axis.record_starts[[*world.axis.record_range(["discovery"])]]
    label = world.label_track[0, first:last]
    for feature in range(world.features.n_features):
        scores = []
        for floor in BIN_FLOORS:
            active = world.level[first:last, feature] >= floor
            both = (label & active).sum()
            runs = [
                active[start - first : stop - first].any()
                for of, start, stop in zip(
                    world.known.everything.label, world.known.everything.start,
                    world.known.everything.stop, strict=True,
                )
                if of == 0 and first <= start < last
            ]  # fmt: skip
            precision, recall = both / max(active.sum(), 1), np.mean(runs)
            scores.append(2 * precision * recall / max(precision + recall, 1e-300))
        assert chosen[feature] == pytest.approx(max(scores))
        best = np.flatnonzero(np.isclose(scores, max(scores), rtol=0, atol=1e-12)).max()
        assert selection.bin[0][0, feature] == best
    assert share_of_scale(BIN_FLOORS, np.array([0, len(BIN_FLOORS) - 1])).tolist() == [0, 1]


def test_interval_equals_resampling_by_hand(world):
    selection = select_thresholds(world.features, world.known)
    study = Study.alone(world.features, world.known, selection, LinkSettings())
    pairs = pd.DataFrame({"feature": [0], "label": [0], "bin": [int(selection.bin[0][0, 0])]})
    found = bootstrap_pairs(study, pairs, "test", n_bootstrap=50).iloc[0]
    floor = BIN_FLOORS[pairs["bin"][0]]
    begin, end = world.axis.record_range(["test"])
    blocks = world.axis.block_starts
    edges = blocks[(blocks >= begin) & (blocks <= end)]
    counts = []
    for first, last in itertools.pairwise(edges):
        span = slice(*world.axis.record_starts[[first, last]])
        active, label = world.level[span, 0] >= floor, world.label_track[0, span]
        counts.append([(active & label).sum(), active.sum(), label.sum(), len(label)])
    random = np.random.default_rng([0, 2, 0])
    scores = []
    for _ in range(50):
        drawn = random.integers(0, len(counts), len(counts))
        sums = np.array(counts, float)[drawn].sum(0)
        scores.append(Confusion(*sums, hit=np.array(0.0), instances=np.array(0.0)).f1)
    sums = np.array(counts, float)
    left_out = [
        Confusion(*(sums.sum(0) - row), hit=np.array(0.0), instances=np.array(0.0)).f1
        for row in sums
    ]
    influence = left_out - np.mean(left_out)
    kish = (influence**2).sum() ** 2 / (influence**4).sum()
    tail = stats.norm.cdf(stats.t.ppf(0.025, kish - 1))
    assert 0.025 > 1.05 * tail > 0
    low, high = np.quantile(np.array(scores), [tail, 1 - tail])
    assert found["f1_low"] == pytest.approx(low, abs=1e-12)
    assert found["f1_high"] == pytest.approx(high, abs=1e-12)


def test_the_printed_row_is_picked_on_the_half_that_it_was_not_measured_on(world):
    made = enrich(world.features, world.known, **FAST)
    linked = made.table["class"].isin(["site", "record", "positional"])
    assert linked.any()
    for label, rows in made.table.groupby("label", sort=False):
        here = linked[rows.index]
        pool = rows[here] if here.any() else rows
        assert rows.index[0] == pool["chosen_on_hybrid_f1"].idxmax(), label
    selection = select_thresholds(world.features, world.known)
    for row in made.table.itertuples():
        way = DIRECTIONS[int(row.direction == DIRECTIONS[1].name)]
        label = [of.name for of in world.known.labels].index(row.label)
        scores = selection.confusion(way.number, way.selecting, slice(None), label).hybrid_f1
        assert row.chosen_on_hybrid_f1 == scores[row.feature]
        assert row.best == (row.feature == scores.argmax())


def test_a_lucky_half_is_not_what_is_printed(world):
    """Of two linked features the one printed is the choosing half's, even if it measures worse."""
    made = enrich(world.features, world.known, **FAST).table
    base = made[made["class"] == "site"].iloc[:1]
    rows = pd.concat([base, base], ignore_index=True).assign(
        feature=[1, 2], chosen_on_hybrid_f1=[0.9, 0.8], hybrid_f1=[0.6, 0.99]
    )
    rows["class"] = ["record", "site"]
    order = sort_rows(rows.iloc[::-1].assign(label_number=0))
    shown = format_table(order).splitlines()[1].split()
    assert shown[0] == "1"
    assert "record" in shown


def test_sources_side_by_side_give_the_bytes_of_one_after_the_other(tmp_path, world, noise):
    given = {"baselines": {"noise": noise, "again": world.features}, "ceiling": noise}
    found = []
    for n_threads, max_entries in ((1, 2**25), (4, 2**25), (2, 1)):
        out = tmp_path / f"{n_threads} {max_entries}"
        bounds = {"n_threads": n_threads, "max_entries": max_entries}
        enrich(world.features, world.known, out=out, **given, **bounds, **FAST)
        found.append(digests(out))
    assert found[0] == found[1] == found[2]


def test_baselines_share_the_protocol(world, noise):
    made = enrich(world.features, world.known, baselines={"noise": noise}, **FAST)
    assert list(made.summary["source"]) == ["features", "noise", "always on"]
    forward = "best and direction == 'discovery to test'"
    best = made.baselines["noise"].query(forward).set_index("label")["hybrid_f1"]
    rows = made.table[made.table["direction"] == "discovery to test"]
    assert (rows["best_baseline"] == "noise").all()
    np.testing.assert_allclose(rows["best_baseline_hybrid_f1"], best[rows["label"]])


def test_a_supervised_reference_is_a_ceiling_and_no_baseline(tmp_path, world, noise):
    truth = planted.make_world(
        np.random.default_rng(1), world.axis, [[(0, 1)]], list(world.label_track)
    ).features
    given = {"baselines": {"noise": noise}, "ceiling": truth, "out": tmp_path / "a"}
    made = enrich(world.features, world.known, **given, **FAST)
    assert list(made.summary["source"]) == [
        "features", "noise", "always on", "probe (supervised)",
    ]  # fmt: skip
    assert (made.table["best_baseline"] == "noise").all()
    forward = made.table[made.table["direction"] == "discovery to test"]
    query = "best and direction == 'discovery to test'"
    best = made.ceiling.query(query).set_index("label")["hybrid_f1"]
    np.testing.assert_allclose(forward["probe_hybrid_f1"], best[forward["label"]])
    assert (forward["probe_hybrid_f1"] > 0.95).all()
    assert made.ceiling["probe_hybrid_f1"].isna().all()
    assert "best_baseline " in made.format()
    pd.testing.assert_frame_equal(load_enrichment(tmp_path / "a").ceiling, made.ceiling)
    without = enrich(world.features, world.known, **FAST)
    assert without.ceiling is None
    assert without.table["probe_hybrid_f1"].isna().all()
    with pytest.raises(InputError, match="cannot be called"):
        enrich(world.features, world.known, baselines={"probe (supervised)": noise}, **FAST)
    with pytest.raises(StoreError, match="different records"):
        enrich(world.features, world.known, ceiling=small_world(3).features, **FAST)


def test_nuisance_labels_are_measured_and_left_out_of_the_summary():
    made = small_world(1, nuisance=(0,))
    result = enrich(made.features, made.known, **FAST)
    row = result.table.query("label == 'L0' and best").iloc[0]
    assert row["nuisance"]
    assert row["hybrid_f1"] > 0.8
    assert result.summary.iloc[0]["n_labels"] == 2
    assert result.summary.iloc[0]["n_labels_f1"] == 2
    assert result.summary.iloc[0]["n_nuisance_f1"] == 1


def test_links_with_nuisance_labels_are_stated_apart_and_not_in_the_rate():
    made = small_world(1, nuisance=(0,))
    result = enrich(made.features, made.known, **FAST)
    site = result.table[result.table["class"] == "site"]
    assert site["nuisance"].sum() == 1
    forged = result.table.copy()
    forged["replicated"] = forged["nuisance"].astype("boolean")
    assert replace(result, table=forged).replication_rate == 0
    forged["replicated"] = (~forged["nuisance"]).astype("boolean")
    assert replace(result, table=forged).replication_rate == 1
    text = result.format()
    assert f"Links: {len(site) - 1} site" in text
    assert "With nuisance labels: 1 site" in text


def test_without_intervals_nothing_is_judged_on_the_vault(world):
    result = enrich(world.features, world.known, **(FAST | {"n_bootstrap": 0}))
    site = result.table[result.table["class"] == "site"]
    assert len(site)
    assert site["replicated"].isna().all()
    assert site["vault_f1"].notna().all()
    assert np.isnan(result.replication_rate)


def test_always_on_is_a_reference_and_passes_no_feature():
    rng = np.random.default_rng(7)
    axis = planted.build_axis(rng, 60)
    starts = axis.record_starts
    half = [(int(a), int(a + 0.6 * (b - a))) for a, b in itertools.pairwise(starts)]
    runs = [half, *planted.random_tracks(rng, axis, 1, share=0.6)]
    always = np.ones(axis.n_tokens, bool)
    world = planted.make_world(rng, axis, runs, [always, planted.paint(axis, runs[1])])
    world.level[:, 0] = 255
    features = replace(world.features, codes=planted.to_codes(world.level))
    result = enrich(features, world.known, **FAST)
    main, reference = (result.summary.set_index("source").loc[n] for n in ("features", "always on"))
    assert (main["n_labels_f1"], main["n_labels_f1_any"], main["n_labels_both"]) == (1, 2, 1)
    assert (main["n_features_f1"], main["n_features_f1_any"]) == (1, 2)
    assert (reference["n_labels_f1"], reference["n_labels_f1_any"]) == (0, 1)
    selection = select_thresholds(features, world.known)
    np.testing.assert_allclose(
        always_on_f1(selection, "test")[0],
        selection.confusion(0, "test", np.array([0]), 0).hybrid_f1[0],
    )
    assert pd.isna(reference["n_tested"])


def _kish_of_the_first_pair(study, split):
    pair = pd.DataFrame({"feature": [0], "label": [0], "bin": [0]})
    ((tracks, entries, pairs, _),) = each_chunk(study, split, pair)
    return score_pairs(entries, tracks, pairs, n_threads=1).kish[0]


def test_the_half_that_only_nominates_may_rest_on_few_families():
    rng = np.random.default_rng(8)
    axis = planted.build_axis(rng, 80, largest=1, length=(60, 80))
    starts, first = axis.record_starts, axis.record_range(["test"])[0]
    # Four long runs and many short ones in discovery, equal runs in test.
    width = [30 if record < 4 else 2 if record < first else 8 for record in range(len(starts) - 1)]
    begins = [int(start) + int(rng.integers(0, 30)) for start in starts[:-1]]
    runs = [(begin, begin + n) for begin, n in zip(begins, width, strict=True)]
    world = planted.make_world(rng, axis, [runs], [planted.paint(axis, runs)])
    codes = planted.to_codes(200 * (world.level > 0).astype(np.uint8))
    features = replace(world.features, codes=codes)
    result = enrich(features, world.known, **FAST)
    study = Study.alone(
        features,
        world.known,
        select_thresholds(features, world.known),
        LinkSettings(n_permutations=200, max_permutations=200),
    )
    kish = {split: _kish_of_the_first_pair(study, split) for split in ("discovery", "test")}
    assert kish["discovery"] < 5 < kish["test"]
    assert list(result.tested["direction"]) == [DIRECTIONS[0].name]
    assert list(result.table["class"]) == ["site"]
    assert sum(result.not_identifiable["features"].values()) == 1


def test_too_few_families_are_not_identifiable():
    made = small_world(2, n_families=12)
    result = enrich(made.features, made.known, **FAST)
    assert set(result.table["class"]) <= {"not identifiable", "not tested"}
    assert (result.table["class"] == "not identifiable").any()
    assert result.table.loc[result.table["class"] == "not identifiable", "q"].isna().all()
    n_pairs = sum(result.not_identifiable["features"].values())
    assert n_pairs > 0
    assert (
        f"Not identifiable: {n_pairs} candidate pairs ({n_pairs} label in fewer" in result.format()
    )


def test_interplm_protocol_tests_nothing_and_says_so(world, capsys):
    result = enrich(world.features, world.known, protocol="interplm", **FAST)
    assert result.table["p"].isna().all()
    assert set(result.table["class"]) == {"not tested"}
    assert set(result.table["threshold"].round(2)) <= {0.0, 0.15, 0.51, 0.61, 0.81}
    assert (result.links["hybrid_f1"] > 0.5).all()
    assert len(result.links) >= 3
    result.print(n_rows=1)
    shown = capsys.readouterr().out
    assert "optimistic" in shown
    assert "nothing was tested" in shown
    assert "more" in shown
    assert format_table(result.table.iloc[:0]) == "no pair to report"


def test_q_class_is_the_q_of_the_null_that_the_class_rests_on():
    rng = np.random.default_rng(12)
    axis = planted.build_axis(rng, 120)
    runs = [
        *planted.random_tracks(rng, axis, 1, share=0.6),
        planted.family_layout(rng, axis, share=0.7, width=(5, 8), position=0),
    ]
    first = np.zeros(axis.n_tokens, bool)
    for start in axis.record_starts[:-1][rng.random(axis.n_records) < 0.7]:
        first[start : start + 8] = True
    tracks = [planted.paint(axis, runs[0]), first]
    tracks += [planted.paint(axis, of) for of in planted.random_tracks(rng, axis, 10)]
    world = planted.make_world(rng, axis, runs, tracks)
    table = enrich(world.features, world.known, **FAST).table
    linked = table["class"].isin(["site", "record", "positional"])
    assert set(table.loc[linked, "class"]) >= {"site", "positional"}
    assert (table.loc[linked, "q_class"] <= 0.05).all()
    assert table.loc[~linked, "q_class"].isna().all()
    site = table[table["class"] == "site"]
    pd.testing.assert_series_equal(site["q_class"], site["q"], check_names=False)
    assert (table.loc[table["class"] == "positional", "q"] > 0.05).all()


def test_dependence_by_is_stricter(world):
    q = {
        name: enrich(world.features, world.known, dependence=name, **FAST).table["q"].max()
        for name in ("bh", "by")
    }
    assert q["by"] >= q["bh"]


def test_other_records_are_refused(world):
    other = small_world(3)
    with pytest.raises(StoreError, match="different records"):
        enrich(world.features, other.known, **FAST)
    with pytest.raises(StoreError, match="'b'"):
        enrich(world.features, world.known, baselines={"b": other.features}, **FAST)


def test_other_splits_are_refused(world):
    records = world.axis.records.copy()
    records.loc[records["split"] == "vault", "split"] = "test"
    axis = TokenAxis(records)
    assert axis.digest == world.axis.digest, "the order does not depend on the splits"
    with pytest.raises(StoreError, match=r"the annotations divide.* in vault and in test"):
        enrich(world.features, replace(world.known, axis=axis), **FAST)
    other = replace(world.features, axis=axis)
    with pytest.raises(StoreError, match="'b' divide the records differently"):
        enrich(world.features, world.known, baselines={"b": other}, **FAST)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"q": 0.0}, "q is 0.0"),
        ({"seed": -1}, "seed is -1"),
        ({"n_permutations": 0}, "n_permutations"),
        ({"max_permutations": 0}, "max_permutations"),
        ({"n_per_label": -1}, "n_per_label"),
        ({"n_bootstrap": -1}, "n_bootstrap"),
        ({"dependence": "bonferroni"}, "'bh', 'by' or 'maxt'"),
        ({"protocol": "fisher"}, "two-stage"),
    ],
)
def test_settings_out_of_range_are_refused(world, settings, text):
    with pytest.raises(InputError, match=text):
        enrich(world.features, world.known, **(FAST | settings))


def test_reserved_baseline_and_missing_half_are_refused(world):
    with pytest.raises(InputError, match="cannot be called"):
        enrich(world.features, world.known, baselines={"features": world.features}, **FAST)
    lone = planted.make_world(
        np.random.default_rng(0), planted.build_axis(np.random.default_rng(0), 1), [[(0, 3)]],
        [np.ones(planted.build_axis(np.random.default_rng(0), 1).n_tokens, bool)],
    )  # fmt: skip
    with pytest.raises(InputError, match="no block fell into"):
        enrich(lone.features, lone.known, **FAST)


def test_other_settings_in_the_same_folder_and_damage_are_refused(tmp_path, world):
    out = tmp_path / "result"
    enrich(world.features, world.known, out=out, **FAST)
    with pytest.raises(StoreError, match="other work"):
        enrich(world.features, world.known, out=out, **(FAST | {"seed": 1}))
    sources = json.loads((out / "sources.json").read_text())
    (out / "sources.json").write_text(json.dumps(sources | {"baselines": ["x"]}))
    with pytest.raises(StoreError, match="damaged"):
        load_enrichment(out)
    with pytest.raises(StoreError, match="not an artefact"):
        load_enrichment(tmp_path)


def test_a_group_known_in_one_half_and_an_empty_vault(monkeypatch):
    monkeypatch.setitem(planted.FRACTIONS, "discovery", 0.5)
    monkeypatch.setitem(planted.FRACTIONS, "test", 0.5)
    monkeypatch.setitem(planted.FRACTIONS, "vault", 0.0)
    made = small_world(4, n_families=60)
    first, last = made.axis.record_range(["discovery"])
    all_ = made.known.everything
    labels = [*made.known.labels, Label("lone", "elsewhere", "")]
    everything = replace(
        all_,
        label=np.append(all_.label, 3),
        instance=np.append(all_.instance, 10**6),
        start=np.append(all_.start, made.axis.record_starts[first]),
        stop=np.append(all_.stop, made.axis.record_starts[first] + 5),
        known_group=np.append(all_.known_group, 1),
        known_start=np.append(all_.known_start, made.axis.record_starts[first]),
        known_stop=np.append(all_.known_stop, made.axis.record_starts[last]),
    )
    known = MemoryAnnotations(made.axis, labels, everything)
    result = enrich(made.features, known, **FAST)
    assert np.isnan(result.replication_rate)
    assert result.table["replicated"].isna().all()
    assert (result.table["class"] == "site").any()
    lone = result.table[result.table["label"] == "lone"]
    assert set(lone["class"]) <= {"not identifiable", "not tested"}
    assert lone["log_odds_low"].isna().all()
    assert "Replicated" not in result.format()


def test_a_store_that_turns_out_damaged_leaves_no_folder(tmp_path, world):
    class Damaged:
        def __getattr__(self, name):
            return getattr(world.features, name)

        def read(self, start, stop):
            raise StoreError("shard 3 is damaged")

    with pytest.raises(StoreError, match="shard 3"):
        enrich(Damaged(), world.known, out=tmp_path / "a", **FAST)
    assert not (tmp_path / "a").exists()


def test_groups_with_the_same_universe_are_one_and_no_number_depends_on_it(world):
    known = world.known
    labels = [replace(label, group=f"g{index}") for index, label in enumerate(known.labels)]
    everything = known.everything
    n_labels, n_ranges = len(labels), len(everything.known_start)
    apart = MemoryAnnotations(
        known.axis,
        tuple(labels),
        replace(
            everything,
            known_group=np.repeat(np.arange(n_labels), n_ranges),
            known_start=np.tile(everything.known_start, n_labels),
            known_stop=np.tile(everything.known_stop, n_labels),
        ),
    )
    shared = SharedUniverses(apart)
    assert shared.groups == ("g0",)
    assert not shared.group_of_label.any()
    settings = LinkSettings(n_permutations=200, max_permutations=200)
    tables = [
        link_pairs(
            Study.alone(world.features, source, select_thresholds(world.features, source), settings)
        ).table
        for source in (apart, shared)
    ]
    columns = ["feature", "label", "direction", "p_local", "p_swap", "p_joint", "p", "q", "class"]
    pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns])


def test_annotations_are_kept_as_far_as_they_fit(world):
    axis = world.axis
    first, last = (axis.token_range([split]) for split in ("discovery", "test"))
    size = sum(x.nbytes for x in vars(SharedUniverses(world.known).read(*first)).values())
    some = SharedUniverses(world.known, most_bytes=size)
    never, all_ = (SharedUniverses(world.known, most_bytes=n) for n in (0, 10**9))
    for start, stop in (first, last, first):
        pieces = [vars(source.read(start, stop)) for source in (never, some, all_)]
        for name, column in pieces[0].items():
            for other in pieces[1:]:
                np.testing.assert_array_equal(column, other[name])
    assert never.read(*first) is not never.read(*first)
    assert all_.read(*first) is all_.read(*first)
    assert sum(some.read(*part) is some.read(*part) for part in (first, last)) == 1
    with pytest.raises(ValueError, match="read-only"):
        all_.read(*first).start[0] = 1


def test_calibration_leaves_nuisances_out():
    world = small_world(4, nuisance=(0,))
    rest = without_nuisances(load_annotations(world.known))
    assert [label.name for label in rest.labels] == [
        label.name for label in world.known.labels if not label.nuisance
    ]
    first, last = world.axis.token_range(["discovery"])
    whole, part = world.known.read(first, last), rest.read(first, last)
    mine = whole.label > 0
    np.testing.assert_array_equal(part.start, whole.start[mine])
    np.testing.assert_array_equal(part.label, whole.label[mine] - 1)
    world = small_world(4, nuisance=(0, 1, 2))
    with pytest.raises(InputError, match="every label is a nuisance"):
        calibrate(world.features, world.known, n_runs=1, progress=False)
