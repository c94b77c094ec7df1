"""Training the forecast networks: records, climatology, scores, and resuming to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "pretraining"
sys.path.insert(0, str(SCRIPTS))
netcdf = pytest.importorskip("netCDF4")
weather_forecast = pytest.importorskip("weather_forecast")

from sci_interp_weather.networks.forecast import load_forecast  # noqa: E402

RESULTS = ("model.safetensors", "config.json", "metrics.csv", "scores.json", "state.safetensors")
YEARS = ("--train", "2001-2001", "--tune", "2002-2002", "--test", "2003-2003")
SMALL = ("--epochs", "3", "--width", "6", "--blocks", "2", "--threads", "1", "--batch", "64")


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> dict[str, Path]:
    """Two variables of three years on 9 x 12 cells, stored from south to north, with a hole."""
    folder = tmp_path_factory.mktemp("fields")
    days = np.delete(np.arange(3 * 365), 100)
    rng = np.random.default_rng(0)
    latitude, longitude = np.linspace(30, 70, 9), np.linspace(-40, 15, 12)
    paths = {}
    for index, (name, mean, scale) in enumerate((("msl", 101_000, 800), ("t850", 275, 6))):
        phase = days[:, None, None] * 0.4 + np.radians(longitude) * 4 + index
        wave = np.cos(phase) * np.cos(np.radians(latitude))[:, None]
        season = np.cos(2 * np.pi * days / 365.2425)[:, None, None]
        noise = 0.1 * rng.standard_normal((len(days), 9, 12))
        paths[name] = folder / f"{name}.nc"
        with netcdf.Dataset(paths[name], "w") as data:
            for dim, values in (("time", days), ("latitude", latitude), ("longitude", longitude)):
                data.createDimension(dim, len(values))
                data.createVariable(dim, "f8", (dim,))[:] = values
            data["time"].units = "days since 2001-01-01"
            stored = data.createVariable(name, "f4", ("time", "latitude", "longitude"))
            stored[:] = mean + scale * (wave + season + noise)
    return paths


def command(fields, out, *more) -> list[str]:
    given = [f"--field={name}={path}" for name, path in fields.items()]
    return [str(out), *given, *YEARS, *SMALL, *more]


def train(fields, out, *more) -> None:
    weather_forecast.train(weather_forecast.read_arguments(command(fields, out, *more)))


def contents(out) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def finished(fields, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "finished"
    train(fields, out)
    return out


def test_records_have_both_neighbours_inside_their_years(fields):
    series = weather_forecast.read_series(fields)
    assert tuple(series.values.shape) == (1094, 2, 9, 12) and series.latitude[0] == 70
    first = series.records(range(2001, 2002))
    assert len(first) == 365 - 2 - 3 and {99, 100} & set(first.tolist()) == set()
    assert series.records(range(2002, 2003))[0] == 365
    assert abs(float(series.weights().mean()) - 1) < 1e-6


def test_climatology_removes_the_annual_cycle_of_the_training_years(fields, finished):
    network = load_forecast(finished, "test")
    series = weather_forecast.read_series(fields)
    anomalies = network.module.standardise(series.values[:, None], series.hours[:, None])[:, 0]
    train_year = anomalies[series.years == 2001]
    assert train_year.mean(dim=0).abs().max() < 0.1
    # What is left is the wave, without the season that is as large.
    assert 300 < float(network.module.scale[0]) < 450
    assert float(network.module.climatology[0, 1].mean()) == pytest.approx(800, rel=0.05)


def test_scores_are_those_of_the_formulas(fields, finished):
    scores = json.loads((finished / "scores.json").read_text())["test"]["t850"]
    series = weather_forecast.read_series(fields)
    records = series.records(range(2003, 2004))
    truth, now = series.values[records + 1, 1].double(), series.values[records, 1].double()
    area = series.weights().double().expand(9, 12)
    squared = ((now - truth) ** 2 * area).mean()
    assert scores["persistence rmse"] == pytest.approx(float(squared.sqrt()), rel=1e-5)
    plain = ((now - truth) ** 2).mean().sqrt()
    assert scores["persistence rmse_unweighted"] == pytest.approx(float(plain), rel=1e-5)
    normals = load_forecast(finished, "test").module.normals(series.hours[records] + 24)
    ours, real = now - normals[:, 1], truth - normals[:, 1]
    both = (ours * real * area).sum() / ((ours**2 * area).sum() * (real**2 * area).sum()).sqrt()
    assert scores["persistence acc"] == pytest.approx(float(both), rel=1e-5)
    assert scores["forecast rmse"] < scores["persistence rmse"]


def test_metrics_have_one_row_per_epoch(finished):
    lines = (finished / "metrics.csv").read_text().splitlines()
    assert lines[0].split(",")[:4] == [
        "epoch",
        "training_loss",
        "tuning_rmse_msl",
        "tuning_acc_msl",
    ]
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]


def test_same_command_gives_the_same_bytes_and_another_seed_does_not(fields, finished, tmp_path):
    train(fields, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(finished)
    train(fields, finished)
    assert contents(tmp_path / "again") == contents(finished)
    train(fields, tmp_path / "other", "--seed", "1")
    assert contents(tmp_path / "other")["model.safetensors"] != contents(finished)[RESULTS[0]]


class Killed(BaseException):
    """Ends a run at a chosen instant."""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("writer", ["save_tensors", "write_metrics", "write_whole", "train_epoch"])
def test_run_that_is_cut_off_resumes_to_the_same_bytes(
    fields, finished, tmp_path, monkeypatch, writer, before
):
    out = tmp_path / "cut"
    real = getattr(weather_forecast, writer)
    for stop in (1, 2):
        calls = []

        def cut(*args, calls=calls, stop=stop, **kwargs):
            calls.append(None)
            if before and len(calls) == stop:
                raise Killed
            result = real(*args, **kwargs)
            if len(calls) == stop:
                raise Killed
            return result

        with monkeypatch.context() as patch:
            patch.setattr(weather_forecast, writer, cut)
            with pytest.raises(Killed):
                train(fields, out)
    train(fields, out)
    assert contents(out) == contents(finished)


def test_killed_process_resumes_to_the_same_bytes(fields, finished, tmp_path):
    out = tmp_path / "killed"
    words = [sys.executable, str(SCRIPTS / "weather_forecast.py"), *command(fields, out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not (out / "state.safetensors").exists() and time.monotonic() < until:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train(fields, out)
    assert contents(out) == contents(finished)


def test_state_of_other_settings_is_not_continued(fields, finished):
    before = contents(finished)
    with pytest.raises(SystemExit, match="other settings"):
        train(fields, finished, "--epochs", "4")
    assert contents(finished) == before


def test_windows_lack_the_rows_and_columns_asked_for(fields, finished):
    series = weather_forecast.read_series(fields)
    model = load_forecast(finished, "test").module
    batches = weather_forecast.Batches(model, series, series.records(range(2001, 2002)))
    torch.manual_seed(0)
    windows = [batches.window(2) for _ in range(40)]
    sizes = {(r.stop - r.start, c.stop - c.start) for r, c in windows}
    assert sizes == {(9, 12), (7, 8)}
    assert all(r.stop <= 9 and c.stop <= 12 for r, c in windows)
    assert {batches.window(0) == (slice(0, 9), slice(0, 12)) for _ in range(5)} == {True}
