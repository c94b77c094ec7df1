"""``show`` says what a folder is, from what, by which version."""

from __future__ import annotations

from pathlib import Path

import pytest

import sci_interp as si
from sci_interp.errors import InputError, StoreError
from sci_interp.manifest import Manifest, begin_artefact, finish_artefact


def make(folder: Path, kind: str, inputs: dict[str, str] | None = None) -> Manifest:
    begin_artefact(folder, kind, inputs=inputs or {}, settings={"seed": 3, "layer": "mix"})
    (folder / "data.bin").write_bytes(kind.encode())
    return finish_artefact(folder)


def test_an_artefact_is_described_with_its_inputs(tmp_path: Path) -> None:
    source = make(tmp_path / "activations", "activations")
    made = make(tmp_path / "deep" / "features", "features", {"source": source.digest})
    make(tmp_path / "sae", "sae", {"source": source.digest, "other": "f" * 64})
    text = si.show(tmp_path / "sae")
    assert text.splitlines()[0].endswith("sae: sae")
    assert f"source: {source.digest[:12]}  (activations)" in text
    assert "other: ffffffffffff\n" in text
    assert "seed: 3" in text
    assert "layer: mix" in text
    assert "numpy: " in text
    listed = si.show(tmp_path)
    assert "3 artefacts" in listed
    assert f"deep/features  features  {made.digest[:12]}" in listed


def test_an_interrupted_artefact_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    begin_artefact(folder, "sae", inputs={"source": "a" * 64}, settings={"k": 4})
    (folder / "journal.jsonl").write_text("{}\n{}\n{")
    text = si.show(folder)
    assert "sae, unfinished" in text
    assert "2 parts are committed" in text
    assert "k: 4" in text
    assert "sae  sae  unfinished" in si.show(tmp_path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    make(tmp_path / "sae", "sae")
    (tmp_path / "sae" / "data.bin").unlink()
    assert "damaged   1 files are missing" in si.show(tmp_path / "sae")


def test_a_damaged_neighbour_does_not_hide_the_others(tmp_path: Path) -> None:
    source = make(tmp_path / "activations", "activations")
    make(tmp_path / "sae", "sae", {"source": source.digest})
    make(tmp_path / "spoilt", "features")
    (tmp_path / "spoilt" / "manifest.json").write_text("{")
    assert "source:" in si.show(tmp_path / "sae") and "(activations)" in si.show(tmp_path / "sae")
    listed = si.show(tmp_path)
    assert "spoilt       its manifest is damaged" in listed
    assert f"activations  activations  {source.digest[:12]}" in listed


def test_other_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        si.show(tmp_path / "absent")
    with pytest.raises(StoreError, match="holds no artefact"):
        si.show(tmp_path)
    (tmp_path / "sae").mkdir()
    for content in ("[]", "{"):
        (tmp_path / "sae" / "request.json").write_text(content)
        with pytest.raises(StoreError, match=r"request\.json"):
            si.show(tmp_path / "sae")
