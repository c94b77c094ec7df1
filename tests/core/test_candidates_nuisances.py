"""What nuisances explain: features of letters and bands, and concepts that keep to one of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from grid_world import COLUMNS, ROWS, grid_axis, to_annotations
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_world import ArrayCodes, World, WorldAdapter, planted_store

from sci_interp.adapter import Nuisances
from sci_interp.annotations import AnnotationStore
from sci_interp.candidates import nuisance_matched, stretches
from sci_interp.candidates.association import associate
from sci_interp.candidates.coherence import is_fine
from sci_interp.candidates.explainers import Explainers
from sci_interp.candidates.firing import Firing, FiringWindows, shuffle_keys
from sci_interp.candidates.nuisance_matched import measure_matched_coherence
from sci_interp.candidates.unexplained import run_gates
from sci_interp.candidates.windows import HALVES, find_windows

WORLD = World()
LETTERS = np.concatenate([WORLD.sequences[record] for record in WORLD.axis.records["record"]])
MIDDLE = 6  # the third letter of the motif
UPON, LETTER, PART, MIXED = range(4)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> AnnotationStore:
    return planted_store(tmp_path_factory.mktemp("world") / "annotations", WORLD)


@pytest.fixture(scope="module")
def explainers(known) -> Explainers:
    return Explainers(known, WorldAdapter(), WORLD)


def codes_of(*tokens: np.ndarray) -> ArrayCodes:
    levels = np.zeros((WORLD.axis.n_tokens, len(tokens)), int)
    for feature, where in enumerate(tokens):
        levels[where, feature] = 250
    return ArrayCodes.of(WORLD.axis, levels)


def part_of(tokens: np.ndarray, share: float, seed: int) -> np.ndarray:
    return tokens[np.random.default_rng(seed).random(len(tokens)) < share]


def motif_centres() -> np.ndarray:
    starts = dict(zip(WORLD.axis.records["record"], WORLD.axis.record_starts, strict=False))
    return np.array(
        [starts[name] + at + 2 for name, truth in WORLD.truth.items() for at, _ in truth["motif"]]
    )


@pytest.fixture(scope="module")
def table(known) -> pd.DataFrame:
    """Gates of a motif's middle letter, of all of a letter, of a part, and of parts of five."""
    codes = codes_of(
        motif_centres(),
        np.flatnonzero(LETTERS == 2),
        part_of(np.flatnonzero(LETTERS == MIDDLE), 0.1, 0),
        part_of(np.flatnonzero(LETTERS < 5), 0.1, 1),
    )
    found = run_gates(codes, known, adapter=WorldAdapter(), dataset=WORLD)
    return found.set_index("feature")


def test_a_concept_upon_its_motif_is_listed_with_its_letter(table) -> None:
    row = table.loc[UPON]
    assert row["kind"] == "unexplained" and row["beyond_nuisances"] == "yes"
    assert row["nuisance"] == f"symbol={'ABCDEFGH'[MIDDLE]}"
    assert row["nuisance_share"] == 1.0 and row["nuisance_recall"] < 0.1
    # Both shares are told: with nuisances all of it is explained, without them nothing.
    assert row["upper"] == 1.0 and row["label_upper"] < 0.3
    assert row["score"] > 0.1 and row["coherence_beyond"] > 0.7


def test_what_fires_at_all_of_a_letter_is_its_letter(table) -> None:
    row = table.loc[LETTER]
    assert row["coherent"] and row["beyond_nuisances"] == "no" and not row["unexplained"]
    assert np.isnan(row["p_beyond"]) and row["nuisance_recall"] == 1.0


@pytest.mark.parametrize("feature", [PART, MIXED])
def test_what_fires_at_a_part_of_letters_is_no_candidate(table, feature) -> None:
    """Of five letters, three explain too little; the windows are alike in their letters alone."""
    row = table.loc[feature]
    assert row["kind"] != "unexplained" and row["beyond_nuisances"] != "yes"
    assert row["nuisance_recall"] < 0.2
    if row["coherent"]:
        assert row["p_beyond"] > 0.01


