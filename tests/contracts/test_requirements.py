"""One list of requirements: environment.yml and pyproject.toml ask for the same, pinned by one."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

CONDA_NAMES = {"torch": "pytorch"}
#: What torch needs where it is a build for CUDA.
CUDA = ("nvidia-", "cuda-", "triton")
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


def pins(repository: Path) -> dict[str, str]:
    """Return the pinned version of every name in the constraints."""
    text = (repository / "constraints-cpu.txt").read_text()
    assert "://" not in text
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            (version,) = pin.specifier
            assert version.operator == "==" and pin.name not in found, line
            found[canonicalize_name(pin.name)] = version.version
    return found


def test_every_requirement_and_extra_is_pinned_in_its_range(repository: Path) -> None:
    pinned = pins(repository)
    for name, specifier in wanted(repository).items():
        if name != "python":
            name = next((pip for pip, conda in CONDA_NAMES.items() if conda == name), name)
            assert name in pinned, f"{name} is not pinned"
            assert SpecifierSet(specifier).contains(pinned[name]), f"{name} {pinned[name]}"


@pytest.mark.skipif(sys.platform != "linux", reason="what is needed differs between platforms")
def test_what_the_requirements_need_is_pinned(repository: Path) -> None:
    pinned = pins(repository)
    todo = [Requirement(name) for name in wanted(repository) if name not in ("python", "pytorch")]
    todo.append(Requirement("torch"))
    seen = set()
    while todo:
        needed = todo.pop()
        key = (canonicalize_name(needed.name), tuple(sorted(needed.extras)))
        if key in seen:
            continue
        seen.add(key)
        assert key[0] in pinned or key[0].startswith(CUDA), f"{needed} is not pinned"
        try:
            needs = metadata.requires(needed.name) or []
        except metadata.PackageNotFoundError:  # an extra that is not installed here
            continue
        for each in map(Requirement, needs):
            marker, extras = each.marker, needed.extras or {""}
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(each)
    assert len(seen) > len(wanted(repository))


def test_requirements_of_the_package_pin_nothing(repository: Path) -> None:
    assert not [name for name, specifier in wanted(repository).items() if "==" in specifier]
