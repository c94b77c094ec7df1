"""Time of the whole ``enrich``: two-stage test, bootstrap and baselines of a finished suite.

    python benchmarks/enrichment/run_suite.py benchmarks/enrichment/suites/swissprot.toml
    python benchmarks/speed/enrichment.py benchmarks/enrichment/suites/swissprot.toml

The suite's stores are enriched again with the suite's own settings: all sources together, as the
suite did, and the features alone. Every call is a process of its own, after one that compiles the
kernels. Writes results/ENRICHMENT.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import sci_interp as si
from sci_interp.feature_subsets import split_families
from sci_interp.study import read_study

RESULT = Path(__file__).parent / "results" / "ENRICHMENT.md"
SOURCES = ("all", "features")
AIM = 180


def open_sources(run: Path) -> dict[str, Any]:
    """Return the sources of a finished run: features, baselines, and probes as the ceiling."""
    names = json.loads((run / "enrichment" / "sources.json").read_text())["baselines"]
    folder = run / "baselines"
    cheap = split_families(si.FeatureStore.open(folder / "nuisances"))
    baselines = {
        name: cheap[name] if name in cheap else si.FeatureStore.open(folder / name / "features")
        for name in names
    }
    probe = folder / "probe" / "features"
    ceiling = si.FeatureStore.open(probe) if probe.exists() else None
    return {"baselines": baselines, "ceiling": ceiling}


def enrich_once(suite: Path, which: str, n_threads: int) -> dict[str, Any]:
    """Enrich in this process, and return how long it took and what came out."""
    study = read_study(suite)
    run = study.out
    sources = open_sources(run) if which == "all" else {}
    settings = {**vars(study.enrich), "n_threads": n_threads}
    features = si.FeatureStore.open(run / "features-0")
    known = si.AnnotationStore.open(run / "annotations")
    began, spent = time.monotonic(), time.process_time()
    result = si.enrich(
        features, known, seed=study.study.seed, progress=False, **sources, **settings
    )
    return {
        "seconds": time.monotonic() - began,
        "processor": time.process_time() - spent,
        "n_sources": 1 + len(sources.get("baselines", {})) + (sources.get("ceiling") is not None),
        "n_tested": int(result.summary["n_tested"].fillna(0).sum()),
        "n_tokens": features.axis.n_tokens,
        "n_labels": int(result.summary["n_labels"].max()),
        "load": os.getloadavg()[0],
    }


def measure(suite: Path, which: str, n_threads: int) -> dict[str, Any]:
    """Enrich in a process of its own."""
    words = [sys.executable, __file__, str(suite), "--one", which, "--threads", str(n_threads)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_table(suite: Path, rows: list[tuple[str, dict[str, Any]]], seconds: float) -> str:
    """Write and return the table."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "enrichment"))
    from signature import sign

    first = rows[0][1]
    lines = [
        "# Time of the whole enrich",
        "",
        f"Made by `python benchmarks/speed/enrichment.py {suite.as_posix()}`",
        f"on the suite's stores: {first['n_tokens']:,} tokens, {first['n_labels']} labels.",
        "",
        *sign(seconds),
        "- *processor s*: all threads together; it depends less on other work than the clock does",
        "",
        "| sources | threads | pairs tested by permutation | seconds | processor s | load |",
        "|---" * 6 + "|",
    ]
    for which, found in rows:
        what = f"all {found['n_sources']}" if which == "all" else "the features alone"
        lines.append(
            f"| {what} | {found['threads']} | {found['n_tested']:,} | {found['seconds']:.0f} | "
            f"{found['processor']:.0f} | {found['load']:.1f} |"
        )
    half = first["processor"] / 2
    lines += [
        "",
        f"Asked: all sources in {AIM} s on two cores, which would take {half:.0f} s at least.",
    ]
    text = "\n".join(lines) + "\n"
    RESULT.write_text(text)
    return text


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Time of the whole enrich")
    parser.add_argument("suite", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=SOURCES, help="enrich in this process alone")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(enrich_once(chosen.suite, chosen.one, chosen.threads)))
        return
    began = time.monotonic()
    measure(chosen.suite, "features", chosen.threads)  # compiles
    rows = [
        (which, {**measure(chosen.suite, which, chosen.threads), "threads": chosen.threads})
        for which in SOURCES
    ]
    print(write_table(chosen.suite, rows, time.monotonic() - began))


if __name__ == "__main__":
    main()
