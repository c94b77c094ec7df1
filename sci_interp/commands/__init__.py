"""The commands: what each verb is told on the command line, and how it is called."""

from __future__ import annotations

import argparse

import sci_interp as si

from . import batch, keeping, linking, making, measuring
from .arguments import Commands

__all__ = ["COMMANDS"]


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study file (TOML)")
    batch.add_workers(parser)


def _run(chosen: argparse.Namespace) -> None:
    shard = batch.shard_of(chosen)
    if shard is None:
        with batch.makers_of(chosen) as makers:
            print(si.run(chosen.study, **makers).format())
        return
    from sci_interp.study_shares import run_share

    batch.print_share(chosen, run_share(chosen.study, shard=shard))


def _sbatch(chosen: argparse.Namespace) -> None:
    batch.print_script(chosen, {name: COMMANDS[name][2] for name in batch.SHARDED})


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
    "plan": (batch.print_plan, "what a study takes: bytes, hours, shards", batch.add_plan),
    "sbatch": (_sbatch, "print a script: a command as an array of SLURM tasks", batch.add_sbatch),
    "adapters": (_adapters, "list the installed adapters", _add_nothing),
    **keeping.COMMANDS,
}
