"""--workers, --shard and sbatch: a study by many hands, on the command line, in the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sci_interp as si
from sci_interp.cli import main

FASTA = ">a{0} one\n{1}\n"
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    """Return a FASTA file of a few short proteins; a table of their families is beside it."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "proteins.fasta"
    path.with_suffix(".tsv").write_text("".join(f"f{n % 4}\ta{n}\n" for n in range(8)))
    lines = [
        FASTA.format(n, "".join(rng.choices(LETTERS, k=rng.randint(30, 60)))) for n in range(8)
    ]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def words(proteins):
    return ["extract", *data_of(proteins)]


def data_of(path):
    clusters = f"clusters={path.with_suffix('.tsv')}"
    return ["--adapter", "protein", "--data", str(path), "--option", clusters]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """Return the digest of what one process extracts."""
    out = tmp_path_factory.mktemp("whole") / "a"
    assert main([*words, "--out", str(out)]) == 0
    return si.ActivationStore.open(out).digest


def test_shards_then_the_whole(words, whole, tmp_path, capsys):
    words = [*words, "--out", str(tmp_path / "a")]
    assert main([*words, "--shard", "0/2"]) == 0
    assert main([*words, "--shard", "0/2"]) == 0
    said = capsys.readouterr().out
    assert "task 0/2: " in said and "without --shard" in said
    assert not (tmp_path / "a").exists()
    assert main(words) == 0
    assert si.ActivationStore.open(tmp_path / "a").digest == whole


def test_jobs_of_submitit_make_the_shards(words, whole, tmp_path, capsys, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(place for place in sys.path if place))
    words = [*words, "--out", str(tmp_path / "a")]
    jobs = ["--submitit", str(tmp_path / "jobs")]
    local = ["--submitit-option", "cluster=local", "--submitit-option", "timeout_min=30"]
    assert main([*words, *jobs, *local]) == 0
    assert si.ActivationStore.open(tmp_path / "a").digest == whole
    words[-1] = str(tmp_path / "b")
    assert main([*words, *jobs, *local, "--submitit-option", "mem_gb=much"]) == 2
    assert 'submitit refuses its options: Parameter "mem_gb" expected' in capsys.readouterr().err
    assert main([*words, "--submitit-option", "mem_gb=4"]) == 2
    assert "Add --submitit FOLDER" in capsys.readouterr().err
    assert main([*words, *jobs, "--submitit-option", "mem_gb"]) == 2
    assert "slurm_partition=cpu" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_encode_and_annotate_in_shards(words, whole, proteins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--out", "a"]) == 0
    data = data_of(Path(os.path.relpath(proteins)))
    for verb in (["encode", "bundled:protein", "a"], ["annotate", *data]):
        for index in (1, 0):
            assert main([*verb, "--out", "shared", "--shard", f"{index}/2"]) == 0
        assert main([*verb, "--out", "shared"]) == 0
        assert main([*verb, "--out", "alone"]) == 0
        assert read_digest("shared") == read_digest("alone")
        shutil.rmtree("shared")
        shutil.rmtree("alone")


def read_digest(folder):
    return si.show(folder).split("digest")[1].split()[0]


FAKE_SBATCH = """#!{python}
import os, random, signal, subprocess, sys
script, random = sys.stdin.read(), random.Random(1)
size = next((int(w.split("-")[-1]) + 1 for w in sys.argv if w.startswith("--array=")), 0)
with open("submitted", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
tasks = list(range(size)) or [None]
tasks += [t for t in tasks if t is not None and random.random() < 0.3]  # requeued: again, later
random.shuffle(tasks)
for task in tasks:
    env = dict(os.environ, **({{}} if task is None else {{"SLURM_ARRAY_TASK_ID": str(task)}}))
    subprocess.run(["bash", "-c", script], env=env, check=True, stdout=subprocess.DEVNULL)
print("4711;cluster")
"""


def test_the_script_of_sbatch_runs_an_array_with_requeues(
    words, whole, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = ["--sbatch-option=--time=4:00:00", "--sbatch-option=--partition=a b"]
    assert main(["sbatch", "--tasks", "2", *options, "--", *words, "--out", "a"]) == 0
    script = capsys.readouterr().out
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(FAKE_SBATCH.format(python=sys.executable))
    fake.chmod(0o755)
    path = os.pathsep.join([str(fake.parent), os.environ["PATH"]])
    subprocess.run(["bash"], input=script, text=True, check=True, env={**os.environ, "PATH": path})
    array, last = (tmp_path / "submitted").read_text().splitlines()
    assert "--array=0-1 --requeue" in array and "--time=4:00:00 --partition=a b" in array
    assert "--dependency=afterok:4711 " in last
    assert si.ActivationStore.open(tmp_path / "a").digest == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "3"], "'nothing'"),
        (["--tasks", "3", "train", "x"], "Allowed: extract, encode, annotate, enrich, run"),
        (["--tasks", "0", "annotate", "--adapter", "protein", "--out", "a"], "--tasks 0"),
        (
            ["--tasks", "3", "annotate", "--adapter", "protein", "--out", "a", "--workers", "2"],
            "without --shard, --dask, --submitit and --workers",
        ),
    ],
)
def test_commands_that_cannot_be_an_array_are_refused(arguments, message, capsys):
    assert main(["sbatch", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_command_of_an_array_is_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        main(["sbatch", "--tasks", "3", "extract", "--nonsense"])
    assert "--out" in capsys.readouterr().err


def test_a_wrong_shard_and_two_kinds_of_workers_are_refused(words, tmp_path, capsys):
    words = [*words, "--out", str(tmp_path / "a")]
    assert main([*words, "--shard", "2/2"]) == 2
    assert "'2/2' cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--shard", "0/2", "--workers", "2"])
    assert main([*words, "--workers", "0"]) == 2
    assert "workers=0" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_train_sweep_and_encode_without_stored_activations(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = words[1:]
    assert main([*words, "--out", "a"]) == 0
    sizes = ["--features", "32", "--k", "4", "--n-tokens", "256", "--batch-size", "64"]
    assert main(["train", "a", *sizes, "--out", "sae"]) == 0
    assert main(["train", *data, *sizes, "--out", "live"]) == 0
    grid = ["--grid", "k=2,4", "--grid", "features=32", "--n-tokens", "256", "--batch-size", "64"]
    assert main(["sweep", *data, *grid, "--out", "swept"]) == 0
    for out, more in (("f", []), ("g", ["--shard", "0/1"]), ("g", [])):
        assert main(["encode", "live", *data, *more, "--out", out]) == 0
    assert read_digest("f") == read_digest("g")
    capsys.readouterr()
    assert main(["train", "a", *data, *sizes, "--out", "x"]) == 2
    assert "a and --adapter protein were given" in capsys.readouterr().err
    assert main(["encode", "sae", "--out", "x"]) == 2
    assert "Name a folder that extract made, or --adapter" in capsys.readouterr().err
