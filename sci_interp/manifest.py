"""Provenance: what an artefact is, from what it was made, and whether it is finished.

An artefact is a folder. ``request.json`` is written first and says what is being made; work may be
interrupted and resumed only under the same request. ``manifest.json`` is written last: a folder
without it is unfinished.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from .differences import first_difference
from .disk import digest_file, digest_json, is_inside, read_json, sync_folder, write_atomically
from .errors import SciInterpError, StoreError
from .locks import acquire, discard_stale, is_held, is_lock_name, release
from .schema import FAILURE_FILE, JOURNAL_FILE, MANIFEST_FILE, REQUEST_FILE

__all__ = [
    "COMMAND",
    "PROGRAM",
    "VERBS",
    "Manifest",
    "begin_artefact",
    "clear_on_mistake",
    "digest_file",
    "digest_json",
    "finish_artefact",
    "format_manifest",
    "is_finished",
    "parse_manifest",
    "read_json",
    "read_manifest",
    "sync_folder",
    "write_atomically",
]

#: The words of the command line that this process was given, and among them the output folder;
#: functions that are called in Python have none.
COMMAND: ContextVar[tuple[Sequence[str], str]] = ContextVar("COMMAND", default=((), ""))
#: First of these words.
PROGRAM = "sci-interp"

_LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "torch", "transformers", "zarr")

#: Who makes an artefact of a kind; others are made by functions without a verb.
VERBS = {
    "activations": "extract",
    "sae": "train",
    "sweep": "sweep",
    "features": "encode",
    "annotations": "annotate",
    "calibration": "calibrate",
    "enrichment": "enrich",
    "candidates": "surface",
    "intervention": "intervene",
    "match": "match",
    "evaluation": "evaluate",
}


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
    command : str
        The command line that finished it, where there was one; ``{folder}`` (or ``{parent}``)
        stands for its own folder, so that the same work into another folder is the same artefact.
    seal : str
        SHA-256 over all of the above, so that a change of any is noticed. Empty where an early
        version of this library made it.
    """

    kind: str
    digest: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    seal: str = ""

    def command_in(self, folder: Path) -> str:
        """Return the command line that makes the artefact in a folder."""
        names = {"{folder}": folder, "{parent}": folder.parent}
        words = (str(names.get(word, word)) for word in shlex.split(self.command))
        return shlex.join(words)

    @property
    def expected_seal(self) -> str:
        """The seal that agrees with the other fields."""
        return digest_json({name: value for name, value in asdict(self).items() if name != "seal"})


def is_finished(folder: Path) -> bool:
    """Return whether ``folder`` holds a finished artefact."""
    return (folder / MANIFEST_FILE).is_file()


def begin_artefact(
    folder: Path, kind: str, *, inputs: Mapping[str, str], settings: Mapping[str, Any]
) -> bool:
    """Claim ``folder`` for one artefact and return whether it is already finished.

    Where it is not, this thread holds the folder's lock from now on, until the artefact is finished
    or :func:`clear_on_mistake` is left by an error.

    Raises
    ------
    StoreError
        If the folder holds an artefact of another request, or other files, or cannot be made.
    LockedError
        If another process or thread is writing it.
    """
    request = {"kind": kind, "inputs": dict(inputs), "settings": dict(settings)}
    request = json.loads(json.dumps(request, sort_keys=True))
    if _is_requested(folder, request) and is_finished(folder):
        discard_stale(folder)
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {folder} cannot be made: {error.strerror or error}",
            todo="Choose an output folder where you may write",
        ) from error
    acquire(folder)
    try:
        # Another process may have been here between the look above and the lock.
        if not _is_requested(folder, request):
            text = json.dumps(request, indent=1, sort_keys=True) + "\n"
            write_atomically(folder / REQUEST_FILE, text)
        (folder / FAILURE_FILE).unlink(missing_ok=True)
    except BaseException:
        release(folder)
        raise
    if is_finished(folder):
        release(folder)
        return True
    return False


def _is_requested(folder: Path, request: Mapping[str, Any]) -> bool:
    """Return whether the folder was claimed for the request; refuse it where it holds more."""
    path = folder / REQUEST_FILE
    if path.is_file():
        found = read_json(path)
        if found != request:
            raise StoreError(
                f"{folder} holds other work: {first_difference(found, request)}",
                todo="Choose another output folder, or delete this one",
            )
        return True
    # A run that was killed inside its first write leaves the request's temporary file, or a lock.
    begun = {REQUEST_FILE + ".tmp", FAILURE_FILE}
    if folder.exists() and (
        not folder.is_dir()
        or any(path.name not in begun and not is_lock_name(path.name) for path in folder.iterdir())
    ):
        raise StoreError(
            f"{folder} exists and is not an artefact of this library",
            todo="Choose another output folder",
        )
    return False


