"""The command line: the verbs as sub-commands of ``sci-interp``.

Heavy libraries are imported when a verb runs, so that ``--help`` answers at once. A mistake that
the user can mend ends in one message on standard error and the status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, TextIO, cast

import sci_interp as si

from .commands import COMMANDS
from .errors import SciInterpError
from .manifest import COMMAND, PROGRAM
from .texts import clean

__all__ = ["build_parser", "main"]

INTERRUPTED = 130
MISTAKE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    arguments
        The words after the program's name; those of this process by default.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    chosen = build_parser().parse_args(words)
    warnings.showwarning = _print_warning
    given = COMMAND.set(([PROGRAM, *words], getattr(chosen, "out", "") or ""))
    try:
        with redirect_stdout(cast(TextIO, _Plain(sys.stdout))):
            status: int | None = chosen.run(chosen)
        sys.stdout.flush()
    except (SciInterpError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe has seen enough; Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return MISTAKE
        print(f"sci-interp: {clean(str(error))}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("sci-interp: interrupted; the same command continues it", file=sys.stderr)
        return INTERRUPTED
    finally:
        COMMAND.reset(given)
    return status or 0


class _Plain:
    """Standard output without what would act on a terminal: names of files are printed there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text that a reader may see."""
        return self._stream.write(clean(text, keep="\n\t"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="sci-interp",
        description="Find what scientific foundation models know.",
        epilog="A verb that was interrupted continues when it is given again.",
    )
    parser.add_argument("--version", action="version", version=f"sci-interp {si.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, summary, add) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        add(command)
    return parser


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"sci-interp: warning: {clean(str(message))}", file=sys.stderr)
