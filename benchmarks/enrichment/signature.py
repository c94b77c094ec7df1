"""Date, hardware and versions: what a committed result was made with."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("sci-interp", "torch", "transformers", "numpy", "zarr", "numba", "scikit-learn")


def processor() -> str:
    """Return the processor's name, or what the platform says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def sign(seconds: float) -> list[str]:
    """Return date, hardware and versions as lines of a list."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    today = datetime.datetime.now(datetime.UTC).date()
    return [
        f"- date: {today}",
        f"- hardware: {processor()}, {os.cpu_count()} cores, no accelerator used",
        f"- versions: Python {platform.python_version()}, {versions}",
        f"- this call: {seconds:.0f} s; artefacts that earlier calls had finished were reused",
    ]
