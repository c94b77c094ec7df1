"""Training on a CUDA device, in torch operations alone."""

from __future__ import annotations

from .choosing import engine_for
from .engine import DeviceEngine

__all__ = ["DeviceEngine", "engine_for"]
