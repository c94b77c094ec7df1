"""Many workers: the arguments of verbs that work in shards, and a script for SLURM."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import sci_interp as si
from sci_interp.errors import InputError

from .arguments import parse_options, parse_pairs

if TYPE_CHECKING:
    from sci_interp.executors import Shard

__all__ = [
    "SHARDED",
    "add_plan",
    "add_sbatch",
    "add_workers",
    "makers_of",
    "print_plan",
    "print_script",
    "print_share",
    "recipe_of",
    "shard_of",
]

AddArguments: TypeAlias = Callable[[argparse.ArgumentParser], None]

#: Commands that take ``--shard``.
SHARDED = ("extract", "encode", "annotate", "enrich", "run")

SCRIPT = """\
#!/bin/bash
# {tasks} tasks make the shards; they may be requeued. Then one job puts them together.
# Run with: bash THIS_FILE
set -euo pipefail
cd {folder}
array=$(sbatch --parsable --array=0-{last} --requeue --open-mode=append --job-name={name} \\
    {options} <<'TASK'
#!/bin/bash
exec {command} --shard "$SLURM_ARRAY_TASK_ID/{tasks}"
TASK
)
sbatch --dependency="afterok:${{array%%;*}}" --job-name={name} \\
    {options} <<'LAST'
#!/bin/bash
exec {command}
LAST
"""


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add who makes the shards."""
    group = parser.add_argument_group(
        "workers", "the bytes are the same, whoever makes the shards and in whatever order"
    )
    who = group.add_mutually_exclusive_group()
    who.add_argument(
        "--workers", type=int, metavar="N", help="processes of this machine, one thread each"
    )
    who.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler, tcp://HOST:8786")
    who.add_argument(
        "--submitit", metavar="FOLDER", help="SLURM jobs; where their tasks and logs lie"
    )
    who.add_argument(
        "--shard",
        metavar="I/N",
        help="make the shards of task I (from 0) of N and stop; then give the command without it",
    )
    group.add_argument(
        "--submitit-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of submitit, e.g. slurm_partition=cpu, timeout_min=60, slurm_array_parallelism=8; "
        "may be repeated",
    )


@contextmanager
def makers_of(chosen: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
    """Yield ``workers`` or ``executor`` of a verb."""
    options = _read_options(chosen)
    if not (chosen.dask or chosen.submitit):
        yield {"workers": chosen.workers}
        return
    from sci_interp.executors import open_dask
    from sci_interp.jobs import open_submitit

    opened = open_dask(chosen.dask) if chosen.dask else open_submitit(chosen.submitit, **options)
    with opened as executor:
        yield {"executor": executor}


def _read_options(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the options of submitit; what is JSON is read as such, other values are texts."""
    pairs = parse_pairs("--submitit-option", chosen.submitit_option)
    if pairs and not chosen.submitit:
        raise InputError("--submitit-option is for jobs", todo="Add --submitit FOLDER")
    return {name: _read_value(value) for name, value in pairs.items()}


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def shard_of(chosen: argparse.Namespace) -> Shard | None:
    """Return the task of an array, or None where all is to be made."""
    if not chosen.shard:
        return None
    from sci_interp.executors import parse_shard

    return parse_shard(chosen.shard)


def recipe_of(chosen: argparse.Namespace) -> si.Recipe:
    """Return how workers open the adapter and the data that the arguments name."""
    return si.Recipe(
        chosen.adapter,
        model=chosen.model,
        data=chosen.data,
        options=parse_options(chosen),
        control=getattr(chosen, "control", None) or "",
        seed=getattr(chosen, "seed", 0),
    )


def print_share(chosen: argparse.Namespace, n_shards: int) -> None:
    """Say what a task of an array did."""
    print(f"task {chosen.shard}: {n_shards} shards are there; the last step is without --shard")


def add_sbatch(parser: argparse.ArgumentParser) -> None:
    """Add what an array of tasks is."""
    parser.add_argument("--tasks", type=int, required=True, metavar="N", help="tasks of the array")
    parser.add_argument(
        "--sbatch-option",
        action="append",
        default=[],
        metavar="--NAME=VALUE",
        help="passed on to sbatch, e.g. --sbatch-option=--time=4:00:00; may be repeated",
    )
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help=f"one of: {', '.join(SHARDED)}"
    )


def print_script(chosen: argparse.Namespace, parsers: Mapping[str, AddArguments]) -> None:
    """Print the script that submits a command as an array of tasks.

    Parameters
    ----------
    chosen
        Of :func:`add_sbatch`.
    parsers
        What adds the arguments of each command that may stand there.

    Raises
    ------
    InputError
        If the command works in no shards, or says itself who makes them.
    """
    words = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
    if not words or words[0] not in SHARDED:
        raise InputError(
            f"sbatch is given the command {' '.join(words[:1]) or 'nothing'!r}",
            allowed=", ".join(SHARDED),
        )
    if chosen.tasks < 1:
        raise InputError(f"--tasks {chosen.tasks} is not usable", allowed="1 or more")
    _require_usable(words, parsers[words[0]])
    command = shlex.join([sys.executable, "-m", "sci_interp", *words])
    print(
        SCRIPT.format(
            tasks=chosen.tasks,
            last=chosen.tasks - 1,
            folder=shlex.quote(str(Path.cwd())),
            name=f"sci-interp-{words[0]}",
            options=shlex.join(chosen.sbatch_option),
            command=command,
        ),
        end="",
    )


def _require_usable(words: Sequence[str], add: AddArguments) -> None:
    """Refuse here what every task would refuse."""
    parser = argparse.ArgumentParser(prog=f"sci-interp {words[0]}")
    add(parser)
    chosen = parser.parse_args(list(words[1:]))
    if chosen.shard or chosen.dask or chosen.submitit or chosen.workers:
        raise InputError(
            "the command of sbatch says who makes the shards",
            allowed="a command without --shard, --dask, --submitit and --workers",
        )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add what is planned."""
    parser.add_argument("study", help="a study file (TOML)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tokens", type=int, metavar="N", help="plan for so many tokens")
    size.add_argument("--records", type=int, metavar="N", help="plan for so many records")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="that share the shards")


def print_plan(chosen: argparse.Namespace) -> None:
    """Measure a pilot, and print bytes, hours and shards."""
    made = si.plan(
        chosen.study, tokens=chosen.tokens, records=chosen.records, workers=chosen.workers
    )
    print(made.format())
