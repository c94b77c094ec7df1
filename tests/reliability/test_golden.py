"""Stores that an earlier release wrote are read, and say what they said then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import make_golden
import pytest
import small_run

import sci_interp as si

RELEASES = sorted(path.name for path in make_golden.GOLDEN.iterdir())
MOST_BYTES = 300_000


def test_there_are_stores_and_they_are_small() -> None:
    assert "v0.1.0" in RELEASES
    files = [path for path in make_golden.GOLDEN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", small_run.VERBS)
def test_a_store_of_a_release_says_what_it_said(release: str, kind: str) -> None:
    folder = make_golden.GOLDEN / release
    expected = json.loads((folder / make_golden.EXPECTED).read_text(encoding="utf-8"))
    assert make_golden.describe(kind, folder / kind) == expected[kind]


@pytest.mark.parametrize("release", RELEASES)
def test_a_run_of_a_release_is_intact(release: str) -> None:
    found = si.verify(make_golden.GOLDEN / release, progress=False)
    assert found.intact, found.format()


@pytest.mark.parametrize("release", RELEASES)
def test_a_changed_value_would_be_seen(release: str, tmp_path: Path) -> None:
    path = shutil.copytree(make_golden.GOLDEN / release / "sae", tmp_path / "sae")
    data = bytearray((path / "sae.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "sae.safetensors").write_bytes(bytes(data))
    with pytest.raises(si.SciInterpError, match="is damaged"):
        make_golden.describe("sae", path)


@pytest.mark.parametrize("release", RELEASES)
def test_later_verbs_take_earlier_stores(release: str, tmp_path: Path) -> None:
    run = make_golden.GOLDEN / release
    for kind in ("features", "enrichment"):
        small_run.make(kind, run, tmp_path / kind)
    old = make_golden.describe("features", run / "features")
    assert (
        make_golden.describe("features", tmp_path / "features")["n_features"] == (old["n_features"])
    )
