"""A stranger's adapter: found by its metadata, accepted; broken ones refused with a reason."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_adapter import FakeAdapter, make_dataset

import sci_interp as si
from sci_interp.adapter import Label, Nuisances, RecordView, TokenLoss
from sci_interp.testing import ConformanceError, check_adapter, find_violations


@pytest.fixture
def alphabet(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put the plug-in where an installer would, and load it by name."""
    source = repository / "tests" / "plugin_package"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    shutil.copytree(source / "sci_interp_alphabet", tmp_path / "sci_interp_alphabet")
    info = tmp_path / f"sci_interp_alphabet-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        f"Summary: {project['description']}\n"
    )
    points = project["entry-points"]["sci_interp.adapters"]
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[sci_interp.adapters]", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    return si.load_adapter("alphabet")


def test_a_strangers_adapter_is_found_and_accepted(alphabet: Any) -> None:
    assert "sci-interp-alphabet" in [info.distribution for info in si.adapters()]
    check_adapter(alphabet, alphabet.open())


def test_the_adapter_of_the_core_tests_keeps_every_law() -> None:
    check_adapter(FakeAdapter(), make_dataset())


def test_what_an_adapter_lacks_is_named(alphabet: Any) -> None:
    with pytest.raises(ConformanceError, match=r"members: SimpleNamespace has no .*activations"):
        check_adapter(SimpleNamespace(name="empty"), alphabet.open())
    with pytest.raises(ConformanceError, match="no digest, table"):
        check_adapter(alphabet, SimpleNamespace())


class Broken:
    """The alphabet adapter with some members replaced."""

    def __init__(self, good: Any, **members: Any) -> None:
        self._good = good
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._good, name)


def changed_activations(
    good: Any, change: Callable[[list[Any]], list[Any]]
) -> Callable[..., Iterator[Any]]:
    def activations(dataset: Any, records: Sequence[str], layers: Sequence[str]) -> Iterator[Any]:
        return iter(change(list(good.activations(dataset, records, layers))))

    return activations


def with_values(item: Any, change: Callable[[Any], Any]) -> Any:
    return replace(item, values={name: change(value) for name, value in item.values.items()})


def drifting(good: Any) -> Callable[..., Iterator[Any]]:
    calls = iter(range(1000))

    def activations(dataset: Any, records: Sequence[str], layers: Sequence[str]) -> Iterator[Any]:
        shift = np.float32(next(calls))
        for item in good.activations(dataset, records, layers):
            yield with_values(item, lambda values: values + shift)

    return activations


def annotate_with(good: Any, **changes: Any) -> Callable[..., Iterator[Any]]:
    def annotate(dataset: Any, records: Sequence[str]) -> Iterator[Any]:
        return (replace(item, **changes) for item in good.annotate(dataset, records))

    return annotate


def loss_with(change: Callable[[Any, Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def members(good: Any) -> dict[str, Any]:
        def loss(data: Any, records: Any, layer: str, replacement: Any, *, seed: int = 0) -> Any:
            return change(good.loss(data, records, layer, replacement, seed=seed), replacement)

        return {"loss": loss}

    return members


BREAKS: list[tuple[str, str, Callable[[Any], dict[str, Any]]]] = [
    ("layers", "width 0", lambda _: {"layers": lambda: {"embed": 0}}),
    ("layers", "is not among the layers", lambda _: {"default_layer": "tail"}),
    ("layers", "must raise", lambda _: {"activations": lambda *_: iter(())}),
    (
        "activations",
        "exactly once",
        lambda good: {"activations": changed_activations(good, lambda found: found[:-1])},
    ),
    (
        "activations",
        "not float32",
        lambda good: {
            "activations": changed_activations(
                good, lambda found: [with_values(item, lambda v: v[:-1]) for item in found]
            )
        },
    ),
    (
        "activations",
        "not finite",
        lambda good: {
            "activations": changed_activations(
                good, lambda found: [with_values(item, lambda v: v * np.nan) for item in found]
            )
        },
    ),
    ("repeatability", "other activations", lambda good: {"activations": drifting(good)}),
    (
        "coordinates",
        "is not finite float64",
        lambda _: {"token_coordinates": lambda *_: {"letter": np.zeros(2)}},
    ),
    ("coordinates", "not ('letter',)", lambda _: {"token_coordinates": lambda *_: {}}),
    ("labels", "occur twice", lambda _: {"labels": lambda _: [Label("a", "g", "d")] * 2}),
    ("labels", "needs a name", lambda _: {"labels": lambda _: [Label("a", "g", "")]}),
    (
        "annotations",
        "run ('vowel', 'k', 0, 99) is not usable",
        lambda good: {"annotate": annotate_with(good, runs=[("vowel", "k", 0, 99)])},
    ),
    (
        "annotations",
        "outside what is known",
        lambda good: {"annotate": annotate_with(good, known=[])},
    ),
    (
        "annotations",
        "order given",
        lambda good: {"annotate": lambda data, ids: good.annotate(data, ids[::-1])},
    ),
    (
        "nuisances",
        "out of range",
        lambda _: {"nuisances": lambda: Nuisances(("letter=a",), ("token identity",))},
    ),
    (
        "nuisances",
        "not sorted",
        lambda _: {"nuisance_codes": lambda *_: (np.array([1, 0]), np.array([0, 0]))},
    ),
    (
        "windows",
        "not float32",
        lambda _: {"describe_windows": lambda data, record, tokens: np.zeros((len(tokens), 3))},
    ),
    (
        "shuffled weights",
        "digest of the original",
        lambda good: {"shuffle_weights": lambda _: good},
    ),
    ("decoys", "digest of the dataset", lambda _: {"decoy": lambda data, _: data}),
    ("loss", "differs between two calls", lambda _: _random_loss()),
    (
        "loss",
        "the hook has no effect",
        lambda good: {
            "loss": lambda data, ids, layer, _, *, seed=0: good.loss(data, ids, layer, None)
        },
    ),
    (
        "loss",
        "the identity as replacement gives",
        loss_with(lambda found, replacement: found + TokenLoss(float(replacement is not None), 0)),
    ),
    ("loss", "finite", loss_with(lambda *_: TokenLoss(float("nan"), 3))),
    ("views", "symbols for", lambda _: {"view": lambda *_: RecordView("title", ("a",))}),
    ("views", "raised KeyError", lambda _: {"view": lambda *_: {}["view"]}),
]


def _random_loss() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"loss": lambda *_, seed=0: TokenLoss(float(rng.random()), 3)}


@pytest.mark.parametrize(("law", "reason", "members"), BREAKS, ids=lambda value: str(value)[:30])
def test_a_broken_adapter_is_refused_with_the_reason(
    alphabet: Any, law: str, reason: str, members: Callable[[Any], dict[str, Any]]
) -> None:
    broken: Any = Broken(alphabet, **members(alphabet))
    found = find_violations(broken, alphabet.open(), n_records=2)
    assert [item for item in found if item.law == law and reason in item.reason], found


class Table:
    """A dataset with some columns replaced."""

    digest = "d"

    def __init__(self, good: Any, **columns: Any) -> None:
        self.table = good.table.assign(**columns)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"record": "same"}, "more than once"),
        ({"block": ""}, "every block must be a string"),
        ({"n_tokens": 0}, "has no token"),
    ],
)
def test_a_broken_table_is_refused(alphabet: Any, columns: dict[str, Any], reason: str) -> None:
    found = find_violations(alphabet, Table(alphabet.open(), **columns))
    assert [item.law for item in found] == ["table"]
    assert reason in found[0].reason