@contextmanager
def clear_on_mistake(*folders: Path, committed: str = JOURNAL_FILE) -> Iterator[None]:
    """Remove artefacts that a mistake stops before any part of them is committed, and their locks.

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
    except BaseException as error:
        for folder in folders:
            if is_held(folder) and not is_finished(folder):
                if isinstance(error, SciInterpError) and not (folder / committed).is_file():
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    _note_failure(folder, error)
            release(folder)
        raise


def _note_failure(folder: Path, error: BaseException) -> None:
    """Leave a word for ``status``; where the disk refuses that too, there is none."""
    with suppress(OSError):
        text = f"{type(error).__name__}: {error}\n"
        (folder / FAILURE_FILE).write_text(text, encoding="utf-8")


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
    request = read_json(folder / REQUEST_FILE)
    digests = dict(files or {})
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in digests and not name.endswith(".tmp"):
            digests[name] = digest_file(path)
    digests.pop(MANIFEST_FILE, None)
    ordered = dict(sorted(digests.items()))
    manifest = Manifest(
        digest=digest_json(ordered),
        versions=_versions(),
        files=ordered,
        command="" if _is_part(folder) else _command(folder),
        **request,
    )
    manifest = replace(manifest, seal=manifest.expected_seal)
    write_atomically(folder / MANIFEST_FILE, format_manifest(manifest))
    release(folder)
    return manifest


def format_manifest(manifest: Manifest) -> str:
    """Return the text of ``manifest.json``."""
    return json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n"


def _command(folder: Path) -> str:
    words, out = COMMAND.get()
    where = folder.resolve()
    names = {where: "{folder}", where.parent: "{parent}"}
    place = names.get(Path(out).resolve(), out) if out else out
    return shlex.join(place if out and word == out else word for word in words)


def _is_part(folder: Path) -> bool:
    """Return whether an artefact lies in another, whose command made both."""
    return (folder.absolute().parent / REQUEST_FILE).is_file()


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
    manifest = parse_manifest(folder / MANIFEST_FILE)
    request = {part: getattr(manifest, part) for part in ("kind", "inputs", "settings")}
    if request != read_json(folder / REQUEST_FILE):
        raise _changed(folder / MANIFEST_FILE)
    if kind is not None and manifest.kind != kind:
        raise StoreError(f"{folder} holds {manifest.kind}, not {kind}", todo=_advice(kind))
    return manifest


def parse_manifest(path: Path) -> Manifest:
    """Return the contents of a ``manifest.json`` that agrees with its own digest and seal.

    Raises
    ------
    StoreError
        If it cannot be read, is no manifest, or was changed.
    """
    try:
        manifest = Manifest(**read_json(path))
    except TypeError as error:
        raise StoreError(f"{path} is not a manifest: {error}") from None
    if wrong := _wrong_field(manifest):
        raise StoreError(f"{path} is not a manifest: {wrong}")
    if manifest.seal not in ("", manifest.expected_seal) or manifest.digest != digest_json(
        manifest.files
    ):
        raise _changed(path)
    return manifest


def _wrong_field(manifest: Manifest) -> str:
    """Return what no manifest of this library holds; empty where there is nothing."""
    for each in fields(manifest):
        value = getattr(manifest, each.name)
        if not isinstance(value, str if each.type == "str" else dict):
            return f"{each.name!r} is {type(value).__name__}"
    for name in ("inputs", "versions", "files"):
        if not all(isinstance(value, str) for value in getattr(manifest, name).values()):
            return f"{name!r} holds something else than texts"
    outside = [name for name in manifest.files if not is_inside(name)]
    if outside:
        return f"the file {outside[0]!r} is not in its folder"
    try:
        words = shlex.split(manifest.command)
    except ValueError:
        words = [manifest.command]
    # It is shown to be given again, and anyone may have written it.
    return f"{manifest.command!r} is no command" if words and words[0] != PROGRAM else ""


def _changed(path: Path) -> StoreError:
    return StoreError(
        f"{path} was changed: it does not agree with its digest, seal and request",
        todo="Make the artefact again, or restore it from a copy",
    )


def _advice(kind: str | None) -> str:
    return f"Name a folder that {VERBS[kind]} made" if kind in VERBS else ""


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("sci-interp", *_LIBRARIES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
