"""A whole study: what it leaves, that it can be repeated, and that it survives being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_adapter import FakeAdapter
from study_world import STUDY, digests, run_fake, write_study

from sci_interp.adapter import Covariate
from sci_interp.errors import StoreError, UnknownNameError
from sci_interp.manifest import read_manifest
from sci_interp.pipeline import StudyResult

#: Writes (fsync calls) after which a run is killed; the next one goes on.
WRITES_PER_LIFE = 48


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    path = write_study(tmp_path_factory.mktemp("study"))
    return path, run_fake(path)


def test_a_study_leaves_tables_candidates_and_a_page(finished: tuple[Path, StudyResult]) -> None:
    path, result = finished
    out = path.parent / "out"
    assert result.out == out
    for name in ("links.parquet", "links.csv", "summary.parquet", "summary.csv"):
        assert (out / "enrichment" / name).is_file()
    for name in ("unexplained.csv", "missing.csv"):
        assert (out / "candidates" / name).is_file()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith(("<!DOCTYPE html>", "<!doctype html>"))
    assert result.report == out / "report.html"


def test_planted_labels_are_found(finished: tuple[Path, StudyResult]) -> None:
    _, result = finished
    site = result.enrichment.table.query("`class` == 'site'")
    assert set(site["label"]) == {"MOTIF", "RUN"}
    text = result.format()
    assert "SAE on test blocks: FVU 0." in text
    assert "loss recovered" in text
    for source in ("features", "channels", "pca", "ica", "token identity", "position", "shuffled"):
        assert source in set(result.enrichment.summary["source"])
        assert source in text


def test_sparse_probes_are_measured_of_features_and_channels(
    finished: tuple[Path, StudyResult],
) -> None:
    _, result = finished
    probes = result.sparse_probes
    assert list(probes["source"].unique()) == ["features", "channels"]
    assert set(probes["label"]) == {"MOTIF", "RUN"}
    assert sorted(probes["k"].unique()) == [1, 2, 5, 10]
    assert probes.loc[probes["source"] == "features", "auroc"].min() > 0.6
    for name in ("probes.csv", "probes.parquet", "manifest.json"):
        assert (result.out / "sparse-probes" / name).is_file()
    made_from = read_manifest(result.out / "sparse-probes", "sparse-probes").inputs
    assert made_from["features features"] == read_manifest(result.out / "features-0").digest
    assert "Sparse probes, chosen on discovery" in result.format()
    assert "Sparse probes" in result.report.read_text(encoding="utf-8")


def test_an_adapter_without_covariates_is_compared_with_none(
    finished: tuple[Path, StudyResult],
) -> None:
    _, result = finished
    assert result.matched is None and not (result.out / "matched").exists()
    assert "best covariate" not in result.format()
    assert "best covariate" not in result.report.read_text(encoding="utf-8")


class MeasuringAdapter(FakeAdapter):
    """Knows a token's place, and whether it is an A with an A beside it."""

    def covariates(self, dataset):
        return Covariate("place", "", "from 0"), Covariate("pair", "", "A beside A")

    def covariate_values(self, dataset, record):
        is_a = np.pad(dataset.symbols(record) == 0, 1)
        pair = is_a[1:-1] & (is_a[:-2] | is_a[2:])
        return np.stack([np.arange(len(pair)), pair], axis=1).astype(np.float32)


def test_covariates_are_compared_at_matched_magnitude(tmp_path: Path) -> None:
    text = STUDY.replace("n_seeds = 2", "n_seeds = 1") + '[baselines]\nuse = ["covariates"]\n'
    path = write_study(tmp_path, text)
    result = run_fake(path, MeasuringAdapter)
    matched = result.matched
    assert matched is not None and set(matched["label"]) == {"MOTIF", "RUN"}
    assert set(matched.loc[matched["label"] == "RUN", "covariate"]) == {"pair +"}
    assert (matched.groupby("label").size() == 2).all()
    made_from = read_manifest(result.out / "matched", "matched").inputs
    for name, folder in (
        ("features", "features-0"),
        ("covariates", "baselines/covariates"),
        ("annotations", "annotations"),
    ):
        assert made_from[name] == read_manifest(result.out / folder).digest
    assert "beats it both ways round" in result.format()
    assert "pair +" in result.report.read_text(encoding="utf-8")
    again = run_fake(path, MeasuringAdapter).matched
    pd.testing.assert_frame_equal(again, matched)


def test_every_artefact_says_from_what_it_was_made(finished: tuple[Path, StudyResult]) -> None:
    out = finished[1].out
    enrichment = read_manifest(out / "enrichment", "enrichment")
    assert enrichment.inputs["features"] == read_manifest(out / "features-0").digest
    assert enrichment.inputs["annotations"] == read_manifest(out / "annotations").digest
    activations = read_manifest(out / "activations", "activations").digest
    assert read_manifest(out / "features-0").inputs["source"] == activations
    assert read_manifest(out / "sae-1").inputs["activations"] == activations


def test_a_second_run_makes_nothing_anew(finished: tuple[Path, StudyResult]) -> None:
    path, first = finished
    out = path.parent / "out"
    before = digests(out)
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    again = run_fake(path)
    assert digests(out) == before
    changed = {name for name in before if (out / name).stat().st_mtime_ns != times[name]}
    assert changed <= {"report.html"}
    assert again.format() == first.format()


def test_other_settings_do_not_mix_with_what_is_there(finished: tuple[Path, StudyResult]) -> None:
    path = finished[0].with_name("other.toml")
    path.write_text(STUDY.replace("k = 4", "k = 5"), encoding="utf-8")
    before = digests(path.parent / "out")
    with pytest.raises(StoreError, match="k was 4 there and is 5 now"):
        run_fake(path)
    assert digests(path.parent / "out") == before


def test_a_missing_layer_leaves_no_activations(tmp_path: Path) -> None:
    path = write_study(tmp_path, STUDY.replace('out = "out"', 'out = "out"\nlayer = "layer.1"'))
    with pytest.raises(UnknownNameError, match=r"no layer 'layer.1'.*embed, layers.0, layers.1"):
        run_fake(path)
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_killed_again_and_again_ends_in_the_same_bytes(
    finished: tuple[Path, StudyResult], tmp_path: Path
) -> None:
    path = write_study(tmp_path)
    command = [sys.executable, str(Path(__file__).with_name("study_world.py")), str(path)]
    deaths = 0
    while True:
        run = subprocess.run(
            [*command, str(WRITES_PER_LIFE + deaths)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
        deaths += 1
        assert deaths < 20
    assert deaths >= 5
    assert digests(tmp_path / "out") == digests(finished[0].parent / "out")
