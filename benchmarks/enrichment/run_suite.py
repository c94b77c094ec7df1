"""Run a suite and sign its result: SUITE.toml -> results/SUITE/{RESULT.md, summary.csv, links.csv}.

python benchmarks/enrichment/run_suite.py benchmarks/enrichment/suites/swissprot.toml
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from signature import sign

import sci_interp as si


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
        *sign(seconds),
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
