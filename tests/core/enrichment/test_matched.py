"""Features against the best covariate: scikit-learn bin by bin, planted gains, and none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import planted
import pytest
from grid_world import grid_axis, smooth_fields, to_annotations
from sklearn import metrics

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment import inputs, matched
from sci_interp.enrichment.matched import compare_matched, format_matched
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.errors import InputError, StoreError

NAMES = ("other +", "field +", "other -", "field -")
WAYS = (("discovery", "test"), ("test", "discovery"))


def levels_of(field, *, floor=0.0):
    """Return levels of the positive part of a field, fine and increasing."""
    level = np.clip(np.rint(140 + 40 * np.log2(np.maximum(field, 1e-3))), 1, 255)
    return np.where(field > floor, level, 0).astype(np.uint8)


def store(axis, columns, names=()):
    level = np.stack([column.reshape(-1) for column in columns], axis=1)
    return MemoryFeatures(axis, planted.to_codes(level), level.shape[1], tuple(names))


def grid_world(seed=0, *, n_blocks=30, n_days=4, masks=None, known=None, features=None):
    """A label is where field + other is large; feature 2 knows the sum, feature 1 the field."""
    rng = np.random.default_rng(seed)
    axis = grid_axis(n_blocks=n_blocks, n_days=n_days)
    field, other, noise = (smooth_fields(axis, rng) for _ in range(3))
    total = field + 0.8 * other
    mask = total > np.quantile(total, 0.9)
    signs = (levels_of(other), levels_of(field), levels_of(-other), levels_of(-field))
    columns = [levels_of(noise), levels_of(field) // 2, levels_of(total, floor=0.5)]
    if features is not None:
        columns = features(signs, columns)
    return SimpleNamespace(
        axis=axis,
        mask=mask,
        columns=columns,
        signs=signs,
        features=store(axis, columns),
        covariates=store(axis, signs, NAMES),
        known=to_annotations(axis, {"SUM": mask} if masks is None else masks(mask), known=known),
    )


def compare(world, **settings):
    given = {"n_bootstrap": 50, "n_threads": 1, "progress": False, **settings}
    return compare_matched(world.features, world.known, world.covariates, **given)


@pytest.fixture(scope="module")
def world():
    return grid_world()


@pytest.fixture(scope="module")
def table(world):
    return compare(world)


def tokens_of(axis, split):
    return slice(*axis.token_range([split]))


def precision(truth, level, weight):
    return metrics.average_precision_score(truth, level, sample_weight=weight)


def by_hand(world, selecting, testing, n_bins, *, times=None, known=None):
    """Return covariate, feature and the three means, token by token.

    ``times`` says how often each token of the testing half counts.
    """
    axis = world.axis
    weight = axis.token_weights(0, axis.n_tokens).astype(float)
    weight = weight if known is None else weight * known
    truth = world.mask.reshape(-1)
    signs, columns = ([c.reshape(-1) for c in each] for each in (world.signs, world.columns))
    here, there = tokens_of(axis, selecting), tokens_of(axis, testing)
    ranks = [255 + signs[at].astype(int) - signs[(at + 2) % 4] for at in range(4)]
    areas = [precision(truth[here], each[here], weight[here]) for each in ranks]
    best = int(np.argmax(areas))
    share = weight[here] / weight[here].sum()
    below = np.array([share[ranks[best][here] < each].sum() for each in range(511)])
    bin_of = np.minimum(np.floor(n_bins * below + 1e-9), n_bins - 1)

    def means(tokens, columns, weight):
        bins, sums = bin_of[ranks[best][tokens]], np.zeros(len(columns) + 1)
        for at in np.unique(bins):
            inside = (bins == at) & (weight > 0)
            positive = truth[tokens][inside]
            if positive.any():
                w = weight[inside]
                found = [precision(positive, each[tokens][inside], w) for each in columns]
                sums += w[positive].sum() * np.array([*found, w[positive].sum() / w.sum()])
        return sums / (weight * truth[tokens]).sum()

    feature = int(np.argmax(means(here, columns, weight[here])[:-1]))
    counted = weight[there] if times is None else weight[there] * times
    return best, feature, means(there, [columns[feature], ranks[best]], counted)


@pytest.mark.parametrize(("seed", "n_bins"), [(0, 10), (1, 4), (2, 1)])
def test_every_number_equals_scikit_learn_inside_bins(seed, n_bins):
    world = grid_world(seed, n_blocks=20, n_days=3)
    found = compare(world, n_bins=n_bins, n_bootstrap=0)
    for row, (selecting, testing) in zip(found.itertuples(), WAYS, strict=True):
        best, feature, means = by_hand(world, selecting, testing, n_bins)
        assert row.direction == f"{selecting} to {testing}"
        assert (row.covariate, row.feature, row.feature_name) == (NAMES[best], feature, "2")
        given = (row.ap_feature, row.ap_covariate, row.prevalence)
        np.testing.assert_allclose(given, means, rtol=1e-12)
        assert row.gain_over_covariate == pytest.approx(means[0] - means[1], abs=1e-12)
        assert row.gain_over_chance == pytest.approx(means[0] - means[2], abs=1e-12)
        there = tokens_of(world.axis, testing)
        weight = world.axis.token_weights(there.start, there.stop)
        n_positive = weight[world.mask.reshape(-1)[there]].sum() / weight.max()
        assert row.n_positive == round(n_positive)
        assert np.isnan(row.gain_low) and row.beats_field is pd.NA


def test_a_feature_with_more_information_gains(table):
    assert set(table["covariate"]) == {"field +"} and set(table["feature"]) == {2}
    assert table["beats_field"].all()
    assert (table["gain_low"] > 0.2).all()
    assert (table["gain_low"] < table["gain_over_covariate"]).all()
    assert (table["gain_over_covariate"] < table["gain_high"]).all()
    assert (table["gain_over_chance_low"] > table["gain_low"]).all()
    assert (table["n_blocks"] > 8).all()


def test_a_function_of_the_covariate_gains_nothing():
    """Its ranking inside bins is the covariate's own, in every resample."""
    world = grid_world()
    signs = [each // 2 for each in world.signs]
    both = 128 + signs[1] - signs[3]
    one_side = np.where(signs[1] > 0, signs[1] // 2 + 100, 0).astype(np.uint8)
    world.covariates = store(world.axis, signs, NAMES)
    world.features = store(world.axis, [one_side, both])
    found = compare(world)
    assert set(found["feature"]) == {1} and (found["ap_covariate"] > found["prevalence"]).all()
    for name in ("gain_over_covariate", "gain_low", "gain_high"):
        assert (found[name] == 0).all()
    assert not found["beats_field"].any()
    world.features = store(world.axis, [one_side])
    coarse = compare(world)
    assert (coarse["gain_over_covariate"] <= 0).all() and not coarse["beats_field"].any()


def one_covariate(seed, chance, columns, names=("x +", "x -")):
    """Compare features of a field with it; the label is drawn from the field alone."""
    rng = np.random.default_rng(seed)
    axis = grid_axis(n_blocks=40, n_days=6)
    field, noise = (smooth_fields(axis, rng) for _ in "12")
    field /= field.std()
    world = SimpleNamespace(
        features=store(axis, [levels_of(each) for each in columns(field, noise)]),
        known=to_annotations(axis, {"L": rng.random(field.shape) < chance(field)}),
        covariates=store(axis, [levels_of(field), levels_of(-field)], names),
    )
    return compare(world, n_bootstrap=100)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_increasing_function_that_resolves_the_far_side_gains_nothing(sign):
    found = {}
    for names in (("x +", "x -"), ("up", "down")):
        tables = [
            one_covariate(
                seed,
                lambda field: 1 / (1 + np.exp(1.5 - sign * field)),
                lambda field, noise: (sign * field + 1.5, noise),
                names,
            )
            for seed in range(6)
        ]
        table = pd.concat(tables)
        assert set(table["covariate"]) == {names[0 if sign > 0 else 1]}
        assert set(table["feature"]) == {0}
        found[names[0]] = table["beats_field"].mean()
    assert found["x +"] == 0 and found["up"] > 0.5


def test_losing_less_than_a_covariate_that_misleads_is_no_merit():
    """Where both extremes have the label, one end of any ordering of it is worse than chance."""
    tables = [
        one_covariate(
            seed,
            lambda field: np.where(np.abs(field) > 1.5, 0.5, 0.02),
            lambda field, noise: (noise,),
        )
        for seed in range(12)
    ]
    found = pd.concat(tables)
    assert (found["gain_low"] > 0).any() and found["beats_field"].mean() <= 0.06


def test_intervals_resample_blocks(world):
    n_bootstrap, n_bins = 20, 5
    found = compare(world, n_bins=n_bins, n_bootstrap=n_bootstrap, seed=7)
    for number, (row, way) in enumerate(zip(found.itertuples(), WAYS, strict=True)):
        there = tokens_of(world.axis, way[1])
        block = world.axis.records["block"].to_numpy()
        size = np.diff(world.axis.record_starts)
        numbers = pd.factorize(np.repeat(block, size)[there])[0]
        n_blocks = numbers.max() + 1
        random = np.random.default_rng([7, 2 - number])
        gains = []
        for drawn in random.integers(0, n_blocks, (n_bootstrap, n_blocks)):
            times = np.bincount(drawn, minlength=n_blocks)[numbers]
            means = by_hand(world, *way, n_bins, times=times)[2]
            gains.append(means[0] - means[1:])
        found_here = by_hand(world, *way, n_bins)[2]
        bias = np.mean(gains, axis=0) - (found_here[0] - found_here[1:])
        ends = np.quantile(gains, [0.025, 0.975], axis=0) - 2 * bias
        np.testing.assert_allclose([row.gain_low, row.gain_high], ends[:, 0], rtol=1e-9)
        chance = [row.gain_over_chance_low, row.gain_over_chance_high]
        np.testing.assert_allclose(chance, ends[:, 1], rtol=1e-9)


def test_features_that_know_nothing_seldom_beat_a_covariate_that_knows_nothing():
    """Smooth label fields in few blocks: quantiles of resamples alone would find many."""
    beats = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        axis = grid_axis(n_blocks=30, n_days=10)
        fields = [smooth_fields(axis, rng) for _ in range(4)]
        masks = {f"L{at}": field > 1.9 * field.std() for at, field in enumerate(fields)}
        coarse = np.floor(4 * rng.random(fields[0].shape)).astype(np.uint8)
        world = SimpleNamespace(
            features=store(axis, [levels_of(smooth_fields(axis, rng), floor=0.8) for _ in "12345"]),
            covariates=store(axis, [50 * coarse, 50 * (3 - coarse)]),
            known=to_annotations(axis, masks),
        )
        beats.append(compare(world, n_bins=4, n_bootstrap=150)["beats_field"].mean())
    assert np.mean(beats) <= 0.06


def test_only_assessed_tokens_count():
    size = 60
    known = [(0, record * size, record * size + 35) for record in range(20 * 3)]
    inside = np.tile(np.arange(size) < 35, 20 * 3)
    world = grid_world(3, n_blocks=20, n_days=3, known=known)
    for row, way in zip(compare(world).itertuples(), WAYS, strict=True):
        best, feature, means = by_hand(world, *way, 10, known=inside)
        assert (row.covariate, row.feature) == (NAMES[best], feature)
        np.testing.assert_allclose((row.ap_feature, row.ap_covariate, row.prevalence), means)


def test_threads_slices_and_memory_change_nothing(monkeypatch):
    world = grid_world(masks=lambda mask: {"A": mask, "B": ~mask, "C": np.roll(mask, 1, 0)})
    expected = compare(world)
    assert list(expected["label"]) == ["A", "A", "B", "B", "C", "C"]
    pd.testing.assert_frame_equal(compare(world, n_threads=4), expected, check_exact=True)
    monkeypatch.setattr(matched, "COUNT_BYTES", 1)
    pd.testing.assert_frame_equal(compare(world), expected, check_exact=True)
    monkeypatch.setattr(inputs, "SLICE_TOKENS", 150)  # blocks go on in the next slice
    pd.testing.assert_frame_equal(compare(world), expected, check_exact=True)


def test_nothing_is_chosen_on_the_half_that_is_reported(world, table):
    """Other codes there change what is measured, and nothing that is chosen."""
    rng = np.random.default_rng(1)
    there = tokens_of(world.axis, "test")
    moved = [column.reshape(-1).copy() for column in (*world.columns, *world.signs)]
    n_there = there.stop - there.start
    orders = [rng.permutation(n_there) for _ in "12345"]
    for column, order in zip(moved, orders + orders[3:], strict=True):
        column[there] = column[there][order]
    changed = SimpleNamespace(
        features=store(world.axis, moved[:3]),
        covariates=store(world.axis, moved[3:], NAMES),
        known=world.known,
    )
    found = compare(changed)
    chosen = ["covariate", "feature"]
    assert (found.loc[0, chosen] == table.loc[0, chosen]).all()
    assert found.loc[0, "ap_feature"] < table.loc[0, "ap_feature"] / 2
    assert not found.loc[0, "beats_field"]


def test_features_are_screened_before_they_are_compared(world, monkeypatch):
    monkeypatch.setattr(matched, "N_CANDIDATES", 1)
    assert set(compare(world)["feature"]) == {2}
    names = ("a", "b", "c")
    world = replace(world.features, names=names), world.known, world.covariates
    assert set(compare_matched(*world, n_bootstrap=0, progress=False)["feature_name"]) == {"c"}


def test_labels_that_are_left_out_or_not_judged(world):
    first, last = world.axis.token_range(["discovery"])
    everywhere = world.mask.reshape(-1)
    one_half = everywhere & (np.arange(len(everywhere)) < last)
    starts = world.axis.record_starts[world.axis.block_starts]
    few = everywhere & (np.arange(len(everywhere)) < starts[np.searchsorted(starts, last) + 3])
    masks = {"SUM": everywhere, "HALF": one_half, "FEW": few}
    masks = {name: mask.reshape(world.mask.shape) for name, mask in masks.items()}
    known = to_annotations(world.axis, masks)
    labels = [replace(known.labels[0], nuisance=True), *known.labels[1:]]
    found = compare(SimpleNamespace(**{**vars(world), "known": replace(known, labels=labels)}))
    assert first == 0 and list(found["label"]) == ["FEW", "FEW"]
    assert list(found["n_blocks"]) == [3, found["n_blocks"][1]] and found["n_blocks"][1] > 8
    assert found["beats_field"].isna().tolist() == [True, False]
    assert np.isnan(found.loc[0, "gain_low"]) and np.isfinite(found.loc[0, "ap_feature"])
    assert "0 of 0 judged labels" in format_matched(found)
    nothing = planted.annotations(world.axis, [Label("NONE", "g", "")], [])
    empty = compare(SimpleNamespace(**{**vars(world), "known": nothing}))
    assert empty.empty and list(empty.columns) == list(matched.COLUMNS)
    assert "no label occurs" in format_matched(empty)


def test_text_names_both_sides_and_counts_labels(table):
    text = format_matched(table)
    assert "field +" in text and "SUM" in text and "discovery to test" in text
    assert "1 of 1 judged labels have a feature that beats it both ways round" in text


def test_signs_that_are_active_together_are_refused(world):
    both = store(world.axis, [world.signs[1], world.signs[1]], ("field +", "field -"))
    with pytest.raises(InputError, match="covariates 0 and 1 are both active at a token"):
        compare(SimpleNamespace(**{**vars(world), "covariates": both}))


def test_a_finished_table_is_loaded_and_a_killed_one_made_again(tmp_path, world, monkeypatch):
    made = compare(world, out=tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert {path.name for path in before} == {
        "manifest.json", "request.json", "matched.csv", "matched.parquet",
    }  # fmt: skip
    pd.testing.assert_frame_equal(compare(world, out=tmp_path / "a"), made)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    with pytest.raises(StoreError, match="n_bins was 10 there and is 5 now"):
        compare(world, out=tmp_path / "a", n_bins=5)

    def kill(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(matched, "finish_artefact", kill)
        with pytest.raises(KeyboardInterrupt):
            compare(world, out=tmp_path / "b")
    assert not (tmp_path / "b" / "manifest.json").exists()
    pd.testing.assert_frame_equal(compare(world, out=tmp_path / "b"), made)
    for path in before:
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    path = tmp_path / "a" / "matched.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        compare(world, out=tmp_path / "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bins": 0}, "n_bins is 0"),
        ({"n_bins": 256}, "n_bins is 256"),
        ({"n_bootstrap": -1}, "n_bootstrap is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(world, settings, message):
    with pytest.raises(InputError, match=message):
        compare(world, **settings)


def test_covariates_of_other_records_or_splits_are_refused(world):
    moved = TokenAxis(world.axis.records.assign(split="discovery"), world.axis.step_weights)
    other = SimpleNamespace(**{**vars(world), "covariates": replace(world.covariates, axis=moved)})
    with pytest.raises(StoreError, match="'covariates' divide the records differently"):
        compare(other)
