"""Hostile ids, labels and notes: they name no file, run nothing on a page, and are no formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
import small_run
from fake_adapter import FakeAdapter, FakeDataset, make_dataset

import sci_interp as si
from sci_interp.adapter import Label, RecordAnnotations
from sci_interp.cli import main
from sci_interp.errors import InputError, SciInterpError, StoreError
from sci_interp.manifest import digest_json
from sci_interp.sae.interchange.hub import is_hub_id
from sci_interp.tables import write_table

HOSTILE = (
    "../../escaped", "/tmp/escaped", "..", ".", "~/escaped", "a/b", "a\\b", "..\\..\\escaped",
    "C:\\escaped", "CON", "NUL", "COM1.txt", "a\0b", "a\nb", "a\x1b[2Jb", "\u202ecod.exe",
    "x" * 5000, "manifest.json", "records.parquet", "$(touch escaped)", "`touch escaped`",
    "; touch escaped", "%s%n", "{0.__class__}", "{{ 7 * 7 }}", "=cmd|'/c calc'!A1",
    "<script>alert(1)</script>",
    "a;=1+1", "-1", "@SUM(1)", "\ud800".encode("utf-8", "replace").decode(), "é" * 300,
)  # fmt: skip


def hostile_dataset() -> FakeDataset:
    """Return the records of the small run under hostile ids and blocks."""
    whole = make_dataset(n_records=160, longest=30, records_per_block=2)
    names = {}
    for index, record in enumerate(whole.texts):
        hostile = HOSTILE[index % len(HOSTILE)]
        names[record] = hostile if index < len(HOSTILE) else f"{hostile} {index}"
    return FakeDataset(
        {names[record]: text for record, text in whole.texts.items()},
        {names[record]: f"{names[record]}/.." for record in whole.texts},
    )


#: Names of the labels.
LABELS = {"MOTIF": "../../=MOTIF<script>", "RUN": "/tmp/;=RUN\x1b[2J"}


class HostileAdapter(FakeAdapter):
    """Gives its labels, groups and instances hostile names."""

    def labels(self, dataset: FakeDataset) -> list[Label]:
        return [
            Label(LABELS[each.name], f"../{each.group}", f"={each.definition}")
            for each in super().labels(dataset)
        ]

    def annotate(self, dataset: FakeDataset, records) -> Iterator[RecordAnnotations]:
        for each in super().annotate(dataset, records):
            runs = [(LABELS[name], f"../{which}", a, b) for name, which, a, b in each.runs]
            known = [(f"../{group}", a, b) for group, a, b in each.known]
            yield RecordAnnotations(each.record, runs, known)


def tree_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_hostile_ids_write_nothing_outside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, run = tmp_path / "a" / "desk", tmp_path / "a" / "b" / "run"
    desk.mkdir(parents=True)
    monkeypatch.chdir(desk)
    plain = tmp_path / "plain"
    small_run.make_run(plain)
    monkeypatch.setattr(small_run, "DATASET", hostile_dataset())
    monkeypatch.setattr(small_run, "ADAPTER", HostileAdapter(width=8))
    small_run.make_run(run)
    assert set(si.AnnotationStore.open(run / "annotations").axis.records["record"]) >= set(HOSTILE)
    # The names of all files are those of a run without hostile names.
    shards = {name for name in tree_of(run) if ".zarr/" not in name}
    assert shards == {name for name in tree_of(plain) if ".zarr/" not in name}
    assert tree_of(tmp_path / "a") == {"desk", "b", "b/run", *(f"b/run/{n}" for n in tree_of(run))}
    assert not Path("/tmp/escaped").exists()
    for path in (run / "enrichment").glob("*.csv"):
        check_cells(path.read_text(encoding="utf-8"))


def check_cells(text: str) -> None:
    """Assert that no cell is a formula, whatever separates cells."""
    for delimiter in ",;\t":
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            for cell in row:
                number = cell.replace(",", "").replace(".", "").strip("-").replace("e-", "")
                assert not cell.strip().startswith(("=", "+", "@")), cell
                assert not cell.strip().startswith("-") or number.isdigit(), cell


def test_cells_of_tables_are_no_formulas(tmp_path: Path) -> None:
    cells = [f"{before}{name}" for name in HOSTILE for before in ("", " ", "x;", "x\n", '";')]
    table = pd.DataFrame({"feature": range(len(cells)), "label": cells, "=p": -0.5})
    write_table(tmp_path, "links", table)
    check_cells((tmp_path / "links.csv").read_text(encoding="utf-8"))


@pytest.mark.parametrize("layer", ["..", ".", "a/b", "a\\b", "C:x", "a\0b"])
def test_a_layer_that_cannot_name_a_folder_is_refused(tmp_path: Path, layer: str) -> None:
    run = {"adapter": FakeAdapter(width=8), "dataset": make_dataset(), "progress": False}
    with pytest.raises(InputError, match="cannot name a folder"):
        si.extract(layer=["layers.1", layer], out=tmp_path / "run", **run)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["../../x", "owner/../x", "a/b/../../c", "/etc/passwd", "file:///etc/passwd", "a/b\0"]
)
def test_names_of_the_hub_lead_nowhere_else(name: str) -> None:
    assert not is_hub_id(name)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "protein/../..", "a\0b", ""])
def test_bundled_names_are_no_paths(name: str) -> None:
    with pytest.raises(SciInterpError):
        si.load_sae(f"bundled:{name}")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\0b"])
def test_a_manifest_lists_no_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    raw = {
        "kind": "sae", "inputs": {}, "settings": {}, "versions": {}, "command": "",
        "files": {name: "0" * 64},
    }  # fmt: skip
    raw["digest"] = digest_json(raw["files"])
    raw["seal"] = digest_json(raw)
    (folder / "manifest.json").write_text(json.dumps(raw))
    request = {part: raw[part] for part in ("kind", "inputs", "settings")}
    (folder / "request.json").write_text(json.dumps(request))
    with pytest.raises(StoreError, match="is not in its folder"):
        si.load_sae(folder)
    found = si.verify(folder, progress=False)
    assert not found.intact and "secret" not in found.format()


def test_what_is_printed_moves_no_cursor(tmp_path: Path) -> None:
    path = tmp_path / "hostile.toml"
    path.write_text('[study]\nadapter = "\\u001b[2J\\u202e"\nout = "o"\n')
    said, told = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(told):
        assert main(["run", str(path)]) == 2
    assert "\x1b" not in told.getvalue() and "\u202e" not in told.getvalue()
    error = InputError("record 'a\x1b[2J\nb' is wrong", todo="x\u202e")
    assert str(error) == "record 'a\ufffd[2J b' is wrong. x\ufffd."
