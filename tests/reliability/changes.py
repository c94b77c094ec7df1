"""Ways in which a file is damaged, and whether ``verify`` finds and names each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import sci_interp as si

Change: TypeAlias = Callable[[Path, random.Random], None]


def flip(path: Path, rng: random.Random) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def flip_first(path: Path, _: random.Random) -> None:
    """Change a bit of the first byte."""
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def flip_last(path: Path, _: random.Random) -> None:
    """Change a bit of the last byte."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def truncate(path: Path, rng: random.Random) -> None:
    """Take some of the end away."""
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def lengthen(path: Path, _: random.Random) -> None:
    """Append a byte."""
    path.write_bytes(path.read_bytes() + b"\0")


def remove(path: Path, _: random.Random) -> None:
    """Take the file away."""
    path.unlink()


def rename(path: Path, _: random.Random) -> None:
    """Give the file another name."""
    path.rename(path.with_name(path.name + "0"))


CHANGES: tuple[Change, ...] = (flip, flip_first, flip_last, truncate, lengthen, remove, rename)


def named(found: si.Verification) -> set[str]:
    """Return the files with faults, by path inside the run."""
    return {(each.artefact / each.file).relative_to(found.path).as_posix() for each in found.faults}


def unnoticed(run: Path, changes: Sequence[Change], seed: int = 7) -> tuple[int, list[str]]:
    """Change every file of a run in every way, one at a time, and put it back.

    Returns
    -------
    n_tried : int
        Changes that were made.
    missed : list of str
        Those that ``verify`` did not find, or did not name.
    """
    rng = random.Random(seed)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    missed, n_tried = [], 0
    for path in files:
        data = path.read_bytes()
        artefact = next(parent for parent in path.parents if parent.parent == run)
        for change in changes:
            change(path, rng)
            found = si.verify(artefact, progress=False)
            if path.relative_to(artefact).as_posix() not in named(found):
                missed.append(f"{change.__name__} {path.relative_to(run)}")
            path.with_name(path.name + "0").unlink(missing_ok=True)
            path.write_bytes(data)
            n_tried += 1
    return n_tried, missed
