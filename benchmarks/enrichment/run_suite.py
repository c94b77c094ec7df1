"""Run a suite and sign its result: SUITE.toml -> results/SUITE/{RESULT.md, summary.csv, links.csv}.

python benchmarks/enrichment/run_suite.py benchmarks/enrichment/suites/swissprot.toml
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path

import sci_interp as si

PACKAGES = ("sci-interp", "torch", "transformers", "numpy", "zarr", "numba", "scikit-learn")


def processor() -> str:
    """Return the processor's name, or what the platform says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def signature(seconds: float) -> list[str]:
    """Return date, hardware and versions as lines of a list."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    today = datetime.datetime.now(datetime.UTC).date()
    return [
        f"- date: {today}",
        f"- hardware: {processor()}, {os.cpu_count()} cores, no accelerator used",
        f"- versions: Python {platform.python_version()}, {versions}",
        f"- this call: {seconds:.0f} s; artefacts that earlier calls had finished were reused",
    ]


def write_result(folder: Path, suite: Path, result: si.StudyResult, seconds: float) -> None:
    """Write the tables and their signature."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("summary.csv", "links.csv"):
        shutil.copyfile(result.enrichment.path / name, folder / name)
    manifest = json.loads((result.enrichment.path / "manifest.json").read_text())
    text = [
        f"# {suite.stem}",
        "",
        f"Made by `python benchmarks/enrichment/run_suite.py {suite.as_posix()}`.",
        "",
        *signature(seconds),
        f"- digest of the enrichment: `{manifest['digest']}`",
        "",
        "```text",
        result.format().replace(str(result.out.resolve()), result.out.name),
        "```",
        "",
    ]
    (folder / "RESULT.md").write_text("\n".join(text))


def main() -> None:
    """Run one suite."""
    parser = argparse.ArgumentParser(description="Run an enrichment suite and sign its result")
    parser.add_argument("suite", type=Path)
    args = parser.parse_args()
    started = time.monotonic()
    result = si.run(args.suite)
    seconds = time.monotonic() - started
    folder = Path(__file__).parent / "results" / args.suite.stem
    write_result(folder, args.suite, result, seconds)
    print(result.format())


if __name__ == "__main__":
    main()