def test_parts_of_a_letter_are_as_alike_as_the_letter(explainers) -> None:
    n = 60
    tokens = [
        part_of(np.flatnonzero(at % 8 == LETTERS), (0.05, 0.2, 0.5)[at % 3], at) for at in range(n)
    ]
    firing = Firing(codes_of(*tokens), np.arange(n), np.full(n, 1))
    names = [f"symbol={'ABCDEFGH'[at % 8]}" for at in range(n)]
    nuisances = np.array([[explainers.names.index(name), -1] for name in names])
    windows = FiringWindows.draw(firing, n_top=16, seed=0)
    found = measure_matched_coherence(
        windows, nuisances, explainers, n_tested=n, n_sets=1_000, q=1.0
    )
    assert (found.p <= 0.05).mean() <= 0.15 and 0.35 < found.p.mean() < 0.65
    assert np.median(found.share) < 0.2
    again = measure_matched_coherence(
        windows, nuisances, explainers, n_tested=n, n_sets=1_000, q=1.0
    )
    assert np.array_equal(found.p, again.p) and np.array_equal(found.share, again.share)


def test_references_do_not_depend_on_stretches(explainers, monkeypatch) -> None:
    firing = Firing(
        codes_of(motif_centres(), np.flatnonzero(LETTERS == 2)), np.arange(2), np.ones(2, int)
    )
    nuisances = np.array([[explainers.names.index(f"symbol={x}")] for x in "GC"])
    arguments = {"n_tested": 2, "n_sets": 500, "seed": 3}
    draw = {"n_top": 16, "seed": 3}
    windows = FiringWindows.draw(firing, **draw)
    first = measure_matched_coherence(windows, nuisances, explainers, **arguments)
    monkeypatch.setattr(stretches, "STRETCH_TOKENS", 200)
    monkeypatch.setattr(nuisance_matched, "_CHUNK", 1)
    windows = FiringWindows.draw(firing, **draw)
    second = measure_matched_coherence(windows, nuisances, explainers, **arguments)
    assert np.array_equal(first.p, second.p) and np.allclose(first.share, second.share)
    assert first.p[0] < 0.01 < first.p[1] and first.share[0] > 0.7 > 0.3 > first.share[1]


@pytest.mark.parametrize("most", [0, 2**27])
def test_annotations_that_are_kept_are_those_of_the_store(known, monkeypatch, most) -> None:
    monkeypatch.setattr("sci_interp.candidates.explainers.KEPT_BYTES", most)
    kept = Explainers(known, WorldAdapter(), WORLD)
    every = list(stretches.stretches(kept.axis, 0, len(kept.axis.records)))
    first = [kept.read(stretch) for stretch in every]
    read = []
    monkeypatch.setattr(kept._kept, "_read", lambda *span: read.append(span))
    held = len(kept._kept)
    assert held == (len(every) if most else 0)
    for stretch, (positive, assessed) in zip(every[:held], first, strict=bool(held)):
        again = kept.read(stretch)
        assert (positive != again[0]).nnz == (assessed != again[1]).nnz == 0
    assert read == []


def test_a_reference_bears_the_nuisance_at_a_like_place(explainers) -> None:
    name = explainers.names.index("symbol=C")
    cells = nuisance_matched.cells_of(
        WORLD.axis, np.arange(WORLD.axis.n_tokens), nuisance_matched.strata_of(WORLD.axis)
    )
    kinds = [(name, int(cells[40])), (name, -1), (-1, int(cells[3])), (-1, -1)]
    bank = nuisance_matched._Bank.draw(explainers, dict.fromkeys(kinds, 20), 1)
    first, last = WORLD.axis.token_range(HALVES)
    blocks = np.repeat(
        np.arange(len(WORLD.axis.block_starts) - 1), np.diff(WORLD.axis.block_starts)
    )
    of_token = np.repeat(blocks, np.diff(WORLD.axis.record_starts))
    for (nuisance, cell), token, block in zip(bank.number, bank.token, bank.block, strict=True):
        assert (nuisance < 0) or (LETTERS[token] == 2).all()
        assert (cell < 0) or (cells[token] == cell).all()
        assert ((token >= first) & (token < last)).all() and np.array_equal(of_token[token], block)
        assert len(set(block.tolist())) == len(block) <= 20
    assert len(bank.token[1]) == len(bank.token[3]) == 20
    assert bank.best(kinds) == (0 if len(bank.block[0]) >= 8 else 1)


