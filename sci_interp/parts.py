"""Parts: shards of an unfinished artefact, made beside it by any number of workers.

Parts lie in ``NAME.parts`` beside the folder ``NAME`` of the artefact, under the digest of its
request, so that workers with other settings or data never meet. A worker makes a part in a folder
of its own and renames it once it is durable: a part is whole or absent, and one that is made twice
is kept once. Only the process that writes the artefact takes parts into it. A part's receipt says
of which request and shard it is, and the digest of every file: a part that does not agree with its
receipt is dropped, and made again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .differences import first_difference
from .disk import (
    CONTINUE,
    digest_file,
    digest_json,
    is_inside,
    read_json,
    sync_folder,
    write_atomically,
)
from .errors import StoreError
from .journal import Commit
from .manifest import is_finished
from .schema import REQUEST_FILE

__all__ = ["Parts", "count_parts"]

RECEIPT_FILE = "receipt.json"
_SUFFIX = ".parts"
_KEY_LETTERS = 16
#: What renaming a folder onto one that is not empty says.
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


class Parts:
    """The parts of one artefact that are on disk.

    Parameters
    ----------
    out
        Folder of the artefact; it need not exist yet.
    kind, inputs, settings
        The request, as :func:`~sci_interp.manifest.begin_artefact` is given it.

    Attributes
    ----------
    key : str
        Digest of the request: workers that were asked for the same artefact have the same.
    """

    def __init__(
        self, out: Path, kind: str, *, inputs: Mapping[str, str], settings: Mapping[str, Any]
    ) -> None:
        # Relative folders are another place to a worker; "." has no name to put a suffix to.
        self._out = out.absolute()
        request = {"kind": kind, "inputs": dict(inputs), "settings": dict(settings)}
        self._request: dict[str, Any] = json.loads(json.dumps(request))
        self.key = digest_json(self._request)
        self._folder = self._out.with_name(self._out.name + _SUFFIX) / self.key[:_KEY_LETTERS]
        #: Shards whose bytes this process has written or checked.
        self._checked: set[int] = set()

    @property
    def folder(self) -> Path:
        """Where the parts lie."""
        return self._folder

    def is_needed(self) -> bool:
        """Return whether the artefact is unfinished.

        Raises
        ------
        StoreError
            If the artefact's folder holds other work.
        """
        path = self._out / REQUEST_FILE
        if path.is_file() and (found := read_json(path)) != self._request:
            raise StoreError(
                f"{self._out} holds other work: {first_difference(found, self._request)}",
                todo="Choose another output folder, or delete this one",
            )
        return not is_finished(self._out)

    def require_key(self, key: str) -> None:
        """Refuse to make parts of another artefact than the one that was asked for.

        Raises
        ------
        StoreError
            If this worker's model, data or encoder differ from those of who gave it the task.
        """
        if self.key != key:
            raise StoreError(
                f"a worker opened another model, other data or another encoder for {self._out} "
                "than the process that gave it the task",
                todo="Let both open the same files with the same versions of the libraries",
            )

    def names(self) -> set[int]:
        """Return the shards that are there, unchecked."""
        if not self._folder.is_dir():
            return set()
        return {int(path.name) for path in self._folder.iterdir() if path.name.isdigit()}

    def has(self, shard: int) -> bool:
        """Return whether a shard is there and sound; what is left of another is dropped.

        The bytes are read once, by whoever did not write them.
        """
        if not self._place(shard).is_dir():
            return False
        if shard in self._checked or self._is_sound(shard):
            self._checked.add(shard)
            return True
        self.drop(shard)
        return False

    def make(
        self, shard: int, write: Callable[[Path], tuple[Mapping[str, str], Mapping[str, Any]]]
    ) -> None:
        """Make one part, unless it is there and sound.

        Parameters
        ----------
        shard
            Its number.
        write
            Writes its files into a folder, durably; returns their SHA-256 by path inside the
            folder, which is their path inside the artefact, and what else its journal shall keep.

        Raises
        ------
        StoreError
            If the disk refuses, or another worker made other bytes of the same shard.
        """
        if self.has(shard):
            return
        place = self._place(shard)
        temporary = self._temporary(shard)
        try:
            temporary.mkdir(parents=True)
            files, info = write(temporary)
            receipt = self._sign(shard, dict(sorted(files.items())), dict(info))
            write_atomically(temporary / RECEIPT_FILE, json.dumps(receipt, sort_keys=True))
            self._place_whole(temporary, place, receipt)
            self._checked.add(shard)
        except OSError as error:
            raise StoreError(
                f"{place} cannot be written: {error.strerror or error}", todo=CONTINUE
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def read_file(self, shard: int, name: str) -> Path:
        """Return the path of a file of a part that stays where it is."""
        return self._place(shard) / name

    def take(self, shard: int) -> Commit | None:
        """Move the files of a part into the artefact, durably, and return what to commit.

        The part's receipt stays until :meth:`drop`, so that a killed run can take it again.
        Returns None where there is no sound part.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        if not self.has(shard):
            return None
        place = self._place(shard)
        receipt = read_json(place / RECEIPT_FILE)
        names = list(receipt["files"])
        if not all((place / name).is_file() or (self._out / name).is_file() for name in names):
            self.drop(shard)
            return None
        try:
            for name in names:
                if (place / name).is_file():
                    (self._out / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(place / name, self._out / name)  # noqa: PTH105 - across folders
            for folder in sorted({each for name in names for each in _folders(name)}):
                sync_folder(self._out / folder)
        except OSError as error:
            raise StoreError(
                f"{place} cannot be moved into {self._out}: {error.strerror or error}",
                todo=CONTINUE,
            ) from error
        return Commit(shard, receipt["files"], receipt["info"])

    def drop(self, shard: int) -> None:
        """Remove what is left of a part."""
        self._checked.discard(shard)
        place = self._place(shard)
        # Its name goes first: a part that is half removed would look like one that is damaged.
        with suppress(OSError):
            place = place.rename(self._temporary(shard))
        shutil.rmtree(place, ignore_errors=True)

    def discard(self) -> None:
        """Remove all parts, and what killed workers left of theirs."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._folder.parent.rmdir()

    def _place(self, shard: int) -> Path:
        return self._folder / f"{shard:06d}"

    def _temporary(self, shard: int) -> Path:
        return self._folder / f"{shard:06d}.{uuid.uuid4().hex}.tmp"

    def _sign(
        self, shard: int, files: Mapping[str, str], info: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return a receipt, which says itself whether its own text is as it was written."""
        receipt = {"request": self.key, "shard": shard, "files": files, "info": info}
        return {**receipt, "digest": digest_json(receipt)}

    def _is_sound(self, shard: int) -> bool:
        """Return whether the receipt is of this request and shard, and all files agree with it."""
        place = self._place(shard)
        try:
            receipt = read_json(place / RECEIPT_FILE)
            files, info = dict(receipt["files"]), dict(receipt["info"])
            if receipt != self._sign(shard, files, info) or not all(map(is_inside, files)):
                return False
            return all(self._digest(place, name) == digest for name, digest in files.items())
        except (StoreError, OSError, LookupError, TypeError, ValueError):
            return False

    def _digest(self, place: Path, name: str) -> str:
        """Return the digest of a file of a part, which may be moved into the artefact by now."""
        try:
            return digest_file(place / name)
        except FileNotFoundError:
            return digest_file(self._out / name)

    def _place_whole(self, temporary: Path, place: Path, receipt: Mapping[str, Any]) -> None:
        try:
            temporary.rename(place)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            other = place / RECEIPT_FILE
            # A part that was taken away meanwhile is fine as well.
            if other.is_file() and read_json(other) != receipt:
                raise StoreError(
                    f"{place} came out differently in two workers",
                    todo="Run all workers on machines of one kind, with the same versions of the "
                    "libraries and as many threads each",
                ) from None
        else:
            sync_folder(place.parent)


def count_parts(folder: Path) -> dict[Path, int]:
    """Return the number of whole parts that wait below a folder, by their folder ``NAME.parts``."""
    found = {}
    for place in sorted(folder.rglob(f"*{_SUFFIX}")):
        n = sum(each.parent.name.isdigit() for each in place.glob(f"*/*/{RECEIPT_FILE}"))
        if n:
            found[place] = n
    return found


def _folders(name: str) -> list[Path]:
    """Return the folders of a relative path, up to the folder that it is relative to."""
    return list(Path(name).parents)
