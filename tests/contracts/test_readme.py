"""The README is run: its Python, its commands, its study file; and its scripts exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sci_interp as si
from sci_interp.cli import main
from sci_interp.study import read_study

SMALLER = {
    "plm.open()": "small(plm)",
    "features=1024, k=16": "features=64, k=8, n_tokens=10_000, batch_size=512, progress=False",
}


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def small(adapter: Any) -> Any:
    """Return some short proteins of the reference set."""
    everything = adapter.open()
    chosen = [name for name, letters in everything.sequences.items() if len(letters) < 160][:160]
    return replace(
        everything,
        sequences={name: everything.sequences[name] for name in chosen},
        blocks={name: everything.blocks[name] for name in chosen},
    )


def test_the_python_runs(
    readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(readme, "python")
    for long, short in SMALLER.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"small": small}
    exec(compile(code, "README.md", "exec"), names)
    assert isinstance(names["table"], si.EnrichmentResult)
    assert isinstance(names["novel"], si.Candidates)
    assert "Links: " in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "activations", "annotations", "candidates", "enrichment", "features", "sae",
    }  # fmt: skip


def test_the_commands_run(
    readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(readme, "sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("sci-interp ")]
    assert len(commands) >= 4
    for words in commands:
        if words == ["--help"]:
            with pytest.raises(SystemExit) as stop:
                main(words)
            assert stop.value.code == 0
        else:
            assert main(words) == 0, words
    assert "run/annotations: annotations" in capsys.readouterr().out


def test_the_study_file_is_one(readme: str, tmp_path: Path) -> None:
    (text,) = blocks(readme, "toml")
    for variant in (text, re.sub(r"^# (model|layer)", r"\1", text, flags=re.MULTILINE)):
        path = tmp_path / "study.toml"
        path.write_text(variant, encoding="utf-8")
        assert read_study(path).data["path"] == tmp_path / "proteins.fasta"


def test_the_suites_are_studies(repository: Path) -> None:
    suites = sorted((repository / "benchmarks" / "enrichment" / "suites").glob("*.toml"))
    assert {path.stem for path in suites} >= {"reference", "swissprot"}
    for path in suites:
        read_study(path)


def test_the_two_commands_are_scripts_that_ci_and_the_readme_name(
    readme: str, repository: Path
) -> None:
    commands = [block.strip() for block in blocks(readme, "sh")]
    for script in ("./study", "./check"):
        assert script in commands
        assert os.access(repository / script, os.X_OK)
    for script in ("study", "check", ".ci/environment", ".ci/run"):
        subprocess.run(["bash", "-n", str(repository / script)], check=True)
    assert "\n./check\n" in (repository / ".ci" / "run").read_text()
    assert 'pip install -c constraints-cpu.txt -e ".[dev]"' in readme


def test_links_of_the_documents_lead_somewhere(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    pages.append(repository / "adapters" / "README.md")
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
