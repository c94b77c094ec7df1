"""Training that makes no progress lowers its rate and ends, wherever it was interrupted."""

from __future__ import annotations

from typing import Any

import pytest
from kills import read_tree
from sae_world import planted_source, train_small

from sci_interp.errors import InputError
from sci_interp.sae import fidelity, load_sae, sweep
from sci_interp.sae.session import Session

SETTINGS: dict[str, Any] = {"n_tokens": 250_000, "patience": 8000, "decay": 0.1}


def test_training_ends_early_and_as_well(tmp_path) -> None:
    _, source = planted_source()
    early = train_small(tmp_path / "early", **SETTINGS)
    whole = train_small(tmp_path / "whole", **{**SETTINGS, "patience": None})
    last = [sae.training["curve"][-1] for sae in (early, whole)]
    assert last[0]["step"] < 0.8 * last[1]["step"]
    assert fidelity(early, source).fvu < 1.1 * fidelity(whole, source).fvu
    assert early.training["patience"] == 8000 and "patience" not in whole.training


def test_progress_is_not_stopped(tmp_path) -> None:
    options = {"n_tokens": 10_000}
    patient = train_small(tmp_path / "patient", patience=10_000, **options)
    usual = train_small(tmp_path / "usual", **options)
    assert patient.weights.encoder.equal(usual.weights.encoder)


def test_interrupted_and_swept_runs_end_at_the_same_step(tmp_path, monkeypatch) -> None:
    train_small(tmp_path / "whole", **SETTINGS)
    save, n_saved = Session.save, 0

    def stop(session: Session) -> None:
        nonlocal n_saved
        save(session)
        n_saved += 1
        if n_saved % 11 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Session, "save", stop)
    n_stops = 0
    while not (tmp_path / "stopped" / "manifest.json").exists():
        try:
            train_small(tmp_path / "stopped", **SETTINGS)
        except KeyboardInterrupt:
            n_stops += 1
    monkeypatch.undo()
    assert n_stops > 2
    assert read_tree(tmp_path / "stopped") == read_tree(tmp_path / "whole")
    options = {"features": 96, "batch_size": 256, "dead_after": 2000, "progress": False, "k": 3}
    given = {name: value for name, value in SETTINGS.items() if name != "patience"}
    found = sweep(
        planted_source()[1],
        out=tmp_path / "sweep",
        grid={"patience": [None, 8000]},
        **options,
        **given,
    )
    assert read_tree(found.path / "patience8000") == read_tree(tmp_path / "whole")
    curves = [load_sae(found.path / run).training["curve"] for run in found.runs]
    assert curves[0][-1]["step"] > curves[1][-1]["step"]


@pytest.mark.parametrize("patience", [0, 1.5])
def test_patience_out_of_range_is_refused(patience, tmp_path) -> None:
    with pytest.raises(InputError, match=f"patience={patience} is not usable"):
        train_small(tmp_path / "sae", patience=patience)
