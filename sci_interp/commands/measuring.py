"""Commands that measure features and autoencoders: intervene, calibrate, match, evaluate."""

from __future__ import annotations

import argparse

import sci_interp as si

from .arguments import Commands, add_data, add_out, add_seed, add_splits, open_data, parse_shares

__all__ = ["COMMANDS"]


def _add_intervene(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae", help="folder that train made, or bundled:ADAPTER")
    add_data(parser)
    parser.add_argument("--feature", type=int, required=True, help="number of the feature")
    parser.add_argument(
        "--coefficient",
        type=float,
        action="append",
        metavar="NUMBER",
        help="-1 ablates, 1 doubles; may be repeated; both without it",
    )
    parser.add_argument(
        "--endpoint", action="append", help="what to measure; may be repeated; all without it"
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
    add_splits(parser)
    add_seed(parser)
    add_out(parser)


def _intervene(chosen: argparse.Namespace) -> None:
    adapter, dataset = open_data(chosen)
    given = {"coefficients": chosen.coefficient} if chosen.coefficient else {}
    result = si.intervene(
        adapter,
        dataset,
        si.load_sae(chosen.sae),
        feature=chosen.feature,
        layer=chosen.layer,
        endpoints=chosen.endpoint,
        records=chosen.record,
        codes=si.FeatureStore.open(chosen.codes) if chosen.codes else None,
        fractions=parse_shares(chosen.splits),
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
    add_seed(parser)
    parser.add_argument("--out", metavar="FOLDER", help="folder of the result, for plot")


def _calibrate(chosen: argparse.Namespace) -> None:
    found = si.calibrate(
        si.FeatureStore.open(chosen.features),
        si.AnnotationStore.open(chosen.annotations),
        n_runs=chosen.n_runs,
        n_features=chosen.n_features,
        null=chosen.null,
        q=chosen.q,
        seed=chosen.seed,
        out=chosen.out,
    )
    print(found.format())


def _add_match(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae_a", help="folder that train made, or bundled:ADAPTER")
    parser.add_argument("sae_b", help="the one to find partners in")
    parser.add_argument("activations", help="folder that extract made: what A reads")
    parser.add_argument(
        "--activations-b", metavar="FOLDER", help="what B reads, of the same records; as A without"
    )
    parser.add_argument("--n-tokens", type=int, default=100_000)
    parser.add_argument("--n-permutations", type=int, default=100)
    add_seed(parser)
    add_out(parser)


def _match(chosen: argparse.Namespace) -> None:
    theirs = chosen.activations_b
    found = si.match(
        si.load_sae(chosen.sae_a),
        si.load_sae(chosen.sae_b),
        si.ActivationStore.open(chosen.activations),
        acts_b=si.ActivationStore.open(theirs) if theirs else None,
        n_tokens=chosen.n_tokens,
        n_permutations=chosen.n_permutations,
        seed=chosen.seed,
        out=chosen.out,
    )
    print(found.format())


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sae", help="folder that train made, or bundled:ADAPTER")
    parser.add_argument("activations", help="folder that extract made")
    add_data(parser, required=False)
    parser.add_argument(
        "--other",
        action="append",
        default=[],
        metavar="FOLDER",
        help="an autoencoder from another seed; may be repeated",
    )
    parser.add_argument("--enrichment", metavar="FOLDER", help="folder that enrich made")
    parser.add_argument("--annotations", metavar="FOLDER", help="folder that annotate made")
    parser.add_argument(
        "--channels", metavar="FOLDER", help="an enrichment of the channels; the baseline without"
    )
    parser.add_argument("--n-tokens", type=int, default=100_000)
    parser.add_argument("--n-permutations", type=int, default=100)
    add_seed(parser)
    add_out(parser)


def _evaluate(chosen: argparse.Namespace) -> None:
    adapter, dataset = open_data(chosen) if chosen.adapter else (None, None)
    known = chosen.annotations
    found = si.evaluate(
        si.load_sae(chosen.sae),
        si.ActivationStore.open(chosen.activations),
        adapter,
        dataset=dataset,
        others=[si.load_sae(folder) for folder in chosen.other],
        enrichment=si.load_enrichment(chosen.enrichment) if chosen.enrichment else None,
        known=si.AnnotationStore.open(known) if known else None,
        channels=si.load_enrichment(chosen.channels) if chosen.channels else None,
        n_tokens=chosen.n_tokens,
        n_permutations=chosen.n_permutations,
        seed=chosen.seed,
        out=chosen.out,
    )
    print(found.format())


COMMANDS: Commands = {
    "intervene": (_intervene, "scale a feature in the network; what changes", _add_intervene),
    "calibrate": (_calibrate, "count how often the test links shifted labels", _add_calibrate),
    "match": (_match, "match the features of two autoencoders, beside chance", _add_match),
    "evaluate": (_evaluate, "report how good an autoencoder is", _add_evaluate),
}
