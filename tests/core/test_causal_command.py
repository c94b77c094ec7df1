"""The command ``intervene``: its artefact, its table, and one message per mistake."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_adapter import FakeAdapter, FakeDataset, make_dataset
from sae_world import random_sae

import sci_interp as si
from sci_interp.adapter import Replacement
from sci_interp.cli import main
from sci_interp.sae.files import save_sae


class MeasuredAdapter(FakeAdapter):
    """The fake adapter with one endpoint, its loss."""

    def endpoints(self, dataset: FakeDataset) -> Mapping[str, str]:
        return {"loss": "cross entropy per hidden symbol, nats"}

    def measure(
        self,
        dataset: FakeDataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        for record in records:
            found = self.loss(dataset, [record], layer, replacement)
            yield record, {"loss": found.total / found.n_tokens if found.n_tokens else float("nan")}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let "measured" mean the adapter with an endpoint, and any other name the fake one."""

    def load(name: str, model: str | None = None, **options: Any) -> FakeAdapter:
        return (MeasuredAdapter if name == "measured" else FakeAdapter)(**options)

    monkeypatch.setattr(si, "load_adapter", load)
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intervene")
    data = make_dataset(n_records=90, shortest=8, longest=12)
    rows = [f"{name} {data.blocks[name]} {text}" for name, text in data.texts.items()]
    (folder / "data.txt").write_text("\n".join(rows), encoding="utf-8")
    save_sae(random_sae(), folder / "sae")
    return folder


def call(folder: Path, line: str) -> int:
    return main([str(folder / word[1:]) if word[0] == "@" else word for word in line.split()])


BASE = "intervene @sae --adapter measured --data @data.txt"


@pytest.mark.filterwarnings("default")
def test_the_command_makes_an_artefact_and_prints_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{BASE} --feature 5 --coefficient -1 --endpoint loss --n-records 12 --out @effects"
    assert call(folder, line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "Feature 5 at layer 'layers.1'" in printed
    assert "20 random directions of the same size at the same tokens" in printed
    assert "loss: cross entropy per hidden symbol, nats" in printed
    assert "Coefficient 0 gives the untouched network's answer exactly." in printed
    found = si.InterventionResult.open(folder / "effects")
    assert str(found) in printed
    assert found.effects["coefficient"].tolist() == [-1.0]
    assert call(folder, line) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.filterwarnings("default")
def test_records_and_codes_can_be_given(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(f"--record record{index:04d}" for index in range(24))
    assert call(folder, f"{BASE} --feature 5 {words} --out @named") == 0
    named = si.InterventionResult.open(folder / "named")
    assert named.n_records == 24
    assert set(named.effects["coefficient"]) == {-1.0, 1.0}
    source = si.stream(MeasuredAdapter(), FakeAdapter().open(folder / "data.txt"), "layers.1")
    si.encode(random_sae(), source, out=folder / "codes", progress=False)
    assert call(folder, f"{BASE} --feature 5 --n-records 9 --codes @codes --out @coded") == 0
    assert si.InterventionResult.open(folder / "coded").n_records == 9
    capsys.readouterr()


MISTAKES = {
    f"{BASE} --feature 64 --out @no": "there is no feature 64. Allowed: 0 to 63.",
    f"{BASE} --feature 1 --coefficient 0 --out @no": "at least one other than 0",
    f"{BASE} --feature 1 --coefficient inf --out @no": "the coefficients inf are not usable",
    f"{BASE} --feature 1 --endpoint los --out @no": "there is no endpoint 'los'",
    f"{BASE} --feature 1 --record x --out @no": "there is no record 'x'",
    f"{BASE} --feature 1 --layer layers.9 --out @no": "Did you mean 'layers.",
    f"{BASE} --feature 1 --layer layers.0 --out @no": "layer that the autoencoder was trained on",
    f"{BASE} --feature 1 --n-controls 3 --out @no": "n_controls is 3. Allowed: at least 20.",
    f"{BASE} --feature 1 --controls features --out @no": "0 other features fire",
    f"{BASE} --feature 1 --codes @sae --out @no": "holds sae, not features",
    f"{BASE} --feature 1 --splits train=1 --out @no": "fires on no record of the test blocks",
    f"{BASE} --feature 1 --out @sae": "it is sae, not intervention",
    "intervene @absent --adapter measured --data @data.txt --feature 1 --out @no": "absent",
    "intervene @sae --adapter fake --data @data.txt --feature 1 --out @no": (
        "the adapter 'fake' measures nothing that an intervention could change."
    ),
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items())
def test_a_wrong_intervention_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert call(folder, line) == 2
    printed = capsys.readouterr()
    told = [text for text in printed.err.splitlines() if not text.startswith("intervene: ")]
    assert printed.out == ""
    assert len(told) == 1, printed.err
    assert told[0].startswith("sci-interp: ") and message in told[0]
    assert not (folder / "no").exists()


@pytest.mark.parametrize("words", ["", "--feature many", "--feature 1 --coefficient strong"])
def test_wrong_words_are_refused_by_the_parser_of_interventions(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        call(folder, f"{BASE} {words} --out @no".replace("  ", " "))
    assert stop.value.code == 2
    assert "usage: sci-interp intervene" in capsys.readouterr().err
