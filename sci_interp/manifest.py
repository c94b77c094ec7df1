"""Provenance: what an artefact is, from what it was made, and whether it is finished.

An artefact is a folder. ``request.json`` is written first and says what is being made; work may be
interrupted and resumed only under the same request. ``manifest.json`` is written last: a folder
without it is unfinished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import SciInterpError, StoreError
from .schema import JOURNAL_FILE, MANIFEST_FILE, REQUEST_FILE

__all__ = [
    "Manifest",
    "begin_artefact",
    "clear_on_mistake",
    "digest_file",
    "digest_json",
    "finish_artefact",
    "is_finished",
    "read_manifest",
    "write_atomically",
]

_LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "torch", "transformers", "zarr")

#: Who makes an artefact of a kind; others are made by functions without a verb.
_VERBS = {
    "activations": "extract",
    "sae": "train",
    "sweep": "sweep",
    "features": "encode",
    "annotations": "annotate",
    "enrichment": "enrich",
    "candidates": "surface",
    "intervention": "intervene",
    "match": "match",
    "evaluation": "evaluate",
}
_DIGEST_LETTERS = 64
_SHORT_DIGEST = 12


@dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``.

    Attributes
    ----------
    kind : str
        ``"activations"``, ``"sae"``, ``"features"``, ``"annotations"``, ``"enrichment"`` ...
    digest : str
        SHA-256 over the artefact's files; the identity that other artefacts refer to.
    inputs : mapping of str to str
        Digests of what it was made from.
    settings : mapping
        Everything that determines the result: names, sizes, seeds.
    versions : mapping of str to str
        Versions of Python, of this library and of the libraries it used.
    files : mapping of str to str
        SHA-256 of each file, by path inside the folder.
    """

    kind: str
    digest: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write ``data`` under a temporary name, fsync, rename, and fsync the folder.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data.encode() if isinstance(data, str) else data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}",
            todo="Make room or mend the disk and run the command again; it continues here",
        ) from error


def is_finished(folder: Path) -> bool:
    """Return whether ``folder`` holds a finished artefact."""
    return (folder / MANIFEST_FILE).is_file()


def begin_artefact(
    folder: Path, kind: str, *, inputs: Mapping[str, str], settings: Mapping[str, Any]
) -> bool:
    """Claim ``folder`` for one artefact and return whether it is already finished.

    Raises
    ------
    StoreError
        If the folder holds an artefact of another request, or other files, or cannot be made.
    """
    request = {"kind": kind, "inputs": dict(inputs), "settings": dict(settings)}
    request = json.loads(json.dumps(request, sort_keys=True))
    path = folder / REQUEST_FILE
    if path.is_file():
        found = _read_json(path)
        if found != request:
            raise StoreError(
                f"{folder} holds other work: {_first_difference(found, request)}",
                todo="Choose another output folder, or delete this one",
            )
        return is_finished(folder)
    # A run that was killed inside its first write leaves the request's temporary file.
    begun = {REQUEST_FILE + ".tmp"}
    if folder.exists() and (
        not folder.is_dir() or any(path.name not in begun for path in folder.iterdir())
    ):
        raise StoreError(
            f"{folder} exists and is not an artefact of this library",
            todo="Choose another output folder",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {folder} cannot be made: {error.strerror or error}",
            todo="Choose an output folder where you may write",
        ) from error
    write_atomically(path, json.dumps(request, indent=1, sort_keys=True) + "\n")
    return False


@contextmanager
def clear_on_mistake(*folders: Path, committed: str = JOURNAL_FILE) -> Iterator[None]:
    """Remove artefacts that a mistake stops before any part of them is committed.

    A command that was refused then leaves nothing, and its output folder takes another request.
    A killed run never comes here, and what it committed is kept: the same request continues it.

    Parameters
    ----------
    folders
        Artefacts that this run claimed by :func:`begin_artefact`.
    committed
        The file that an artefact holds once a part of it is committed.
    """
    try:
        yield
    except SciInterpError:
        for folder in folders:
            if not is_finished(folder) and not (folder / committed).is_file():
                shutil.rmtree(folder, ignore_errors=True)
        raise


