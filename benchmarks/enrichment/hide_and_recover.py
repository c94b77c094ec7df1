"""Hide annotations that are known, and count what each way of looking finds again.

    python benchmarks/enrichment/hide_and_recover.py STUDY.toml --out OUT

A fifth of each label's annotated blocks (families; season-years) is hidden, detectors are chosen
anew on discovery blocks, and held-out blocks are searched. Four ways: the library's queue (judged
by decoys, BH) with autoencoder features and with raw channels of both signs, and with both the list
of all records in which a detector fires and nothing is annotated. OUT receives ``HIDDEN.md`` and
``hidden.csv``. The study is run first where it is not finished.

*recall*: hidden records found again. *false share*: listed records that hold no hidden annotation
where they are listed; an upper bound, for what nobody annotated counts as false. *among hidden*:
the same among records that lost an annotation of the label.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from signature import sign

import sci_interp as si
from sci_interp.candidates import recover_hidden
from sci_interp.candidates.detectors import select_detectors
from sci_interp.candidates.missing import queue_missing
from sci_interp.candidates.recovery import hide_families
from sci_interp.projections import fit_projection
from sci_interp.study import read_study

#: Labels in the table: those on most held-out records.
N_LABELS = 14
Q = 0.05
CHANNELS = "channels"
COLUMNS = {
    "n_hidden": "hidden",
    "n_listed": "listed",
    "n_found": "found",
    "recall": "recall",
    "false_share": "false share",
    "false_share_hidden": "among hidden",
}


def frequent_labels(known: si.AnnotationStore) -> list[int]:
    """Return the labels, nuisances apart, on most records of test and vault."""
    first, last = known.axis.record_range(["test", "vault"])
    starts = known.axis.record_starts
    found = known.read(int(starts[first]), int(starts[last]))
    record = np.searchsorted(starts, found.start, "right")
    pairs = np.unique(np.stack([np.asarray(found.label, np.int64), record]), axis=1)
    count = np.bincount(pairs[0], minlength=len(known.labels))
    order = [int(label) for label in np.argsort(-count, kind="stable")]
    plain = [label for label in order if count[label] and not known.labels[label].nuisance]
    return sorted(plain[:N_LABELS])


def channel_decoys(study_path: Path, result: si.StudyResult) -> Iterator[si.FeatureStore]:
    """Yield raw channels of the study's decoys, encoded once."""
    study = read_study(study_path)
    adapter = si.load_adapter(study.study.adapter, model=study.study.model or None)
    data = adapter.open(**study.data)
    layer = study.study.layer or adapter.default_layer
    acts = si.ActivationStore.open(result.out / "activations")
    known = si.AnnotationStore.open(result.out / "annotations")
    folder = result.out / "baselines" / CHANNELS
    seed = study.study.seed
    channels = fit_projection(
        CHANNELS, acts, known, out=folder / "projection", splits=("train", "discovery"), seed=seed
    )
    for number in range(seed, seed + study.surface.n_decoys):
        source = si.stream(adapter, adapter.decoy(data, number), layer, fractions=study.splits)
        yield si.encode(channels, source, out=folder / f"decoys-{number}")


def measure(
    features: si.FeatureStore,
    known: si.AnnotationStore,
    labels: Sequence[int],
    decoys: Sequence[si.FeatureStore],
    name: str,
) -> Iterator[pd.DataFrame]:
    """Yield the table of the queue, and that of everything that fires."""
    for way, judges in (("queue", decoys), ("all that fires", None)):
        found = recover_hidden(features, known, labels, decoys=judges, q=Q)
        yield found.assign(source=name, way=way)


def nearest(
    features: si.FeatureStore,
    known: si.AnnotationStore,
    labels: Sequence[int],
    decoys: Sequence[si.FeatureStore],
    name: str,
) -> str:
    """Return how near the queue comes to a list: its smallest q, over how many pairs and decoys."""
    hidden, _ = hide_families(known, labels)
    detectors = select_detectors(features, hidden, dict.fromkeys(labels))
    queue = queue_missing(features, hidden, detectors, decoys=decoys, q=1.0)
    n_labels = len({detector.label for detector in detectors})
    q = f"{queue.q.min():.2g}" if len(queue.q) else "1"
    return (
        f"- {name}: {len(detectors)} detectors of {n_labels} labels, {queue.n_tested:,} pairs "
        f"tested against {queue.n_decoys:,} decoys; the smallest q of a pair is {q}"
    )


def total(table: pd.DataFrame) -> pd.DataFrame:
    """Return the sums over labels, with the shares of the whole lists."""
    sums = table.groupby(["source", "way"], sort=False)[["n_hidden", "n_listed", "n_found"]].sum()
    sums["recall"] = sums["n_found"] / sums["n_hidden"]
    sums["false_share"] = 1 - sums["n_found"] / sums["n_listed"].where(sums["n_listed"] > 0)
    return sums.reset_index()


def markdown(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return a Markdown table of some columns."""
    lines = [f"| {' | '.join(COLUMNS.get(n, n) for n in names)} |", "|" + "---|" * len(names)]
    for row in table.to_dict("records"):
        cells = [row[name] for name in names]
        texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append(f"| {' | '.join(texts).replace('nan', '')} |")
    return lines


def main() -> None:
    """Run the study where needed, hide, search and write."""
    parser = argparse.ArgumentParser(description="What hidden annotations are found again")
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    begun = time.monotonic()
    result = si.run(args.study)
    known = si.AnnotationStore.open(result.out / "annotations")
    features = si.FeatureStore.open(result.out / "features-0")
    decoys = [si.FeatureStore.open(path) for path in sorted(result.out.glob("decoys-*"))]
    channels = si.FeatureStore.open(result.out / "baselines" / CHANNELS / "features")
    of_channels = list(channel_decoys(args.study, result))
    labels = frequent_labels(known)
    parts = [
        *measure(features, known, labels, decoys, "autoencoder"),
        *measure(channels, known, labels, of_channels, CHANNELS),
    ]
    table = pd.concat(parts, ignore_index=True)
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "hidden.csv", index=False)
    shares = ("n_hidden", "n_listed", "n_found", "recall", "false_share")
    command = f"python benchmarks/enrichment/hide_and_recover.py {args.study.as_posix()} --out OUT"
    text = [
        f"# Hidden annotations: {args.study.stem}",
        "",
        f"Made by `{command}`; what the columns are stands in the script.",
        "",
        *sign(time.monotonic() - begun),
        f"- asked of the queue: at most {Q:.0%} false",
        "- detectors need precision 0.5 on discovery, at a threshold that five instances reach",
        nearest(features, known, labels, decoys, "autoencoder"),
        nearest(channels, known, labels, of_channels, CHANNELS),
        "",
        *markdown(total(table), ("source", "way", *shares)),
        "",
        *markdown(table, ("source", "way", "label", *COLUMNS)),
        "",
    ]
    (args.out / "HIDDEN.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
