"""Which device a training computes on, and what can be trained there."""

from __future__ import annotations

import os
import re

import torch

from sci_interp.errors import InputError
from sci_interp.sae.engine import HOST, Engine
from sci_interp.sae.settings import Precision, Revival

from .engine import DeviceEngine

__all__ = ["DEVICE_ARCHITECTURES", "engine_for"]

#: Architectures that rank features, and learn without compiled loops of their own.
DEVICE_ARCHITECTURES = ("topk", "batch_topk", "matryoshka", "abs_topk", "transcoder")


def engine_for(
    device: str,
    *,
    architecture: str,
    revival: Revival,
    precision: Precision,
    parallel: bool = False,
) -> Engine:
    """Return what to train with.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"`` (the first device, or that of each process), ``"cuda:1"``, or
        ``"auto"``: a CUDA device where there is one and the other settings allow it.
    architecture, revival, precision
        Of the training.
    parallel
        Whether torchrun's processes learn together, each on a device of its own.

    Raises
    ------
    InputError
        If there is no such device, or it cannot do what the settings ask.
    """
    if not re.fullmatch(r"cpu|auto|cuda(:\d+)?", device):
        raise InputError(f"the device {device!r} is unknown", allowed="cpu, cuda, cuda:0, auto")
    if device == "cpu":
        return HOST
    obstacle = _obstacle(device, architecture, revival, precision)
    if obstacle is not None:
        if device == "auto":
            return HOST
        raise obstacle
    name = "cuda" if device == "auto" else device
    return DeviceEngine(_own_device(name, shared=parallel and _n_processes() > 1))


def _n_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _obstacle(
    device: str, architecture: str, revival: Revival, precision: Precision
) -> InputError | None:
    """Return why a training cannot run on a device of this machine, or None."""
    cure = 'Or choose device="cpu"'
    if architecture not in DEVICE_ARCHITECTURES:
        allowed = ", ".join(DEVICE_ARCHITECTURES)
        what = f"the architecture {architecture!r} is not trained on the device {device!r}"
        return InputError(what, allowed=allowed, todo=cure)
    if revival == "resampling":
        what = f"dead features are not resampled on the device {device!r}"
        return InputError(what, allowed='revival="auxiliary"', todo=cure)
    if precision == "int8":
        what = f"features are not chosen in 8-bit numbers on the device {device!r}"
        return InputError(what, allowed="auto, bfloat16, float32", todo=cure)
    if not torch.cuda.is_available():
        what = f"torch finds no CUDA device here, and device={device!r} asks for one"
        return InputError(what, todo='Choose device="cpu", or install a build of torch for CUDA')
    return None


def _own_device(name: str, *, shared: bool) -> torch.device:
    """Return a device that exists; of several processes each has one."""
    if shared and name != "cuda":
        raise InputError(
            f"device={name!r} is one device, and {_n_processes()} processes need one each",
            todo='Choose device="cuda"',
        )
    rank = int(os.environ.get("LOCAL_RANK", "0")) if shared else 0
    index = int(name.partition(":")[2] or rank)
    n_devices = torch.cuda.device_count()
    if index >= n_devices:
        raise InputError(
            f"there is no device 'cuda:{index}'",
            allowed=", ".join(f"cuda:{each}" for each in range(n_devices)),
            todo="Start no more processes than there are devices" if shared else "",
        )
    return torch.device("cuda", index)
