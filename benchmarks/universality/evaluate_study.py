"""How good a study's autoencoder is: fidelity, stability over seeds, meanings beside channels.

    python benchmarks/universality/evaluate_study.py STUDY.toml --out OUT

Runs the study where it is not finished, and ``si.evaluate`` on its first autoencoder with the other
seeds, the enrichment and the annotations. OUT receives ``EVALUATION.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "enrichment"))

from signature import sign

import sci_interp as si
from sci_interp.study import read_study


def main() -> None:
    """Run, evaluate and write."""
    parser = argparse.ArgumentParser(description="Evaluate a study's autoencoder")
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    begun = time.monotonic()
    result = si.run(args.study)
    study = read_study(args.study)
    adapter = si.load_adapter(study.study.adapter, model=study.study.model or None)
    seeds = [si.load_sae(path) for path in sorted(result.out.glob("sae-*"))]
    report = si.evaluate(
        seeds[0],
        si.ActivationStore.open(result.out / "activations"),
        adapter,
        dataset=adapter.open(**study.data),
        others=seeds[1:],
        enrichment=result.enrichment,
        known=si.AnnotationStore.open(result.out / "annotations"),
        out=result.out / "evaluation",
    )
    command = f"python benchmarks/universality/evaluate_study.py {args.study.as_posix()} --out OUT"
    lines = [
        f"# Evaluation: {args.study.stem}",
        "",
        f"Made by `{command}`.",
        "What the lines mean: [docs/evaluation.md](../../../docs/evaluation.md).",
        "",
        *sign(time.monotonic() - begun),
        "",
        "```text",
        report.format().rstrip(),
        "```",
        "",
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "EVALUATION.md").write_text("\n".join(lines), encoding="utf-8")
    print(report.format())


if __name__ == "__main__":
    main()
