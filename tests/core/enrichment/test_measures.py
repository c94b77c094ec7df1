"""Measures equal scikit-learn's, and a worked example of the domain F1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import planted
import pytest
from planted import annotations, to_codes
from sklearn import metrics

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment.counts import at_or_above, count_split
from sci_interp.enrichment.inputs import bin_of_level
from sci_interp.enrichment.measures import Confusion, auroc, average_precision
from sci_interp.enrichment.memory import MemoryFeatures
from sci_interp.enrichment.selection import select_thresholds
from sci_interp.schema import BIN_FLOORS

ALL_DISCOVERY = {"train": 0.0, "discovery": 1.0, "test": 0.0, "vault": 0.0}


def confusion(label, feature):
    tables = [label & feature, feature, label, np.ones_like(label)]
    sums = [np.array(float(table.sum())) for table in tables]
    return Confusion(*sums, hit=np.array(0.0), instances=np.array(0.0))


@pytest.mark.parametrize("seed", range(20))
def test_token_measures_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    label = rng.random(200) < rng.uniform(0.05, 0.6)
    feature = (rng.random(200) < 0.2) | (label & (rng.random(200) < 0.5))
    table = confusion(label, feature)
    assert table.precision == pytest.approx(metrics.precision_score(label, feature), abs=1e-12)
    assert table.token_recall == pytest.approx(metrics.recall_score(label, feature), abs=1e-12)
    assert table.f1 == pytest.approx(metrics.f1_score(label, feature), abs=1e-12)
    assert table.mcc == pytest.approx(metrics.matthews_corrcoef(label, feature), abs=1e-12)
    assert table.lift == pytest.approx(table.precision / label.mean(), abs=1e-12)
    tn, fp, fn, tp = metrics.confusion_matrix(label, feature).ravel() + 0.5
    assert table.log_odds == pytest.approx(np.log(tp * tn / (fp * fn)), abs=1e-12)


def test_empty_denominators_give_zero():
    nothing = np.zeros(4, bool)
    table = confusion(nothing, nothing)
    for name in ("precision", "token_recall", "instance_recall", "f1", "hybrid_f1", "mcc", "lift"):
        assert getattr(table, name) == 0, name


@pytest.mark.parametrize("seed", range(20))
def test_ranking_measures_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    label = rng.random(300) < 0.3
    level = np.where(rng.random(300) < 0.5, rng.integers(1, 256, 300), 0)
    level[label] = np.minimum(level[label] + 40, 255)
    binned = np.where(level > 0, bin_of_level(BIN_FLOORS)[level] + 1, 0)
    tokens = np.bincount(binned[label], minlength=len(BIN_FLOORS) + 1)[1:]
    active = np.bincount(binned, minlength=len(BIN_FLOORS) + 1)[1:]
    sizes = {"positive": int(label.sum()), "known": 300}
    expected = metrics.roc_auc_score(label, binned)
    assert auroc(tokens, active, **sizes) == pytest.approx(expected, abs=1e-12)
    expected = metrics.average_precision_score(label, binned)
    assert average_precision(tokens, active, **sizes) == pytest.approx(expected, abs=1e-12)


def test_ranking_without_positives_is_chance():
    empty = np.zeros(3, np.int64)
    assert auroc(empty, empty, positive=0, known=9) == 0.5
    assert average_precision(empty, empty, positive=0, known=9) == 0


def test_domain_f1_as_interplm_defines_it():
    """Twenty residues, three domains; the feature fires on 6 residues, 4 inside 2 domains.

    Precision counts residues, 4 / 6; recall counts domains, 2 / 3; their harmonic mean is 2 / 3.
    Token recall would be 4 / 12 and token F1 8 / 18.
    """
    table = pd.DataFrame({"record": ["r"], "block": ["b"], "n_tokens": [20]})
    axis = TokenAxis.build(table, ALL_DISCOVERY)
    domains = [(0, 0, 0, 4), (0, 1, 6, 10), (0, 2, 14, 18)]
    known = annotations(axis, [Label("DOMAIN", "g", "")], domains)
    level = np.zeros((20, 1), np.uint8)
    level[[1, 2, 3, 9, 12, 19], 0] = 255
    counts = count_split(MemoryFeatures(axis, to_codes(level), 1), known, "discovery")
    result = Confusion(
        at_or_above(counts.tokens)[0, 0, 0],
        at_or_above(counts.active)[0, 0, 0],
        counts.n_positive[0],
        counts.n_known[0],
        at_or_above(counts.instances)[0, 0, 0],
        counts.n_instances[0],
    )
    assert result.precision == pytest.approx(4 / 6)
    assert result.instance_recall == pytest.approx(2 / 3)
    assert result.hybrid_f1 == pytest.approx(2 / 3)
    assert result.token_recall == pytest.approx(4 / 12)
    assert result.f1 == pytest.approx(8 / 18)


def test_measures_are_not_weighted_by_family():
    """A family of many records counts as many times, in the table as in a count by hand."""
    rng = np.random.default_rng(4)
    axis = planted.build_axis(rng, 80, n_giant=2)
    runs = planted.random_tracks(rng, axis, 1, share=0.7)
    track = planted.paint(axis, runs[0])
    noisy = track & (rng.random(axis.n_tokens) < 0.6) | (rng.random(axis.n_tokens) < 0.01)
    world = planted.make_world(rng, axis, runs, [noisy])
    selection = select_thresholds(world.features, world.known)
    found = selection.confusion(0, "test", np.array([0]), 0)
    first, last = axis.record_starts[[*axis.record_range(["test"])]]
    active = world.level[first:last, 0] >= selection.floors[selection.bin[0][0, 0]]
    assert found.precision[0] == (active & track[first:last]).sum() / active.sum()
