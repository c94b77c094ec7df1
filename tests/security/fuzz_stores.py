"""Files of artefacts as targets: whoever made one can make its digests agree with anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

from small_run import VERBS, make, make_run, open_artefact

from sci_interp.manifest import digest_file, digest_json
from sci_interp.sae.session import CHECKPOINT_FILE

__all__ = ["replacing", "reseal", "store_targets"]

Row = tuple[str, tuple[bytes, ...], Callable[[bytes], object]]

#: Artefact -> its files that are damaged.
FILES = {
    "activations": (
        "manifest.json", "journal.jsonl", "records.parquet", "activations.zarr/zarr.json",
        "activations.zarr/activation/zarr.json", "activations.zarr/activation/c/0/0",
    ),
    "sae": ("manifest.json", "sae.json", "sae.safetensors"),
    "features": (
        "manifest.json", "features.json", "scale.safetensors", "codes.zarr/000000/zarr.json",
        "codes.zarr/000000/indptr/zarr.json", "codes.zarr/000000/indptr/c/0",
        "codes.zarr/000000/feature/c/0",
    ),
    "annotations": (
        "manifest.json", "labels.parquet", "runs.parquet", "known.parquet", "events.parquet",
    ),
    "enrichment": ("manifest.json", "sources.json", "links.parquet"),
}  # fmt: skip
_SEALED = ("manifest.json", "request.json", "journal.jsonl")


def store_targets(folder: Path) -> Iterator[Row]:
    """Yield the targets; the artefacts are made in ``folder`` where they are not there."""
    whole = folder / "whole"
    if not all((whole / kind / "manifest.json").is_file() for kind in VERBS):
        shutil.rmtree(whole, ignore_errors=True)
        make_run(whole)
    damaged = folder / "damaged"
    shutil.copytree(whole, damaged, dirs_exist_ok=True)
    for kind, names in FILES.items():
        for name in names:
            seed = (whole / kind / name).read_bytes()
            read = partial(open_artefact, kind, damaged / kind)
            yield f"{kind}, {name}", (seed,), replacing(damaged / kind, name, read)
    interrupted = folder / "interrupted"
    if not interrupted.is_dir():
        with (
            patch("sci_interp.sae.training.with_statistics", side_effect=KeyboardInterrupt),
            suppress(KeyboardInterrupt),
        ):
            make("sae", whole, interrupted)
    seed = (interrupted / CHECKPOINT_FILE).read_bytes()
    yield "sae, checkpoint", (seed,), _resuming(whole, interrupted)


def _resuming(whole: Path, interrupted: Path) -> Callable[[bytes], object]:
    """Return what goes on with a training from the bytes of a checkpoint."""
    again = interrupted.with_name("again")

    def parse(data: bytes) -> object:
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(interrupted, again)
        (again / CHECKPOINT_FILE).write_bytes(data)
        return make("sae", whole, again)

    return parse


def replacing(
    folder: Path, name: str, read: Callable[[], object], *, sealed: bool = True
) -> Callable[[bytes], object]:
    """Return what puts bytes in place of a file of an artefact, reads it, and puts all back.

    Parameters
    ----------
    folder
        The artefact.
    name
        The file.
    read
        Reads the artefact.
    sealed
        Whether manifest and journal are made to agree with the bytes.
    """
    before = {each: (folder / each).read_bytes() for each in (*_SEALED, name) if _is(folder, each)}

    def parse(data: bytes) -> object:
        (folder / name).write_bytes(data)
        if sealed:
            reseal(folder, name)
        try:
            return read()
        finally:
            (folder / name).unlink(missing_ok=True)
            for each, held in before.items():
                (folder / each).write_bytes(held)

    return parse


def _is(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def reseal(folder: Path, name: str) -> None:
    """Make manifest, request and journal agree with a file that was changed, as far as they can."""
    journal = folder / "journal.jsonl"
    if name != "journal.jsonl" and journal.is_file():
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        for line in lines:
            if name in line["files"]:
                line["files"][name] = digest_file(folder / name)
        journal.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        for each in {name, "journal.jsonl"} & manifest["files"].keys():
            manifest["files"][each] = digest_file(folder / each)
        request = {part: manifest[part] for part in ("kind", "inputs", "settings")}
        text = json.dumps(request, indent=1, sort_keys=True) + "\n"
        (folder / "request.json").write_text(text)
        if "request.json" in manifest["files"]:
            manifest["files"]["request.json"] = digest_file(folder / "request.json")
        manifest["digest"] = digest_json(manifest["files"])
        manifest["seal"] = digest_json({k: v for k, v in manifest.items() if k != "seal"})
        path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # What is no manifest any more is left as it is.
        return
