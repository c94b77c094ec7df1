"""Micro-batches and processes share a batch, and learn what the whole batch teaches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_world import planted_source, train_small

from sci_interp.errors import InputError
from sci_interp.sae import SparseAutoencoder, fidelity, load_sae
from sci_interp.sae.parallel import Team

#: Float32 in every step: a choice that rounding turns over is then rare.
EXACT = {"precision": "float32", "n_tokens": 10_000}
START = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")

SCRIPT = """
import sys, json
import torch
torch.set_num_threads(1)
from sae_world import train_small
train_small(sys.argv[1], parallel=True, **json.loads(sys.argv[2]))
"""


def start_together(n: int, out: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    """Train in ``n`` processes under torchrun."""
    here = Path(__file__).resolve().parents[1]
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    paths = [here, here.parents[1], here.parents[1] / "adapters"]
    return subprocess.run(
        [sys.executable, *START, str(n), str(script), str(out), json.dumps(changes)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def require_alike(one: SparseAutoencoder, other: SparseAutoencoder) -> None:
    _, source = planted_source()
    first, second = (fidelity(sae, source) for sae in (one, other))
    assert first.fvu == pytest.approx(second.fvu, rel=1e-3)
    assert first.l0 == pytest.approx(second.l0, rel=1e-3)
    for (name, mine), (_, theirs) in zip(one.weights.named(), other.weights.named(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3, msg=name)
    curves = [[point["fvu"] for point in sae.training["curve"]] for sae in (one, other)]
    np.testing.assert_allclose(*curves, rtol=1e-3)


@pytest.mark.parametrize("architecture", ["topk", "abs_topk", "relu", "gated"])
def test_micro_batches_add_up_to_the_batch(architecture, tmp_path) -> None:
    options = {**EXACT, "architecture": architecture}
    whole = train_small(tmp_path / "whole", **options)
    parts = train_small(tmp_path / "parts", accumulate=4, **options)
    require_alike(whole, parts)
    assert parts.training["accumulate"] == 4 and "accumulate" not in whole.training


@pytest.mark.parametrize("architecture", ["batch_topk", "matryoshka", "jumprelu"])
def test_choices_among_a_batch_are_made_in_every_part(architecture, tmp_path) -> None:
    options = {"architecture": architecture, "n_tokens": 40_000}
    whole = train_small(tmp_path / "whole", **options)
    parts = train_small(tmp_path / "parts", accumulate=4, **options)
    _, source = planted_source()
    first, second = (fidelity(sae, source) for sae in (whole, parts))
    assert first.fvu == pytest.approx(second.fvu, rel=0.25)


def test_two_processes_equal_one(tmp_path) -> None:
    done = start_together(2, tmp_path / "two", **EXACT, progress=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train: 40 of 40") == 1
    one = train_small(tmp_path / "one", **EXACT)
    require_alike(one, load_sae(tmp_path / "two"))
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        "manifest.json",
        "request.json",
        "sae.json",
        "sae.safetensors",
    }


def test_processes_continue_what_one_began(tmp_path, monkeypatch) -> None:
    def stop(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sci_interp.sae.training._finish", stop)
    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path / "sae", **EXACT)
    monkeypatch.undo()
    done = start_together(2, tmp_path / "sae", **EXACT)
    assert done.returncode == 0, done.stderr
    assert load_sae(tmp_path / "sae").digest == train_small(tmp_path / "one", **EXACT).digest


def test_a_mistake_stops_all_processes(tmp_path) -> None:
    done = start_together(2, tmp_path / "sae", learning_rate=1e30)
    assert done.returncode != 0
    assert done.stderr.count("NotFiniteError: the loss of training step") >= 1
    assert not (tmp_path / "sae").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    done = start_together(2, tmp_path / "other")
    assert "is not an artefact of this library" in done.stderr


def test_alone_nothing_is_joined(tmp_path) -> None:
    both = train_small(tmp_path / "a", n_tokens=2000)
    assert train_small(tmp_path / "b", n_tokens=2000, parallel=True).digest == both.digest


def test_what_cannot_be_shared_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="accumulate=3 is not usable"):
        train_small(tmp_path / "sae", accumulate=3)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="batch_size=256 is not divided by 3 processes"):
        train_small(tmp_path / "sae", parallel=True)
    monkeypatch.setattr("sci_interp.sae.training.join_team", lambda *_: fake_team())
    with pytest.raises(InputError, match="resampling looks at whole batches"):
        train_small(tmp_path / "sae", parallel=True, revival="resampling")
    assert not (tmp_path / "sae").exists()


def fake_team():
    from contextlib import nullcontext

    return nullcontext(Team(0, 2))
