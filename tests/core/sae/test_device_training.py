"""Whole trainings on a device: what they reach, how they continue, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from device_world import BESIDE, require_close
from kills import read_tree
from sae_world import planted_source, train_small

from sci_interp.cli import main
from sci_interp.errors import InputError, StoreError
from sci_interp.sae import load_sae, sweep, train
from sci_interp.sae.device import engine_for
from sci_interp.sae.device.choosing import DEVICE_ARCHITECTURES
from sci_interp.sae.engine import HOST, Engine
from sci_interp.sae.parallel import Team, join_team
from sci_interp.sae.trainer import Trainer

ONE_LAYER = [name for name in DEVICE_ARCHITECTURES if name != "transcoder"]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the device's way on the processor."""
    monkeypatch.setattr("sci_interp.sae.training.engine_for", lambda *_, **__: BESIDE)


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(
    ("architecture", "precision"),
    [("topk", "bfloat16"), ("topk", "float32"), ("batch_topk", "auto"), ("matryoshka", "auto")],
)
def test_planted_directions_are_found(architecture, precision, tmp_path) -> None:
    directions, source = planted_source()
    sae = train(
        source, out=tmp_path / "sae", features=96, k=3, n_tokens=150_000, batch_size=512,
        architecture=architecture, precision=precision, progress=False,
    )  # fmt: skip
    rows = sae.dictionary / np.linalg.norm(sae.dictionary, axis=1, keepdims=True)
    assert (directions @ rows.T).max(axis=1).mean() > 0.93
    assert sae.training["l0"] == pytest.approx(3, rel=0.05)
    assert sae.training["curve"][-1]["fvu"] < 0.12
    assert sae.training["precision"] == ("bfloat16" if precision == "auto" else precision)


@pytest.mark.parametrize("architecture", ONE_LAYER)
@pytest.mark.parametrize("changes", [{}, {"whitening": True, "patience": 5000}])
def test_a_training_equals_that_of_the_processor(architecture, changes, tmp_path, request) -> None:
    options = {"architecture": architecture, "precision": "float32", "n_tokens": 8000, **changes}
    one = train_small(tmp_path / "one", **options)
    request.getfixturevalue("beside")
    two = train_small(tmp_path / "two", **options)
    fvu = [sae.training["curve"][-1]["fvu"] for sae in (one, two)]
    assert fvu[1] == pytest.approx(fvu[0], rel=0.02)
    assert two.training["l0"] == pytest.approx(one.training["l0"], rel=0.02)
    assert one.named_tensors().keys() == two.named_tensors().keys()
    trees = [read_tree(tmp_path / name) for name in ("one", "two")]
    assert trees[0].keys() == trees[1].keys()
    assert trees[0]["request.json"] == trees[1]["request.json"]


def interrupt(out: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, **options: Any) -> None:
    """Train until the checkpoint of step 21, and stop."""

    def stop(self: Trainer, rows: torch.Tensor) -> None:
        if self.step == 24:
            raise KeyboardInterrupt
        update(self, rows)

    update = Trainer.update
    with monkeypatch.context() as patch:
        patch.setattr("sci_interp.sae.training.engine_for", lambda *_, **__: engine)
        patch.setattr(Trainer, "update", stop)
        with pytest.raises(KeyboardInterrupt):
            train_small(out, **options)


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_an_interrupted_training_ends_in_the_same_bytes(
    architecture, tmp_path, monkeypatch
) -> None:
    options = {"architecture": architecture, "n_tokens": 12_000}
    interrupt(tmp_path / "stopped", monkeypatch, BESIDE, **options)
    train_small(tmp_path / "stopped", **options)
    train_small(tmp_path / "whole", checkpoint_every=1000, **options)
    assert read_tree(tmp_path / "stopped") == read_tree(tmp_path / "whole")


@pytest.mark.parametrize(("first", "second"), [(HOST, BESIDE), (BESIDE, HOST)])
def test_a_training_continues_on_the_other(first, second, tmp_path, monkeypatch) -> None:
    options = {"precision": "float32", "n_tokens": 12_000}
    whole = train_small(tmp_path / "whole", **options)
    interrupt(tmp_path / "both", monkeypatch, first, **options)
    monkeypatch.setattr("sci_interp.sae.training.engine_for", lambda *_, **__: second)
    both = train_small(tmp_path / "both", **options)
    require_close(both.weights, whole.weights, rtol=5e-3)
    assert [point["step"] for point in both.training["curve"]] == [
        point["step"] for point in whole.training["curve"]
    ]


