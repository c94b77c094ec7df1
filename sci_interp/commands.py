"""The commands: what each verb is told on the command line, and how it is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sci_interp as si

from .errors import InputError
from .schema import SPLITS
from .study import ARCHITECTURES, is_address

if TYPE_CHECKING:
    from sci_interp.source import FeatureSource

    from .adapter import Adapter, Dataset

__all__ = ["COMMANDS"]


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
    parser.add_argument(
        "--control",
        choices=("weights", "inputs"),
        help="shuffle the network's weights, or take decoys of the inputs",
    )
    _add_splits(parser)
    _add_seed(parser)
    _add_out(parser)


def _extract(chosen: argparse.Namespace) -> None:
    adapter, dataset = _open_data(chosen)
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
        fractions=_parse_shares(chosen.splits),
    )
    _print_made(chosen.out)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("activations", help="folder that extract made")
    parser.add_argument("--features", type=int, required=True, help="number of features")
    parser.add_argument("--k", type=int, required=True, help="active features per token")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="topk")
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
    parser.add_argument("sae", help="folder that train made, or bundled:ADAPTER")
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


def _add_enrich(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", help="folder that encode made")
    parser.add_argument("annotations", help="folder that annotate made")
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="features to compare with; may be repeated",
    )
    parser.add_argument(
        "--ceiling", metavar="FOLDER", help="features fitted to the labels, such as a probe's"
    )
    parser.add_argument("--q", type=float, default=0.05, help="false discovery rate")
    parser.add_argument("--n-permutations", type=int, default=4_000)
    parser.add_argument("--n-bootstrap", type=int, default=2_000)
    parser.add_argument("--dependence", choices=("bh", "by", "maxt"), default="bh")
    parser.add_argument("--protocol", choices=("two-stage", "interplm"), default="two-stage")
    _add_seed(parser)
    _add_out(parser)


def _enrich(chosen: argparse.Namespace) -> None:
    baselines: dict[str, FeatureSource] = {
        name: si.FeatureStore.open(folder)
        for name, folder in _parse_pairs("--baseline", chosen.baseline).items()
    }
    result = si.enrich(
        si.FeatureStore.open(chosen.features),
        si.AnnotationStore.open(chosen.annotations),
        out=chosen.out,
        baselines=baselines,
        ceiling=si.FeatureStore.open(chosen.ceiling) if chosen.ceiling else None,
        q=chosen.q,
        seed=chosen.seed,
        n_permutations=chosen.n_permutations,
        n_bootstrap=chosen.n_bootstrap,
        dependence=chosen.dependence,
        protocol=chosen.protocol,
    )
    print(result.format())


def _add_surface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", help="folder that encode made")
    parser.add_argument("enrichment", help="folder that enrich made")
    parser.add_argument("annotations", help="folder that annotate made")
    _add_data(parser)
    parser.add_argument(
        "--seed-features",
        action="append",
        default=[],
        metavar="FOLDER",
        help="features of an autoencoder from another seed; may be repeated",
    )
    parser.add_argument("--control", metavar="FOLDER", help="features of the shuffled network")
    parser.add_argument(
        "--decoys",
        action="append",
        default=[],
        metavar="FOLDER",
        help="features of a set of decoys; may be repeated, which resolves smaller p-values",
    )
    parser.add_argument("--q-missing", type=float, default=0.05)
    parser.add_argument("--q-control", type=float, default=0.1)
    _add_seed(parser)
    _add_out(parser)


def _surface(chosen: argparse.Namespace) -> None:
    adapter, dataset = _open_data(chosen)
    candidates = si.surface(
        si.FeatureStore.open(chosen.features),
        si.load_enrichment(chosen.enrichment),
        known=si.AnnotationStore.open(chosen.annotations),
        adapter=adapter,
        dataset=dataset,
        seeds=[si.FeatureStore.open(folder) for folder in chosen.seed_features],
        control=si.FeatureStore.open(chosen.control) if chosen.control else None,
        decoys=[si.FeatureStore.open(folder) for folder in chosen.decoys],
        q_missing=chosen.q_missing,
        q_control=chosen.q_control,
        seed=chosen.seed,
        out=chosen.out,
    )
    print(candidates.format())


def _add_intervene(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae", help="folder that train made, or bundled:ADAPTER")
    _add_data(parser)
    parser.add_argument("--feature", type=int, required=True, help="number of the feature")
    parser.add_argument(
        "--coefficient",
        type=float,
        action="append",
        metavar="NUMBER",
        help="-1 ablates, 1 doubles; may be repeated; both without it",
    )
    parser.add_argument("--layer", help="the one that the autoencoder was trained on without it")
    parser.add_argument(
        "--record", action="append", help="may be repeated; the strongest test records without it"
    )
    parser.add_argument(
        "--codes", metavar="FOLDER", help="folder that encode made: saves the search for records"
    )
    parser.add_argument("--n-records", type=int, default=64, help="most records of that choice")
    parser.add_argument(
        "--controls",
        choices=("directions", "features"),
        default="directions",
        help="random directions, or those of other features that fire as often",
    )
    parser.add_argument("--n-controls", type=int, default=20)
    _add_splits(parser)
    _add_seed(parser)
    _add_out(parser)


def _intervene(chosen: argparse.Namespace) -> None:
    adapter, dataset = _open_data(chosen)
    given = {"coefficients": chosen.coefficient} if chosen.coefficient else {}
    result = si.intervene(
        adapter,
        dataset,
        si.load_sae(chosen.sae),
        feature=chosen.feature,
        layer=chosen.layer,
        records=chosen.record,
        codes=si.FeatureStore.open(chosen.codes) if chosen.codes else None,
        fractions=_parse_shares(chosen.splits),
        n_records=chosen.n_records,
        controls=chosen.controls,
        n_controls=chosen.n_controls,
        seed=chosen.seed,
        out=chosen.out,
        **given,
    )
    print(result.format())


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", help="folder that encode made")
    parser.add_argument("annotations", help="folder that annotate made")
    parser.add_argument("--n-runs", type=int, default=100)
    parser.add_argument("--n-features", type=int, default=512, help="features that take part")
    parser.add_argument(
        "--null",
        choices=("both", "exchange", "shift"),
        default="both",
        help="labels exchanged between families, shifted inside records, or both",
    )
    parser.add_argument("--q", type=float, default=0.05, help="false discovery rate")
    _add_seed(parser)


def _calibrate(chosen: argparse.Namespace) -> None:
    found = si.calibrate(
        si.FeatureStore.open(chosen.features),
        si.AnnotationStore.open(chosen.annotations),
        n_runs=chosen.n_runs,
        n_features=chosen.n_features,
        null=chosen.null,
        q=chosen.q,
        seed=chosen.seed,
    )
    print(found.format())


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
    options = {
        name: value if is_address(value) else Path(value)
        for name, value in _parse_pairs("--option", chosen.option).items()
    }
    return adapter, adapter.open(chosen.data, **options)


_EXAMPLES = {
    "--baseline": "NAME=FOLDER, e.g. shuffled=run/shuffled-features",
    "--option": "NAME=PATH, e.g. features=features.tsv",
    "--splits": "NAME=SHARE, e.g. train=0.4,discovery=0.3,test=0.3",
}


def _parse_pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign and value):
            raise InputError(f"{option} {word!r} cannot be read", allowed=_EXAMPLES[option])
        if name in pairs:
            raise InputError(f"{option}: {name} is given twice", todo="Give it once")
        pairs[name] = value
    return pairs


def _parse_shares(words: str | None) -> Mapping[Any, float] | None:
    if words is None:
        return None
    try:
        return {
            name: float(value) for name, value in _parse_pairs("--splits", words.split(",")).items()
        }
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        allowed = f"{_EXAMPLES['--splits']}; shares are numbers"
        raise InputError(f"--splits {words!r} cannot be read", allowed=allowed) from None


def _print_made(out: str) -> None:
    print(si.show(out).partition("\n  settings")[0])


_Run = Callable[[argparse.Namespace], None]
_Add = Callable[[argparse.ArgumentParser], None]

COMMANDS: Mapping[str, tuple[_Run, str, _Add]] = {
    "extract": (_extract, "run the network and store a layer's activations", _add_extract),
    "train": (_train, "train a sparse autoencoder on activations", _add_train),
    "encode": (_encode, "turn activations into sparse features", _add_encode),
    "annotate": (_annotate, "store what is known of every token", _add_annotate),
    "enrich": (_enrich, "link features to labels, with error rates", _add_enrich),
    "surface": (_surface, "list unexplained features and missing annotations", _add_surface),
    "intervene": (_intervene, "scale a feature in the network; what changes", _add_intervene),
    "calibrate": (_calibrate, "count how often the test links shifted labels", _add_calibrate),
    "run": (_run, "run a study from its file; what is finished is skipped", _add_run),
    "adapters": (_adapters, "list the installed adapters", _add_nothing),
    "show": (_show, "say what an artefact is, from what, by which version", _add_show),
}
