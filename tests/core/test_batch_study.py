"""A study by many hands: an array first, then an executor that loses and repeats tasks."""

from __future__ import annotations

import pytest
from batch_world import OddExecutor
from fake_adapter import FakeAdapter
from study_world import digests, write_study

from sci_interp import pipeline, recipes
from sci_interp.errors import InputError
from sci_interp.study_shares import run_share


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    for module in (pipeline, recipes):
        monkeypatch.setattr(module, "load_adapter", lambda name, model, **options: FakeAdapter())


def test_all_artefacts_have_the_same_bytes(tmp_path):
    alone, shared = (write_study(tmp_path / name) for name in ("alone", "shared"))
    pipeline.run(alone, progress=False)
    executor = OddExecutor()
    for index in (1, 0, 1):
        assert run_share(shared, shard=(index, 2), progress=False) > 0
    pipeline.run(shared, progress=False, executor=executor)
    made, expected = digests(shared.parent / "out"), digests(alone.parent / "out")
    assert made == expected
    # Autoencoders of the network, of the shuffled one, projections and decoys: each has a task.
    assert executor.n_run > 10
    assert run_share(shared, shard=(0, 2), progress=False) == 0


def test_wrong_numbers_of_workers_are_refused_before_anything_is_made(tmp_path):
    study = write_study(tmp_path)
    with pytest.raises(InputError, match="workers=0"):
        pipeline.run(study, progress=False, workers=0)
