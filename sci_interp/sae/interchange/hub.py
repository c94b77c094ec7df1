"""Checkpoints of the Hugging Face hub, by ``owner/name`` or ``owner/name/folder``."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from sci_interp.errors import InputError, MissingExtraError

from . import esmc
from .reading import Source

__all__ = ["download", "is_hub_id"]

#: What a checkpoint can consist of; code is not among it.
PATTERNS = ("*.json", "*.yaml", "*.safetensors", "*.pt", "*.pth", "*.ckpt", "*.npz", "*.bin")
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(/[\w./-]+)?")


def is_hub_id(name: str) -> bool:
    """Return whether a text names something on the hub, and not a path that is missing here."""
    if not _ID.fullmatch(name) or ".." in name:
        return False
    return not Path(Path(name).parts[0]).exists()


def download(name: str, revision: str | None, *, layer: int | None = None) -> Path:
    """Return the local folder, or file, of a checkpoint on the hub.

    Parameters
    ----------
    name
        ``owner/name``, or with the folder or file inside it.
    revision
        Branch, tag or commit.
    layer
        The only layer that is wanted of a repository with a file for each.

    Raises
    ------
    MissingExtraError
        If ``huggingface_hub`` is not installed.
    InputError
        If the hub has no such thing, or cannot be reached.
    """
    owner, repository, *inner = name.split("/")
    whole = f"{owner}/{repository}"
    inside = "/".join(inner)
    if inside:
        beside = "".join(f"{folder}/" for folder in inner[:-1])
        patterns = [inside, f"{inside}/*", f"{beside}*.json"]
    else:
        root = _fetch(whole, revision, ["config.json"])
        source = Source(root)
        one = layer is not None and esmc.by_settings(source)
        patterns = ["config.json", f"layer_{layer}.safetensors"] if one else list(PATTERNS)
    found = Path(_fetch(whole, revision, patterns), *inner)
    if not found.exists():
        raise InputError(f"{whole} holds no {inside}", todo="Look at the files of the repository")
    return found


def _fetch(repository: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise MissingExtraError("huggingface_hub", "protein") from None
    try:
        return Path(
            hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns=["*.py", "*.pkl", "*.pickle"],
            )
        )
    except Exception as error:  # noqa: BLE001 - the hub's client raises what its transport raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"there is no folder {repository}, and the hub does not give it: {reason}",
            todo="Check the name, or download it and name the folder",
        ) from None
