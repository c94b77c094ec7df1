"""Try to break every promise of reliability, and write the table of what happened.

    python benchmarks/reliability/run_reliability.py
    python benchmarks/reliability/run_reliability.py --only crash --kills 20

The whole takes about an hour on two cores. Each row is tried anew and kept in ``results.json``; the
table is made of all rows that are there, so that one row can be run again alone. A promise that was
broken stands in the table as broken, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = [str(REPOSITORY / "tests" / name) for name in ("core", "reliability")]
sys.path[:0] = TESTS
os.environ["PYTHONPATH"] = os.pathsep.join([*TESTS, os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")

import reliability_rows as rows  # noqa: E402 - it needs the path
import small_run  # noqa: E402

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
TABLE = HERE / "RELIABILITY.md"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    promise: str
    test: str
    figure: str
    kept: bool
    seconds: float
    date: str


def run_rows(chosen: list[str], scale: rows.Scale) -> dict[str, Row]:
    """Try the chosen promises and return their rows."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="reliability-") as scratch:
        whole = Path(scratch) / "whole" / "run"
        small_run.make_run(whole)
        for name in chosen:
            promise, test, attempt = rows.ROWS[name]
            folder = Path(scratch) / name
            folder.mkdir()
            started = time.monotonic()
            kept, figure = _attempt(attempt, whole, folder, scale)
            seconds = time.monotonic() - started
            today = datetime.datetime.now(datetime.UTC).date().isoformat()
            found[name] = Row(promise, test, figure, kept, round(seconds, 1), today)
            print(f"{name}: {'kept' if kept else 'BROKEN'}: {figure} ({seconds:.0f} s)", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _attempt(
    attempt: Callable[[Path, Path, rows.Scale], tuple[bool, str]],
    whole: Path,
    folder: Path,
    scale: rows.Scale,
) -> tuple[bool, str]:
    try:
        return attempt(whole, folder, scale)
    except Exception as error:  # noqa: BLE001 - a row that cannot be run is a broken promise
        return False, f"could not be run: {type(error).__name__}: {str(error)[-300:]}"


def write_table(found: dict[str, Row]) -> None:
    """Write the rows that are known, in the order of the promises."""
    broken = sum(not row.kept for row in found.values())
    missing = [name for name in rows.ROWS if name not in found]
    lines = [
        "# Reliability",
        "",
        "Promises of the library, what a test does to break each, and what came of it. Made by",
        "",
        "```sh",
        "python benchmarks/reliability/run_reliability.py",
        "```",
        "",
        (
            f"- hardware: {platform.machine()}, {os.cpu_count()} cores, beside other work; "
            f"Python {platform.python_version()}"
        ),
        f"- {len(found) - broken} of {len(found)} promises kept"
        + (f"; not run: {', '.join(missing)}" if missing else ""),
        "",
        "| promise | test | figure | kept | s | date |",
        "|---|---|---|---|---|---|",
    ]
    for name in rows.ROWS:
        if name in found:
            row = found[name]
            kept = "yes" if row.kept else "**no**"
            cells = (row.promise, row.test, row.figure, kept, f"{row.seconds:.0f}", row.date)
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run, write the table, and return 1 if a promise of it is broken."""
    parser = argparse.ArgumentParser(description="Try to break every promise of reliability")
    parser.add_argument("--only", action="append", choices=list(rows.ROWS), help="may be repeated")
    parser.add_argument(
        "--kills", type=int, default=200, help="trials with SIGKILL, over all verbs"
    )
    parser.add_argument("--every", type=int, default=1, help="each how-many-th call is refused")
    parser.add_argument("--shards", type=int, default=1000, help="shards that are damaged")
    parser.add_argument("--tokens", type=int, default=10_000_000, help="most tokens of memory")
    args = parser.parse_args()
    scale = rows.Scale(args.kills, args.every, args.shards, args.tokens)
    found: dict[str, Row] = {}
    if RESULTS.is_file():
        held = json.loads(RESULTS.read_text(encoding="utf-8"))
        found = {name: Row(**row) for name, row in held.items() if name in rows.ROWS}
    for name in args.only or list(rows.ROWS):
        found |= run_rows([name], scale)
        text = json.dumps({each: asdict(row) for each, row in found.items()}, indent=1)
        RESULTS.write_text(text + "\n", encoding="utf-8")
        write_table(found)
    return int(not all(row.kept for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
