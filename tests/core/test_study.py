"""Study files: every key is checked, and every mistake has one clear message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp import study
from sci_interp.errors import InputError, SciInterpError, UnknownNameError
from sci_interp.sae import sparsity
from sci_interp.study import BASELINES, read_study

SMALLEST = '[study]\nadapter = "protein"\nout = "out"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_smallest_study_has_defaults(tmp_path: Path) -> None:
    found = read_study(write(tmp_path, SMALLEST))
    assert found.out == tmp_path / "out"
    assert (found.study.model, found.study.layer, found.study.seed) == ("", "", 0)
    assert found.baselines.use == BASELINES
    assert found.data == {}
    assert found.splits is None


def test_the_architectures_are_those_that_can_be_trained() -> None:
    named = [*study.ARCHITECTURES, *study.LAYERED_ARCHITECTURES]
    assert sorted(named) == sorted(sparsity.ARCHITECTURES)


def test_every_table_is_read(tmp_path: Path) -> None:
    text = """
[data]
path = "a.fasta"
features = ["b.tsv", "/c.gff"]
max_length = 7
[model]
dtype = "float32"
[splits]
train = 0.5
test = 0.5
[sae]
k = 4
learning_rate = 1
[baselines]
use = ["pca"]
"""
    found = read_study(write(tmp_path, SMALLEST + text))
    assert found.data == {
        "path": tmp_path / "a.fasta",
        "features": [tmp_path / "b.tsv", Path("/c.gff")],
        "max_length": 7,
    }
    assert found.model_options == {"dtype": "float32"}
    assert found.splits == {"train": 0.5, "test": 0.5}
    assert (found.sae.k, found.sae.learning_rate) == (4, 1)
    assert found.baselines.use == ("pca",)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[study", InputError, "is not a TOML file"),
        ("[studdy]", UnknownNameError, r"toml: there is no table 'studdy'.*Did you mean 'study'"),
        ("study = 1", InputError, r"'study' is 1.*a table: \[study\]"),
        ("", InputError, r"\[study\] lacks adapter.*Add: adapter"),
        ('[study]\nadapter = "a"', InputError, r"\[study\] lacks out. Add: out = \"...\"."),
        (SMALLEST + "sede = 1", UnknownNameError, r"\[study\]: there is no key 'sede'.*n 'seed'"),
        (SMALLEST + "seed = 1.5", InputError, "seed is 1.5.*a whole number"),
        (SMALLEST + "seed = true", InputError, "seed is True.*a whole number"),
        (SMALLEST + "seed = -1", InputError, "seed is -1.*at least 0"),
        (SMALLEST + "layer = 3", InputError, "layer is 3.*a text"),
        (SMALLEST + r'layer = "a\u0000b"', InputError, "layer is .*a text"),
        (SMALLEST + "[sae]\nk = 0", InputError, "k is 0.*at least 1"),
        (SMALLEST + "[sae]\nlearning_rate = nan", InputError, "learning_rate is nan.*a number"),
        (SMALLEST + "[sae]\nlearning_rate = inf", InputError, "learning_rate is inf.*a number"),
        (SMALLEST + "[sae]\npenalty = 0.1", InputError, "'topk' has no penalty"),
        (SMALLEST + "[sae]\nwhitening = 1", InputError, "whitening is 1.*true or false"),
        (SMALLEST + '[sae]\narchitecture = "x"', UnknownNameError, "'x'.*topk, batch_topk"),
        (SMALLEST + "[enrich]\nq = 2", InputError, "q is 2.*at least 0.0 and at most 1.0"),
        (SMALLEST + '[baselines]\nuse = ["pcaa"]', UnknownNameError, "'pcaa'.*mean 'pca'"),
        (SMALLEST + '[baselines]\nuse = "pca"', InputError, "use is 'pca'.*a list of texts"),
        (SMALLEST + "[splits]\ntrian = 1", UnknownNameError, "'trian'.*'train'"),
        (SMALLEST + '[splits]\ntrain = "x"', InputError, "train is 'x'.*a number"),
        (SMALLEST + r'[data]\npath = "\u0000"'.replace(r"\n", "\n"), InputError, "without a null"),
    ],
)
def test_a_mistake_is_explained(
    tmp_path: Path, text: str, error: type[SciInterpError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_study(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.toml cannot be read: No such file"):
        read_study(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_study(tmp_path)
    large = write(tmp_path, "#" * (2**20 + 1))
    with pytest.raises(InputError, match="larger than a study file"):
        read_study(large)
    large.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a TOML file"):
        read_study(large)


@given(st.text(max_size=80), st.sampled_from(["[study]\n", "[sae]\nk = ", "[data]\n", ""]))
def test_any_text_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, head: str
) -> None:
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(SMALLEST + head + text.replace("\ud800", ""), encoding="utf-8", errors="ignore")
    message = ""
    try:
        read_study(path)
    except SciInterpError as error:
        message = str(error)
    assert not message or str(path) in message


def test_an_address_is_no_path(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        '[study]\nadapter = "a"\nout = "o"\n[data]\npath = "gs://bucket/era5.zarr"\nmore = ["x", "s3://y"]'
    )
    assert read_study(path).data == {
        "path": "gs://bucket/era5.zarr",
        "more": [tmp_path / "x", "s3://y"],
    }
