"""Best hybrid F1 of every autoencoder of a suite that was run, by label and seed.

python benchmarks/enrichment/seed_range.py benchmarks/enrichment/suites/SUITE.toml

A study enriches the features of its first seed; how much of a difference between sources is the
seed is read here. For each label the feature is the best of the discovery half; what it gets on the
test half, at the threshold that was frozen on discovery, goes to ``results/SUITE/SEEDS.md``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from signature import sign

import sci_interp as si
from sci_interp.enrichment.selection import select_thresholds
from sci_interp.study import read_study


def stores_of(out: Path) -> dict[str, Path]:
    """Return the folders of codes of a study by what they are, the baselines last."""
    found = {f"features, seed {path.name[9:]}": path for path in sorted(out.glob("features-*"))}
    shuffled = sorted((out / "baselines" / "shuffled").glob("features*"))
    found |= {f"shuffled network, {path.name}": path for path in shuffled}
    for name in ("channels", "covariates"):
        for path in (out / "baselines" / name / "features", out / "baselines" / name):
            if (path / "manifest.json").is_file():
                found[name] = path
                break
    return found


def score(store: si.FeatureStore, known: si.AnnotationStore) -> list[float]:
    """Return the hybrid F1 on test of each label's best feature of the discovery half."""
    chosen = select_thresholds(store, known)
    scores = []
    for label in range(len(known.labels)):
        best = int(chosen.confusion(0, "discovery", slice(None), label).hybrid_f1.argmax())
        scores.append(float(chosen.confusion(0, "test", np.array([best]), label).hybrid_f1[0]))
    return scores


def main() -> None:
    """Score the stores of one suite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", type=Path)
    suite = parser.parse_args().suite
    started, out = time.monotonic(), read_study(suite).out
    known = si.AnnotationStore.open(out / "annotations")
    names = [label.name for label in known.labels]
    rows = [f"| | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for name, path in stores_of(out).items():
        scores = score(si.FeatureStore.open(path), known)
        rows.append(f"| {name} | {' | '.join(f'{each:.3f}' for each in scores)} |")
    text = [
        f"# {suite.stem}: seeds",
        "",
        f"Made by `python benchmarks/enrichment/seed_range.py {suite.as_posix()}`.",
        "",
        *sign(time.monotonic() - started),
        "",
        "Hybrid F1 on the test half of each label's best feature of the discovery half.",
        "",
        *rows,
        "",
    ]
    target = Path(__file__).parent / "results" / suite.stem / "SEEDS.md"
    target.write_text("\n".join(text))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
