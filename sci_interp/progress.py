"""Progress of long work, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from .locks import report

__all__ = ["track"]

_Item = TypeVar("_Item")


def track(
    items: Iterable[_Item],
    label: str,
    *,
    total: int | None = None,
    show: bool = True,
    detail: Callable[[], str] | None = None,
    stream: TextIO | None = None,
) -> Iterator[_Item]:
    """Yield the items and tell how many are done.

    A terminal gets one line that is rewritten; a log gets a line every ten seconds.

    Parameters
    ----------
    items
        What is worked on.
    label
        What is being done: ``"encode"``.
    total
        How many items there are; asked of ``items`` where they know.
    show
        False writes nothing; how far it is then is told by ``status`` alone.
    detail
        Returns what else to say in the line: the state of the work.
    stream
        Where to write; standard error by default.
    """
    stream = stream or sys.stderr
    total = len(items) if total is None and isinstance(items, Sized) else total
    started = shown = time.monotonic()
    pause = 0.2 if stream.isatty() else 10.0
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        report(label, done, total, now - started)
        if show and now - shown >= pause:
            _write(stream, label, done, total, now - started, detail)
            shown = now
    if show:
        _write(stream, label, done, total, time.monotonic() - started, detail)
        if stream.isatty():
            stream.write("\n")


def _write(
    stream: TextIO,
    label: str,
    done: int,
    total: int | None,
    seconds: float,
    detail: Callable[[], str] | None,
) -> None:
    text = f"{label}: {done}" if total is None else f"{label}: {done} of {total}"
    text += f", {seconds:.0f} s"
    if total is not None and 0 < done < total:
        text += f", about {seconds / done * (total - done):.0f} s to go"
    if detail is not None and (said := detail()):
        text += f" ({said})"
    stream.write(f"\r\x1b[K{text}" if stream.isatty() else f"{text}\n")
    stream.flush()
