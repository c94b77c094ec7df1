"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import sci_interp as si
from sci_interp.errors import InputError
from sci_interp.quarantine import MOST_QUARANTINED, ON_ERROR
from sci_interp.schema import SPLITS
from sci_interp.study import is_address

if TYPE_CHECKING:
    from sci_interp.adapter import Adapter, Dataset
    from sci_interp.axis import OnAxis

__all__ = [
    "Commands",
    "add_data",
    "add_like",
    "add_out",
    "add_quarantine",
    "add_seed",
    "add_splits",
    "open_data",
    "open_like",
    "parse_options",
    "parse_pairs",
    "parse_shares",
    "print_made",
    "read_quarantine",
]

#: What runs a command and returns its exit status (None is 0), what it does, and what tells the
#: parser its arguments; by its name.
Commands: TypeAlias = Mapping[
    str,
    tuple[
        Callable[[argparse.Namespace], int | None], str, Callable[[argparse.ArgumentParser], None]
    ],
]


def add_data(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add what names an adapter, its model and its data."""
    group = parser.add_argument_group("model and data")
    group.add_argument("--adapter", required=required, help="see: sci-interp adapters")
    group.add_argument("--model", help="hub id or folder; the embedded default without it")
    group.add_argument("--data", metavar="PATH", help="the adapter's reference set without it")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="further files, e.g. features=features.tsv; may be repeated",
    )


def add_splits(parser: argparse.ArgumentParser) -> None:
    """Add the shares of the splits."""
    shares = ",".join(f"{split}=SHARE" for split in SPLITS)
    parser.add_argument("--splits", metavar=shares, help="shares of the blocks; they add up to 1")


def add_like(parser: argparse._ActionsContainer) -> None:
    """Add whose records in quarantine are left out."""
    parser.add_argument(
        "--like",
        metavar="FOLDER",
        help="of extract, encode or annotate: leave out the records that it left out",
    )


def add_quarantine(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of records that cannot be used."""
    group = parser.add_argument_group("records that cannot be used")
    group.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="raise",
        help="stop at such a record (default), or leave it out, count it and list it",
    )
    group.add_argument(
        "--most-quarantined",
        type=float,
        default=MOST_QUARANTINED,
        metavar="SHARE",
        help=f"largest share of the records that may be left out; {MOST_QUARANTINED:g} without it",
    )
    add_like(group)


def open_like(chosen: argparse.Namespace) -> OnAxis | None:
    """Return the artefact whose records in quarantine are left out."""
    if chosen.like is None:
        return None
    from sci_interp.manifest import read_manifest

    kind = read_manifest(chosen.like).kind
    openers: Mapping[str, Callable[[str], OnAxis]] = {
        "activations": si.ActivationStore.open,
        "features": si.FeatureStore.open,
        "annotations": si.AnnotationStore.open,
    }
    if kind not in openers:
        raise InputError(f"--like {chosen.like} is {kind}", allowed=", ".join(openers))
    return openers[kind](chosen.like)


def read_quarantine(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments of :func:`add_quarantine` say."""
    return {
        "on_error": chosen.on_error,
        "most_quarantined": chosen.most_quarantined,
        "like": open_like(chosen),
    }


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the artefact."""
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the artefact")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add the seed."""
    parser.add_argument("--seed", type=int, default=0)


def open_data(chosen: argparse.Namespace) -> tuple[Adapter, Dataset]:
    """Return the adapter and the dataset that the arguments name."""
    adapter = si.load_adapter(chosen.adapter, model=chosen.model)
    return adapter, adapter.open(chosen.data, **parse_options(chosen))


def parse_options(chosen: argparse.Namespace) -> dict[str, Path | str]:
    """Return the further options of the adapter's ``open``."""
    pairs = parse_pairs("--option", chosen.option)
    return {name: value if is_address(value) else Path(value) for name, value in pairs.items()}


_EXAMPLES = {
    "--baseline": "NAME=FOLDER, e.g. shuffled=run/shuffled-features",
    "--grid": "NAME=VALUE,VALUE, e.g. architecture=topk,batch_topk",
    "--option": "NAME=PATH, e.g. features=features.tsv",
    "--submitit-option": "NAME=VALUE, e.g. slurm_partition=cpu",
    "--splits": "NAME=SHARE, e.g. train=0.4,discovery=0.3,test=0.3",
}


def parse_pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """Return the words ``NAME=VALUE`` of an option as a mapping."""
    pairs: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign and value):
            raise InputError(f"{option} {word!r} cannot be read", allowed=_EXAMPLES[option])
        if name in pairs:
            raise InputError(f"{option}: {name} is given twice", todo="Give it once")
        pairs[name] = value
    return pairs


def parse_shares(words: str | None) -> Mapping[Any, float] | None:
    """Return the shares of the splits, or None where none are given."""
    if words is None:
        return None
    try:
        return {
            name: float(value) for name, value in parse_pairs("--splits", words.split(",")).items()
        }
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        allowed = f"{_EXAMPLES['--splits']}; shares are numbers"
        raise InputError(f"--splits {words!r} cannot be read", allowed=allowed) from None


def print_made(out: str) -> None:
    """Say what was made, from what."""
    print(si.show(out).partition("\n  settings")[0])
