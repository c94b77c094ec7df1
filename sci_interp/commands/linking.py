"""Commands that link features to what is known, and draw it: enrich, plot, surface."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import sci_interp as si

from .arguments import Commands, add_data, add_out, add_seed, open_data, parse_pairs
from .batch import add_workers, makers_of, print_share, shard_of

if TYPE_CHECKING:
    from sci_interp.source import FeatureSource

__all__ = ["COMMANDS"]


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
    add_seed(parser)
    add_workers(parser)
    add_out(parser)


def _enrich(chosen: argparse.Namespace) -> None:
    shard = shard_of(chosen)
    baselines: dict[str, FeatureSource] = {
        name: si.FeatureStore.open(folder)
        for name, folder in parse_pairs("--baseline", chosen.baseline).items()
    }
    given: dict[str, Any] = {
        "out": chosen.out,
        "baselines": baselines,
        "ceiling": si.FeatureStore.open(chosen.ceiling) if chosen.ceiling else None,
        "protocol": chosen.protocol,
    }
    features = si.FeatureStore.open(chosen.features)
    known = si.AnnotationStore.open(chosen.annotations)
    if shard is not None:
        from sci_interp.enrichment.protocol import enrich_share

        print_share(chosen, enrich_share(features, known, shard=shard, **given))
        return
    with makers_of(chosen) as makers:
        result = si.enrich(
            features,
            known,
            q=chosen.q,
            seed=chosen.seed,
            n_permutations=chosen.n_permutations,
            n_bootstrap=chosen.n_bootstrap,
            dependence=chosen.dependence,
            **given,
            **makers,
        )
    print(result.format())


def _add_plot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("enrichment", help="folder that enrich made")
    parser.add_argument("--calibration", metavar="FOLDER", help="folder that calibrate made")
    parser.add_argument("--n-labels", type=int, default=12, help="precision-recall curves at most")
    parser.add_argument("--out", metavar="FOLDER", help="ENRICHMENT-figures without it")


def _plot(chosen: argparse.Namespace) -> None:
    calibration = si.load_calibration(chosen.calibration) if chosen.calibration else None
    paths = si.plot(
        si.load_enrichment(chosen.enrichment),
        calibration=calibration,
        out=chosen.out,
        n_labels=chosen.n_labels,
    )
    print("\n".join(map(str, paths)))


def _add_surface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features", help="folder that encode made")
    parser.add_argument("enrichment", help="folder that enrich made")
    parser.add_argument("annotations", help="folder that annotate made")
    add_data(parser)
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
    add_seed(parser)
    add_out(parser)


def _surface(chosen: argparse.Namespace) -> None:
    adapter, dataset = open_data(chosen)
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


COMMANDS: Commands = {
    "enrich": (_enrich, "link features to labels, with error rates", _add_enrich),
    "plot": (_plot, "draw links, error rates and baselines as PNG files", _add_plot),
    "surface": (_surface, "list unexplained features and missing annotations", _add_surface),
}
