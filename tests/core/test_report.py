"""The report: complete, deterministic, closed to scripts and to the network."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_world import ArrayCodes, World, WorldAdapter, planted_levels, planted_store
from report_pages import HOSTILE, Page, Result, check_closed, result

from sci_interp.adapter import Label, RecordView
from sci_interp.annotations import AnnotationStore
from sci_interp.candidates import Candidates, Gates, surface
from sci_interp.report import write_report
from sci_interp.report.strips import Artist
from sci_interp.report.text import safe_link, show
from sci_interp.texts import clean

WORLD = World(n_families=80)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> AnnotationStore:
    return planted_store(tmp_path_factory.mktemp("world") / "annotations", WORLD)


@pytest.fixture(scope="module")
def codes() -> ArrayCodes:
    return ArrayCodes.of(WORLD.axis, planted_levels(WORLD), digest="f" * 64)


@pytest.fixture(scope="module")
def candidates(known, codes) -> Candidates:
    decoys = ArrayCodes.of(WORLD.axis, np.zeros((WORLD.axis.n_tokens, 8), int))
    gates = Gates(n_sets=1_000, n_resamples=100, q_coherence=0.05)
    where = {"known": known, "adapter": WorldAdapter(), "dataset": WORLD, "progress": False}
    return surface(codes, result(), decoys=[decoys], gates=gates, q_missing=0.3, **where)


def write(path: Path, known, codes, candidates, **changes) -> str:
    arguments = {
        "result": result(), "candidates": candidates, "features": codes, "known": known,
        "adapter": WorldAdapter(), "dataset": WORLD, **changes,
    }  # fmt: skip
    return write_report(path, **arguments).read_text(encoding="utf-8")


def test_page_is_complete_and_closed(tmp_path, known, codes, candidates) -> None:
    html = write(tmp_path / "deep" / "page.html", known, codes, candidates, fidelity={"fvu": 0.25})
    page = check_closed(html)
    for text in ("DOMAIN", "SITE", "Feature 1", "site", "2.0e-4", "0.980", "channels", "0.250"):
        assert text in page.text
    assert page.tags.count("svg") > 12 and page.tags.count("table") >= 3
    assert candidates.missing["record"].iloc[0] in page.text
    assert "SITE may be missing in" in page.text
    assert "not tested" in page.text and "e" * 64 in page.text


def test_equal_inputs_give_equal_bytes(tmp_path, known, codes, candidates) -> None:
    first = write(tmp_path / "a.html", known, codes, candidates)
    assert first == write(tmp_path / "b.html", known, codes, candidates)


def test_sparse_probes_are_summarised(tmp_path, known, codes, candidates) -> None:
    rows = [(HOSTILE, f"L{at}", k, 0.75, 0.25, 0.4 + 0.2 * at) for at in range(2) for k in (1, 2)]
    columns = ["source", "label", "k", "auroc", "average_precision", "f1"]
    probes = pd.DataFrame(rows, columns=columns)
    page = check_closed(write(tmp_path / "a.html", known, codes, candidates, sparse_probes=probes))
    assert "Features together" in page.text and "0.750" in page.text
    assert "Sparse probes" not in Page(write(tmp_path / "b.html", known, codes, candidates)).text


def test_the_comparison_with_covariates_is_listed(tmp_path, known, codes, candidates) -> None:
    rows = [(HOSTILE, HOSTILE, 3, 0.75, 0.625, True), ("FEW", "field -", 4, 0.5, 0.5, pd.NA)]
    columns = ["label", "covariate", "feature", "ap_feature", "gain_low", "beats_field"]
    matched = pd.DataFrame(rows, columns=columns).astype({"beats_field": "boolean"})
    page = check_closed(write(tmp_path / "a.html", known, codes, candidates, matched=matched))
    for text in ("Best covariate", "field -", "0.625", "yes"):
        assert text in page.text
    assert "Best covariate" not in Page(write(tmp_path / "b.html", known, codes, candidates)).text


def test_fidelity_may_be_a_dataclass(tmp_path, known, codes, candidates) -> None:
    @dataclass
    class Fidelity:
        loss_recovered: float = 0.875
        loss_zero: float | None = None

    page = Page(write(tmp_path / "a.html", known, codes, candidates, fidelity=Fidelity()))
    assert "loss recovered" in page.text and "0.875" in page.text and "zero" not in page.text


class HostileAdapter(WorldAdapter):
    """Returns what an attacker would like to see on the page."""

    model = SimpleNamespace(name=HOSTILE, digest=HOSTILE, dtype=HOSTILE)

    def view(self, dataset, record) -> RecordView:
        view = super().view(dataset, record)
        return RecordView(HOSTILE, ("<",) * len(view.symbols), "javascript:alert(1)")


class HostileKnown:
    """Annotations whose labels are hostile."""

    def __init__(self, known: AnnotationStore) -> None:
        self.known = known
        self.labels = [
            Label(HOSTILE, "g", HOSTILE, nuisance=label.nuisance) for label in known.labels
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.known, name)


def test_hostile_text_stays_text(tmp_path, known, codes, candidates) -> None:
    links = result().links.assign(label=HOSTILE)
    hostile = replace(
        candidates,
        unexplained=candidates.unexplained.assign(explained_by=HOSTILE),
        subtypes=candidates.subtypes.assign(kind=HOSTILE),
        missing=candidates.missing.assign(label=HOSTILE),
        notes={HOSTILE: HOSTILE},
        settings={HOSTILE: {HOSTILE: HOSTILE}},
    )
    html = write(
        tmp_path / "a.html", HostileKnown(known), replace(codes, names=(HOSTILE,) * 8), hostile,
        result=Result(links, pd.DataFrame({"source": [HOSTILE]}), {"q": HOSTILE}, HOSTILE),
        adapter=HostileAdapter(), title=HOSTILE, fidelity={HOSTILE: HOSTILE},
    )  # fmt: skip
    page = check_closed(html)
    assert "alert(1)" in page.text and "{{ 7 * 7 }}" in page.text
    assert "javascript:" not in html
    assert "\u202e" not in html and "\x00" not in html


def test_records_without_symbols_and_plane_are_named(tmp_path, known, codes, candidates) -> None:
    class BareAdapter(WorldAdapter):
        def view(self, dataset, record) -> RecordView:
            return RecordView(f"bare {record}", ())

    page = check_closed(write(tmp_path / "a.html", known, codes, candidates, adapter=BareAdapter()))
    assert "bare fam" in page.text and "use" not in page.tags


def test_nothing_found_is_said(tmp_path, known, codes, candidates) -> None:
    nothing = replace(
        candidates, unexplained=candidates.unexplained.iloc[:0],
        subtypes=candidates.subtypes.iloc[:0], missing=candidates.missing.iloc[:0],
    )  # fmt: skip
    empty = Result(result().links.iloc[:0], result().summary)
    page = check_closed(write(tmp_path / "a.html", known, codes, nothing, result=empty))
    assert "No feature is linked." in page.text and "Nothing to list." in page.text


def test_strip_shows_levels_symbols_and_labels(known) -> None:
    record = next(r for r in WORLD.axis.records["record"] if WORLD.truth[r]["DOMAIN"])
    row = int(np.flatnonzero(WORLD.axis.records["record"] == record)[0])
    first, last = WORLD.axis.record_starts[row : row + 2].tolist()
    start, stop = WORLD.truth[record]["DOMAIN"][0]
    levels = np.zeros((WORLD.axis.n_tokens, 1), int)
    levels[first + start : first + stop, 0] = 255
    levels[first + start, 0] = 100
    artist = Artist(ArrayCodes.of(WORLD.axis, levels), known, WorldAdapter(), WORLD)
    strip = artist.draw(0, first + start, ("DOMAIN",))
    begin, end = max(0, start - 30), min(last - first, start + 31)
    symbols = WORLD.sequences[record][begin:end]
    assert sum(len(text) for _, _, text in strip.letters) == end - begin
    assert [(s.style, s.width) for s in strip.shades] == [
        ("a1", 13),
        ("a5", 13 * (stop - start - 1)),
    ]
    letters = sorted(
        (float(x), sign)
        for _, xs, text in strip.letters
        for x, sign in zip(xs.split(), text, strict=True)
    )
    assert "".join(sign for _, sign in letters) == "".join("ABCDEFGH"[s] for s in symbols)
    bar = strip.bars[0]
    assert bar.name == "DOMAIN" and bar.is_linked and bar.spans[0].width == 13 * (stop - start) - 1
    assert bar.spans[0].x == strip.shades[0].x and bar.unknown == ()
    assert all(bar.name != "symbol=A" for bar in strip.bars)
    assert artist.token_at(record, 5.0) == first + 4


@given(st.text())
def test_clean_text_is_printable_and_encodes(text: str) -> None:
    cleaned = clean(text + "\ud800")
    cleaned.encode("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", cleaned)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)", "http://example.org", "//example.org", "data:text/html,x",
        "https://", "https://a b", "https://x\" onclick=\"a", "https://user@example.org",
        "HTTPS:x", "ftp://x", "https://ex\u0430mple.org", "https://[x", "",
    ],
)  # fmt: skip
def test_other_links_are_dropped(link: str) -> None:
    assert safe_link(link) == ""


def test_https_links_stay() -> None:
    link = "https://www.uniprot.org/uniprotkb/P12345"
    assert safe_link(link) == link


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.5, "\u22120.500"), (12.345, "12.3"), (1234567.0, "1,234,567"), (3, "3"),
        (float("nan"), "\u2013"), (float("-inf"), "\u2212\u221e"), (-1.5e-7, "\u22121.5e-7"),
        (None, "\u2013"), (pd.NA, "\u2013"), (np.bool_(False), "no"), (np.int64(1200), "1,200"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: object, text: str) -> None:
    assert show(value) == text