def finish_artefact(folder: Path, *, files: Mapping[str, str] | None = None) -> Manifest:
    """Write ``manifest.json`` of a complete artefact and return it.

    Parameters
    ----------
    folder
        The artefact; :func:`begin_artefact` was called on it.
    files
        Known digests by path inside the folder (for example from a commit journal); other files
        are hashed here. Temporary files are ignored.
    """
    request = _read_json(folder / REQUEST_FILE)
    digests = dict(files or {})
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in digests and not name.endswith(".tmp"):
            digests[name] = digest_file(path)
    digests.pop(MANIFEST_FILE, None)
    ordered = dict(sorted(digests.items()))
    manifest = Manifest(digest=digest_json(ordered), versions=_versions(), files=ordered, **request)
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n"
    write_atomically(folder / MANIFEST_FILE, text)
    return manifest


def read_manifest(folder: Path | str, kind: str | None = None) -> Manifest:
    """Return the manifest of a finished artefact.

    Raises
    ------
    StoreError
        If the folder does not exist, is unfinished, unreadable, changed, or of another kind.
    """
    folder = Path(folder)
    if not is_finished(folder):
        if (folder / REQUEST_FILE).is_file():
            raise StoreError(
                f"{folder} is unfinished: its run was interrupted",
                todo="Run the command that made it again; it continues where it stopped",
            )
        why = "" if folder.is_dir() else ": there is no such folder"
        raise StoreError(f"{folder} is not an artefact of this library{why}", todo=_advice(kind))
    raw = _read_json(folder / MANIFEST_FILE)
    try:
        manifest = Manifest(**raw)
    except TypeError as error:
        raise StoreError(f"{folder / MANIFEST_FILE} is not a manifest: {error}") from None
    request = {part: raw[part] for part in ("kind", "inputs", "settings") if part in raw}
    if digest_json(raw.get("files")) != manifest.digest or request != _read_json(
        folder / REQUEST_FILE
    ):
        raise StoreError(
            f"{folder / MANIFEST_FILE} was changed: it does not agree with its digest and request",
            todo="Make the artefact again, or restore it from a copy",
        )
    if kind is not None and manifest.kind != kind:
        raise StoreError(f"{folder} holds {manifest.kind}, not {kind}", todo=_advice(kind))
    return manifest


def _advice(kind: str | None) -> str:
    return f"Name a folder that {_VERBS[kind]} made" if kind in _VERBS else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} does not hold a JSON object")
    return value


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("sci-interp", *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if found.get("kind") != wanted["kind"]:
        return f"it is {found.get('kind')}, not {wanted['kind']}"
    for part in ("inputs", "settings"):
        old, new = found.get(part), wanted[part]
        if not isinstance(old, dict):
            return f"it has no {part}"
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        if names:
            # The axis follows from the dataset, which says more.
            name = next((name for name in names if name != "axis"), "axis")
            return f"{name} {_change(found, wanted, name, part)}"
    return "its request differs"


def _change(found: Mapping[str, Any], wanted: Mapping[str, Any], name: str, part: str) -> str:
    """Return the old and the new value; the name of an input where the settings tell it."""
    settings = found.get("settings")
    old, new = found[part].get(name), wanted[part].get(name)
    if isinstance(settings, dict) and settings.get(name) != wanted["settings"].get(name):
        old, new = settings.get(name), wanted["settings"].get(name)
    return f"was {_shorten(old)} there and is {_shorten(new)} now"


def _shorten(value: object) -> str:
    if isinstance(value, str) and len(value) == _DIGEST_LETTERS:
        return repr(value[:_SHORT_DIGEST] + "...")
    return repr(value)
