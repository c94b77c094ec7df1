"""What a suite's autoencoder depends on: layer, width, k, training length, architecture.

    python benchmarks/enrichment/scan.py benchmarks/enrichment/suites/swissprot.toml --out runs/scan

Only proteins that the suite trains and chooses on take part: they are divided anew, so that nothing
chosen here has seen the suite's test and vault blocks. One number is changed at a time; the raw
channels of the same layer stand beside each row. Writes results/SUITE/{SCAN.md, scan.csv}.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from signature import sign

import sci_interp as si
from sci_interp.adapter import Adapter, Dataset
from sci_interp.axis import TokenAxis
from sci_interp.projections import ChannelProjection
from sci_interp.study import read_study

#: What the suite calls train and discovery, as shares of all blocks in the order of their hash.
SHARES = {"train": 0.08, "discovery": 0.22, "test": 0.22, "vault": 0.48}
COLUMNS = (
    "n_labels_f1",
    "n_labels_both",
    "mean_best_hybrid_f1",
    "n_labels_site",
    "n_features_site",
    "n_pairs_site",
)


@dataclass(frozen=True)
class Point:
    """One autoencoder."""

    layer: str
    features: int = 2048
    k: int = 32
    n_tokens: int = 3_000_000
    architecture: str = "topk"

    @property
    def name(self) -> str:
        """Name of its folder."""
        return "-".join(str(value) for value in asdict(self).values())


def points(base: Point, layers: list[str]) -> Iterator[Point]:
    """Yield the base and every point that differs from it in one number."""
    yield base
    changes = {
        "layer": [layer for layer in layers if layer != base.layer],
        "k": [16, 64, 128],
        "features": [1024, 4096, 8192],
        "n_tokens": [1_000_000, 9_000_000],
        "architecture": ["batch_topk", "matryoshka"],
    }
    for name, values in changes.items():
        for value in values:
            yield replace(base, **{name: value})


def write_chosen(dataset: Dataset, out: Path) -> None:
    """Write the proteins of the suite's train and discovery blocks as FASTA."""
    axis = TokenAxis.build(dataset.table)
    chosen = axis.records[axis.records["split"].isin(("train", "discovery"))]["record"]
    lines = (f">{record}\n{dataset.sequences[record]}\n" for record in chosen)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(lines))


def measure(features: si.FeatureStore, known: si.AnnotationStore, out: Path) -> dict[str, object]:
    """Enrich one source and return its row of the summary."""
    result = si.enrich(features, known, out=out, n_per_label=20, n_bootstrap=0, progress=False)
    row = result.summary.set_index("source").loc["features"]
    return {name: row[name] for name in COLUMNS}


def run_points(
    adapter: Adapter, dataset: Dataset, layers: list[str], base: Point, out: Path
) -> pd.DataFrame:
    """Return one row a point and one for the channels of each layer."""
    known = si.annotate(adapter, dataset, out=out / "annotations", fractions=SHARES)
    stores = si.extract(adapter, dataset, layer=layers, out=out / "activations", fractions=SHARES)
    rows = []
    for layer in layers:
        folder = out / "channels" / layer
        channels = ChannelProjection.fit(stores[layer], ("train", "discovery"))
        features = si.encode(channels, stores[layer], out=folder / "features", progress=False)
        found = measure(features, known, folder / "enrichment")
        rows.append({"source": "channels", "layer": layer} | found)
        print(rows[-1], flush=True)
    for point in points(base, layers):
        folder = out / point.name
        settings = {name: value for name, value in asdict(point).items() if name != "layer"}
        sae = si.train(
            stores[point.layer],
            precision="bfloat16",
            out=folder / "sae",
            splits=("train", "discovery"),
            progress=False,
            **settings,
        )
        features = si.encode(sae, stores[point.layer], out=folder / "features", progress=False)
        kept = si.fidelity(sae, stores[point.layer])
        row = {"source": "sae", **asdict(point), "fvu": kept.fvu, "l0": kept.l0}
        rows.append(row | measure(features, known, folder / "enrichment"))
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def write_table(suite: Path, table: pd.DataFrame, seconds: float) -> None:
    """Write the table and its signature."""
    folder = Path(__file__).parent / "results" / suite.stem
    table.to_csv(folder / "scan.csv", index=False, float_format="%.6g")
    text = [
        f"# Settings of the autoencoder, on the discovery side of {suite.stem}",
        "",
        f"Made by `python benchmarks/enrichment/scan.py {suite.as_posix()} --out runs/scan`.",
        "",
        *sign(seconds),
        "",
        "```text",
        table.to_string(index=False, float_format="{:.3g}".format, na_rep=""),
        "```",
        "",
    ]
    (folder / "SCAN.md").write_text("\n".join(text))


def main() -> None:
    """Scan one suite."""
    parser = argparse.ArgumentParser(description="Scan the settings of a suite's autoencoder")
    parser.add_argument("suite", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", nargs="+", default=[f"blocks.{at}" for at in (3, 5, 7, 9, 11)])
    args = parser.parse_args()
    started = time.monotonic()
    study = read_study(args.suite)
    adapter = si.load_adapter(study.study.adapter, model=study.study.model or None)
    fasta = args.out / "sequences.fasta"
    write_chosen(adapter.open(**study.data), fasta)
    dataset = adapter.open(**{**study.data, "path": fasta})
    base = Point(study.study.layer or adapter.default_layer)
    table = run_points(adapter, dataset, args.layers, base, args.out)
    write_table(args.suite, table, time.monotonic() - started)


if __name__ == "__main__":
    main()
