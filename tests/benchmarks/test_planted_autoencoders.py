"""Planted activations: what is taken out of them, whose links are true, what is asked of worlds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sci_interp.axis import DEFAULT_FRACTIONS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "planted"))
aims = pytest.importorskip("planted_aims")
maps = pytest.importorskip("planted_maps")
proteins = pytest.importorskip("protein_worlds")
rules = pytest.importorskip("planted_rules")
saes = pytest.importorskip("sae_worlds")
tables = pytest.importorskip("planted_tables")
weather = pytest.importorskip("weather_worlds")

SMALL = replace(
    proteins.SAE_SEQUENCES,
    n_families=30,
    labels=tuple(proteins.site_labels(3)),
    counts=dict.fromkeys(proteins.SAE_SEQUENCES.counts, 2),
)


@pytest.fixture(scope="module")
def acts():
    world = proteins.build_proteins(SMALL, (0, 1), fractions=DEFAULT_FRACTIONS)
    return saes.Activations(world, 3)


@pytest.fixture(scope="module")
def perfect(acts):
    """A dictionary that holds the concepts' own directions first."""
    drawn = saes.RandomDictionary.draw(acts.source, 0)
    own = drawn.dictionary.copy()
    own[: len(acts.directions)] = acts.directions
    return replace(drawn, dictionary=own, scale=np.ones(len(own), np.float32))


def test_activations_are_sums_of_directions_and_noise(acts):
    rest = acts.source.values - acts.strength @ acts.directions
    assert rest.std() == pytest.approx(saes.NOISE, rel=0.02)
    assert np.linalg.norm(acts.directions, axis=1) == pytest.approx(1.0)
    codes = acts.world.features.codes
    assert (acts.strength > 0).sum() == len(codes.feature)


def test_taking_a_concept_out_leaves_the_others(acts):
    label, tokens = 1, np.arange(400)
    own = np.flatnonzero(acts.world.of_kind("clear", "sub-concept")[label])
    assert len(own) == 2
    removed = acts.source.values[tokens] - acts.without(label, tokens)
    expected = acts.strength[tokens][:, own] @ acts.directions[own]
    np.testing.assert_allclose(removed, expected, atol=1e-5)


def test_a_link_is_true_where_firing_ends_with_the_concept(acts, perfect):
    features = np.arange(len(acts.world.kind))
    for label in range(3):
        caused = saes._is_caused(acts, perfect, label, features, np.full(len(features), 0.4))
        own = set(np.flatnonzero(acts.world.of_kind("clear", "sub-concept")[label]).tolist())
        assert own <= set(np.flatnonzero(caused).tolist())
        clear = acts.world.of_kind("clear")
        assert not caused[np.flatnonzero(clear.any(axis=0) & ~clear[label])].any()


def test_sources_are_scored_by_true_links_and_directions(acts, perfect):
    names = [label.name for label in acts.world.labels]
    table = pd.DataFrame(
        {
            "feature": [0, 1, 0], "label": [names[0], names[1], names[2]], "class": "site",
            "threshold": 0.4, "hybrid_f1": [0.8, 0.3, 0.9],
        }
    )  # fmt: skip
    found = saes._score_source(acts, perfect, table)
    assert (found["n_calls"], found["n_false"]) == (3, 1)
    assert (found["n_labels_linked"], found["n_labels_named"]) == (2, 1)
    assert all(learned == planted for learned, planted in found["recovered"].values())
    drawn = saes._score_source(acts, saes.RandomDictionary.draw(acts.source, 0), table)
    assert not any(learned for learned, _ in drawn["recovered"].values())


