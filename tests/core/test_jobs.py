"""Jobs: tasks that submitit gives to a cluster make the same bytes, though jobs are lost."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path

import pytest
from batch_world import FakeRecipe
from fake_slurm import install_slurm
from job_tasks import double, end, fail, refuse
from kills import read_tree

from sci_interp import jobs
from sci_interp.activations import extract
from sci_interp.errors import InputError, MissingExtraError, StoreError, UnknownNameError
from sci_interp.executors import Workers
from sci_interp.jobs import open_submitit

submitit = pytest.importorskip("submitit", reason="submitit is not installed")
SMALL = {"unit_tokens": 150, "shard_tokens": 256, "progress": False, "layer": "embed"}


@dataclass(frozen=True)
class LostRecipe(FakeRecipe):
    """The first process that opens it is killed; the second is told that its time is over."""

    marks: Path = Path()

    def open(self):
        for number, what in enumerate((signal.SIGKILL, signal.SIGUSR2)):
            try:
                (self.marks / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), what)
            break
        return super().open()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Jobs find the modules of the tests; nobody waits for what does not come."""
    places = [str(Path(__file__).parent), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(place for place in places if place))
    monkeypatch.setattr(jobs, "PATIENCE", 0.0)
    monkeypatch.setattr(jobs, "INTERVAL", 0.1)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return where a small SLURM keeps what happened."""
    commands, state = install_slurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    return state


def extract_lossy(tmp_path, **how):
    recipe = LostRecipe(n_records=14, marks=tmp_path / "marks")
    recipe.marks.mkdir()
    adapter, dataset = FakeRecipe(n_records=14).open()
    extract(adapter, dataset, out=tmp_path / "a", **SMALL)
    with open_submitit(tmp_path / "jobs", timeout_min=5, **how) as executor:
        extract(adapter, dataset, out=tmp_path / "b", recipe=recipe, executor=executor, **SMALL)
    assert len(list(recipe.marks.iterdir())) == 2
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    (folder,) = (tmp_path / "jobs").iterdir()
    return folder


def test_local_jobs_of_which_one_is_killed_and_one_is_out_of_time(tmp_path):
    folder = extract_lossy(tmp_path, cluster="local")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    said = "".join(path.read_text() for path in folder.glob("*_log.*"))
    assert "Caught signal SIGUSR2" in said and "Requeued job" in said


def test_an_array_of_slurm_loses_a_job(tmp_path, slurm):
    extract_lossy(tmp_path, partition="cpu", slurm_array_parallelism=3, mem_gb=2)
    scripts = (slurm / "scripts").read_text()
    assert "--partition=cpu" in scripts and "--time=5" in scripts and "--mem=2GB" in scripts
    assert "--array=0-" in scripts and "%3" in scripts
    assert "NODE_FAIL" in (slurm / "ended").read_text()
    assert list(slurm.glob("requeued-*"))


def test_outcomes_and_mistakes_of_tasks_arrive(tmp_path):
    with open_submitit(tmp_path, cluster="local") as executor:
        futures = [executor.submit(double, 4, by=3), executor.submit(double, 1)]
        wrong = executor.submit(double, None)
        with pytest.raises(UnknownNameError, match=r"no layer 'embd'.*mean 'embed'"):
            list(Workers(executor=executor).run([refuse]))
        assert [future.result() for future in futures] == [12, 2]
        with pytest.raises(submitit.core.utils.FailedJobError, match=r"^TypeError: unsupported"):
            wrong.result()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(double, 1)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (fail, r"ended 3 times.*without a result: state .*_0_log\.err"),
        (end, r"ended 3 times.*UncompletedJobError: timed-out too many times"),
    ],
)
def test_jobs_that_only_end_are_told_of(tmp_path, task, message):
    with (
        open_submitit(tmp_path, cluster="local") as executor,
        pytest.raises(StoreError, match=message),
    ):
        list(Workers(executor=executor).run([task]))


def test_jobs_that_nobody_waits_for_are_cancelled(tmp_path, slurm):
    with open_submitit(tmp_path / "jobs") as executor:
        future = executor.submit(signal.pause)
        while not (slurm / "scripts").exists():
            time.sleep(0.05)
        other = executor.submit(double, 1)
    with pytest.raises(CancelledError):
        future.result()
    assert other.cancelled()
    number = (slurm / "cancelled").read_text().split()
    assert number == [name.name for name in slurm.iterdir() if name.is_dir()]


def test_what_the_cluster_refuses_is_told_once(tmp_path, slurm, capfd):
    with (
        open_submitit(tmp_path / "jobs", slurm_partition="closed") as executor,
        pytest.raises(InputError, match=r"cannot be submitted: .*invalid partition.*closed"),
    ):
        list(Workers(executor=executor).run([refuse, refuse]))
    assert (slurm / "scripts").read_text().count("partition=closed") == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"slurm_partitio": "x"}, r"Unknown argument 'partitio'.*Allowed: cluster, name"),
        ({"nonsense": "x"}, r"need to be prefixed"),
        ({"timeout_min": "long"}, r'"timeout_min" expected type'),
        ({"cluster": "cloud"}, "any executor named cloud"),
        ({"cluster": "debug"}, "Allowed: slurm, local"),
        ({"nodes": 2}, "nodes=2: a job is one process"),
        ({"slurm_time": "4:00:00"}, "Allowed: timeout_min=MINUTES"),
        ({"slurm_max_num_timeout": 2, "slurm_nodes": 2}, "a job is one process"),
    ],
)
def test_wrong_options_are_refused_and_leave_nothing(tmp_path, slurm, parameters, message):
    with pytest.raises(InputError, match=message), open_submitit(tmp_path / "j", **parameters):
        pytest.fail("it is wrong")
    assert not (tmp_path / "j").exists() or not list((tmp_path / "j").iterdir())


def test_no_slurm_no_folder_and_no_submitit(tmp_path, monkeypatch):
    def open_in(folder, **how):
        with open_submitit(folder, **how):
            pytest.fail("there is none")

    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(InputError, match='Could not detect "srun"'):
            open_in(tmp_path / "j")
    with pytest.raises(InputError, match="holds a %"):
        open_in(tmp_path / "%j", cluster="local")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made: Not a directory"):
        open_in(tmp_path / "file", cluster="local")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingExtraError, match=r"sci-interp\[cluster\]"):
        open_in(tmp_path / "j")
