"""One list of requirements: environment.yml and pyproject.toml ask for the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

CONDA_NAMES = {"torch": "pytorch"}
EDITABLE = "-e ."


def normalise(requirement: str) -> tuple[str, str]:
    name, specifier = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", requirement).groups()  # type: ignore[union-attr]
    return CONDA_NAMES.get(name, name), specifier.replace(" ", "")


def wanted(repository: Path) -> dict[str, str]:
    project: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    found = dict(normalise(line) for line in lines if not line.startswith("sci-interp"))
    return found | {"python": project["requires-python"]}


def test_environment_and_project_ask_for_the_same(repository: Path) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert EDITABLE in pip
    lines = [*conda, *(item for item in pip if item != EDITABLE)]
    found = dict(normalise(line) for line in lines if line != "pip")
    assert found == wanted(repository)


def test_constraints_are_in_range_and_name_no_index(repository: Path) -> None:
    from packaging.requirements import Requirement

    text = (repository / "constraints-cpu.txt").read_text()
    assert "://" not in text
    ranges = wanted(repository)
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        (version,) = pin.specifier
        assert version.operator == "=="
        name = CONDA_NAMES.get(pin.name, pin.name)
        assert Requirement(pin.name + ranges[name]).specifier.contains(version.version), line


def test_requirements_of_the_package_pin_nothing(repository: Path) -> None:
    assert not [name for name, specifier in wanted(repository).items() if "==" in specifier]
