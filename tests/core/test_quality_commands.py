"""The commands ``match`` and ``evaluate``: artefacts, text, and one message per mistake."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_adapter import FakeAdapter, make_dataset
from quality_world import MeasuringAdapter, changed_copy, small_sae

import sci_interp as si
from sci_interp import recipes
from sci_interp.cli import main
from sci_interp.sae.files import save_sae


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let "measured" mean the adapter with endpoints, and any other name the fake one."""

    def load(name: str, model: str | None = None, **options: Any) -> FakeAdapter:
        return (MeasuringAdapter if name == "measured" else FakeAdapter)(**options)

    monkeypatch.setattr(si, "load_adapter", load)
    monkeypatch.setattr(recipes, "load_adapter", load)
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    data = make_dataset(n_records=240, records_per_block=2)
    rows = [f"{name} {data.blocks[name]} {text}" for name, text in data.texts.items()]
    (folder / "data.txt").write_text("\n".join(rows), encoding="utf-8")
    (folder / "few.txt").write_text("\n".join(rows[:100]), encoding="utf-8")
    adapter = FakeAdapter()
    for name, layer in (("activations", "layers.1"), ("early", "layers.0")):
        si.extract(adapter, data, layer=layer, out=folder / name, progress=False)
    few = adapter.open(folder / "few.txt")
    si.extract(adapter, few, layer="layers.1", out=folder / "few", progress=False)
    sae = small_sae(n_features=32)
    save_sae(sae, folder / "sae")
    save_sae(changed_copy(sae, noise=0.1), folder / "other")
    acts = si.ActivationStore.open(folder / "activations")
    features = si.encode(sae, acts, out=folder / "features", progress=False)
    known = si.annotate(adapter, data, out=folder / "annotations", progress=False)
    si.enrich(
        features, known, out=folder / "enrichment", baselines={"channels": features},
        n_permutations=100, n_bootstrap=10, progress=False,
    )  # fmt: skip
    return folder


def call(folder: Path, line: str) -> int:
    return main([str(folder / word[1:]) if word[0] == "@" else word for word in line.split()])


MATCH = "match @sae @other @activations --n-permutations 20"
EVALUATE = "evaluate @sae @activations --n-permutations 20"


@pytest.mark.filterwarnings("default")
def test_match_makes_an_artefact_and_prints_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{MATCH} --n-tokens 2000 --seed 3 --out @match"
    assert call(folder, line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    found = si.FeatureMatch.open(folder / "match")
    assert str(found) in printed
    assert found.settings["seed"] == 3 and found.summary["n_tokens"] <= 2100
    assert call(folder, line) == 0
    assert capsys.readouterr().out == printed
    assert main(["show", str(folder / "match")]) == 0
    assert ": match" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.filterwarnings("default")
def test_evaluate_reports_all_that_it_is_given(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        f"{EVALUATE} --adapter measured --data @data.txt --other @other "
        "--enrichment @enrichment --annotations @annotations --out @evaluation"
    )
    assert call(folder, line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert str(si.Evaluation.open(folder / "evaluation")) in printed
    for part in ("Loss recovered", "Firing rate", "Stability", "Unrelated labels", "score: "):
        assert part in printed
    assert "one side of a channel" in printed
    assert call(folder, f"{EVALUATE} --out @bare") == 0
    assert "Loss recovered" not in capsys.readouterr().out


MISTAKES = {
    f"{MATCH} --activations-b @few --out @no": "were made from different records",
    f"{MATCH} --activations-b @early --out @no": "autoencoder B was made for another layer",
    f"{MATCH} --n-tokens 0 --out @no": "n_tokens=0, n_permutations=20 are not usable",
    "match @sae @absent @activations --out @no": "absent",
    "match @sae @features @activations --out @no": "holds features, not sae",
    "match @sae @other @sae --out @no": "holds sae, not activations",
    f"{MATCH} --out @sae": "it is sae, not match",
    "evaluate @sae @early --out @no": "the autoencoder was made for another layer",
    f"{EVALUATE} --other @sae --out @no": "is given twice, or is the one evaluated",
    f"{EVALUATE} --enrichment @enrichment --out @no": "Give known=",
    f"{EVALUATE} --enrichment @annotations --out @no": "holds annotations, not enrichment",
    f"{EVALUATE} --channels @enrichment --out @no": "Give the enrichment of the features",
    f"{EVALUATE} --adapter fake --data @absent.txt --out @no": "absent.txt",
    f"{EVALUATE} --out @features": "it is features, not evaluation",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items())
def test_a_wrong_measurement_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert call(folder, line) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("sci-interp: ") and message in printed.err
    assert not (folder / "no").exists()


@pytest.mark.filterwarnings("default")
def test_an_enrichment_of_other_annotations_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = "annotate --adapter fake --data @few.txt --out @few-annotations"
    assert call(folder, few) == 0
    capsys.readouterr()
    line = f"{EVALUATE} --enrichment @enrichment --annotations @few-annotations --out @no"
    assert call(folder, line) == 2
    assert "was made with other annotations" in capsys.readouterr().err
