"""Which lines of a program let data run code, unpack where it likes, or reach a shell.

The program's syntax tree is walked, and names are followed through its imports, so that neither a
line break nor an alias hides a call.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Finding", "find_unsafe"]


class Finding(NamedTuple):
    """A line, what stands there, and what it could do."""

    line: int
    what: str
    why: str


#: Modules whose readers run what they read, or expand entities; their submodules too.
MODULES = {
    **dict.fromkeys(("pickle", "_pickle", "marshal", "shelve"), "unpickles"),
    **dict.fromkeys(("dill", "cloudpickle", "joblib", "jsonpickle"), "unpickles"),
    **dict.fromkeys(("xml", "lxml", "xmlrpc"), "expands entities"),
    **dict.fromkeys(("torch.hub", "torch.package"), "runs downloaded code"),
    **dict.fromkeys(("runpy", "imp"), "runs what it reads"),
}
#: Functions by their full name.
FUNCTIONS = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__"), "runs text"),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput"), "gives text to a shell"),
    **dict.fromkeys(
        ("subprocess.getstatusoutput", "asyncio.create_subprocess_shell"), "gives text to a shell"
    ),
    **dict.fromkeys(("pandas.read_pickle", "torch.jit.load"), "runs what it reads"),
    **dict.fromkeys(
        ("importlib.util.spec_from_file_location", "importlib.machinery.SourceFileLoader"),
        "runs what it reads",
    ),
    **dict.fromkeys(
        (
            "pandas.read_hdf",
            "torch.serialization.add_safe_globals",
            "torch.serialization.safe_globals",
        ),
        "unpickles",
    ),
    **{
        f"yaml.{name}{several}": "makes objects from text"
        for name in ("load", "unsafe_load", "full_load")
        for several in ("", "_all")
    },
    "shutil.unpack_archive": "writes where an archive says",
}
#: Methods, whatever they belong to.
METHODS = {"extractall": "writes where an archive says"}
#: The only value of an argument that is safe, and what another does.
ARGUMENTS = {
    "weights_only": (True, "unpickles"),
    "allow_pickle": (False, "unpickles"),
    "trust_remote_code": (False, "runs downloaded code"),
    "shell": (False, "gives text to a shell"),
}
#: Functions that import the module of the name they are given.
IMPORTS = ("importlib.import_module", "importlib.__import__")
#: Arguments that a function is safe with alone.
REQUIRED = {"torch.load": "weights_only", "numpy.load": "allow_pickle"}


def find_unsafe(source: str) -> Iterator[Finding]:
    """Yield what in a program is banned."""
    tree = ast.parse(source)
    imported = dict(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield from _module(node.lineno, each.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from _module(node.lineno, node.module)
            for each in node.names:
                yield from _module(node.lineno, f"{node.module}.{each.name}")
        elif isinstance(node, ast.Name | ast.Attribute):
            yield from _name(node, imported)
        elif isinstance(node, ast.Call):
            yield from _call(node, imported)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield from _argument(key.lineno, key.value, value)


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield every imported name and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                whole = each.name if each.asname else each.name.partition(".")[0]
                yield each.asname or whole, whole
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _full_name(node: ast.AST, imported: dict[str, str]) -> str:
    """Return a dotted name with its import in front; empty for other expressions."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _full_name(node.value, imported)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _module(line: int, name: str) -> Iterator[Finding]:
    for banned, why in MODULES.items():
        if name == banned or name.startswith(f"{banned}."):
            yield Finding(line, name, why)
            return


def _name(node: ast.Name | ast.Attribute, imported: dict[str, str]) -> Iterator[Finding]:
    name = _full_name(node, imported)
    if name in FUNCTIONS:
        yield Finding(node.lineno, name, FUNCTIONS[name])
    elif isinstance(node, ast.Attribute) and node.attr in METHODS:
        yield Finding(node.lineno, f".{node.attr}", METHODS[node.attr])
    elif isinstance(node, ast.Attribute):
        yield from _module(node.lineno, name)


def _call(node: ast.Call, imported: dict[str, str]) -> Iterator[Finding]:
    name = _full_name(node.func, imported)
    given = {each.arg for each in node.keywords}
    if name in REQUIRED and REQUIRED[name] not in given:
        yield Finding(node.lineno, f"{name} without {REQUIRED[name]}", "unpickles")
    if name in IMPORTS:
        for value in (*node.args[:1], *(each.value for each in node.keywords)):
            if isinstance(value, ast.Constant):
                yield from _module(node.lineno, str(value.value))
    for each in node.keywords:
        if each.arg is not None:
            yield from _argument(node.lineno, each.arg, each.value)


def _argument(line: int, name: str, value: ast.expr) -> Iterator[Finding]:
    if name in ARGUMENTS:
        safe, why = ARGUMENTS[name]
        if not (isinstance(value, ast.Constant) and value.value is safe):
            yield Finding(line, f"{name}={ast.unparse(value)}", why)
