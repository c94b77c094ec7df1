"""The commands: what each verb is told on the command line, and how it is called."""

from __future__ import annotations

import argparse

import sci_interp as si

from . import keeping, linking, making, measuring
from .arguments import Commands

__all__ = ["COMMANDS"]


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study file (TOML)")


def _run(chosen: argparse.Namespace) -> None:
    print(si.run(chosen.study).format())


def _add_nothing(_: argparse.ArgumentParser) -> None:
    return


def _adapters(_: argparse.Namespace) -> None:
    for info in si.adapters():
        print(f"{info.name}\t{info.distribution}\t{info.target}")


COMMANDS: Commands = {
    **making.COMMANDS,
    **linking.COMMANDS,
    **measuring.COMMANDS,
    "run": (_run, "run a study from its file; what is finished is skipped", _add_run),
    "adapters": (_adapters, "list the installed adapters", _add_nothing),
    **keeping.COMMANDS,
}
