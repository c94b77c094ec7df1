"""The artefacts in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import InputError, StoreError
from .manifest import is_finished
from .schema import MANIFEST_FILE, REQUEST_FILE

__all__ = ["find_artefacts", "is_artefact", "list_artefacts"]

#: What to do where there is none.
NAME_ONE = "Name the folder that a verb wrote with --out, or one that holds such folders"


def is_artefact(folder: Path) -> bool:
    """Return whether a folder is an artefact, finished or not."""
    return any((folder / name).is_file() for name in (REQUEST_FILE, MANIFEST_FILE))


def find_artefacts(folder: Path, *, depth: int | None = None) -> Iterator[Path]:
    """Yield the artefacts in ``folder`` in the order of their paths, finished or not.

    Links and hidden folders are not followed, and parts of an artefact are not yielded.

    Parameters
    ----------
    folder
        Where to look; it is not itself yielded.
    depth
        Most folders down; None is without a limit.
    """
    for each in sorted(folder.iterdir()):
        if not each.is_dir() or each.is_symlink() or each.name.startswith("."):
            continue
        if is_artefact(each):
            yield each
        elif depth is None or depth > 1:
            yield from find_artefacts(each, depth=None if depth is None else depth - 1)


def list_artefacts(path: Path) -> tuple[Path, ...]:
    """Return the artefacts of a run, and the parts of those that are unfinished.

    Parameters
    ----------
    path
        An artefact, or a folder that holds some, at any depth.

    Raises
    ------
    InputError
        If there is no such folder.
    StoreError
        If it holds no artefact.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder", todo=NAME_ONE)
    found = tuple(_with_parts([path] if is_artefact(path) else find_artefacts(path)))
    if not found:
        raise StoreError(f"{path} holds no artefact of this library", todo=NAME_ONE)
    return found


def _with_parts(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield artefacts, and the parts of those whose own manifest does not list them yet."""
    for folder in folders:
        yield folder
        if not is_finished(folder):
            yield from _with_parts(find_artefacts(folder))
