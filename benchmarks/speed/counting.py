"""Counting features inside labels: this library's kernel beside other ways, with the same counts.

    python benchmarks/speed/counting.py                      # all sizes
    python benchmarks/speed/counting.py --interplm DIR       # and a copy of InterPLM, run from DIR
    python benchmarks/speed/counting.py --sizes 100000x200   # one size

Each engine runs in a process of its own, which says how many processor seconds and seconds the
counting took, the largest resident set that it added to the data, and the SHA-256 of all counts.
Engines that give another digest than the kernel fail the run. Writes results/COUNTING.{md,csv}.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from counting_data import SHARES, Task, make_task
from counting_engines import ENGINES, Counted, count_by_interplm, load_interplm

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "enrichment"))

from signature import sign  # noqa: E402

N_FEATURES = 10_240
#: Tokens, labels and active features a token.
SIZES = (
    (100_000, 50, 32), (100_000, 200, 32), (100_000, 1_000, 32),
    (1_000_000, 50, 32), (1_000_000, 200, 32), (1_000_000, 1_000, 32),
    (10_000_000, 50, 32), (10_000_000, 200, 32), (10_000_000, 1_000, 32),
    (1_000_000, 200, 8), (1_000_000, 200, 16), (1_000_000, 200, 64),
)  # fmt: skip
#: Largest number of cells (tokens x labels) that the slower engines are given.
LIMITS = {"definition": 2e7, "product": 2e8, "gpu": 1e10, "interplm": 2e7}
INTERPLM = "interplm"
#: Runs of an engine, and seconds after which no other is begun.
REPEATS = 3
PATIENCE = 60.0

METHOD = """\
Every engine counts true positives, false positives and instances hit, of every feature, label and
threshold, in a process of its own; the SHA-256 of all counts is the same as the kernel's, or the
run stops. **processor s** is what the process spent on processors, all threads together, in the
fastest of up to three runs, and is less disturbed by other work than **seconds** of the clock.
**added MiB** is the largest resident set beyond the data; memory that making the data left free is
used again and not seen. `definition` is the published definition
written plainly (slices of a sparse matrix, run by run), `product` multiplies sparse matrices
(scipy), `interplm` is InterPLM's own released function, called from the user's copy, and `gpu`
multiplies dense matrices on a CUDA device; the last two are left out where there is none. Slow
engines are not given large sizes."""


def measure(engine: str, task: Task, n_threads: int, interplm: Path | None) -> dict[str, Any]:
    """Count with compiled code that has been run before, and return what it took at its fastest."""
    if engine == INTERPLM:
        assert interplm is not None
        function = load_interplm(interplm)

        def count() -> Iterator[Counted]:
            return count_by_interplm(function, task)
    else:
        for _ in ENGINES[engine](make_task(2_000, 64, 3), n_threads):
            pass

        def count() -> Iterator[Counted]:
            return ENGINES[engine](task, n_threads)

    begun, runs = time.perf_counter(), []
    while len(runs) < REPEATS and time.perf_counter() - begun < PATIENCE:
        runs.append(measure_once(count()))
    fastest = min(runs, key=lambda run: float(run["processor_s"]))
    n_entries = len(task.features.codes.feature)
    # What a run allocated may stay with the process, so that later runs seem to add nothing.
    added = max(float(run["added_mib"]) for run in runs)
    return {
        "engine": engine, "n_runs": len(runs), "n_entries": n_entries, **fastest,
        "added_mib": added,
    }  # fmt: skip


def measure_once(counted: Iterator[Counted]) -> dict[str, Any]:
    """Exhaust an engine; what is done with its counts is not on the clock."""
    state, sums, spent = hashlib.sha256(), np.zeros(3, np.int64), [0.0, 0.0]
    before = reset_peak()
    processor, clock = time.process_time(), time.perf_counter()
    for block in counted:
        spent[0] += time.process_time() - processor
        spent[1] += time.perf_counter() - clock
        for label in range(len(block[0])):
            for part in block:
                state.update(np.ascontiguousarray(part[label], np.int64).tobytes())
        sums += [int(part.sum()) for part in block]
        processor, clock = time.process_time(), time.perf_counter()
    return {
        "processor_s": spent[0],
        "seconds": spent[1],
        "added_mib": read_status("VmHWM") - before,
        "digest": state.hexdigest(),
        "true_positives": int(sums[0]),
        "instances_hit": int(sums[2]),
    }


def read_status(name: str) -> float:
    """Return a size of this process in MiB, as Linux accounts for it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    words = next(line for line in lines if line.startswith(f"{name}:")).split()
    return int(words[1]) / 1024


