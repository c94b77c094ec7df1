"""surface end to end: queues, control, artefact, notes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_world import (
    DOMAIN,
    N_FEATURES,
    SITE,
    SUBTYPE,
    UNEXPLAINED,
    ArrayCodes,
    World,
    WorldAdapter,
    planted_levels,
    planted_store,
)

from sci_interp.annotations import AnnotationStore
from sci_interp.candidates import Candidates, Gates, choose_detectors, surface
from sci_interp.errors import StoreError
from sci_interp.manifest import read_manifest

WORLD = World()
FAST = Gates(n_sets=2_000, n_resamples=200, q_coherence=0.05)


@dataclass(frozen=True)
class Table:
    """Stands for an enrichment result."""

    links: pd.DataFrame
    digest: str = "table"
    path: Path | None = None
    settings: dict[str, float] = field(default_factory=dict)


LINKS = pd.DataFrame(
    [
        (SITE, "SITE", "site", "discovery to test", 0.6, 0.7),
        (DOMAIN, "DOMAIN", "site", "discovery to test", 1.0, 1.0),
        (SUBTYPE, "DOMAIN", "site", "discovery to test", 0.9, 0.5),
        (2, "DOMAIN", "record", "discovery to test", 0.9, 0.5),
        (3, "SITE", "site", "discovery to test", 0.1, 0.2),
        (4, "symbol=A", "site", "discovery to test", 1.0, 1.0),
    ],
    columns=["feature", "label", "class", "direction", "precision", "hybrid_f1"],
)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> AnnotationStore:
    return planted_store(tmp_path_factory.mktemp("world") / "annotations", WORLD)


@pytest.fixture(scope="module")
def inputs(known) -> dict:
    rng = np.random.default_rng(2)
    levels = planted_levels(WORLD, 0, 20)
    noise = np.where(rng.random(levels.shape) < 0.01, rng.integers(150, 226, levels.shape), 0)
    return {
        "features": ArrayCodes.of(WORLD.axis, levels),
        "control": ArrayCodes.of(WORLD.axis, rng.permutation(levels, axis=0), digest="control"),
        "decoys": [ArrayCodes.of(WORLD.axis, noise, digest="decoys")],
        "seeds": [
            ArrayCodes.of(WORLD.axis, planted_levels(WORLD, seed, 20), digest=f"seed{seed}")
            for seed in (1, 2)
        ],
    }


def call(inputs: dict, known: AnnotationStore, **changes) -> Candidates:
    arguments = {**inputs, **changes}
    features = arguments.pop("features")
    where = {"known": known, "adapter": WorldAdapter(), "dataset": WORLD, "gates": FAST}
    return surface(features, Table(LINKS), **{**where, "progress": False, **arguments})


def test_both_queues_hold_what_was_planted(inputs, known) -> None:
    found = call(inputs, known)
    assert found.unexplained["feature"].tolist() == [UNEXPLAINED]
    assert SUBTYPE in found.subtypes["feature"].tolist()
    assert (found.count, found.control_count) == (1, 0)
    assert set(found.missing["label"]) == {"SITE"}
    row = found.missing.iloc[0]
    sites = WORLD.truth[row["record"]]["SITE"]
    assert (row["start"] - 1, row["stop"]) in sites and not WORLD.annotated(row["record"])
    assert found.missing["start"].dtype == np.int64
    assert set(found.missing["split"]) <= {"test", "vault"}
    assert found.hidden["label"].tolist() == ["DOMAIN", "SITE"]
    assert found.hidden["recall"].iloc[0] == 1.0 and (found.hidden["n_hidden"] > 0).all()
    text = str(found)
    assert "at hidden annotations (false share at most" in text and "at the least" in text
    assert " tested pass gates 2 and 3 here, 0 of " in text and "strict 0.3" in text
    assert "gate 1 is outside the comparison" in found.notes["gate 5"]
    assert "not tested" in text and "SITE" in text


def test_the_list_is_withheld_where_the_control_has_as_many(inputs, known) -> None:
    found = call(inputs, known, control=inputs["features"])
    assert found.unexplained.empty and found.control_count == found.count == 1
    assert "withheld" in found.notes["gate 5"]
    assert not found.gates.empty
    tolerant = call(inputs, known, control=inputs["features"], seeds=(), q_control=1.0)
    assert len(tolerant.unexplained) == 1 and "withheld" not in tolerant.notes["gate 5"]


def test_the_control_goes_through_gate_1_where_it_has_seeds(inputs, known) -> None:
    # Without the features' own seeds the control's best feature returns nowhere.
    silent = ArrayCodes.of(WORLD.axis, np.zeros((WORLD.axis.n_tokens, 4), int), digest="silent")
    found = call(inputs, known, control=silent, control_seeds=(silent, silent))
    assert found.compared == "gates 1 to 3" and (found.count, found.control_count) == (1, 0)
    assert "gate 5" not in found.notes and found.control_n_tested == 0
    assert f"1 of {len(found.gates)} tested pass gates 1 to 3 here, 0 of 0" in str(found)
    same = call(inputs, known, control=inputs["features"], control_seeds=inputs["seeds"])
    assert (same.count, same.control_count) == (1, 1) and same.unexplained.empty


def test_what_was_not_given_is_not_tested(inputs, known) -> None:
    found = call(inputs, known, seeds=(), control=None, decoys=())
    assert set(found.notes) == {"gate 1", "gate 4", "gate 5", "missing annotations"}
    assert found.missing.empty and found.control_count is None
    assert "no control was run" in found.format()
    assert found.unexplained["reproducible"].tolist() == ["not tested"]


def test_artefact(inputs, known, tmp_path: Path) -> None:
    out = tmp_path / "candidates"
    found = call(inputs, known, out=out)
    manifest = read_manifest(out, "candidates")
    assert manifest.inputs["seed 1"] == "seed1" and manifest.inputs["decoys 1"] == "decoys"
    for opened in (Candidates.open(out), call(inputs, known, out=out)):
        for name in ("unexplained", "subtypes", "missing", "hidden", "gates"):
            pd.testing.assert_frame_equal(getattr(opened, name), getattr(found, name))
        assert opened.notes == found.notes and opened.control_count == 0
    with pytest.raises(StoreError, match="q_missing"):
        call(inputs, known, out=out, q_missing=0.01)
    again = tmp_path / "again"
    (again).mkdir()
    call(inputs, known, out=again)
    assert read_manifest(again).digest == manifest.digest
    # A run that was interrupted before its manifest is made again, to the same bytes.
    (again / "manifest.json").unlink()
    (again / "missing.csv").unlink()
    call(inputs, known, out=again)
    assert read_manifest(again).digest == manifest.digest
    (out / "summary.json").write_text("{}")
    with pytest.raises(StoreError, match="is damaged"):
        Candidates.open(out)
    (out / "gates.parquet").unlink()
    with pytest.raises(StoreError, match=r"gates\.parquet"):
        Candidates.open(out)


def test_detectors_are_precise_site_links_of_findings(inputs, known) -> None:
    features = inputs["features"]
    detectors = choose_detectors(Table(LINKS), features, known)
    assert [(d.feature, d.label) for d in detectors] == [(DOMAIN, 0), (SUBTYPE, 0), (SITE, 1)]
    assert len(choose_detectors(Table(LINKS), features, known, n_per_label=1)) == 2
    precise = choose_detectors(Table(LINKS), features, known, min_precision=0.95)
    assert [d.feature for d in precise] == [DOMAIN, SUBTYPE]
    other_way = Table(LINKS.assign(direction="test to discovery"))
    assert choose_detectors(other_way, features, known) == []


def test_tables_are_complete(inputs, known) -> None:
    found = call(inputs, known)
    assert set(found.unexplained.columns) == set(found.gates.columns)
    assert found.gates["feature"].is_monotonic_increasing
    assert len(found.gates) <= N_FEATURES + 20
