"""The counting benchmark's engines count the same, and a count that differs stops it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))
import counting
from counting_data import FLOORS, SHARES, level_values, make_task
from counting_engines import ENGINES, count_by_interplm, load_interplm

TASK = (1_500, 40, 5)
#: Written for this test: it counts as InterPLM defines it, token by token.
STAND_IN = """
import numpy as np

def calc_metrics_sparse(features, labels, thresholds, is_residue):
    x, y = features.toarray(), labels.toarray()
    shape = (y.shape[1], x.shape[1], len(thresholds))
    tp, fp, hit = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for t, threshold in enumerate(thresholds):
        on = x > threshold
        for c in range(y.shape[1]):
            tp[c, :, t] = on[y[:, c] > 0].sum(0)
            fp[c, :, t] = on[y[:, c] == 0].sum(0)
            for number in set(y[:, c]) - {0}:
                hit[c, :, t] += on[y[:, c] == number].any(0)
    return tp, fp, hit
"""


def by_hand(task):
    dense = np.zeros((task.features.axis.n_tokens, task.features.n_features))
    codes = task.features.codes
    token = np.repeat(np.arange(len(dense)), np.diff(codes.indptr))
    dense[token, codes.feature] = level_values()[codes.value]
    runs = task.known.everything
    shape = (len(task.known.labels), task.features.n_features, len(SHARES))
    positive, wrong, hit = (np.zeros(shape, np.int64) for _ in range(3))
    for at, share in enumerate(SHARES):
        on = dense > share
        for label in range(shape[0]):
            inside = np.zeros(len(dense), bool)
            for run in np.flatnonzero(runs.label == label):
                span = slice(runs.start[run], runs.stop[run])
                assert not inside[span].any(), "runs of a label are disjoint"
                inside[span] = True
                hit[label, :, at] += on[span].any(0)
            positive[label, :, at] = on[inside].sum(0)
            wrong[label, :, at] = on[~inside].sum(0)
    return positive, wrong, hit


def joined(counted):
    return [np.concatenate(parts) for parts in zip(*counted, strict=True)]


@pytest.fixture(scope="module")
def task():
    return make_task(*TASK, k=6)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_count_what_a_count_by_hand_finds(task, engine):
    try:
        found = joined(ENGINES[engine](task, 2))
    except NotImplementedError as error:
        pytest.skip(str(error))
    for ours, wanted in zip(found, by_hand(task), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_a_copy_of_interplm_is_called_where_it_lies(task, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit, match="holds none of"):
        load_interplm(tmp_path)
    folder = tmp_path / "interplm" / "concept"
    folder.mkdir(parents=True)
    (folder / "compare_activations_to_concepts.py").write_text(STAND_IN)
    found = joined(count_by_interplm(load_interplm(tmp_path), task))
    for theirs, wanted in zip(found, by_hand(task), strict=True):
        np.testing.assert_array_equal(theirs, wanted)


def test_levels_and_shares_mean_the_same_thresholds():
    values = level_values()
    for share, floor in zip(SHARES, FLOORS, strict=True):
        np.testing.assert_array_equal(values > share, np.arange(256) >= floor)


def test_the_same_sizes_give_the_same_data_and_the_density_that_is_said():
    first, again = (make_task(30_000, 500, 100, seed=3) for _ in range(2))
    assert first.features.digest == again.features.digest
    assert first.known.digest == again.known.digest
    runs, starts = first.known.everything, first.known.axis.record_starts
    covered = (runs.stop - runs.start).sum() / first.known.axis.n_tokens / 100
    assert 0.001 < covered < 0.004
    record = np.searchsorted(starts, runs.start, side="right") - 1
    assert (runs.stop <= starts[record + 1]).all(), "no run crosses a record"


def test_a_worker_says_what_it_took_and_a_wrong_count_stops_the_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(counting, "N_FEATURES", 64)
    monkeypatch.setattr(sys, "argv", ["counting.py", "--worker", "kernel", "--sizes", "3000x4x5"])
    counting.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["true_positives"] > 0 and len(answer["digest"]) == 64

    def forged(engine, size, n_threads, interplm):
        return answer | {"engine": engine, "digest": engine}

    monkeypatch.setattr(counting, "run_alone", forged)
    with pytest.raises(SystemExit, match="definition counts otherwise than the kernel"):
        counting.compare([(3000, 4, 5)], 1, None)
    monkeypatch.setattr(counting, "run_alone", lambda engine, *_: answer | {"engine": engine})
    table = counting.compare([(3000, 4, 5), (10**10, 4, 5)], 1, None)
    assert list(table["engine"]) == [*ENGINES, "kernel"], "slow engines are spared large sizes"
    text = counting.format_table(table)
    assert text.count("\n") == 1 + len(table)


def test_sizes_are_read():
    assert counting.parse_sizes("10x2,30x4x5") == [(10, 2, 32), (30, 4, 5)]
    assert counting.parse_sizes(None) == list(counting.SIZES)
