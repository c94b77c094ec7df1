"""The command line: every verb, one message per mistake, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_adapter import FakeAdapter, make_dataset
from study_world import digests, write_study

import sci_interp as si
from sci_interp import recipes
from sci_interp.cli import main

TEXT = "\n".join(
    f"{name} {data.blocks[name]} {text}"
    for data in [make_dataset(n_records=240, records_per_block=2)]
    for name, text in data.texts.items()
)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every adapter's name mean the fake one, and put the warnings back in place."""

    def load(name: str, model: str | None = None, **options: Any) -> FakeAdapter:
        return FakeAdapter(**options)

    monkeypatch.setattr(si, "load_adapter", load)
    monkeypatch.setattr(recipes, "load_adapter", load)
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "data.txt").write_text(TEXT, encoding="utf-8")
    return folder


def call(folder: Path, line: str) -> int:
    """Run a command line in which ``@name`` stands for a path in the folder."""
    return main([str(folder / word[1:]) if word[0] == "@" else word for word in line.split()])


VERBS = """
extract --adapter fake --data @data.txt --layer layers.1 --out @activations
train @activations --features 32 --k 4 --n-tokens 3000 --batch-size 256 --out @sae
encode @sae @activations --out @features
annotate --adapter fake --data @data.txt --out @annotations
extract --adapter fake --data @data.txt --control weights --seed 1 --out @shuffled
extract --adapter fake --data @data.txt --control inputs --out @decoys
encode @sae @decoys --out @decoy-features
enrich @features @annotations --n-permutations 100 --n-bootstrap 10 --out @enrichment
surface @features @enrichment @annotations --adapter fake --data @data.txt \
--decoys @decoy-features --out @candidates
calibrate @features @annotations --n-runs 2 --n-features 8
show @
"""


@pytest.mark.filterwarnings("default")
def test_the_verbs_make_a_study_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in VERBS.replace("\\\n", "").strip().splitlines():
        assert call(folder, line) == 0, (line, capsys.readouterr().err)
    printed = capsys.readouterr().out
    assert "Links: " in printed
    assert "Unexplained features: " in printed
    assert "With labels exchanged and shifted, " in printed
    listed = [line.split()[:2] for line in printed.splitlines()]
    assert ["shuffled", "activations"] in listed
    assert ["decoy-features", "features"] in listed
    before = digests(folder)
    assert call(folder, VERBS.strip().splitlines()[0]) == 0
    assert digests(folder) == before


MISTAKES: dict[str, str] = {
    "extract --adapter fake --data @data.txt --layer layers.9 --out @no": "Did you mean 'layers.",
    "extract --adapter fake --data @data.txt --option a --out @no": "'a' cannot be read",
    "extract --adapter fake --data @data.txt --option a=1 --option a=2 --out @no": "given twice",
    "extract --adapter fake --data @data.txt --splits train=x --out @no": "numbers",
    "extract --adapter fake --data @data.txt --splits train=2 --out @no": "add up to 1",
    "extract --adapter fake --data @absent.txt --out @no": "absent.txt",
    "train @absent --features 8 --k 2 --out @no": "is not an artefact",
    "run @absent.toml": "cannot be read",
    "show @absent": "is not a folder",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items())
def test_a_mistake_is_one_message_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    before = digests(folder)
    assert call(folder, line) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("sci-interp: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert digests(folder) == before


def test_wrong_words_are_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["extrakt"], ["train"], ["train", "x", "--k", "many"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
    assert "usage: sci-interp" in capsys.readouterr().err


def raising(error: BaseException) -> Callable[..., Any]:
    def raise_it(*_: Any, **__: Any) -> None:
        raise error

    return raise_it


def test_an_interruption_gives_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(si, "show", raising(KeyboardInterrupt()))
    assert main(["show", "."]) == 130
    assert "the same command continues" in capsys.readouterr().err


def test_a_full_disk_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(si, "show", raising(OSError(28, "No space left on device", "file")))
    assert main(["show", "."]) == 2
    assert "No space left on device: 'file'" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(si, "show", raising(RuntimeError("a defect")))
    with pytest.raises(RuntimeError, match="a defect"):
        main(["show", "."])


def test_a_warning_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(_: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("families are a fallback", stacklevel=1)
        return "shown"

    monkeypatch.setattr(si, "show", warn)
    assert main(["show", "."]) == 0
    assert capsys.readouterr().err == "sci-interp: warning: families are a fallback\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    write_study(tmp_path)
    script = "from sci_interp.cli import main; import sys; sys.exit(main(['adapters']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.stderr == b""
