"""How many labels each source links, by each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from .style import BLUE, GREEN, ORANGE, PURPLE, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_sources"]

#: Column of the summary: colour, hatch, what it counts.
COUNTS: Final = {
    "n_labels_site": (BLUE, "", "site-level link with some feature"),
    "n_labels_regional": (PURPLE, "xx", "regional link at best"),
    "n_labels_record": (GREEN, "..", "record-level link at best"),
    "n_labels_f1": (ORANGE, "//", "chosen feature has hybrid F1 > 0.5, on both halves"),
}


def draw_sources(summary: pd.DataFrame) -> Figure:
    """Draw one group of bars a source, in the order of the summary, beside what is possible."""
    counts = {
        name: style
        for name, style in COUNTS.items()
        if name in summary and (summary[name].fillna(0) > 0).any()
    } or {"n_labels_f1": COUNTS["n_labels_f1"]}
    height = 0.8 / len(counts)
    figure = new_figure(8.5, 1.9 + 0.42 * len(summary) * max(1.0, len(counts) / 2))
    axes = figure.subplots()
    place = np.arange(len(summary))
    for at, (name, (colour, hatch, words)) in enumerate(counts.items()):
        values = summary[name].fillna(0).to_numpy(float)
        known = summary[name].notna().to_numpy()
        bars = axes.barh(
            place + (at - (len(counts) - 1) / 2) * height, values, height * 0.92,
            color=colour, hatch=hatch, edgecolor="white", label=words,
        )  # fmt: skip
        shown = [f"{value:.0f}" if fine else "-" for value, fine in zip(values, known, strict=True)]
        axes.bar_label(bars, shown, padding=3, fontsize=8)
    if "n_labels_identifiable" in summary and summary["n_labels_identifiable"].notna().any():
        most = int(summary["n_labels_identifiable"].max())
        words = f"labels that can be linked at all ({most})"
        axes.axvline(most, color="0.4", linestyle="--", linewidth=1, label=words)
    axes.set_yticks(place, summary["source"].astype(str))
    axes.invert_yaxis()
    total = int(summary["n_labels"].max())
    axes.set_xlabel(f"labels, of {total}; '-' where nothing was tested")
    axes.set_xlim(0, axes.get_xlim()[1] * 1.04)
    dress(axes)
    axes.grid(visible=False, axis="y")
    handles: list[Any] = [axes.containers[at] for at in range(len(counts))]
    figure.legend(
        handles=[*handles, *axes.get_lines()],
        loc="outside upper left",
        frameon=False,
        ncols=2,
        fontsize=9,
    )
    return figure
