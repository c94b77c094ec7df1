"""Precision against recall: each label's top link, and the best feature of every baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from .style import BLACK, COLOURS, GREY, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_curves"]

N_COLUMNS: Final = 4
LINES: Final = ("-", "--", ":")
#: A title that is longer is cut.
TITLE_LETTERS: Final = 34


def draw_curves(
    curves: pd.DataFrame, table: pd.DataFrame, *, main: str, ceiling: str, n_labels: int
) -> Figure:
    """Draw the curves of the labels with the best printed rows, one panel a label.

    Parameters
    ----------
    curves
        Curves of all labels and sources, see :mod:`sci_interp.enrichment.curves`.
    table
        The enrichment table: its first row of a label is the one drawn.
    main, ceiling
        The names of the features and of the supervised reference among the sources.
    n_labels
        Panels at most.
    """
    findings = table[~table["nuisance"].astype(bool)].drop_duplicates("label")
    rows = findings[findings["label"].isin(curves["label"])].head(n_labels)
    n_rows = max(1, -(-len(rows) // N_COLUMNS))
    figure = new_figure(11.5, 2.6 * n_rows + 1.0)
    grid = figure.subplots(n_rows, N_COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    styles = _styles(list(dict.fromkeys(curves["source"])), main, ceiling)
    for axes, row in zip(grid, rows.to_dict("records"), strict=False):
        _draw_label(axes, curves[curves["label"] == row["label"]], row, styles)
    for axes in grid[len(rows) :]:
        axes.set_visible(False)
    for at, axes in enumerate(grid[: len(rows)]):
        axes.tick_params(labelbottom=at + N_COLUMNS >= len(rows), labelleft=at % N_COLUMNS == 0)
    figure.supxlabel("recall: share of the label's tokens, testing half")
    figure.supylabel("precision")
    handles = [_handle(name, style) for name, style in styles.items()]
    handles.append(_handle("prevalence", {"color": "0.6", "linestyle": ":", "linewidth": 1}))
    figure.legend(handles=handles, loc="outside upper left", ncols=6, frameon=False, fontsize=9)
    return figure


def _draw_label(
    axes: Axes, curves: pd.DataFrame, row: dict[str, Any], styles: dict[str, dict[str, Any]]
) -> None:
    for name, style in reversed(styles.items()):
        curve = curves[curves["source"] == name]
        marker = "o" if len(curve) == 1 else ""
        axes.plot(curve["recall"], curve["precision"], marker=marker, markersize=4, **style)
    axes.plot(row["token_recall"], row["precision"], "o", color=BLACK, markersize=6, zorder=5)
    axes.axhline(curves["prevalence"].iloc[0], color="0.6", linestyle=":", linewidth=1)
    label = str(row["label"])
    short = label if len(label) <= TITLE_LETTERS else label[: TITLE_LETTERS - 1] + "…"
    kind = {"site": "site-level", "record": "record-level"}.get(row["class"], row["class"])
    axes.set_title(f"{short}\nfeature {row['feature']}, {kind}", fontsize=9, loc="left")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    dress(axes)


def _styles(sources: list[str], main: str, ceiling: str) -> dict[str, dict[str, Any]]:
    """Return how each source is drawn: the features thick, the supervised reference dashed."""
    styles: dict[str, dict[str, Any]] = {main: {"color": BLACK, "linewidth": 2.2}}
    others = [name for name in sources if name not in (main, ceiling)]
    for at, name in enumerate(others):
        line = LINES[(at // len(COLOURS)) % len(LINES)]
        colour = COLOURS[at % len(COLOURS)]
        styles[name] = {"color": colour, "linestyle": line, "linewidth": 1.4}
    if ceiling in sources:
        styles[ceiling] = {"color": GREY, "linestyle": "-.", "linewidth": 1.4}
    return styles


def _handle(name: str, style: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, **style)
