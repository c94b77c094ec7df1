"""Scores of rules against the truth of a planted world: one replicate's numbers.

The false discovery proportion counts pairs; a pair is false unless its feature fires at the label's
sites. Intervals are asked whether they hold what a feature is worth in endless families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_counts import Half
from planted_data import LINKED_KINDS, Ints, World, tokens_of
from planted_rules import Calls

from sci_interp.enrichment.measures import Confusion
from sci_interp.schema import BIN_FLOORS, LEVELS_PER_OCTAVE, MAX_LEVEL

__all__ = [
    "MEASURES",
    "UNITS",
    "measure_population",
    "missed_by",
    "record_counts",
    "score_calls",
    "score_candidates",
    "score_intervals",
    "score_units",
]

#: Measures with an interval in the library's table.
MEASURES = ("f1", "hybrid_f1", "log_odds")
#: What is taken to be independent where an interval of F1 is made by linearisation.
UNITS = ("families", "records", "tokens")

Population = Mapping[str, Sequence[Sequence[float]]]


def score_calls(world: World, calls: Calls) -> dict[str, Any]:
    """Return how many pairs of each kind a rule called, and its time."""
    linked = calls.linked & world.judged
    false = linked & ~world.linked
    own = {
        kind: int((linked & world.of_kind(kind)).sum())
        for kind in dict.fromkeys(world.kind)
        if kind not in world.unjudged
    }
    features = {kind: int(false[:, np.array(world.kind) == kind].sum()) for kind in own}
    return {
        "n_calls": int(linked.sum()),
        "n_false": int(false.sum()),
        "own": {kind: count for kind, count in own.items() if count},
        "false_by_kind": {kind: count for kind, count in features.items() if count},
        "seconds": round(calls.seconds, 3),
    }


def measure_population(worlds: Sequence[World]) -> dict[str, list[list[float]]]:
    """Return what linked features are worth: measures at every threshold, over many families.

    Parameters
    ----------
    worlds
        Worlds of one law whose features begin with those linked, one of each kind a label.

    Returns
    -------
    mapping of measure to (n_pairs, n_bins)
        By feature; thresholds are the library's.
    """
    totals = sum(np.stack([_tally(world, pair) for pair in _pairs(world)]) for world in worlds)
    assert isinstance(totals, np.ndarray)
    both, active, hit, positive, known, instances = totals.transpose(1, 0, 2)
    table = Confusion(both, active, positive, known, hit, instances)
    return {name: np.round(getattr(table, name), 6).tolist() for name in MEASURES}


def _pairs(world: World) -> list[tuple[int, int]]:
    """Return (feature, label) of the linked pairs, by feature."""
    chosen = np.flatnonzero(np.isin(world.kind, LINKED_KINDS))
    return [(int(feature), int(world.target[feature])) for feature in chosen]


def _tally(world: World, pair: tuple[int, int]) -> NDArray[np.float64]:
    """Return TP, X, H, Y, n and I of a pair at every threshold ``(6, n_bins)``.

    Cells of a grid count by their area.
    """
    feature, label = pair
    codes, runs, axis = world.features.codes, world.runs, world.axis
    mine = np.flatnonzero(codes.feature == feature)
    token = np.searchsorted(codes.indptr, mine, "right") - 1
    level = np.zeros(axis.n_tokens, np.uint8)
    level[token] = codes.value[mine]
    group = [one.group for one in world.labels].index(world.labels[label].group)
    known = np.repeat(runs.known[0 if group == 0 else 1], np.diff(axis.record_starts))
    of_label = runs.label == label
    run, inside = tokens_of(runs.start[of_label], runs.stop[of_label])
    positive = np.zeros(axis.n_tokens, np.bool_)
    positive[inside] = True
    instance = np.unique(runs.instance[of_label], return_inverse=True)[1]
    peak = np.zeros(int(instance.max()) + 1, np.uint8)
    np.maximum.at(peak, instance[run], level[inside])
    n_bins = len(BIN_FLOORS)
    area = axis.token_weights(0, axis.n_tokens) / max(axis.step_weights)
    both, active = (
        np.array([area[where & (level >= floor)].sum() for floor in BIN_FLOORS])
        for where in (positive, known)
    )
    hit = np.array([(peak >= floor).sum() for floor in BIN_FLOORS])
    rest = [np.full(n_bins, n) for n in (area[positive].sum(), area[known].sum(), len(peak))]
    return np.stack([both, active, hit, *rest])


def score_intervals(
    world: World, table: pd.DataFrame, population: Population
) -> dict[str, list[int]]:
    """Return, per measure, how many intervals of links rightly called there are and cover."""
    feature, label, bins, called = _rightly_called(world, table)
    row = {pair: at for at, pair in enumerate(_pairs(world))}
    rows = [row[pair] for pair in zip(feature.tolist(), label.tolist(), strict=True)]
    found = {}
    for name in MEASURES:
        truth = np.asarray(population[name])[rows, bins]
        inside = (called[f"{name}_low"] <= truth) & (truth <= called[f"{name}_high"])
        found[name] = [int(inside.sum()), len(inside)]
    return found


def _rightly_called(world: World, table: pd.DataFrame) -> tuple[Ints, Ints, Ints, pd.DataFrame]:
    """Return features, labels, thresholds' numbers and rows of site-level links that are true."""
    place = {label.name: at for at, label in enumerate(world.labels)}
    label = table["label"].map(place).to_numpy(np.int64)
    feature = table["feature"].to_numpy(np.int64)
    right = (table["class"] == "site").to_numpy() & world.linked[label, feature]
    floor = _floors(table["threshold"].to_numpy(np.float64))
    bins = np.searchsorted(BIN_FLOORS, floor)
    return feature[right], label[right], bins[right], table[right]


