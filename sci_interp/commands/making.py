"""Commands that make artefacts from models and data: extract, train, encode, annotate."""

from __future__ import annotations

import argparse

import sci_interp as si
from sci_interp.study import ARCHITECTURES, LAYERED_ARCHITECTURES

from .arguments import (
    Commands,
    add_data,
    add_out,
    add_seed,
    add_splits,
    open_data,
    parse_shares,
    print_made,
)

__all__ = ["COMMANDS"]


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
    add_seed(parser)
    add_out(parser)


def _extract(chosen: argparse.Namespace) -> None:
    adapter, dataset = open_data(chosen)
    if chosen.control == "weights":
        adapter = adapter.shuffle_weights(chosen.seed)
    elif chosen.control == "inputs":
        dataset = adapter.decoy(dataset, chosen.seed)
    layers = chosen.layer or [adapter.default_layer]
    layer = layers[0] if len(layers) == 1 else layers
    si.extract(
        adapter,
        dataset,
        layer=layer,
        out=chosen.out,
        dtype=chosen.dtype,
        fractions=parse_shares(chosen.splits),
    )
    print_made(chosen.out)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "activations",
        nargs="+",
        help="folder that extract made; of a transcoder the layer read and the layer written, of a "
        "crosscoder all",
    )
    parser.add_argument("--features", type=int, required=True, help="number of features")
    parser.add_argument("--k", type=int, required=True, help="active features per token")
    parser.add_argument(
        "--architecture", choices=(*ARCHITECTURES, *LAYERED_ARCHITECTURES), default="topk"
    )
    parser.add_argument("--penalty", type=float, help="of activity, in place of steering it to k")
    parser.add_argument("--revival", choices=("auxiliary", "resampling"), help="of dead features")
    parser.add_argument("--centre", choices=("mean", "geometric_median"), help="first decoder bias")
    parser.add_argument("--whitening", action="store_true", help="decorrelate the channels first")
    parser.add_argument("--n-tokens", type=int, help="tokens to train on")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    add_seed(parser)
    add_out(parser)


def _train(chosen: argparse.Namespace) -> None:
    given = ("n_tokens", "batch_size", "learning_rate", "penalty", "revival", "centre")
    settings = {name: value for name in given if (value := getattr(chosen, name)) is not None}
    sources = [si.ActivationStore.open(folder) for folder in chosen.activations]
    si.train(
        sources[0] if len(sources) == 1 else si.StackedSource(sources),
        out=chosen.out,
        features=chosen.features,
        k=chosen.k,
        seed=chosen.seed,
        architecture=chosen.architecture,
        whitening=chosen.whitening,
        **settings,
    )
    print_made(chosen.out)


def _add_encode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae", help="folder that train made, or bundled:ADAPTER")
    parser.add_argument("activations", help="folder that extract made")
    add_out(parser)


def _encode(chosen: argparse.Namespace) -> None:
    source = si.ActivationStore.open(chosen.activations)
    si.encode(si.load_sae(chosen.sae), source, out=chosen.out)
    print_made(chosen.out)


def _add_annotate(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    add_splits(parser)
    add_out(parser)


def _annotate(chosen: argparse.Namespace) -> None:
    adapter, dataset = open_data(chosen)
    si.annotate(adapter, dataset, out=chosen.out, fractions=parse_shares(chosen.splits))
    print_made(chosen.out)


COMMANDS: Commands = {
    "extract": (_extract, "run the network and store a layer's activations", _add_extract),
    "train": (_train, "train a sparse autoencoder on activations", _add_train),
    "encode": (_encode, "turn activations into sparse features", _add_encode),
    "annotate": (_annotate, "store what is known of every token", _add_annotate),
}
