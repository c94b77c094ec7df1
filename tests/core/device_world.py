"""Trainers beside each other: the device's way of computing, on the processor, and the compiled."""

from __future__ import annotations

from typing import Any

import torch
from sae_world import planted_source, random_sae

from sci_interp.sae.device import DeviceEngine
from sci_interp.sae.engine import Engine
from sci_interp.sae.settings import TrainingSettings, resolve_settings
from sci_interp.sae.trainer import Trainer
from sci_interp.sae.weights import Weights

BESIDE = DeviceEngine(torch.device("cpu"))
NAMES = ("encoder", "encoder_bias", "decoder", "decoder_bias")


def draw(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settings_of(**changes: Any) -> TrainingSettings:
    given: dict[str, Any] = {
        "features": 64, "k": 4, "seed": 0, "architecture": "topk", "n_tokens": 12_800,
        "batch_size": 128, "learning_rate": 1e-3, "splits": ("train",), "normalisation": "scale",
        "warm_up": 0.1, "decay": 0.3, "auxiliary": 0.5, "dead_after": 200, "blend": 0.8,
        "precision": "float32",
    }  # fmt: skip
    return resolve_settings(**{**given, **changes})


def trainer_of(architecture: str, engine: Engine, **changes: Any) -> Trainer:
    widths = {"widths": (32, 32)} if architecture == "transcoder" else {}
    weights = random_sae(width=32).weights
    weights.encoder_bias[::7] = -12.0  # hardly ever among the highest
    return Trainer(
        weights, settings_of(architecture=architecture, **widths, **changes), engine=engine
    )


def batches_for(architecture: str, n: int) -> tuple[torch.Tensor, ...]:
    _, source = planted_source()
    values = torch.from_numpy(source.read(0, n * 128))
    rows = (values - values.mean(0)) / values.std()
    if architecture == "transcoder":
        rows = torch.cat([rows, rows.flip(1)], dim=1)
    return torch.split(rows, 128)


def require_close(found: Weights, wanted: Weights, rtol: float) -> None:
    for name in NAMES:
        mine, theirs = getattr(found, name).cpu(), getattr(wanted, name)
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=rtol * scale, msg=name)
