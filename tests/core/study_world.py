"""A small study of the fake adapter, and a way to run it that dies at a chosen write."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from fake_adapter import FakeAdapter

import sci_interp.pipeline
from sci_interp.pipeline import StudyResult

STUDY = """
[study]
adapter = "fake"
out = "out"
[data]
n_records = 240
records_per_block = 2
[sae]
features = 48
k = 4
n_tokens = 6000
batch_size = 256
n_seeds = 2
[enrich]
n_permutations = 200
max_permutations = 400
n_bootstrap = 20
[report]
n_features = 3
"""


def write_study(folder: Path, text: str = STUDY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run_fake(path: Path, adapter: type[FakeAdapter] = FakeAdapter) -> StudyResult:
    """Run a study with a fake adapter, whatever adapter it names."""

    def load(_: str, model: str | None = None, **options: Any) -> FakeAdapter:
        assert model is None
        return adapter(**options)

    real = sci_interp.pipeline.load_adapter
    sci_interp.pipeline.load_adapter = load  # type: ignore[assignment]
    try:
        return sci_interp.pipeline.run(path, progress=False)
    finally:
        sci_interp.pipeline.load_adapter = real


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run_until_write(path: Path, n_writes: int) -> None:
    """Run a study and kill this process, without warning, at its ``n_writes``-th fsync."""
    left = n_writes
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)

    os.fsync = fsync
    run_fake(path)


if __name__ == "__main__":
    run_until_write(Path(sys.argv[1]), int(sys.argv[2]))
