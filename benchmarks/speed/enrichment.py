"""Time of the whole ``enrich``: two-stage test, bootstrap and baselines of a finished suite.

    python benchmarks/enrichment/run_suite.py benchmarks/enrichment/suites/swissprot.toml
    python benchmarks/speed/enrichment.py benchmarks/enrichment/suites/swissprot.toml

The suite's stores are enriched again with the suite's own settings: all sources together, as the
suite does, and the features alone. Every call is a process of its own, after one that compiles the
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
from sci_interp.study import Study, read_study

RESULT = Path(__file__).parent / "results" / "ENRICHMENT.md"
SOURCES = ("all", "features")
AIM = 180


def open_sources(study: Study) -> dict[str, Any]:
    """Return the baselines that a study has made, and its probes as the ceiling."""
    folder = study.out / "baselines"
    baselines: dict[str, Any] = {}
    for name in study.baselines.use:
        if name == "nuisances":
            baselines |= split_families(si.FeatureStore.open(folder / name))
        else:
            baselines[name] = si.FeatureStore.open(folder / name / "features")
    return {"ceiling": baselines.pop("probe", None), "baselines": baselines}


def enrich_once(suite: Path, which: str, n_threads: int) -> dict[str, Any]:
    """Enrich in this process, and return how long it took and what came out."""
    study = read_study(suite)
    sources = open_sources(study) if which == "all" else {}
    settings = {**vars(study.enrich), "n_threads": n_threads}
    features = si.FeatureStore.open(study.out / "features-0")
    known = si.AnnotationStore.open(study.out / "annotations")
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
        "summary": result.summary.fillna(-1).to_dict("records"),
        "replicated": result.replication_rate,
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
        "",
        f"What came out; {first['replicated']:.0%} of the site-level links replicate in the vault:",
        "",
        "| source | features | labels, F1 > 0.5 | labels site-level | labels regional at best |",
        "|---" * 5 + "|",
    ]
    names = ("n_features", "n_labels_f1", "n_labels_site", "n_labels_regional")
    for row in first["summary"]:
        cells = ("" if row[name] < 0 else f"{row[name]:.0f}" for name in names)
        lines.append(f"| {row['source']} | {' | '.join(cells)} |")
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
