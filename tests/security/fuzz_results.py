"""Results of the later verbs, and what a running program leaves beside them, as targets."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from causal_world import LAYER, SPLITS, SolvedAdapter, make_records, make_sae
from fuzz_stores import replacing
from small_run import ADAPTER, DATASET

import sci_interp as si
from sci_interp.projections import load_projection
from sci_interp.projections.fitting import fit_projection
from sci_interp.schema import FAILURE_FILE, LOCK_FILE, PROGRESS_FILE

__all__ = ["result_targets"]

Row = tuple[str, tuple[bytes, ...], Callable[[bytes], object]]

OPENERS: dict[str, Callable[[Path], object]] = {
    "calibration": si.load_calibration,
    "candidates": si.Candidates.open,
    "evaluation": si.Evaluation.open,
    "intervention": si.InterventionResult.open,
    "match": si.FeatureMatch.open,
    "projection": load_projection,
    "sweep": si.Sweep.open,
}
#: Files beside an artefact that a running program writes, and what stands in them.
BESIDE = {
    LOCK_FILE: b'{"host": "h", "place": "p", "pid": 71, "born": "1", "started": 3.5, "token": "t"}',
    PROGRESS_FILE: b'{"done": 3, "total": 9, "unit": "shards", "seconds": 2.5}',
    FAILURE_FILE: b"InputError: what was wrong\n",
}


def result_targets(folder: Path) -> Iterator[Row]:
    """Yield the targets; the run in ``folder / "whole"`` is there, results are added once."""
    whole = folder / "whole"
    for kind, read in OPENERS.items():
        place = folder / "results" / kind
        if not (place / "manifest.json").is_file():
            shutil.rmtree(place, ignore_errors=True)
            _MAKERS[kind](whole, place)
        files = sorted(place.glob("*.*"))
        names = [
            each.name for each in files if each.suffix in (".json", ".parquet", ".safetensors")
        ]
        for name in names:
            if name != "request.json":
                seed = (place / name).read_bytes()
                parse = replacing(place, name, partial(_print, read, place))
                yield f"{kind}, {name}", (seed,), parse
    watched = folder / "watched" / "activations"
    shutil.copytree(whole / "activations", watched, dirs_exist_ok=True)
    for name in ("manifest.json", "request.json", "journal.jsonl"):
        seed = (watched / name).read_bytes()
        read = partial(_look, watched.parent)
        yield f"status of a run, {name}", (seed,), replacing(watched, name, read, sealed=False)
    unfinished = folder / "unfinished" / "activations"
    shutil.copytree(watched, unfinished, dirs_exist_ok=True)
    (unfinished / "manifest.json").unlink(missing_ok=True)
    for name, seed in BESIDE.items():
        read = partial(_look, unfinished.parent)
        yield f"status of a run, {name}", (seed,), replacing(unfinished, name, read, sealed=False)


def _print(read: Callable[[Path], object], place: Path) -> object:
    return str(read(place))


def _look(run: Path) -> object:
    """Do all that tells of a run, and print it."""
    return [
        si.status(run).format(),
        si.verify(run, progress=False).format(),
        *(si.show(each) for each in run.iterdir()),
    ]


def _calibration(run: Path, out: Path) -> object:
    features = si.FeatureStore.open(run / "features")
    known = si.AnnotationStore.open(run / "annotations")
    return si.calibrate(features, known, n_runs=2, n_permutations=20, out=out, progress=False)


def _candidates(run: Path, out: Path) -> object:
    return si.surface(
        si.FeatureStore.open(run / "features"),
        si.load_enrichment(run / "enrichment"),
        known=si.AnnotationStore.open(run / "annotations"),
        adapter=ADAPTER, dataset=DATASET, out=out, progress=False,
    )  # fmt: skip


def _evaluation(run: Path, out: Path) -> object:
    sae, acts = si.load_sae(run / "sae"), si.ActivationStore.open(run / "activations")
    return si.evaluate(sae, acts, n_tokens=300, n_permutations=5, out=out, progress=False)


def _match(run: Path, out: Path) -> object:
    sae, acts = si.load_sae(run / "sae"), si.ActivationStore.open(run / "activations")
    return si.match(sae, sae, acts, n_tokens=300, n_permutations=5, out=out, progress=False)


def _intervention(_: Path, out: Path) -> object:
    sae = make_sae()
    return si.intervene(
        SolvedAdapter(sae.dictionary[1].astype(np.float64)), make_records(), sae, feature=1,
        layer=LAYER, fractions=SPLITS, n_bootstrap=20, out=out, progress=False,
    )  # fmt: skip


def _projection(run: Path, out: Path) -> object:
    acts = si.ActivationStore.open(run / "activations")
    known = si.AnnotationStore.open(run / "annotations")
    return fit_projection("pca", acts, known, out=out, splits=("train",))


def _sweep(run: Path, out: Path) -> object:
    acts = si.ActivationStore.open(run / "activations")
    sizes = {"features": 24, "n_tokens": 500, "batch_size": 128}
    return si.sweep(acts, grid={"k": [2, 3]}, out=out, progress=False, **sizes)


_MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "calibration": _calibration,
    "candidates": _candidates,
    "evaluation": _evaluation,
    "intervention": _intervention,
    "match": _match,
    "projection": _projection,
    "sweep": _sweep,
}