@pytest.mark.parametrize(
    ("n_families", "best"), [((9, 9), 0), ((7, 9), 1), ((0, 2), 1), ((0, 1), 2)]
)
def test_a_rare_nuisance_is_matched_anywhere_or_not_at_all(n_families, best) -> None:
    kinds = [(5, 2), (5, -1), (-1, 2), (-1, -1)]
    blocks = [np.arange(n) for n in (*n_families, 8, 8)]
    bank = nuisance_matched._Bank({kind: at for at, kind in enumerate(kinds)}, blocks, blocks)
    assert bank.best(kinds) == best


def test_the_first_nuisance_that_holds_is_matched(explainers) -> None:
    names = [explainers.names.index(f"symbol={x}") for x in "ABC"]
    first, _ = WORLD.axis.token_range(HALVES)
    token = first + np.arange(200)
    asked = np.broadcast_to([names[2], names[0], -1], (200, 3))
    found = nuisance_matched._first_that_holds(explainers, token, asked)
    letter = LETTERS[token]
    assert np.array_equal(found, np.select([letter == 2, letter == 0], [names[2], names[0]], -1))


@given(st.integers(0, 50), st.sampled_from([0.02, 0.3]))
@settings(max_examples=15, deadline=None)
def test_firing_windows_are_peaks_of_runs_of_other_families(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(100, 256, (WORLD.axis.n_tokens, 3))
    levels[rng.random(levels.shape) >= density] = 0
    firing = Firing(ArrayCodes.of(WORLD.axis, levels), np.array([0, 2]), np.array([1, 180]))
    found = FiringWindows.draw(firing, n_top=6, seed=seed)
    starts = set(WORLD.axis.record_starts.tolist())
    for column, (feature, floor) in enumerate(((0, 1), (2, 180))):
        mine = found.of(column)
        assert len(set(found.block[mine].tolist())) == len(found.block[mine]) == 6
        level = np.where(levels[:, feature] >= floor, levels[:, feature], 0)
        for token in found.token[mine].tolist():
            assert level[token] > 0
            left = 0 if token in starts else level[token - 1]
            right = 0 if token + 1 in starts else level[token + 1]
            run_goes_on = left > level[token] or right > level[token]
            assert not run_goes_on


def test_the_strongest_places_do_not_stand_for_the_firing() -> None:
    """Of what fires at a letter, and strongest in a context, few windows are of the context."""
    letter = LETTERS == 2
    context = letter & np.roll(LETTERS == 3, -1)
    levels = np.where(context, 255, np.where(letter, 230, 0))[:, None]
    firing = Firing(ArrayCodes.of(WORLD.axis, levels), np.array([0]), np.array([224]))
    drawn = FiringWindows.draw(firing, n_top=40, seed=0).token
    assert context[drawn].mean() < 0.35


def test_the_strongest_windows_replace_those_of_some_features() -> None:
    levels = np.zeros((WORLD.axis.n_tokens, 3), int)
    levels[LETTERS < 3] = 200
    codes = ArrayCodes.of(WORLD.axis, levels)
    top, chosen = find_windows(codes, n_top=5), np.array([0, 1, 2])
    drawn = FiringWindows.draw(Firing(codes, chosen, np.ones(3, int)), n_top=9, seed=0)
    found = drawn.with_strongest(top, chosen, np.array([False, True, False]))
    for column in (0, 2):
        assert np.array_equal(found.token[found.of(column)], drawn.token[drawn.of(column)])
    assert np.array_equal(found.token[found.of(1)], top.token[top.of(1)])
    assert np.array_equal(found.block[found.of(1)], top.block[top.of(1)])


@given(st.integers(0, 2**31), st.integers(2, 500))
@settings(max_examples=20, deadline=None)
def test_shuffle_keys_follow_from_the_value_alone(seed: int, n: int) -> None:
    keys = shuffle_keys(np.arange(n), seed)
    assert np.array_equal(shuffle_keys(np.arange(n)[::-1], seed)[::-1], keys)
    assert len(set(keys.tolist())) == n and (keys >= 0).all()
    assert (
        not np.array_equal(np.argsort(keys), np.argsort(shuffle_keys(np.arange(n), seed + 1)))
        or n < 6
    )


def test_halves_add_up_and_tell_share_and_recall_of_a_label(explainers) -> None:
    tokens = part_of(np.flatnonzero(LETTERS == 2), 0.3, 5)
    firing = Firing(codes_of(tokens, motif_centres()), np.arange(2), np.ones(2, int))
    halves = associate(firing, explainers)
    both = halves[0] + halves[1]
    assert np.allclose(both.hits, halves[0].hits + halves[1].hits)
    name = explainers.names.index("symbol=C")
    share, recall = both.of_labels(explainers, np.array([name, -1]))
    assert share[0] == pytest.approx(1.0) and np.isnan(share[1]) and np.isnan(recall[1])
    first, last = WORLD.axis.token_range(HALVES)
    weight = WORLD.axis.family_weights(first, last)
    letter = LETTERS[first:last] == 2
    fires = np.isin(np.arange(first, last), tokens)
    assert recall[0] == pytest.approx(weight[fires].sum() / weight[letter].sum())
    best = both.best_labels(explainers, 5, among=~explainers.is_nuisance)
    assert not explainers.is_nuisance[best[best >= 0]].any()
    best = both.best_labels(explainers, 5, among=explainers.is_nuisance)
    # The annotations hold some of the letters as labels, too; C is the adapter's alone.
    assert best[0, 0] == name


def test_fine_p_values_count_what_was_left_out() -> None:
    p = np.array([0.001, 0.5])
    assert is_fine(p, 0.01) and is_fine(p, 0.01, 10) and not is_fine(p, 0.01, 11)
    assert is_fine(np.zeros(0), 0.01, 3)


BAND = 3


class GridAdapter:
    """Describes cells by the field around them; knows rows as nuisances."""

    def __init__(self, axis, field) -> None:
        self.axis, self.field = axis, field
        self.row = {name: at for at, name in enumerate(axis.records["record"])}

    def nuisances(self) -> Nuisances:
        return Nuisances(tuple(f"row {at}" for at in range(ROWS)), ("latitude",) * ROWS)

    def nuisance_codes(self, dataset, record):
        token = np.arange(ROWS * COLUMNS)
        return token, token % ROWS

    def describe_windows(self, dataset, record, tokens):
        padded = np.pad(self.field[self.row[record]], ((0, 0), (1, 1)))
        column, row = np.divmod(tokens, ROWS)
        around = [
            padded[(column + east) % COLUMNS, row + 1 + north]
            for east in (-1, 0, 1)
            for north in (-1, 0, 1)
        ]
        return np.stack(around, axis=1).astype(np.float32)


def test_a_storm_that_keeps_to_a_latitude_is_listed_and_the_latitude_is_not() -> None:
    rng = np.random.default_rng(0)
    axis = grid_axis()
    field = rng.standard_normal((axis.n_records, COLUMNS, ROWS))
    pattern = 1.5 * rng.standard_normal((3, 3))
    storms = []
    for record in np.flatnonzero(rng.random(axis.n_records) < 0.3):
        column = int(rng.integers(COLUMNS))
        for east in (-1, 0, 1):
            field[record, (column + east) % COLUMNS, BAND - 1 : BAND + 2] += pattern[east + 1]
        storms.append(record * ROWS * COLUMNS + column * ROWS + BAND)
    row = np.arange(axis.n_tokens) % ROWS
    levels = np.zeros((axis.n_tokens, 3), int)
    levels[storms, 0] = 250
    levels[row == BAND, 1] = 250
    levels[(row == BAND) & (rng.random(axis.n_tokens) < 0.05), 2] = 250
    mask = rng.random((axis.n_records, COLUMNS, ROWS)) < 0.1
    known = to_annotations(axis, {"other": mask})
    adapter = GridAdapter(axis, field)
    table = run_gates(ArrayCodes.of(axis, levels), known, adapter=adapter, dataset=None)
    assert table["kind"].tolist()[0] == "unexplained"
    assert "unexplained" not in table["kind"].tolist()[1:]
    storm = table.iloc[0]
    assert storm["nuisance"] == f"row {BAND}" and storm["nuisance_recall"] < 0.1
    assert storm["upper"] > 0.9 and storm["label_upper"] < 0.5
