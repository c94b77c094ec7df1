"""Projections by name: fitted once, loaded for equal activations, refused for others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_adapter import FakeAdapter, make_dataset

from sci_interp.annotations import annotate
from sci_interp.axis import TokenAxis
from sci_interp.errors import StoreError, UnknownNameError
from sci_interp.projections import fit_projection
from sci_interp.source import ArraySource


@pytest.fixture
def world(tmp_path):
    data = make_dataset(n_records=40)
    known = annotate(FakeAdapter(), data, out=tmp_path / "known", progress=False)
    axis = TokenAxis.of(data)
    values = np.random.default_rng(0).laplace(size=(axis.n_tokens, 4)).astype(np.float32)
    return ArraySource(axis, values), known


@pytest.mark.parametrize("name", ["channels", "pca", "ica", "probe"])
def test_a_projection_is_fitted_once_for_equal_activations(tmp_path, world, name) -> None:
    source, known = world
    settings = {"out": tmp_path / name, "splits": ("train", "discovery")}
    made = fit_projection(name, source, known, **settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / name).iterdir()}
    again = fit_projection(name, source, known, **settings)
    assert again.digest == made.digest
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / name).iterdir()}
    other = replace(source, values=source.values + 1)
    with pytest.raises(StoreError, match="holds other work"):
        fit_projection(name, other, known, **settings)


def test_unknown_projections_are_refused(tmp_path, world) -> None:
    with pytest.raises(UnknownNameError, match="no projection 'umap'"):
        fit_projection("umap", *world, out=tmp_path, splits=("train",))
