"""Explained share, reproducibility and the table of gates, on brute force and planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_world import (
    DOMAIN,
    HEAD,
    N_FEATURES,
    RANDOM,
    SUBTYPE,
    SYMBOL,
    UNEXPLAINED,
    ArrayCodes,
    World,
    WorldAdapter,
    planted_levels,
    planted_store,
)

from sci_interp.annotations import AnnotationStore
from sci_interp.candidates import explained, stretches
from sci_interp.candidates.explained import measure_explained_share, measure_lead_share
from sci_interp.candidates.explainers import Explainers, expand
from sci_interp.candidates.firing import Firing
from sci_interp.candidates.reproducibility import match_features, measure_reproducibility
from sci_interp.candidates.unexplained import (
    GATE_COLUMNS,
    KINDS,
    Gates,
    rank_candidates,
    run_gates,
)
from sci_interp.candidates.windows import HALVES
from sci_interp.errors import StoreError

WORLD = World()
N_NOISE = 30


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> AnnotationStore:
    return planted_store(tmp_path_factory.mktemp("world") / "annotations", WORLD)


@pytest.fixture(scope="module")
def codes() -> ArrayCodes:
    return ArrayCodes.of(WORLD.axis, planted_levels(WORLD, 0, N_NOISE))


@pytest.fixture(scope="module")
def explainers(known) -> Explainers:
    return Explainers(known, WorldAdapter(), WORLD)


def test_expand_lists_every_token() -> None:
    owner, token = expand(np.array([3, 9, 9]), np.array([5, 9, 12]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert token.tolist() == [3, 4, 9, 10, 11]


def dense(explainers: Explainers, split: str) -> tuple[np.ndarray, ...]:
    parts = list(stretches.split_stretches(explainers.axis, [split]))
    read = [explainers.read(part) for part in parts]
    return (
        np.concatenate([positive.toarray() for positive, _ in read]) > 0,
        np.concatenate([assessed.toarray() for _, assessed in read]) > 0,
        np.concatenate([part.weight for part in parts]),
        np.concatenate([np.arange(part.start, part.stop) for part in parts]),
    )


def test_explainers_agree_with_the_world(explainers) -> None:
    positive, assessed, _, tokens = dense(explainers, "test")
    record = np.searchsorted(WORLD.axis.record_starts, tokens, "right") - 1
    ids = WORLD.axis.records["record"].to_numpy()
    local = tokens - WORLD.axis.record_starts[record]
    symbol = np.array([WORLD.sequences[ids[r]][t] for r, t in zip(record, local, strict=True)])
    assert assessed.all()
    names = list(explainers.names)
    assert np.array_equal(positive[:, names.index("symbol=C")], symbol == 2)
    assert np.array_equal(positive[:, names.index("position:first 5")], local < 5)
    inside = [
        any(a <= t < b for a, b in WORLD.truth[ids[r]]["DOMAIN"])
        for r, t in zip(record, local, strict=True)
    ]
    assert np.array_equal(positive[:, 0], inside)
    assert explainers.is_nuisance.tolist() == [False, False] + [True] * 10


@pytest.mark.parametrize("n_tokens", [300, 100_000])
def test_explained_share_equals_brute_force(monkeypatch, codes, explainers, n_tokens) -> None:
    monkeypatch.setattr(stretches, "STRETCH_TOKENS", n_tokens)
    chosen = np.array([UNEXPLAINED, DOMAIN, SYMBOL, RANDOM, SUBTYPE])
    firing = Firing(codes, chosen, np.full(5, 224))
    found = measure_explained_share(firing, explainers, n_resamples=200)
    # Both halves together: explained and assessed firing, and the base, weighted by the latter.
    sums = np.zeros((3, len(chosen)))
    for half, split in enumerate(HALVES):
        positive, assessed, weight, tokens = dense(explainers, split)
        levels = planted_levels(WORLD, 0, N_NOISE)[tokens]
        for place, feature in enumerate(chosen):
            labels = found.labels[1 - half, place]
            labels = labels[labels >= 0]
            hit = positive[:, labels].any(axis=1)
            is_known = assessed[:, explainers.group[labels]].all(axis=1)
            fires = (levels[:, feature] >= 224) & is_known
            base = weight[hit & is_known].sum() / weight[is_known].sum()
            fired = weight[fires].sum()
            sums[:, place] += weight[fires & hit].sum(), fired, base * fired
    base = sums[2] / sums[1]
    wanted = (sums[0] / sums[1] - base) / (1 - base)
    assert found.share == pytest.approx(wanted, abs=1e-9)
    assert (found.lower <= found.share + 1e-9).all()
    assert (found.share <= found.upper + 1e-9).all()


def test_what_is_never_seen_in_few_families_is_not_excluded(codes, explainers) -> None:
    """The bound keeps room for one more family that the labels would explain."""
    levels = np.zeros((WORLD.axis.n_tokens, 1), int)
    first = WORLD.axis.block_starts[:-1]
    splits = WORLD.axis.records["split"].to_numpy()[first]
    rows = np.concatenate([first[splits == split][:4] for split in HALVES])
    levels[WORLD.axis.record_starts[rows] + 60] = 255
    firing = Firing(ArrayCodes.of(WORLD.axis, levels), np.array([0]), np.array([224]))
    found = measure_explained_share(firing, explainers, n_resamples=400)
    assert found.upper[0] > 0.05
    assert found.upper[0] >= found.share[0]


def test_bounds_cover_the_truth(explainers) -> None:
    """Features that fire on DOMAIN at one rate and elsewhere at another have a known share."""
    rng = np.random.default_rng(4)
    n, rates = 60, (0.01, 0.06)
    halves = [dense(explainers, split) for split in HALVES]
    levels = np.zeros((WORLD.axis.n_tokens, n), int)
    for positive, _, _, tokens in halves:
        rate = np.where(positive[:, :1], rates[1], rates[0])
        levels[tokens] = 255 * (rng.random((len(tokens), n)) < rate)
    firing = Firing(ArrayCodes.of(WORLD.axis, levels), np.arange(n), np.full(n, 224))
    found = measure_explained_share(firing, explainers, n_resamples=300)
    truth = np.zeros((2, n))
    for half, (positive, _, weight, _) in enumerate(halves):
        rate = weight * np.where(positive[:, 0], rates[1], rates[0])
        for feature, labels in enumerate(found.labels[1 - half]):
            hit = positive[:, labels[labels >= 0]].any(axis=1)
            base = weight[hit].sum() / weight.sum()
            truth[half, feature] = (rate[hit].sum() / rate.sum() - base) / (1 - base)
    expected = truth.mean(axis=0)
    assert (found.upper >= expected).mean() >= 0.9
    assert (found.lower <= expected).mean() >= 0.9
    assert (found.upper < 1).all()


def test_unknown_everywhere_leaves_the_bound_at_one() -> None:
    sums = np.array([[0.0, 1.0], [0.0, 2.0]])
    resampled = np.broadcast_to(sums[:, :, None], (2, 2, 50)).astype(np.float32)
    half = explained._Judgement(sums, resampled, np.array([0.1, 0.1]), np.array([0, 2]))
    for judged in (half, half + half):
        share, lower, upper = judged.shares()
        assert np.isnan(share[0]) and np.isnan(lower[0]).all() and np.isnan(upper[0]).all()
        assert share[1] == pytest.approx((0.5 - 0.1) / 0.9)


@pytest.mark.parametrize("n_families", [8, 12, 30])
def test_the_upper_bound_holds_in_few_families(n_families: int) -> None:
    """Families that are in or out of the labels by the toss of a coin have a share of 0.5."""
    rng = np.random.default_rng(n_families)
    n = 400
    inside = rng.random((n, n_families)) < 0.5
    draws = rng.poisson(1.0, (n_families, 500))
    whole = np.broadcast_to(draws.sum(axis=0), (n, 500))
    resampled = np.stack([inside @ draws, whole]).astype(np.float32)
    sums = np.stack([inside.sum(axis=1), np.full(n, n_families)]).astype(float)
    judged = explained._Judgement(sums, resampled, np.zeros(n), np.full(n, n_families))
    _, lower, upper = judged.shares()
    assert (np.quantile(upper, 0.95, axis=1) >= 0.5).mean() >= 0.93
    assert (np.quantile(lower, 0.05, axis=1) <= 0.5).mean() >= 0.93


def test_matches_equal_correlation_coefficients(codes) -> None:
    other = planted_levels(WORLD, 3, N_NOISE)[:, ::-1]
    chosen = np.array([0, 1, 3, 10])
    found, best = match_features(
        codes, ArrayCodes.of(WORLD.axis, other), chosen=chosen, n_tokens=10**9
    )
    start, stop = WORLD.axis.token_range(HALVES)
    values = [
        np.where(levels > 0, 2.0 ** ((levels - 255) / 32), 0.0)[start:stop]
        for levels in (planted_levels(WORLD, 0, N_NOISE), other)
    ]
    with np.errstate(invalid="ignore"):
        table = np.corrcoef(values[0].T, values[1].T)[chosen, len(values[0].T) :]
    assert found == pytest.approx(np.nanmax(table, axis=1), abs=1e-9)
    assert np.array_equal(best, np.nanargmax(table, axis=1))


@pytest.mark.parametrize(("n_seeds", "needed"), [(1, 1), (2, 2), (3, 2), (4, 2), (9, 5)])
def test_matches_needed(codes, n_seeds: int, needed: int) -> None:
    other = ArrayCodes.of(WORLD.axis, planted_levels(WORLD, 1, N_NOISE))
    found = measure_reproducibility(codes, [other] * n_seeds, chosen=np.arange(4), n_tokens=2_000)
    assert found.n_needed == needed
    assert found.correlation.shape == (n_seeds, 4)


def test_planted_features_are_reproducible_and_noise_is_not(codes) -> None:
    rng = np.random.default_rng(0)
    others = [
        ArrayCodes.of(WORLD.axis, rng.permutation(planted_levels(WORLD, s, N_NOISE), axis=1))
        for s in (1, 2)
    ]
    chosen = np.array([i for i in range(N_FEATURES + N_NOISE) if i != 6])
    found = measure_reproducibility(codes, others, chosen=chosen)
    passed = dict(zip(chosen.tolist(), found.passed.tolist(), strict=True))
    assert all(passed[f] for f in (UNEXPLAINED, DOMAIN, SYMBOL, SUBTYPE))
    assert not any(passed[f] for f in (RANDOM, *range(8, 8 + N_NOISE)))
    # The first tokens match in exchanged records too: position alone is no reproducible feature.
    assert found.null_level.min() > 0.5
    assert np.array_equal(found.mean, found.correlation.mean(axis=0))


def test_gates_find_the_planted_features(codes, known) -> None:
    table = run_gates(codes, known, adapter=WorldAdapter(), dataset=WORLD)
    assert tuple(table.columns) == GATE_COLUMNS
    kinds = dict(zip(table["feature"], table["kind"], strict=True))
    assert kinds.pop(UNEXPLAINED) == "unexplained"
    assert kinds.pop(SUBTYPE) == "sub-type"
    assert not any(kinds.values())
    row = table.set_index("feature")
    assert row.loc[UNEXPLAINED, "upper"] < 0.3
    assert row.loc[UNEXPLAINED, "score"] > 0.1
    assert row.loc[DOMAIN, "explained_share"] > 0.9
    assert "DOMAIN" in row.loc[DOMAIN, "explained_by"]
    assert row.loc[HEAD, "explained_share"] > 0.9
    assert (row["causal"] == "not tested").all() and (row["reproducible"] == "not tested").all()
    assert 6 not in row.index  # fires in two families
    assert rank_candidates(table, KINDS[0])["feature"].tolist() == [UNEXPLAINED]


def test_gates_are_deterministic_and_independent_of_stretches(monkeypatch, codes, known) -> None:
    where = {"adapter": WorldAdapter(), "dataset": WORLD}
    first = run_gates(codes, known, **where)
    monkeypatch.setattr(stretches, "STRETCH_TOKENS", 700)
    second = run_gates(codes, known, **where)
    numbers = first.select_dtypes("number").columns
    assert np.allclose(first[numbers], second[numbers], atol=1e-5, equal_nan=True)
    words = [name for name in first.columns if name not in set(numbers)]
    assert first[words].equals(second[words])


def test_no_eligible_feature_gives_an_empty_table(known) -> None:
    silent = ArrayCodes.of(WORLD.axis, np.zeros((WORLD.axis.n_tokens, 2), int))
    where = {"adapter": WorldAdapter(), "dataset": WORLD}
    assert run_gates(silent, known, seeds=[silent], **where).empty


def test_another_axis_is_refused(codes, known) -> None:
    other = World(n_families=20)
    stranger = ArrayCodes.of(other.axis, planted_levels(other))
    where = {"adapter": WorldAdapter(), "dataset": WORLD}
    with pytest.raises(StoreError, match="different records"):
        run_gates(stranger, known, **where)
    with pytest.raises(StoreError, match="different records"):
        run_gates(codes, known, seeds=[stranger], **where)


def test_one_label_alone_is_not_the_union(codes, explainers) -> None:
    parts = [WORLD.sequences[record] for record in WORLD.axis.records["record"]]
    three = np.isin(np.concatenate(parts), (1, 2, 3))
    mixed = ArrayCodes.of(WORLD.axis, np.where(three, 255, 0)[:, None])
    firing = Firing(mixed, np.array([0]), np.array([1]))
    share = measure_explained_share(firing, explainers, n_resamples=200)
    alone = measure_lead_share(firing, explainers, share.labels[0, :, 0], n_resamples=200)
    assert share.lower > 0.9 and alone < 0.4

    firing = Firing(codes, np.array([DOMAIN, SUBTYPE]), np.array([1, 1]))
    lead = measure_explained_share(firing, explainers, n_resamples=200).labels[0, :, 0]
    assert (measure_lead_share(firing, explainers, lead, n_resamples=200) >= 0.5).all()
    nothing = np.array([-1, -1])
    assert (measure_lead_share(firing, explainers, nothing, n_resamples=200) <= 0).all()
    none = Firing(codes, np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert len(measure_lead_share(none, explainers, np.zeros(0, np.int64))) == 0


def test_coherence_and_share_run_on_one_blas_thread(codes, known, monkeypatch) -> None:
    from threadpoolctl import threadpool_info

    seen: list[int] = []
    describe, read = WorldAdapter.describe_windows, WorldAdapter.nuisance_codes

    def watched(original):
        def call(*arguments):
            seen.extend(x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas")
            return original(*arguments)

        return call

    monkeypatch.setattr(WorldAdapter, "describe_windows", watched(describe))
    monkeypatch.setattr(WorldAdapter, "nuisance_codes", watched(read))
    monkeypatch.setattr("sci_interp.candidates.coherence.WINDOWS_PER_CELL", 4)
    gates = Gates(n_sets=20, n_resamples=5)
    run_gates(codes, known, adapter=WorldAdapter(), dataset=WORLD, gates=gates)
    assert len(seen) > 10 and set(seen) == {1}


def test_windows_on_levels_are_matched_by_row_not_by_level():
    from sci_interp.axis import TokenAxis
    from sci_interp.candidates.coherence import cells_of

    table = pd.DataFrame({"record": ["a"], "block": ["a"], "n_tokens": [2 * 3 * 6]})
    axis = TokenAxis.build(table, step_weights=(1, 2, 3, 4, 5, 6) * 3)
    cells = cells_of(axis, np.arange(36), np.zeros(1, np.int64)).reshape(2, 3, 6)
    assert (cells == np.arange(6)).all()
