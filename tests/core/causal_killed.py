"""A small intervention for the kill test; what it would load anew is loaded at import."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from causal_world import SPLITS, WIDTH, SolvedAdapter, make_records, make_sae

from sci_interp.causal import InterventionResult, intervene


def intervene_small(out: Path) -> InterventionResult:
    """Measure about forty records in five units."""
    adapter = SolvedAdapter(np.linspace(-1, 1, WIDTH))
    return intervene(
        adapter, make_records(), make_sae(), feature=1, fractions=SPLITS, out=out, progress=False
    )


with tempfile.TemporaryDirectory() as warm:
    intervene_small(Path(warm) / "whole")