def _floors(threshold: NDArray[np.float64]) -> Ints:
    """Return the level of every threshold; a share of the scale of 0 is any activity."""
    share = np.where(threshold > 0, threshold, 1.0)
    level = np.rint(MAX_LEVEL + LEVELS_PER_OCTAVE * np.log2(share)).astype(np.int64)
    return np.where(threshold > 0, level, 1)


def score_units(
    world: World, table: pd.DataFrame, population: Population, halves: Mapping[str, Half]
) -> dict[str, list[int]]:
    """Return how many intervals of F1 cover where families, records or tokens are independent.

    F1 is a ratio of sums over units, and its variance follows from the residues
    ``2 TP - F1 (X + Y)`` of the units (linearisation); intervals are 1.96 standard errors wide.
    """
    feature, label, bins, called = _rightly_called(world, table)
    row = {pair: at for at, pair in enumerate(_pairs(world))}
    found = {unit: [0, 0] for unit in UNITS}
    testing = called["direction"].str.split(" to ").str[1].to_numpy(str)
    for at in range(len(feature)):
        half = halves[testing[at]]
        truth = population["f1"][row[int(feature[at]), int(label[at])]][bins[at]]
        counts = record_counts(half, int(feature[at]), int(label[at]), BIN_FLOORS[bins[at]])
        for unit, (value, error) in _errors(half, counts).items():
            found[unit][0] += bool(abs(value - truth) <= 1.96 * error)
            found[unit][1] += 1
    return found


def record_counts(half: Half, feature: int, label: int, floor: int) -> Ints:
    """Return TP, X and Y of every record ``(3, n_records)``."""
    column = half.levels[:, [feature]].tocoo()
    active = column.row[column.data >= floor]
    known = half.known_records[half.group[label]]
    positive = half.tokens_of_label[label]
    tokens = (np.intersect1d(active, positive), active, positive)
    n = len(known)
    record = [np.searchsorted(half.bounds, one, "right") - 1 for one in tokens]
    return np.stack([np.bincount(one, minlength=n) * known for one in record])


def _errors(half: Half, counts: Ints) -> dict[str, tuple[float, float]]:
    """Return F1 and its standard error by each kind of unit."""
    both, active, positive = counts
    total = float(active.sum() + positive.sum())
    value = 2 * float(both.sum()) / total
    residue = 2 * both - value * (active + positive)
    first, last = half.records
    blocks = half.world.axis.block_starts
    blocks = blocks[(blocks >= first) & (blocks < last)] - first
    only = float((active + positive - 2 * both).sum())
    of_tokens = float(both.sum()) * (2 - 2 * value) ** 2 + only * value**2
    squares = {
        "families": float((np.add.reduceat(residue, blocks) ** 2).sum()),
        "records": float((residue**2).sum()),
        "tokens": of_tokens,
    }
    return {unit: (value, np.sqrt(square) / total) for unit, square in squares.items()}


def score_candidates(
    world: World, gates: pd.DataFrame, best_f1: NDArray[np.float64]
) -> dict[str, dict[str, Any]]:
    """Return precision, recall and average precision of the list of unexplained features.

    Parameters
    ----------
    world
        The world; candidates are its features whose kind begins with ``"hidden"``.
    gates
        The library's gates of every feature that fires in enough families.
    best_f1 : (n_features,) float64
        The best F1 of every feature with any label, for what is often done instead.
    """
    from sklearn.metrics import average_precision_score

    hidden = np.char.startswith(world.kind, "hidden")
    tested = gates["feature"].to_numpy(np.int64)
    ours = np.zeros(len(hidden))
    listed = (gates["kind"] == "unexplained").to_numpy()
    ours[tested[listed]] = 1 + gates["score"].to_numpy()[listed]
    rivals = np.full(len(hidden), -1.0)
    rivals[tested] = 1 - best_f1[tested]
    found = {}
    for name, score, called in (
        ("gates", ours, ours > 0),
        ("no label with F1 > 0.5", rivals, rivals > 0.5),
    ):
        found[name] = {
            "n_listed": int(called.sum()),
            "n_right": int((called & hidden).sum()),
            "n_planted": int(hidden.sum()),
            "by_kind": _by_kind(world, called),
            "missed_by": missed_by(gates, hidden[tested]),
            "average_precision": round(float(average_precision_score(hidden, score)), 4),
        }
    return found


def missed_by(gates: pd.DataFrame, wanted: NDArray[np.bool_]) -> dict[str, int]:
    """Return how many wanted features do not pass each gate; some pass neither."""
    rows = gates[wanted]
    return {
        "not coherent": int((~rows["coherent"]).sum()),
        "explained": int((~rows["unexplained"]).sum()),
    }


def _by_kind(world: World, called: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return how many features of each kind are listed, and how many there are."""
    kinds = np.array(world.kind)
    return {
        kind: [int((called & (kinds == kind)).sum()), int((kinds == kind).sum())]
        for kind in dict.fromkeys(world.kind)
    }
