"""The command line: the verbs as sub-commands of ``sci-interp``.

Heavy libraries are imported when a verb runs, so that ``--help`` answers at once. A mistake that
the user can mend ends in one message on standard error and the status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sci_interp as si

from .errors import InputError, SciInterpError
from .schema import SPLITS

if TYPE_CHECKING:
    from .adapter import Adapter, Dataset

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
    chosen = build_parser().parse_args(arguments)
    warnings.showwarning = _print_warning
    try:
        chosen.run(chosen)
        sys.stdout.flush()
    except (SciInterpError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe has seen enough; Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return MISTAKE
        print(f"sci-interp: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("sci-interp: interrupted; the same command continues it", file=sys.stderr)
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="sci-interp",
        description="Find what scientific foundation models know.",
        epilog="A verb that was interrupted continues when it is given again.",
    )
    parser.add_argument("--version", action="version", version=f"sci-interp {si.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, summary, add) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        add(command)
    return parser


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"sci-interp: warning: {message}", file=sys.stderr)


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model and data")
    group.add_argument("--adapter", required=True, help="see: sci-interp adapters")
    group.add_argument("--model", help="hub id or folder; the embedded default without it")
    group.add_argument("--data", metavar="PATH", help="the adapter's reference set without it")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="further files, e.g. features=features.tsv; may be repeated",
    )


def _add_splits(parser: argparse.ArgumentParser) -> None:
    shares = ",".join(f"{split}=SHARE" for split in SPLITS)
    parser.add_argument("--splits", metavar=shares, help="shares of the blocks; they add up to 1")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the artefact")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0)


def _add_extract(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument(
        "--layer", action="append", help="a layer's name; may be repeated; the default without it"
    )
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    _add_splits(parser)
    _add_out(parser)


def _extract(chosen: argparse.Namespace) -> None:
    adapter, dataset = _open_data(chosen)
    layers = chosen.layer or [adapter.default_layer]
    layer = layers[0] if len(layers) == 1 else layers
    si.extract(
        adapter,
        dataset,
        layer=layer,
        out=chosen.out,
        dtype=chosen.dtype,
        fractions=_parse_shares(chosen.splits),
    )
    _print_made(chosen.out)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("activations", help="folder that extract made")
    parser.add_argument("--features", type=int, required=True, help="number of features")
    parser.add_argument("--k", type=int, required=True, help="active features per token")
    parser.add_argument("--architecture", choices=("topk", "batchtopk"), default="topk")
    parser.add_argument("--n-tokens", type=int, help="tokens to train on")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    _add_seed(parser)
    _add_out(parser)


def _train(chosen: argparse.Namespace) -> None:
    given = ("n_tokens", "batch_size", "learning_rate")
    settings = {name: value for name in given if (value := getattr(chosen, name)) is not None}
    si.train(
        si.ActivationStore.open(chosen.activations),
        out=chosen.out,
        features=chosen.features,
        k=chosen.k,
        seed=chosen.seed,
        architecture=chosen.architecture,
        **settings,
    )
    _print_made(chosen.out)


def _add_encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae", help="folder that train made")
    parser.add_argument("activations", help="folder that extract made")
    _add_out(parser)


def _encode(chosen: argparse.Namespace) -> None:
    source = si.ActivationStore.open(chosen.activations)
    si.encode(si.load_sae(chosen.sae), source, out=chosen.out)
    _print_made(chosen.out)


def _add_annotate(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_splits(parser)
    _add_out(parser)


def _annotate(chosen: argparse.Namespace) -> None:
    adapter, dataset = _open_data(chosen)
    si.annotate(adapter, dataset, out=chosen.out, fractions=_parse_shares(chosen.splits))
    _print_made(chosen.out)


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


def _open_data(chosen: argparse.Namespace) -> tuple[Adapter, Dataset]:
    adapter = si.load_adapter(chosen.adapter, model=chosen.model)
    options = {name: Path(value) for name, value in _parse_pairs(chosen.option).items()}
    return adapter, adapter.open(chosen.data, **options)


def _parse_pairs(words: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign and value):
            raise InputError(f"{word!r} cannot be read", allowed="NAME=VALUE")
        if name in pairs:
            raise InputError(f"{name} is given twice")
        pairs[name] = value
    return pairs


def _parse_shares(words: str | None) -> Mapping[Any, float] | None:
    if words is None:
        return None
    try:
        return {name: float(value) for name, value in _parse_pairs(words.split(",")).items()}
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the splits {words!r} cannot be read", allowed="numbers") from None


def _print_made(out: str) -> None:
    print(si.show(out).partition("\n  settings")[0])


_Run = Callable[[argparse.Namespace], None]
_Add = Callable[[argparse.ArgumentParser], None]

_COMMANDS: Mapping[str, tuple[_Run, str, _Add]] = {
    "extract": (_extract, "run the network and store a layer's activations", _add_extract),
    "train": (_train, "train a sparse autoencoder on activations", _add_train),
    "encode": (_encode, "turn activations into sparse features", _add_encode),
    "annotate": (_annotate, "store what is known of every token", _add_annotate),
    "run": (_run, "run a study from its file; what is finished is skipped", _add_run),
    "adapters": (_adapters, "list the installed adapters", _add_nothing),
    "show": (_show, "say what an artefact is, from what, by which version", _add_show),
}
