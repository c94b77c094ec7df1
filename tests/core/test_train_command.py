"""The commands `train` and `sweep`: one layer or several, with the options of an architecture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sae_world import planted_source

import sci_interp as si
from sci_interp.cli import main
from sci_interp.source import ArraySource


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> dict[str, ArraySource]:
    """Let names stand for two layers in memory where the command opens stores."""
    _, source = planted_source(n_tokens=2000)
    wide = np.concatenate([source.values, source.values[:, :4]], axis=1)
    found = {"first": ArraySource(source.axis, source.values, "first")}
    found["second"] = ArraySource(source.axis, wide, "second")
    monkeypatch.setattr(si.ActivationStore, "open", lambda path: found[str(path)])
    return found


def run(words: str, out: Path) -> int:
    common = f" --features 40 --k 3 --n-tokens 2000 --batch-size 200 --out {out}"
    return main(["train", *(words + common).split()])


@pytest.mark.usefixtures("layers")
def test_options_reach_the_training(tmp_path, capsys) -> None:
    out = tmp_path / "sae"
    words = "first --architecture jumprelu --penalty 0.02 --revival resampling"
    words += " --centre geometric_median --whitening --accumulate 2 --parallel"
    assert run(words, out) == 0
    sae = si.load_sae(out)
    assert sae.architecture == "jumprelu"
    named = ("penalty", "revival", "centre", "whitening", "accumulate")
    found = [sae.training[name] for name in named]
    assert found == [0.02, "resampling", "geometric_median", True, 2]
    assert "sae" in capsys.readouterr().out


@pytest.mark.parametrize("architecture", ["transcoder", "crosscoder"])
def test_layers_are_given_one_after_another(architecture, layers, tmp_path) -> None:
    out = tmp_path / "sae"
    assert run(f"first second --architecture {architecture}", out) == 0
    sae = si.load_sae(out)
    both = si.StackedSource(list(layers.values()))
    read = layers["first"] if architecture == "transcoder" else both
    codes = sae.encode(read.read(0, 50))
    written = layers["second"].width if architecture == "transcoder" else both.width
    assert sae.decode(codes).shape == (50, written)
    assert sae.parent["layer"] == read.layer


@pytest.mark.usefixtures("layers")
def test_a_missing_layer_is_one_message(tmp_path, capsys) -> None:
    assert run("first --architecture transcoder", tmp_path / "sae") == 2
    assert "a transcoder needs the activations of two layers" in capsys.readouterr().err


@pytest.mark.usefixtures("layers")
def test_a_grid_is_swept(tmp_path, capsys) -> None:
    out = tmp_path / "sweep"
    words = "sweep first --grid k=2,3 --grid architecture=topk,gated --grid whitening=true "
    words += "--grid features=40 --grid learning-rate=1e-3 --n-tokens 2000 --batch-size 200"
    assert main([*words.split(), "--out", str(out)]) == 0
    found = si.Sweep.open(out)
    assert found.runs == ("topk-k2", "gated-k2", "topk-k3", "gated-k3")
    training = found.load("gated-k3").training
    named = ("k", "features", "whitening", "learning_rate", "n_tokens")
    assert [training[name] for name in named] == [3, 40, True, 0.001, 2000]
    assert found.format() in capsys.readouterr().out


@pytest.mark.usefixtures("layers")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--grid k", "--grid 'k' cannot be read"),
        ("--grid q=1,2", "'q'"),
        ("--grid k=few", "k='few' is not usable"),
    ],
)
def test_a_grid_that_makes_no_sense_is_one_message(words, message, tmp_path, capsys) -> None:
    assert main(["sweep", "first", *words.split(), "--out", str(tmp_path / "sweep")]) == 2
    assert message in capsys.readouterr().err