def reset_peak() -> float:
    """Let the largest resident set begin at the present one, and return that in MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return read_status("VmRSS")


def run_alone(
    engine: str, size: tuple[int, int, int], n_threads: int, interplm: Path | None
) -> dict[str, Any] | None:
    """Measure in a fresh process; None where the engine cannot run on this machine."""
    words = [str(HERE / "counting.py"), "--worker", engine, "--sizes", "x".join(map(str, size))]
    words += ["--threads", str(n_threads)]
    words += ["--interplm", str(interplm)] if interplm else []
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode == 3:
        return None
    if done.returncode:
        raise SystemExit(f"{engine} at {size} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(
    sizes: list[tuple[int, int, int]], n_threads: int, interplm: Path | None
) -> pd.DataFrame:
    """Run every engine at every size that it is given; the kernel first."""
    names = [*ENGINES, *([INTERPLM] if interplm else [])]
    rows = []
    for size in sizes:
        wanted = None
        for engine in names:
            if engine != "kernel" and size[0] * size[1] > LIMITS[engine]:
                continue
            found = run_alone(engine, size, n_threads, interplm)
            if found is None:
                continue
            wanted = wanted or found["digest"]
            if found["digest"] != wanted:
                raise SystemExit(f"{engine} counts otherwise than the kernel at {size}")
            rows.append({"tokens": size[0], "labels": size[1], "k": size[2], **found})
            print(json.dumps(rows[-1]), flush=True)
    return pd.DataFrame(rows)


def format_table(table: pd.DataFrame) -> str:
    """Return the measurements as Markdown, with the speed beside the kernel's."""
    key = ["tokens", "labels", "k"]
    base = table[table["engine"] == "kernel"].set_index(key)["processor_s"]
    lines = [
        "| tokens | labels | active | engine | processor s | seconds | added MiB | times ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        ratio = row["processor_s"] / base[tuple(row[name] for name in key)]
        lines.append(
            f"| {row['tokens']:,} | {row['labels']:,} | {row['k']} | {row['engine']} "
            f"| {row['processor_s']:.2f} | {row['seconds']:.2f} | {row['added_mib']:.0f} "
            f"| {ratio:,.1f} |"
        )
    return "\n".join(lines)


def judge(table: pd.DataFrame) -> list[str]:
    """Return each aim beside what was measured, where the rows are there."""
    ours = table[table["engine"] == "kernel"].set_index(["tokens", "labels", "k"])
    lines = []
    theirs = table[(table["engine"] == INTERPLM) & (table["labels"] == 200)]
    for row in theirs[theirs["tokens"] == 100_000].to_dict("records"):
        ratio = row["processor_s"] / ours.loc[(100_000, 200, 32), "processor_s"]
        lines.append(f"InterPLM at 100,000 tokens and 200 labels: {ratio:,.0f} times (aim 1,000)")
    if (10_000_000, 1_000, 32) in ours.index:
        row = ours.loc[(10_000_000, 1_000, 32)]
        lines.append(
            f"10,000,000 tokens and 1,000 labels: {row['processor_s']:.1f} processor seconds, "
            f"{row['processor_s'] / 2:.1f} s for each of two free cores (aim 6), "
            f"{row['seconds']:.1f} s by the clock"
        )
    for n_labels in (200, 1_000):
        pair = [(10**6, n_labels, 32), (10**7, n_labels, 32)]
        if ours.index.isin(pair).sum() == len(pair):
            cost = [ours.loc[key, "processor_s"] / ours.loc[key, "n_entries"] for key in pair]
            lines.append(
                f"{n_labels:,} labels, from 1,000,000 to 10,000,000 tokens: "
                f"{cost[1] / cost[0] - 1:+.1%} a nonzero (aim: within 10 %)"
            )
    by_k = ours.loc[ours.index.isin([(1_000_000, 200, k) for k in (8, 16, 32, 64)])].sort_index()
    if len(by_k) > 1:
        cost = (1e9 * by_k["processor_s"] / by_k["n_entries"]).to_list()
        told = ", ".join(
            f"{value:.1f} at {key[2]}" for value, key in zip(cost, by_k.index, strict=True)
        )
        lines.append(
            f"nanoseconds a nonzero at 1,000,000 tokens, by active features of a token: {told}; "
            "what does not depend on nonzeros is the counts themselves: a number for every label, "
            "feature and threshold is cleared and summed up"
        )
    return [f"- {line}" for line in lines]


def parse_sizes(words: str | None) -> list[tuple[int, int, int]]:
    """Return sizes from ``TOKENSxLABELS`` or ``TOKENSxLABELSxACTIVE``, separated by commas."""
    if words is None:
        return list(SIZES)
    sizes = [[int(part) for part in word.split("x")] for word in words.split(",")]
    return [(size[0], size[1], size[2] if len(size) > 2 else 32) for size in sizes]


def main() -> None:
    """Compare, or measure one engine where started as a worker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--interplm", type=Path, help="folder of a copy of InterPLM")
    parser.add_argument("--sizes", help="TOKENSxLABELS[xACTIVE], separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--worker", choices=[*ENGINES, INTERPLM], help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = parse_sizes(args.sizes)
    if args.worker:
        n_tokens, n_labels, k = sizes[0]
        task = make_task(n_tokens, N_FEATURES, n_labels, k=k)
        try:
            print(json.dumps(measure(args.worker, task, args.threads, args.interplm)))
        except NotImplementedError:
            raise SystemExit(3) from None
        return
    begun = time.monotonic()
    table = compare(sizes, args.threads, args.interplm)
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "COUNTING.csv", index=False, float_format="%.4g", lineterminator="\n")
    words = f"{', '.join(map(str, SHARES))} of a feature's scale"
    made = (
        f"Made by `python benchmarks/speed/counting.py`: {N_FEATURES:,} features, thresholds "
        f"{words}, {args.threads} threads."
    )
    parts = [
        "# Counting features inside labels",
        made,
        "\n".join(sign(time.monotonic() - begun)[:-1]),
        METHOD,
        format_table(table),
        "\n".join(judge(table)),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    (args.out / "COUNTING.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