def test_another_precision_is_other_work(tmp_path, monkeypatch) -> None:
    interrupt(tmp_path / "sae", monkeypatch, HOST, precision="float32")
    monkeypatch.setattr("sci_interp.sae.training.engine_for", lambda *_, **__: BESIDE)
    with pytest.raises(StoreError, match="precision was 'float32' there and is 'bfloat16' now"):
        train_small(tmp_path / "sae")


SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from sae_world import train_small
from sci_interp.sae import training
from sci_interp.sae.device import DeviceEngine
if sys.argv[2] == "cpu":
    training.engine_for = lambda *_, **__: DeviceEngine(torch.device("cpu"))
train_small(sys.argv[1], parallel=True, precision="float32", n_tokens=5000, device=sys.argv[2])
"""


def train_in_two(out: Path, device: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).resolve().parents[1]
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    paths = [here, here.parents[1], here.parents[1] / "adapters"]
    start = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.run(
        [sys.executable, *start, str(script), str(out), device],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_two)])
def test_two_processes_equal_one(device, tmp_path) -> None:
    done = train_in_two(tmp_path / "two", device)
    assert done.returncode == 0, done.stderr
    one = train_small(tmp_path / "one", precision="float32", n_tokens=5000)
    require_close(load_sae(tmp_path / "two").weights, one.weights, rtol=5e-3)


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_what_is_on_devices_is_added_by_nccl(device, backend, monkeypatch) -> None:
    """Tensors on the processor, as of the first process's answers, go another way."""
    joined = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "init_process_group", joined.append)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with join_team(256, torch.device(device)) as team:
        assert team == Team(1, 2)
    assert joined == [backend]


# What is chosen, and what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "the device 'tpu' is unknown. Allowed: cpu, cuda"),
        ({"device": "cuda:one"}, "the device 'cuda:one' is unknown"),
        ({"architecture": "jumprelu"}, "'jumprelu' is not trained on .* Allowed: topk, batch_topk"),
        ({"architecture": "gated"}, "'gated' is not trained"),
        ({"revival": "resampling"}, "dead features are not resampled on the device 'cuda'"),
        ({"precision": "int8"}, "8-bit numbers on the device 'cuda'"),
        ({}, "torch finds no CUDA device here"),
    ],
)
def test_what_a_device_cannot_do_is_refused(options, message, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        train_small(tmp_path / "sae", **{"device": "cuda", **options})
    assert not (tmp_path / "sae").exists()


def test_a_sweep_has_no_device(tmp_path) -> None:
    _, source = planted_source()
    with pytest.raises(InputError, match="a sweep has no device"):
        sweep(source, out=tmp_path / "sweep", runs=[{"k": 3}], device="cuda")


def test_the_command_has_the_option(tmp_path, monkeypatch, capsys) -> None:
    _, source = planted_source()
    monkeypatch.setattr("sci_interp.ActivationStore.open", lambda _: source)
    words = f"train acts --features 40 --k 3 --device tpu --out {tmp_path / 'sae'}"
    assert main(words.split()) == 2
    assert "the device 'tpu' is unknown" in capsys.readouterr().err


def choose(device: str, *, parallel: bool = False, **changes: Any) -> Engine:
    options = {"architecture": "topk", "revival": "auxiliary", "precision": "auto", **changes}
    return engine_for(device, parallel=parallel, **options)


def test_auto_takes_a_device_where_it_can(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("auto") is HOST
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("auto").device == torch.device("cuda", 0)
    assert choose("auto", architecture="relu") is HOST
    assert choose("auto", precision="int8") is HOST
    assert choose("cuda:1").device == torch.device("cuda", 1)
    assert choose("cpu") is HOST
    assert choose("cuda").precision("auto") == "bfloat16"
    with pytest.raises(InputError, match=r"no device 'cuda:2'\. Allowed: cuda:0, cuda:1"):
        choose("cuda:2")


def test_each_process_has_a_device(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose("cuda", parallel=True).device == torch.device("cuda", 1)
    assert choose("cuda").device == torch.device("cuda", 0)
    with pytest.raises(InputError, match="'cuda:0' is one device, and 3 processes need one each"):
        choose("cuda:0", parallel=True)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"no device 'cuda:2'.*no more processes"):
        choose("cuda", parallel=True)


@needs_cuda
@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka"])
def test_trainings_on_cuda_repeat_and_find_directions(architecture, tmp_path) -> None:
    directions, source = planted_source()
    for name in ("one", "two"):
        sae = train(
            source, out=tmp_path / name, features=96, k=3, n_tokens=150_000, batch_size=512,
            architecture=architecture, device="cuda", progress=False,
        )  # fmt: skip
    rows = sae.dictionary / np.linalg.norm(sae.dictionary, axis=1, keepdims=True)
    assert (directions @ rows.T).max(axis=1).mean() > 0.93
    assert read_tree(tmp_path / "one") == read_tree(tmp_path / "two")
