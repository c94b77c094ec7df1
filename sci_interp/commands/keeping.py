"""Commands that look after artefacts: show, status, verify."""

from __future__ import annotations

import argparse

import sci_interp as si

from .arguments import Commands

__all__ = ["COMMANDS"]

FAULTS = 1


def _add_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="folder of an artefact, or of a study")


def _show(chosen: argparse.Namespace) -> None:
    print(si.show(chosen.path))


def _status(chosen: argparse.Namespace) -> None:
    print(si.status(chosen.path).format())


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _add_path(parser)
    parser.add_argument("--digest", default="", help="digest of the whole, from an earlier time")


def _verify(chosen: argparse.Namespace) -> int:
    found = si.verify(chosen.path, digest=chosen.digest)
    print(found.format())
    return 0 if found.intact else FAULTS


COMMANDS: Commands = {
    "show": (_show, "say what an artefact is, from what, by which version", _add_path),
    "status": (_status, "say what is done, what runs and how long it will take", _add_path),
    "verify": (_verify, "hash every artefact again; exit status 1 if any has a fault", _add_verify),
}
