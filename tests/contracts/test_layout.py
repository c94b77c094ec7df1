"""The shape of the tree: folders that are no packages, files and functions of readable size."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("sci_interp", "adapters")
MAX_LINES = 400
#: Lines of a function's body, without its signature and docstring.
MAX_FUNCTION_LINES = 60


def sources(repository: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((repository / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", ["adapters", "benchmarks", "tests"])
def test_folders_of_packages_are_no_packages(repository: Path, folder: str) -> None:
    inside = [
        path
        for path in (repository / folder).glob("**/__init__.py")
        if not any(part.startswith("sci_interp_") for part in path.relative_to(repository).parts)
    ]
    assert inside == []


def test_files_and_functions_fit(repository: Path) -> None:
    long = []
    for path in sources(repository, *PACKAGES, "benchmarks"):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > MAX_LINES:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[min(bool(ast.get_docstring(node)), len(node.body) - 1)]
                n_lines = (node.end_lineno or first.lineno) - first.lineno + 1
                if n_lines > MAX_FUNCTION_LINES:
                    long.append(f"{path.name}:{node.lineno} {node.name}: {n_lines} lines")
    assert long == []


def test_every_stage_module_begins_with_its_arrow(repository: Path) -> None:
    stages = {
        "extract": "activations.py",
        "train": "sae/training.py",
        "encode": "features.py",
        "annotate": "annotations.py",
        "enrich": "enrichment/__init__.py",
        "match": "matching/__init__.py",
        "evaluate": "evaluation/__init__.py",
        "surface": "candidates/__init__.py",
        "run": "pipeline.py",
        "show": "inspection.py",
        "status": "run_status.py",
        "verify": "verification.py",
    }
    for verb, name in stages.items():
        text = (repository / "sci_interp" / name).read_text(encoding="utf-8")
        first = ast.get_docstring(ast.parse(text)) or ""
        assert re.match(rf"{verb}: .* -> ", first), f"{name}: {first.splitlines()[0]}"


def test_no_module_has_the_name_of_a_verb(repository: Path) -> None:
    import sci_interp as si

    modules = {path.stem for path in sources(repository, "sci_interp")}
    assert modules.isdisjoint(si.__all__)
