"""The public surface: names, signatures and commands are frozen in files beside this test."""

from __future__ import annotations

import argparse
import ast
import inspect
import subprocess
import sys
from pathlib import Path

import sci_interp as si
from sci_interp.cli import build_parser

FROZEN = Path(__file__).parent
HEAVY = {"numba", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch", "transformers", "zarr"}


def describe_api() -> str:
    lines = []
    for name in si.__all__:
        value = getattr(si, name)
        if inspect.isfunction(value):
            lines.append(f"{name}{inspect.signature(value)}")
        else:
            lines.append(f"{name}: {type(value).__name__}")
    return "\n".join(lines) + "\n"


def describe_commands() -> str:
    lines = []
    for action in build_parser()._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        for command, parser in action.choices.items():
            lines.append(command)
            for option in parser._actions:
                words = ", ".join(option.option_strings) or option.dest
                if option.choices:
                    words += " {" + ",".join(map(str, option.choices)) + "}"
                lines.append(f"  {words}{' (required)' if option.required else ''}")
    return "\n".join(lines) + "\n"


def require_frozen(name: str, text: str) -> None:
    frozen = (FROZEN / name).read_text(encoding="utf-8")
    assert text == frozen, (
        f"the public surface changed. If it should, say so in CHANGELOG.md and write {name} anew: "
        f"python {Path(__file__).relative_to(FROZEN.parent.parent)}"
    )


def test_the_public_names_and_signatures_are_frozen() -> None:
    require_frozen("public_api.txt", describe_api())


def test_the_commands_are_frozen() -> None:
    require_frozen("commands.txt", describe_commands())


def test_the_stub_and_the_door_name_the_same(repository: Path) -> None:
    stub = ast.parse((repository / "sci_interp" / "__init__.pyi").read_text())
    named = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert named == si._HOME
    assert set(si.__all__) == {"__version__", *named}
    assert set(si.__all__) <= set(dir(si))


def test_public_functions_take_at_most_three_positional_arguments() -> None:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for name in si.__all__:
        value = getattr(si, name)
        if inspect.isfunction(value):
            parameters = inspect.signature(value).parameters.values()
            assert sum(each.kind in positional for each in parameters) <= 3, name


def test_a_wrong_name_is_an_attribute_error() -> None:
    assert not hasattr(si, "no_such_name")


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after ``code``."""
    script = (
        f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    code = "from sci_interp.cli import build_parser; build_parser().format_help()"
    assert modules_after(code).isdisjoint(HEAVY)


def test_adapters_are_listed_without_heavy_libraries_of_a_model() -> None:
    loaded = modules_after("from sci_interp.cli import main; main(['adapters'])")
    assert loaded.isdisjoint({"torch", "transformers", "sklearn", "sci_interp_protein"})


if __name__ == "__main__":
    (FROZEN / "public_api.txt").write_text(describe_api(), encoding="utf-8")
    (FROZEN / "commands.txt").write_text(describe_commands(), encoding="utf-8")
