"""enrich that keeps the shards it counted, to be killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from count_world import FAST, write_stores
from planted_world import World

from sci_interp.enrichment import count_plan, enrich

WORLD = World(n_families=24)
count_plan.FEWEST_TOKENS = 400  # type: ignore[misc]

_folder = tempfile.TemporaryDirectory()
STORES = write_stores(Path(_folder.name), WORLD)


def run_counts(out: Path) -> None:
    """Count in shards, one after another, and link."""
    enrich(
        STORES.features,
        STORES.known,
        out=out / "enrichment",
        baselines={"another seed": STORES.baseline},
        workers=1,
        **FAST,
    )


# Kernels and libraries are loaded once here, not in every attempt.
with tempfile.TemporaryDirectory() as warm:
    run_counts(Path(warm) / "whole")