def test_listed_features_are_right_where_they_stand_for_hidden_concepts(acts, perfect):
    kinds = acts.world.kind
    features = [kinds.index("clear"), *(at for at, kind in enumerate(kinds) if "hidden" in kind)]
    gates = pd.DataFrame({"feature": features})
    gates["kind"] = ["unexplained", "unexplained", *[""] * (len(features) - 2)]
    gates["coherent"], gates["unexplained"] = gates["kind"] != "", True
    gates["reproducible"] = "yes"
    found = saes._score_candidates(acts, perfect.dictionary, gates)
    n_hidden = len(features) - 1
    assert (found["n_listed"], found["n_right"], found["n_hidden_listed"]) == (2, 1, 1)
    assert (found["n_hidden"], found["n_hidden_learned"]) == (n_hidden, n_hidden)
    assert found["missed_by"] == {"not coherent": n_hidden - 1, "explained": 0}
    assert found["reproducible_concepts"] == [len(features), len(features)]


def test_storms_stamp_their_kind_on_the_field():
    climate = replace(weather.SAE_GRID, n_years=20, n_days=8, n_hidden=2)
    world = weather.build_weather(climate, (0, 2), fractions=DEFAULT_FRACTIONS)
    hidden = [at for at, kind in enumerate(world.kind) if kind == "hidden storm"]
    codes = world.features.codes
    means, size = [], climate.n_rows * climate.n_columns
    for feature in hidden:
        entry = np.flatnonzero((codes.feature == feature) & (codes.value >= 225))
        token = np.searchsorted(codes.indptr, entry, "right") - 1
        windows = [
            world.describer.describe_windows(at // size, np.array([at % size])) for at in token[:60]
        ]
        means.append(np.concatenate(windows).mean(axis=0))
    assert means[0].shape == ((2 * maps.REACH + 1) ** 2,)
    assert abs(np.stack(means)).mean() > 0.3, "the mean of noise is near 0"
    assert np.corrcoef(means)[0, 1] < 0.7
    token, band = world.describer.nuisance_codes(0)
    assert (np.diff(token) > 0).all()
    assert band.max() < len(world.describer.nuisances().names)


@pytest.mark.parametrize(
    ("value", "error", "slack", "verdict"),
    [
        (0.95, 0.0, 0, "met"),
        (0.92, 0.01, 0, "**missed**, within two standard errors"),
        (0.92, 0.01, 2, "met"),
        (0.90, 0.01, 2, "**missed**"),
        (0.92, np.nan, 0, "**missed**"),
    ],
)
def test_an_aim_is_met_missed_or_nearly_so(value, error, slack, verdict):
    aim = aims.Aim("world", "power", 0.93, 1, tables.Mean(value, error), slack)
    assert aim.verdict == verdict


def test_every_kind_of_world_is_asked_for_its_own():
    score = {"n_calls": 10, "n_false": 1, "own": {"clear": 4, "sub-concept": 1}}
    listed = {"n_right": 9, "n_listed": 10, "n_planted": 12}
    linked = {
        "rules": {rules.OURS: score}, "planted": {"clear": 4, "sub-concept": 4},
        "intervals": {"f1": [95, 100]}, "candidates": {"gates": listed},
    }  # fmt: skip
    learned = {"n_right": 9, "n_listed": 10, "n_hidden_listed": 6, "n_hidden": 8}
    trained = {"sources": {"sparse autoencoder": score}, "learned": learned}
    null = {"rules": {rules.OURS: score | {"n_calls": 0}}}
    worlds = {"proteins": [linked] * 3, "weather": [linked] * 3, "null": [null] * 3}
    worlds["sae"] = [trained] * 3
    titles = {name: name for name in worlds}
    lines = aims.format_aims(worlds, titles)[2:]
    assert (
        "| proteins | FDR | at most 0.05 and two standard errors | 0.100 ± 0.000 | **missed** |"
        in lines
    )
    assert "| proteins | power, sub-concept | 0.6 or more | 0.250 ± 0.000 | **missed** |" in lines
    assert "| weather | power, clear | 0.95 or more | 1.000 ± 0.000 | met |" in lines
    assert not any(line.startswith("| weather | power, sub") for line in lines)
    assert "| proteins | coverage, f1 | 0.93 to 0.97 | 0.950 ± 0.000 | met |" in lines
    assert "| sae | candidates, recall | 0.95 or more | 0.750 ± 0.000 | **missed** |" in lines
    assert any(
        line.startswith("| null | runs with a call | at most 0.05 and two") for line in lines
    )
