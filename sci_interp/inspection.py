"""show: folder -> what the artefact is, from what it was made, by which version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .axis import TokenAxis
from .disk import reading
from .errors import InputError, StoreError
from .folders import NAME_ONE, find_artefacts
from .manifest import Manifest, is_finished, read_json, read_manifest
from .quarantine import ATTRIBUTE, describe_quarantine, from_columns
from .schema import JOURNAL_FILE, MANIFEST_FILE, RECORDS_FILE, REQUEST_FILE

__all__ = ["show"]

_SHORT = 12
_DEPTH = 3


def show(path: Path | str) -> str:
    """Describe an artefact, or list the artefacts of a study's folder.

    Parameters
    ----------
    path
        Folder of an artefact, finished or interrupted, or a folder that holds some.

    Returns
    -------
    str
        Lines of text. Inputs that lie beside the artefact are named by their folder.

    Raises
    ------
    InputError
        If there is no such folder.
    StoreError
        If the folder holds no artefact.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(
            f"{path} is not a folder", todo="Name the folder that a verb wrote with --out"
        )
    if is_finished(path):
        return "\n".join(_describe(path, read_manifest(path)))
    if (path / REQUEST_FILE).is_file():
        return "\n".join(_describe_unfinished(path))
    found = sorted(find_artefacts(path, depth=_DEPTH))
    if not found:
        raise StoreError(f"{path} holds no artefact of this library", todo=NAME_ONE)
    return "\n".join(_list(path, found))


def _describe(path: Path, manifest: Manifest) -> Iterator[str]:
    sizes = [(path / name).stat().st_size for name in manifest.files if (path / name).is_file()]
    yield f"{path}: {manifest.kind}"
    yield f"  digest    {manifest.digest}"
    yield f"  files     {len(manifest.files)}, {sum(sizes) / 1e6:.1f} MB"
    if len(sizes) < len(manifest.files):
        yield f"  damaged   {len(manifest.files) - len(sizes)} files are missing"
    if manifest.command:
        yield f"  command   {manifest.command_in(path)}"
    for line in _quarantine(path, manifest):
        yield f"  {line}"
    yield from _inputs(path, manifest.inputs)
    named = {name: value for name, value in manifest.settings.items() if name != ATTRIBUTE}
    yield from _section("settings", named)
    yield from _section("versions", manifest.versions)


def _quarantine(path: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what was read, used and left out, where something was left out."""
    told = manifest.settings.get(ATTRIBUTE)
    if told:
        with reading(path / MANIFEST_FILE):
            used = told["used"]
            found = from_columns(told["left_out"])
            yield from describe_quarantine(found, int(used["n_records"]), int(used["n_tokens"]))
    elif RECORDS_FILE in manifest.files:
        # A damaged file is told of by those who use it.
        with suppress(StoreError):
            yield from TokenAxis.read(path).describe_quarantine()


def _describe_unfinished(path: Path) -> Iterator[str]:
    request = read_json(path / REQUEST_FILE)
    journal = path / JOURNAL_FILE
    n_parts = journal.read_bytes().count(b"\n") if journal.is_file() else 0
    yield f"{path}: {request.get('kind')}, unfinished"
    yield f"  state     {n_parts} parts are committed; the command that made it continues it"
    yield from _inputs(path, request.get("inputs", {}))
    yield from _section("settings", request.get("settings", {}))


def _list(path: Path, found: list[Path]) -> Iterator[str]:
    width = max(len(each.relative_to(path).as_posix()) for each in found)
    yield f"{path}: {len(found)} artefacts"
    for each in found:
        name = each.relative_to(path).as_posix().ljust(width)
        if is_finished(each):
            made = _try_manifest(each)
            told = f"{made.kind}  {made.digest[:_SHORT]}" if made else "its manifest is damaged"
            yield f"  {name}  {told}"
        else:
            yield f"  {name}  {read_json(each / REQUEST_FILE).get('kind')}  unfinished"


def _inputs(path: Path, inputs: Mapping[str, Any]) -> Iterator[str]:
    if not inputs:
        return
    beside = {
        found.digest: each
        for each in find_artefacts(path.resolve().parent, depth=_DEPTH)
        if is_finished(each) and (found := _try_manifest(each))
    }
    yield "  made from"
    for name, digest in sorted(inputs.items()):
        place = beside.get(str(digest))
        where = f"  ({place.relative_to(path.resolve().parent).as_posix()})" if place else ""
        yield f"    {name}: {str(digest)[:_SHORT]}{where}"


def _try_manifest(path: Path) -> Manifest | None:
    """Return the manifest of an artefact, or None where it is damaged: others are shown still."""
    try:
        return read_manifest(path)
    except StoreError:
        return None


def _section(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    if values:
        yield f"  {title}"
    for name, value in sorted(values.items()):
        yield f"    {name}: {value if isinstance(value, str) else json.dumps(value)}"
