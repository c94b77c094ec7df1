"""A small match and a small evaluation for the kill tests; kernels are compiled at import."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from matching_world import PassThrough, make_axis, source_of, sparse_values
from quality_world import changed_copy, random_source, small_sae

from sci_interp.evaluation import Evaluation, evaluate
from sci_interp.matching import FeatureMatch, match


def match_small(out: Path) -> FeatureMatch:
    """Match forty features with forty others on forty records."""
    axis = make_axis(n_records=40)
    a = sparse_values(axis, 40)
    b = a[:, np.random.default_rng(0).permutation(40)]
    return match(
        PassThrough(40), PassThrough(40), source_of(axis, a), acts_b=source_of(axis, b),
        n_permutations=10, n_threads=1, out=out, progress=False,
    )  # fmt: skip


def evaluate_small(out: Path) -> Evaluation:
    """Evaluate a random autoencoder beside a changed copy."""
    return evaluate(
        small_sae(), random_source(), others=[changed_copy(small_sae(), noise=0.3)],
        n_permutations=5, n_threads=1, out=out, progress=False,
    )  # fmt: skip


with tempfile.TemporaryDirectory() as warm:
    match_small(Path(warm) / "match")
    evaluate_small(Path(warm) / "evaluation")
