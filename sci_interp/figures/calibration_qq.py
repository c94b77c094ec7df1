"""Quantile-quantile plot of p where there is nothing to find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .style import BLUE, ORANGE, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_calibration"]

#: Column: colour, what it is the p of.
NULLS: Final = {"p_local": (BLUE, "local null"), "p_swap": (ORANGE, "swap null")}
#: Nulls that the labels obey, by what was destroyed.
OBEYED: Final = {"both": ("p_local", "p_swap"), "exchange": ("p_swap",), "shift": ("p_local",)}
#: Runs that are drawn singly.
N_RUNS: Final = 40
#: Points of a line at most.
N_POINTS: Final = 400


def draw_calibration(p_values: pd.DataFrame, null: str, verdict: str) -> Figure:
    """Draw observed against uniform p of the tested pairs of all runs, and of single runs.

    Parameters
    ----------
    p_values
        Columns ``run, p_local, p_swap``: every tested pair of every run.
    null
        What was destroyed; only nulls that the labels now obey are drawn.
    verdict
        The sentence below the plot.
    """
    import textwrap

    columns = [name for name in OBEYED[null] if p_values[name].notna().any()]
    figure = new_figure(5.2 * max(len(columns), 1) + 0.6, 5.8)
    grid = figure.subplots(1, max(len(columns), 1), squeeze=False, sharex=True, sharey=True)[0]
    for axes, name in zip(grid, columns, strict=False):
        colour, words = NULLS[name]
        _draw_null(axes, p_values[["run", name]].dropna(), name, colour)
        axes.set_title(f"{words}: {p_values[name].notna().sum():,} tested pairs", loc="left")
        axes.set_xlabel("$-\\log_{10}$ p expected of uniform p")
    grid[0].set_ylabel("$-\\log_{10}$ p observed")
    figure.suptitle(
        textwrap.fill(verdict, 58 * max(len(columns), 1)), fontsize=10, x=0.02, ha="left"
    )
    return figure


def _draw_null(axes: Axes, p: pd.DataFrame, name: str, colour: str) -> None:
    runs = [of_run[name].to_numpy(float) for _, of_run in p.groupby("run")][:N_RUNS]
    for at, values in enumerate(runs):
        words = f"single runs ({len(runs)} shown)" if at == 0 else None
        axes.plot(*_quantiles(values), color="0.8", linewidth=0.8, zorder=1, label=words)
    pooled = _quantiles(p[name].to_numpy(float))
    axes.plot(*pooled, color=colour, linewidth=2.4, zorder=3, label="all runs together")
    end = float(pooled[0].max()) if len(pooled[0]) else 1.0
    axes.plot(
        [0, end], [0, end], color="0.2", linestyle="--", linewidth=1, zorder=2, label="uniform"
    )
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    dress(axes)


def _quantiles(p: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return expected and observed -log10 p, smallest p first, thinned where they lie close."""
    observed = np.sort(p)
    expected = (np.arange(len(p)) + 0.5) / len(p)
    at = np.unique(np.geomspace(1, len(p), N_POINTS).astype(np.int64)) - 1
    return -np.log10(expected[at]), -np.log10(observed[at])
