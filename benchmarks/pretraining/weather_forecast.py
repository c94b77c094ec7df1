"""Train a forecast network: gridded NetCDF files -> model.safetensors + config.json + scores.json.

    python benchmarks/pretraining/weather_forecast.py OUT --field msl=FILE.nc \
        --train 2001-2008 --tune 2009-2009 --test 2010-2010

Resumable: run the same command again after an interruption, and the files are the same, byte for
byte, as without it (on one machine, with one version of torch). The last checkpoint counts; the
tuning years choose nothing by themselves, and the test years are scored once, at the end.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from netCDF4 import Dataset, num2date
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sci_interp_weather.networks.forecast_model import (
    ForecastConfig,
    ForecastModel,
    seasonal_harmonics,
)

DAY = 24
WARM_UP = 100
EMA_HALF_LIFE = 150


@dataclass
class Series:
    """Fields ``(n, V, H, W)`` with their hours since 1970, years and grid, north first."""

    values: Tensor
    hours: Tensor
    years: np.ndarray
    latitude: tuple[float, ...]
    longitude: tuple[float, ...]

    def records(self, years: range) -> Tensor:
        """Return the indices whose day before and day after are present, all in ``years``."""
        found = []
        for i in range(1, len(self.hours) - 1):
            apart = self.hours[i + 1] - self.hours[i - 1]
            inside = self.years[i - 1] in years and self.years[i + 1] in years
            if inside and apart == 2 * DAY:
                found.append(i)
        return torch.tensor(found)

    def weights(self) -> Tensor:
        """Return relative cell areas ``(H, 1)`` of mean 1."""
        area = torch.cos(torch.deg2rad(torch.tensor(self.latitude)))[:, None]
        return area / area.mean()


def read_series(files: dict[str, Path]) -> Series:
    """Read one field per file, which share their times and grid."""
    columns = []
    for path in files.values():
        with Dataset(path) as data:
            name = next(n for n, v in data.variables.items() if v.ndim == 3)
            clock, latitude = data["time"], np.asarray(data["latitude"][:], dtype=float)
            dates = num2date(clock[:], clock.units, only_use_cftime_datetimes=False)
            times = np.asarray([np.datetime64(date, "h") for date in dates])
            values = np.asarray(data[name][:], dtype=np.float32)
            longitude = np.asarray(data["longitude"][:], dtype=float)
        order = np.argsort(-latitude)
        columns.append(values[:, order])
    hours = (times - np.datetime64("1970-01-01T00", "h")).astype(np.int64)
    return Series(
        values=torch.from_numpy(np.stack(columns, axis=1)),
        hours=torch.from_numpy(hours).double(),
        years=times.astype("datetime64[Y]").astype(int) + 1970,
        latitude=tuple(latitude[order].tolist()),
        longitude=tuple(longitude.tolist()),
    )


def fit_climatology(model: ForecastModel, series: Series, years: range) -> None:
    """Fit the annual cycle of every cell by least squares, and one scale per variable."""
    chosen = torch.from_numpy(np.isin(series.years, years))
    values, hours = series.values[chosen].double(), series.hours[chosen]
    terms = seasonal_harmonics(hours, model.config.n_harmonics)
    fitted = torch.linalg.lstsq(terms, values.flatten(1)).solution
    model.climatology.copy_(fitted.reshape(-1, *values.shape[1:]).transpose(0, 1))
    errors = (values - model.normals(hours)).square() * series.weights()
    model.scale.copy_(errors.mean(dim=(0, 2, 3)).sqrt())


@dataclass
class Trainer:
    """All that changes during training, and how it is saved and restored."""

    model: ForecastModel
    average: ForecastModel
    optimizer: torch.optim.AdamW
    steps: int
    rate: float
    step: int = 0
    epoch: int = 0

    def update(self, loss: Tensor) -> None:
        """Take one step of AdamW on a cosine schedule, then move the average of the weights."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        warm = min(1.0, (self.step + 1) / WARM_UP)
        factor = warm * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.optimizer.step()
        self.step += 1
        keep = min(0.5 ** (1 / EMA_HALF_LIFE), self.step / (self.step + 10))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, their average and the optimiser's moments by name."""
        found = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        found |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
        return {name: tensor.clone().contiguous() for name, tensor in found.items()}

    def restore(self, tensors: dict[str, Tensor], epoch: int, step: int) -> None:
        """Continue from what :meth:`tensors` gave."""
        for part, module in (("model.", self.model), ("average.", self.average)):
            module.load_state_dict(
                {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.epoch, self.step = epoch, step


def train_epoch(trainer: Trainer, data: Batches, args: argparse.Namespace) -> float:
    """Run one epoch, whose order, crops, noise and dropout follow from the seed and its number."""
    torch.manual_seed(args.seed * 1_000_003 + trainer.epoch)
    order = data.records[torch.randperm(len(data.records))]
    trainer.model.train()
    losses = []
    for batch in order.split(args.batch):
        inputs, target, hours = data.take(batch)
        rows, columns = data.window(args.crop)
        inputs = inputs + args.noise * torch.randn_like(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            change = trainer.model.predict_change(
                inputs[..., rows, columns], hours, trainer.model.geometry[:, rows, columns]
            )
        errors = inputs[:, -1, :, rows, columns] + change.float() - target[..., rows, columns]
        loss = (errors.square() * data.area[rows]).mean()
        trainer.update(loss)
        losses.append(loss.item())
    trainer.epoch += 1
    return float(np.mean(losses))


class Batches:
    """Standardised inputs and targets of chosen records."""

    def __init__(self, model: ForecastModel, series: Series, records: Tensor) -> None:
        hours = series.hours[:, None]
        self.anomalies = model.standardise(series.values[:, None], hours)[:, 0]  # (n, V, H, W)
        self.hours, self.records, self.area = series.hours, records, series.weights()

    def take(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs ``(B, 2, V, H, W)``, targets ``(B, V, H, W)`` and hours ``(B,)``."""
        inputs = torch.stack([self.anomalies[batch - 1], self.anomalies[batch]], dim=1)
        return inputs, self.anomalies[batch + 1], self.hours[batch]

    def window(self, crop: int) -> tuple[slice, slice]:
        """Return the whole grid or, half of the time, a window of it.

        A window lacks ``crop`` rows and twice as many columns.
        """
        height, width = self.anomalies.shape[-2:]
        if not crop or torch.rand(()) < 0.5:
            return slice(0, height), slice(0, width)
        top = int(torch.randint(crop + 1, ()))
        left = int(torch.randint(2 * crop + 1, ()))
        return slice(top, top + height - crop), slice(left, left + width - 2 * crop)


@torch.inference_mode()
def score(model: ForecastModel, series: Series, records: Tensor) -> dict[str, dict[str, float]]:
    """Return RMSE and anomaly correlation of forecast, persistence and climatology by variable.

    Both are pooled over times and cells by area; ``rmse_unweighted`` counts every cell once.
    """
    model.eval()
    shape = (len(model.config.variables),)
    area = series.weights()
    names = ("forecast", "persistence", "climatology")
    sums = {name: torch.zeros(5, *shape, dtype=torch.float64) for name in names}
    for batch in records.split(64):
        truth, now = series.values[batch + 1], series.values[batch]
        hours = series.hours[batch]
        normal = model.normals(hours + DAY)
        inputs = torch.stack([series.values[batch - 1], now], dim=1)
        for name, guess in zip(names, (model(inputs, hours), now, normal), strict=True):
            wrong, ours, real = guess - truth, guess - normal, truth - normal
            terms = [wrong**2 * area, wrong**2, ours * real * area, ours**2 * area, real**2 * area]
            sums[name] += torch.stack([t.double().sum(dim=(0, 2, 3)) for t in terms])
    count = len(records) * area.numel() * series.values.shape[-1]
    result: dict[str, dict[str, float]] = {}
    for v, variable in enumerate(model.config.variables):
        result[variable] = {}
        for name in names:
            squared, plain, both, ours, real = sums[name][:, v].tolist()
            result[variable][f"{name} rmse"] = math.sqrt(squared / count)
            result[variable][f"{name} rmse_unweighted"] = math.sqrt(plain / count)
            if name != "climatology":
                result[variable][f"{name} acc"] = both / math.sqrt(ours * real)
    return result


def write_whole(path: Path, content: str) -> None:
    """Write a text whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    """Write tensors whole or not at all."""
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata=notes)
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(path)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the progress of a saved state."""
    with safe_open(path, framework="pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        return tensors, json.loads(handle.metadata()["progress"])


def write_metrics(path: Path, rows: list[list[Any]], variables: tuple[str, ...]) -> None:
    """Write the loss and the tuning years' errors of every epoch."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        names = [f"tuning_{kind}_{v}" for v in variables for kind in ("rmse", "acc")]
        writer.writerow(["epoch", "training_loss", *names])
        writer.writerows(rows)
    part.replace(path)


def train(args: argparse.Namespace) -> None:
    """Train to the last epoch, then score the test years and write the network."""
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    series = read_series(args.field)
    model = make_model(args, series)
    average = make_model(args, series)
    average.load_state_dict(model.state_dict())
    data = Batches(model, series, series.records(args.train))
    tuning = series.records(args.tune)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=args.decay)
    steps = args.epochs * math.ceil(len(data.records) / args.batch)
    trainer = Trainer(model, average, optimizer, steps, args.rate)
    rows: list[list[Any]] = []
    settings = {name: str(value) for name, value in vars(args).items() if name != "out"}
    state = out / "state.safetensors"
    if state.exists():
        tensors, progress = load_state(state)
        if progress["settings"] != settings:
            raise SystemExit(f"{state} belongs to other settings; choose another folder")
        trainer.restore(tensors, progress["epoch"], progress["step"])
        rows = progress["rows"]
    while trainer.epoch < args.epochs:
        clock = time.time()
        loss = train_epoch(trainer, data, args)
        scores = score(average, series, tuning)
        rows.append([trainer.epoch, f"{loss:.5f}"])
        for found in scores.values():
            rows[-1] += [f"{found['forecast rmse']:.3f}", f"{found['forecast acc']:.4f}"]
        at = {"epoch": trainer.epoch, "step": trainer.step}
        progress = {**at, "rows": rows, "settings": settings}
        save_tensors(state, trainer.tensors(), {"progress": json.dumps(progress)})
        write_metrics(out / "metrics.csv", rows, model.config.variables)
        print(*rows[-1], f"{time.time() - clock:.0f} s", flush=True)
    write_metrics(out / "metrics.csv", rows, model.config.variables)
    finish(args, average, series)


def make_model(args: argparse.Namespace, series: Series) -> ForecastModel:
    """Return an untrained model that knows the climatology of the training years."""
    config = ForecastConfig(
        variables=tuple(args.field),
        offsets=(-DAY, 0),
        lead=DAY,
        latitude=series.latitude,
        longitude=series.longitude,
        width=args.width,
        n_blocks=args.blocks,
    )
    model = ForecastModel(config, dropout=args.dropout).to(memory_format=torch.channels_last)
    fit_climatology(model, series, args.train)
    return model


def finish(args: argparse.Namespace, model: ForecastModel, series: Series) -> None:
    """Write the averaged weights, their sizes and the scores."""
    weights = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_tensors(args.out / "model.safetensors", weights, {})
    digest = hashlib.sha256((args.out / "model.safetensors").read_bytes()).hexdigest()
    config = {"model_type": "forecast", "weights_sha256": digest, **model.config.to_dict()}
    write_whole(args.out / "config.json", json.dumps(config, indent=1) + "\n")
    scores = {
        name: score(model, series, series.records(years))
        for name, years in (("tuning", args.tune), ("test", args.test))
    }
    write_whole(args.out / "scores.json", json.dumps(scores, indent=1) + "\n")
    print(json.dumps(scores, indent=1))


def parse_years(text: str) -> range:
    """Read ``"2001-2008"``."""
    first, last = text.split("-")
    return range(int(first), int(last) + 1)


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Return the settings that a command line gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--field", action="append", required=True, metavar="NAME=FILE")
    for part in ("train", "tune", "test"):
        parser.add_argument(f"--{part}", type=parse_years, required=True, metavar="FIRST-LAST")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--noise", type=float, default=0.03, help="in units of the scale")
    parser.add_argument("--crop", type=int, default=2, help="rows that a window lacks at most")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    pairs = (item.split("=", 1) for item in args.field)
    args.field = {name: Path(path) for name, path in pairs}
    return args


if __name__ == "__main__":
    train(read_arguments())
