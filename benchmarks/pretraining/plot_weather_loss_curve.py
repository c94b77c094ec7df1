"""Draw the curves of a forecast network: metrics.csv and scores.json -> a picture beside them.

python benchmarks/pretraining/plot_weather_loss_curve.py \
    benchmarks/pretraining/weather_loss_curve.csv benchmarks/pretraining/weather_scores.json
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from matplotlib.figure import Figure


def main() -> None:
    """Write the picture beside the table."""
    parser = argparse.ArgumentParser(description="Draw the curves of a forecast network")
    parser.add_argument("table", type=Path)
    parser.add_argument("scores", type=Path)
    args = parser.parse_args()
    with args.table.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    tuning = json.loads(args.scores.read_text())["tuning"]
    epochs = [int(row["epoch"]) for row in rows]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [float(row["training_loss"]) for row in rows], color="#1b6ca8", linewidth=1)
    left.set(xlabel="epoch", ylabel="training loss (square of the anomalies' scale)")
    for variable, found in tuning.items():
        errors = [float(row[f"tuning_rmse_{variable}"]) for row in rows]
        right.plot(
            epochs,
            [error / found["persistence rmse"] for error in errors],
            marker="o",
            markersize=3,
            label=variable,
        )
    right.axhline(1, color="#888888", linewidth=0.8, linestyle="--")
    right.annotate("persistence", (epochs[0], 0.995), va="top", color="#666666")
    right.set(xlabel="epoch", ylabel="RMSE on the tuning year / persistence", ylim=(0.5, 1.03))
    right.legend(frameon=False)
    figure.savefig(args.table.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
