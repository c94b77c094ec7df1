"""Commands that make artefacts from models and data: extract, train, sweep, encode, annotate."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sci_interp as si
from sci_interp.disk import reading
from sci_interp.errors import InputError
from sci_interp.manifest import read_manifest
from sci_interp.quarantine import ATTRIBUTE, from_columns
from sci_interp.schema import MANIFEST_FILE
from sci_interp.study import ARCHITECTURES, LAYERED_ARCHITECTURES, PRECISIONS

from .arguments import (
    Commands,
    add_data,
    add_like,
    add_out,
    add_quarantine,
    add_seed,
    add_splits,
    open_like,
    parse_pairs,
    parse_shares,
    print_made,
    read_quarantine,
)
from .batch import add_workers, makers_of, print_share, recipe_of, shard_of

if TYPE_CHECKING:
    from sci_interp.streams import ActivationStream

__all__ = ["COMMANDS"]

_Source = TypeVar("_Source", "si.ActivationStore", "ActivationStream")


def _add_extract(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument(
        "--layer", action="append", help="a layer's name; may be repeated; the default without it"
    )
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument(
        "--control",
        choices=("weights", "inputs"),
        help="shuffle the network's weights, or take decoys of the inputs",
    )
    add_splits(parser)
    add_quarantine(parser)
    add_seed(parser)
    add_workers(parser)
    add_out(parser)


def _extract(chosen: argparse.Namespace) -> None:
    from sci_interp.activations import extract_share

    recipe, shard = recipe_of(chosen), shard_of(chosen)
    adapter, dataset = recipe.open_once()
    layers = chosen.layer or [adapter.default_layer]
    given: dict[str, Any] = {
        "layer": layers[0] if len(layers) == 1 else layers,
        "out": chosen.out,
        "dtype": chosen.dtype,
        "fractions": parse_shares(chosen.splits),
        **read_quarantine(chosen),
    }
    if shard is not None:
        print_share(chosen, extract_share(recipe, shard=shard, **given))
        return
    with makers_of(chosen) as makers:
        si.extract(adapter, dataset, recipe=recipe, **given, **makers)
    print_made(chosen.out)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "activations",
        nargs="*",
        help="folder that extract made; of a transcoder the layer read and the layer written, of a "
        "crosscoder all; without it, --adapter runs the network on the way",
    )
    _add_stream(parser)
    parser.add_argument("--features", type=int, required=True, help="number of features")
    parser.add_argument("--k", type=int, required=True, help="active features per token")
    parser.add_argument(
        "--architecture", choices=(*ARCHITECTURES, *LAYERED_ARCHITECTURES), default="topk"
    )
    parser.add_argument("--penalty", type=float, help="of activity, in place of steering it to k")
    parser.add_argument("--revival", choices=("auxiliary", "resampling"), help="of dead features")
    parser.add_argument("--centre", choices=("mean", "geometric_median"), help="first decoder bias")
    parser.add_argument("--whitening", action="store_true", help="decorrelate the channels first")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="in which features are chosen; default the fastest"
    )
    parser.add_argument("--n-tokens", type=int, help="tokens to train on")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--patience", type=int, help="tokens without progress; then it ends early")
    parser.add_argument("--accumulate", type=int, help="micro-batches of a step; less memory")
    parser.add_argument("--device", help="cpu (default), cuda, cuda:1, or auto")
    parser.add_argument(
        "--parallel", action="store_true", help="share each batch with torchrun's other processes"
    )
    add_seed(parser)
    add_out(parser)


def _train(chosen: argparse.Namespace) -> None:
    given = (
        "n_tokens",
        "batch_size",
        "learning_rate",
        "penalty",
        "revival",
        "centre",
        "accumulate",
        "patience",
        "precision",
        "device",
    )
    settings = {name: value for name in given if (value := getattr(chosen, name)) is not None}
    si.train(
        _open_source(chosen, chosen.activations),
        out=chosen.out,
        features=chosen.features,
        k=chosen.k,
        seed=chosen.seed,
        architecture=chosen.architecture,
        whitening=chosen.whitening,
        parallel=chosen.parallel,
        **settings,
    )
    if os.environ.get("RANK", "0") == "0":
        print_made(chosen.out)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("activations", nargs="*", help="as for train")
    _add_stream(parser)
    parser.add_argument(
        "--grid",
        action="append",
        required=True,
        metavar="NAME=VALUE,VALUE",
        help="values of a setting of train, e.g. k=8,16; may be repeated: every combination is run",
    )
    parser.add_argument("--n-tokens", type=int, help="tokens that every run is trained on")
    parser.add_argument("--batch-size", type=int)
    add_out(parser)


def _sweep(chosen: argparse.Namespace) -> None:
    given = ("n_tokens", "batch_size")
    settings = {name: value for name in given if (value := getattr(chosen, name)) is not None}
    made = si.sweep(
        _open_source(chosen, chosen.activations),
        out=chosen.out,
        grid={
            name.replace("-", "_"): [_read_value(word) for word in words.split(",")]
            for name, words in parse_pairs("--grid", chosen.grid).items()
        },
        **settings,
    )
    print(made.format())


def _read_value(word: str) -> int | float | bool | str:
    """Return the number or truth value that a word is, or the word."""
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _add_stream(parser: argparse.ArgumentParser) -> None:
    """Add what stands in for stored activations: a network, its data and a layer."""
    add_data(parser, required=False)
    parser.add_argument(
        "--layer", action="append", help="of the network; may be repeated; the default without it"
    )
    add_splits(parser)
    add_quarantine(parser)


def _open_source(
    chosen: argparse.Namespace, folders: Sequence[str]
) -> si.ActivationStore | si.StackedSource | ActivationStream:
    if folders and chosen.adapter:
        raise InputError(
            f"{folders[0]} and --adapter {chosen.adapter} were given",
            allowed="stored activations, or a network that runs on the way",
        )
    if folders and (chosen.like or chosen.on_error != "raise"):
        raise InputError(
            f"{folders[0]} was given with --on-error or --like",
            allowed="a network that runs on the way: --adapter. What extract left out stays out",
        )
    if folders:
        return _stack([si.ActivationStore.open(folder) for folder in folders])
    if not chosen.adapter:
        raise InputError(
            "there are no activations", todo="Name a folder that extract made, or --adapter"
        )
    adapter, dataset = recipe_of(chosen).open_once()
    layers = chosen.layer or [adapter.default_layer]
    given = {"fractions": parse_shares(chosen.splits), **read_quarantine(chosen)}
    return _stack(list(si.stream(adapter, dataset, layers, **given).values()))


def _open_as_trained(chosen: argparse.Namespace) -> ActivationStream | None:
    """Return the stream that an autoencoder was trained on, without the records it left out.

    What it left out stands in its folder, so that the network need not be run over all records to
    find the same again. None where that is not asked for, or these are other data.
    """
    from sci_interp.streams import ActivationStream

    folder = Path(chosen.sae)
    leaves_out = chosen.adapter and chosen.on_error == "quarantine" and not chosen.like
    layers = chosen.layer or []
    if not leaves_out or len(layers) > 1 or not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = read_manifest(folder)
    told = manifest.settings.get(ATTRIBUTE)
    if not told:
        return None
    with reading(folder / MANIFEST_FILE):
        left_out = from_columns(told["left_out"])
    adapter, dataset = recipe_of(chosen).open_once()
    layer = layers[0] if layers else adapter.default_layer
    given = {"fractions": parse_shares(chosen.splits), "left_out": left_out}
    # Data of which other records cannot be used are other data.
    with suppress(InputError):
        source = ActivationStream(adapter, dataset, layer, **given)
        if source.digest == manifest.inputs.get("activations"):
            return source
    return None


def _stack(sources: Sequence[_Source]) -> _Source | si.StackedSource:
    return sources[0] if len(sources) == 1 else si.StackedSource(sources)


def _add_encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae", help="folder that train made, or bundled:ADAPTER")
    parser.add_argument("activations", nargs="?", help="folder that extract made; as for train")
    _add_stream(parser)
    add_workers(parser)
    add_out(parser)


def _encode(chosen: argparse.Namespace) -> None:
    from sci_interp.features import encode_share

    shard = shard_of(chosen)
    sae = si.load_sae(chosen.sae)
    folders = [chosen.activations] if chosen.activations else []
    source = _open_as_trained(chosen) or _open_source(chosen, folders)
    if shard is not None:
        print_share(chosen, encode_share(sae, source, out=chosen.out, shard=shard))
        return
    recipe = recipe_of(chosen) if chosen.adapter else None
    with makers_of(chosen) as makers:
        si.encode(sae, source, out=chosen.out, recipe=recipe, **makers)
    print_made(chosen.out)


def _add_annotate(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    add_splits(parser)
    add_like(parser)
    add_workers(parser)
    add_out(parser)


def _annotate(chosen: argparse.Namespace) -> None:
    from sci_interp.annotations import annotate_share

    recipe, shard = recipe_of(chosen), shard_of(chosen)
    given: dict[str, Any] = {
        "out": chosen.out,
        "fractions": parse_shares(chosen.splits),
        "like": open_like(chosen),
    }
    if shard is not None:
        print_share(chosen, annotate_share(recipe, shard=shard, **given))
        return
    adapter, dataset = recipe.open_once()
    with makers_of(chosen) as makers:
        si.annotate(adapter, dataset, recipe=recipe, **given, **makers)
    print_made(chosen.out)


COMMANDS: Commands = {
    "extract": (_extract, "run the network and store a layer's activations", _add_extract),
    "train": (_train, "train a sparse autoencoder on activations", _add_train),
    "sweep": (_sweep, "train several autoencoders in one pass, and compare them", _add_sweep),
    "encode": (_encode, "turn activations into sparse features", _add_encode),
    "annotate": (_annotate, "store what is known of every token", _add_annotate),
}
