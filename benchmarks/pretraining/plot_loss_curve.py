"""Draw the loss curve: loss_curve.csv -> loss_curve.png (needs matplotlib).

python benchmarks/pretraining/plot_loss_curve.py benchmarks/pretraining/loss_curve.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from matplotlib.figure import Figure


def main() -> None:
    """Write the picture beside the table."""
    parser = argparse.ArgumentParser(description="Draw the loss curve of the language model")
    parser.add_argument("table", type=Path)
    args = parser.parse_args()
    with args.table.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    trained = [(int(row["step"]), float(row["training_loss"])) for row in rows]
    valid = [
        (int(row["step"]), float(row["validation_perplexity"]))
        for row in rows
        if row["validation_perplexity"]
    ]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*trained, strict=True), color="#1b6ca8", linewidth=1)
    left.set(xlabel="step (16,384 tokens)", ylabel="training loss (nats), hidden positions")
    right.plot(*zip(*valid, strict=True), color="#b5541c", marker="o", markersize=3)
    right.axhline(18, color="#888888", linewidth=0.8, linestyle="--")
    right.annotate("letter frequencies alone", (valid[0][0], 17.85), va="top", color="#666666")
    right.set(xlabel="step", ylabel="validation perplexity at <mask>")
    figure.savefig(args.table.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
