"""Adapters by name: found without an import, doubles refused, mistakes explained."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest

from sci_interp.errors import InputError, MissingExtraError, SciInterpError, UnknownNameError
from sci_interp.registry import ENTRY_POINT_GROUP, adapters, find_autoencoder, load_adapter


def install(folder: Path, distribution: str, name: str, target: str, code: str = "") -> None:
    """Write what an installer would: metadata with an entry point, and a module."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nSummary: about "
        f"{distribution}\n"
    )
    (info / "entry_points.txt").write_text(f"[sci_interp.adapters]\n{name} = {target}\n")
    (folder / f"{target.partition(':')[0]}.py").write_text(code)


def test_adapters_are_listed_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "stranger", "odd", "odd_module:Odd", "raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    found = {info.name: info for info in adapters()}
    assert found["odd"].distribution == "stranger"
    assert found["odd"].summary == "about stranger"
    assert found["protein"].distribution == "sci-interp"
    assert "odd_module" not in sys.modules


def test_an_unknown_adapter_names_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"no adapter 'proteine'.*protein.*Did you mean"):
        load_adapter("proteine")


def test_two_distributions_with_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "a", "first", "twin", "twin_a:Twin")
    install(tmp_path / "b", "second", "twin", "twin_b:Twin")
    monkeypatch.syspath_prepend(tmp_path / "a")
    monkeypatch.syspath_prepend(tmp_path / "b")
    with pytest.raises(InputError, match=r"first \(twin_a:Twin\), second \(twin_b:Twin\)"):
        load_adapter("twin")


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "import a_library_that_is_absent",
            InputError,
            r"a_library_that_is_absent.*stranger needs",
        ),
        ("Other = 1", InputError, "which does not exist"),
        ("Broken = lambda model: object()", SciInterpError, "is not an adapter"),
    ],
)
def test_a_broken_adapter_is_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[SciInterpError],
    message: str,
) -> None:
    module = f"broken_{error.__name__}_{len(code)}"
    install(tmp_path, "stranger", "broken", f"{module}:Broken", code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=message):
        load_adapter("broken")


def test_a_missing_module_names_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "stranger", "gone", "gone_module:Gone")
    (tmp_path / "gone_module.py").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="the distribution stranger needs, or reinstall"):
        load_adapter("gone")


def test_a_missing_extra_of_this_distribution_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("protein", "absent_extra_module:Adapter", ENTRY_POINT_GROUP)
    vars(entry)["dist"] = distribution("sci-interp")

    def load(_: EntryPoint) -> None:
        raise ModuleNotFoundError("No module named 'transformers.x'", name="transformers.x")

    monkeypatch.setattr(EntryPoint, "load", load)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: (entry,))
    with pytest.raises(MissingExtraError, match=r"'transformers'.*sci-interp\[protein\]"):
        load_adapter("protein")


def test_the_bundled_autoencoder_fits_the_bundled_network():
    from sci_interp.sae import load_sae

    adapter = load_adapter("protein")
    sae = load_sae("bundled:protein")
    assert sae.parent["model_digest"] == adapter.model.digest
    assert sae.parent["layer"] == adapter.default_layer
    assert sae.width == adapter.layers()[adapter.default_layer]


def test_an_adapter_without_an_autoencoder_says_so(monkeypatch):
    monkeypatch.setattr("sci_interp.registry._import", lambda entry: object())
    with pytest.raises(InputError, match="comes with no autoencoder"):
        find_autoencoder("protein")
