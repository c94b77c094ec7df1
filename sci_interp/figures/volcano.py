"""Volcano: effect against error rate of every tested pair of a feature and a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_volcano", "spread_places"]

#: Class: colour, marker, what it is called. The last are drawn on top.
CLASSES: Final = {
    "none": (GREY, ".", "no link"),
    "positional": (GREEN, "^", "positional"),
    "record": (ORANGE, "s", "record-level"),
    "regional": (PURPLE, "D", "regional"),
    "site": (BLUE, "o", "site-level"),
}
#: Labels that are named, at most.
N_NAMED: Final = 14
#: Distance of neighbouring names, as a share of the axes' width.
GAP: Final = 0.04
#: A name that is longer is cut.
NAME_LETTERS: Final = 24


def draw_volcano(tested: pd.DataFrame, q: float) -> Figure:
    """Draw log odds against q; a linked pair has the q of its class, others that of all nulls.

    Parameters
    ----------
    tested
        All tested pairs, as :func:`sci_interp.enrichment.tested.list_tested` returns them.
    q
        The false discovery rate asked for.
    """
    judged = tested["class"].isin(CLASSES) & ~tested["nuisance"].astype(bool)
    found = tested[judged]
    found = found.assign(height=-np.log10(found["q_class"].fillna(found["q"]).fillna(1.0)))
    figure = new_figure(8.5, 6.4)
    axes = figure.subplots()
    for name, (colour, marker, words) in CLASSES.items():
        rows = found[found["class"] == name]
        axes.scatter(
            rows["log_odds"],
            rows["height"],
            color=colour,
            marker=marker,
            linewidths=0,
            label=f"{words} ({len(rows):,})",
            alpha=0.35 if name == "none" else 0.75,
            s=14 if name == "none" else 22,
        )
    axes.axhline(-np.log10(q), color="0.3", linestyle="--", linewidth=1, label=f"q = {q:g}")
    axes.axvline(0, color="0.8", linewidth=1, zorder=0)
    axes.set_xlabel("log odds ratio on the testing half (natural log)")
    axes.set_ylabel("$-\\log_{10}$ q of the class; of all nulls where there is no link")
    dress(axes)
    top = max(float(found["height"].max()) if len(found) else 0.0, -np.log10(q))
    axes.set_ylim(-0.04 * top, 1.06 * top)
    n_unjudged = int((~judged & ~tested["nuisance"].astype(bool)).sum())
    title = f"{len(found):,} tested pairs of a feature and a label"
    title += f", and {n_unjudged:,} that the testing half could not judge" if n_unjudged else ""
    figure.legend(loc="outside upper left", ncols=6, frameon=False, fontsize=9, title=title)
    figure.legends[0].get_title().set_fontsize(10)
    figure.legends[0].set_alignment("left")
    _name_labels(axes, found[found["class"].isin(("site", "regional", "record"))])
    return figure


def _name_labels(axes: Axes, linked: pd.DataFrame) -> None:
    """Name each label's strongest pair above the axes, by a line from the name to the point."""
    best = linked.sort_values(["height", "log_odds"], ascending=False, kind="stable")
    best = best.drop_duplicates("label").head(N_NAMED).sort_values("log_odds")
    if best.empty:
        return
    low, high = axes.get_xlim()
    share = (best["log_odds"].to_numpy(float) - low) / (high - low)
    for row, x in zip(best.itertuples(), spread_places(share, GAP), strict=True):
        label = str(row.label)
        short = label if len(label) <= NAME_LETTERS else label[: NAME_LETTERS - 1] + "…"
        axes.annotate(
            short,
            (row.log_odds, row.height),
            xytext=(x, 1.02),
            textcoords="axes fraction",
            rotation=40,
            rotation_mode="anchor",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "relpos": (0, 0)},
        )


def spread_places(places: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Return ascending places in [0, 1] moved apart to ``gap`` at least, the later ones first."""
    moved = places.copy()
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + gap)
    moved[-1] = min(moved[-1], 1 - gap / 2)
    for at in range(len(moved) - 2, -1, -1):
        moved[at] = min(moved[at], moved[at + 1] - gap)
    return moved
