"""The commands: what each verb is told on the command line, and how it is called."""

from __future__ import annotations

import argparse

import sci_interp as si

from . import linking, making, measuring
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


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="folder of an artefact, or of a study")


def _show(chosen: argparse.Namespace) -> None:
    print(si.show(chosen.path))


COMMANDS: Commands = {
    **making.COMMANDS,
    **linking.COMMANDS,
    **measuring.COMMANDS,
    "run": (_run, "run a study from its file; what is finished is skipped", _add_run),
    "adapters": (_adapters, "list the installed adapters", _add_nothing),
    "show": (_show, "say what an artefact is, from what, by which version", _add_show),
}
