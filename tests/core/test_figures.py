"""Figures draw what the tables hold, in files that open, and say what is missing."""

from __future__ import annotations

import struct
import sys
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sci_interp as si
from sci_interp.cli import main
from sci_interp.enrichment import calibrate, enrich
from sci_interp.errors import InputError, MissingExtraError
from sci_interp.figures.calibration_qq import draw_calibration
from sci_interp.figures.precision_recall import draw_curves
from sci_interp.figures.sources import draw_sources
from sci_interp.figures.volcano import draw_volcano, spread_places

FAST = {"n_permutations": 200, "max_permutations": 200, "n_bootstrap": 0, "progress": False}


@pytest.fixture(scope="module")
def world() -> planted.World:
    rng = np.random.default_rng(5)
    axis = planted.build_axis(rng, 90, largest=3, length=(40, 80))
    runs = planted.random_tracks(rng, axis, 3, share=0.6)
    tracks = [planted.paint(axis, of_label) for of_label in runs]
    features = [track & (rng.random(axis.n_tokens) < 0.7) for track in tracks]
    features += [planted.paint(axis, of) for of in planted.random_tracks(rng, axis, 24)]
    return planted.make_world(rng, axis, runs, features, nuisance=(2,))


@pytest.fixture(scope="module")
def folder(world: planted.World, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("figures")
    rng = np.random.default_rng(6)
    noise = [rng.random(world.axis.n_tokens) < 0.3 for _ in range(2)]
    rivals = planted.make_world(rng, world.axis, [[(0, 1)]], noise).features
    baselines = {f"chance {at}": rivals for at in range(9)}
    out = folder / "links"
    enrich(world.features, world.known, baselines=baselines, ceiling=rivals, out=out, **FAST)
    out = folder / "calibration"
    calibrate(world.features, world.known, n_runs=3, n_permutations=100, out=out, progress=False)
    return folder


@pytest.fixture(scope="module")
def result(folder: Any) -> si.EnrichmentResult:
    return si.load_enrichment(folder / "links")


def test_the_command_writes_every_figure_beside_the_table(folder, capsys):
    line = ["plot", str(folder / "links"), "--calibration", str(folder / "calibration")]
    assert main(line) == 0
    paths = [folder / "links-figures" / f"{name}.png" for name in (
        "sources", "volcano", "precision_recall", "calibration",
    )]  # fmt: skip
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    for path in paths:
        head = path.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", head[16:24])
        assert width > 600 and height > 300
    assert si.load_enrichment(folder / "links").table is not None, "the result was not touched"


def test_equal_results_give_equal_bytes(result, tmp_path):
    first, second = (si.plot(result, out=tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_volcano_has_a_point_for_every_judged_pair(result):
    figure = draw_volcano(result.tested, 0.05)
    (axes,) = figure.axes
    found = result.tested[~result.tested["nuisance"]]
    for points, kind in zip(
        axes.collections, ("none", "positional", "record", "regional", "site"), strict=True
    ):
        rows = found[found["class"] == kind]
        x, y = np.asarray(points.get_offsets()).reshape(-1, 2).T
        np.testing.assert_allclose(np.sort(x), np.sort(rows["log_odds"]))
        # A link lies above the line, everything else below it.
        assert ((y >= -np.log10(0.05)) == (kind != "none")).all()
        assert points.get_label().endswith(f"({len(rows)})")
    names = {text.get_text() for text in axes.texts}
    assert names == set(found.loc[found["class"] == "site", "label"])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=14))
def test_names_keep_their_order_and_distance(places):
    moved = spread_places(np.sort(places), 0.05)
    assert (np.diff(moved) >= 0.05 - 1e-12).all()
    assert moved[-1] <= 1
    apart = np.sort(places)
    if (np.diff(apart) >= 0.05).all() and apart[-1] < 0.97:
        np.testing.assert_allclose(moved, apart)


def test_curves_have_one_panel_a_label_and_one_line_a_source(result):
    figure = draw_curves(
        result.curves, result.table, main="features", ceiling="probe (supervised)", n_labels=1
    )
    shown = [axes for axes in figure.axes if axes.get_visible()]
    first = result.table[~result.table["nuisance"]].iloc[0]
    assert len(shown) == 1 and shown[0].get_title(loc="left").startswith(first["label"])
    sources = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sources == [*dict.fromkeys(result.curves["source"]), "prevalence"]
    assert len(shown[0].lines) == len(sources) + 1, "and the point of the printed row"
    handles = figure.legends[0].legend_handles
    looks = {(line.get_color(), line.get_linestyle(), line.get_linewidth()) for line in handles}
    assert len(looks) == len(sources), "no two sources look alike"


def test_bars_are_the_counts_of_the_summary(result):
    (axes,) = draw_sources(result.summary).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == result.summary["source"].tolist()
    widths = [bar.get_width() for bar in axes.containers[0]]
    assert widths == result.summary["n_labels_site"].fillna(0).tolist()
    none = result.summary.assign(n_labels_site=0, n_labels_f1=0)
    assert len(draw_sources(none).axes[0].containers) == 1


@pytest.mark.parametrize(
    ("null", "drawn"), [("both", ["local", "swap"]), ("exchange", ["swap"]), ("shift", ["local"])]
)
def test_only_nulls_that_hold_are_drawn_and_uniform_p_lies_on_the_line(null, drawn):
    n = 2000
    p = (np.arange(n) + 0.5) / n
    table = pd.DataFrame({"run": np.arange(n) % 4, "p_local": p, "p_swap": p[::-1]})
    figure = draw_calibration(table, null, "A verdict.")
    assert [axes.get_title(loc="left").split()[0] for axes in figure.axes] == drawn
    for axes in figure.axes:
        pooled = next(line for line in axes.lines if line.get_label() == "all runs together")
        np.testing.assert_allclose(pooled.get_xdata(), pooled.get_ydata())


def test_mistakes_are_told(result, monkeypatch, tmp_path, folder, capsys):
    with pytest.raises(InputError, match="n_labels is 0"):
        si.plot(result, n_labels=0)
    with pytest.raises(InputError, match="Give out, a folder"):
        si.plot(replace(result, path=None))
    with pytest.raises(InputError, match="kept no pairs to draw"):
        si.plot(replace(result, tested=None), out=tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sci-interp\[plots\]'"):
        si.plot(result, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert main(["plot", str(folder / "links"), "--out", str(tmp_path / "none")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_matplotlib_keeps_its_settings(result, tmp_path):
    before = dict(mpl.rcParams)
    si.plot(result, out=tmp_path)
    assert dict(mpl.rcParams) == before
