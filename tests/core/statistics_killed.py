"""annotate, enrich and surface on a small planted world, one after the other, to be killed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from planted_world import ArrayCodes, World, WorldAdapter, planted_levels, planted_store

from sci_interp.candidates import Gates, surface
from sci_interp.enrichment import enrich

WORLD = World(n_families=48)
_Made = TypeVar("_Made")


def codes(digest: str, levels: np.ndarray) -> ArrayCodes:
    return ArrayCodes.of(WORLD.axis, levels, digest=digest)


def log(out: Path, verb: str, work: Callable[[], _Made]) -> _Made:
    """Tell in a file beside ``out`` when a verb begins and when it has ended."""
    path = out.with_suffix(".log")
    with path.open("a", encoding="utf-8") as handle:
        handle.write(f"{verb} begins\n")
    made = work()
    with path.open("a", encoding="utf-8") as handle:
        handle.write(f"{verb} ends\n")
    return made


def run_verbs(out: Path) -> None:
    """Make annotations, enrichment and candidates of planted features."""
    rng = np.random.default_rng(0)
    levels, seed_1 = planted_levels(WORLD), codes("seed 1", planted_levels(WORLD, 1))
    noise = np.where(rng.random(levels.shape) < 0.01, rng.integers(150, 226, levels.shape), 0)
    features = codes("features", levels)
    known = log(out, "annotate", lambda: planted_store(out / "annotations", WORLD))
    found = log(
        out,
        "enrich",
        lambda: enrich(
            features,
            known,
            out=out / "enrichment",
            baselines={"another seed": seed_1},
            n_permutations=40,
            n_bootstrap=20,
            n_threads=1,
            progress=False,
        ),
    )
    log(
        out,
        "surface",
        lambda: surface(
            features,
            found,
            known=known,
            adapter=WorldAdapter(),
            dataset=WORLD,
            seeds=[seed_1],
            control=codes("control", rng.permutation(levels, axis=0)),
            decoys=[codes("decoys", noise)],
            gates=Gates(n_sets=200, n_resamples=20),
            out=out / "candidates",
            progress=False,
        ),
    )


# Kernels and libraries are loaded once here, not in every attempt.
with tempfile.TemporaryDirectory() as warm:
    run_verbs(Path(warm) / "whole")
