"""A small world of sequences with planted truth, for the tests of candidates and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sci_interp.adapter import (
    Label,
    ModelIdentity,
    Nuisances,
    RecordAnnotations,
    RecordView,
)
from sci_interp.annotations import AnnotationStore, annotate
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.manifest import Manifest

SYMBOLS = "ABCDEFGH"
MOTIF = (0, 3, 6, 1, 4)  # unknown to the labels
SUBMOTIF = (7, 7, 2, 7, 7)  # a part of DOMAIN
HALF = 5

#: What the planted features do. Those of a motif fire beside it, on any symbol.
UNEXPLAINED, DOMAIN, SYMBOL, RANDOM, HEAD, SUBTYPE, RARE, SITE = range(8)
N_FEATURES = 8


@dataclass(frozen=True, eq=False)
class World:
    """Sequences in families, with a hidden motif, a DOMAIN label, and an incomplete SITE label."""

    n_families: int = 150
    seed: int = 0
    site_annotated: float = 0.6
    digest: str = "world"
    is_decoy: bool = False
    sequences: dict[str, np.ndarray] = field(default_factory=dict)
    truth: dict[str, dict[str, list[tuple[int, int]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        for family in range(self.n_families):
            for member in range(1 + (family % 5 == 0)):
                self._add(rng, f"fam{family:03d}_{member}")

    def _add(self, rng: np.random.Generator, record: str) -> None:
        sequence = rng.integers(0, 8, rng.integers(90, 150))
        spots = rng.permutation(np.arange(8, len(sequence) - 24, 24))[:3]
        truth: dict[str, list[tuple[int, int]]] = {"motif": [], "DOMAIN": [], "SUB": [], "SITE": []}
        if self.is_decoy:
            self.sequences[record], self.truth[record] = sequence, truth
            return
        if rng.random() < 0.5:
            sequence[spots[0] : spots[0] + 5] = MOTIF
            truth["motif"].append((int(spots[0]), int(spots[0]) + 5))
        if rng.random() < 0.7:
            truth["DOMAIN"].append((int(spots[1]), int(spots[1]) + 16))
            if rng.random() < 0.35:
                sequence[spots[1] + 4 : spots[1] + 9] = SUBMOTIF
                truth["SUB"].append((int(spots[1]) + 2, int(spots[1]) + 3))
        if rng.random() < 0.5:
            truth["SITE"].append((int(spots[2]), int(spots[2]) + 3))
        self.sequences[record], self.truth[record] = sequence, truth

    @cached_property
    def table(self) -> pd.DataFrame:
        names = list(self.sequences)
        return pd.DataFrame(
            {
                "record": names,
                "block": [name.split("_")[0] for name in names],
                "n_tokens": [len(self.sequences[name]) for name in names],
            }
        )

    @cached_property
    def axis(self) -> TokenAxis:
        return TokenAxis.build(self.table)

    def annotated(self, record: str) -> list[tuple[int, int]]:
        """SITE instances that the annotators found."""
        rng = np.random.default_rng([9, *record.encode()])
        return self.truth[record]["SITE"] if rng.random() < self.site_annotated else []


class WorldAdapter:
    """Knows DOMAIN, SITE and the symbols; does not know the motif."""

    name = "world"
    model = ModelIdentity("world", "0" * 64, "float32")
    coordinates = ("residue",)
    default_layer = "none"

    def labels(self, dataset: World) -> Sequence[Label]:
        return [
            Label("DOMAIN", "features", "a planted domain"),
            Label("SITE", "features", "a planted site, annotated in part"),
            Label("symbol=A", "symbols", "the first symbol", nuisance=True),
        ]

    def annotate(self, dataset: World, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        for record in records:
            n = len(dataset.sequences[record])
            runs = [("DOMAIN", str(i), *r) for i, r in enumerate(dataset.truth[record]["DOMAIN"])]
            runs += [("SITE", str(i), *r) for i, r in enumerate(dataset.annotated(record))]
            places = np.flatnonzero(dataset.sequences[record] == 0).tolist()
            runs += [("symbol=A", str(i), i, i + 1) for i in places]
            yield RecordAnnotations(record, runs, [("features", 0, n), ("symbols", 0, n)])

    def nuisances(self) -> Nuisances:
        names = (*(f"symbol={x}" for x in SYMBOLS), "position:first 5")
        return Nuisances(names, ("token identity",) * 8 + ("position",))

    def nuisance_codes(self, dataset: World, record: str) -> tuple[np.ndarray, np.ndarray]:
        sequence = dataset.sequences[record]
        token = np.append(np.arange(len(sequence)), np.arange(5))
        feature = np.append(sequence, np.full(5, 8))
        order = np.lexsort((feature, token))
        return token[order], feature[order]

    def describe_windows(self, dataset: World, record: str, tokens: np.ndarray) -> np.ndarray:
        sequence = np.concatenate([np.full(HALF, 8), dataset.sequences[record], np.full(HALF, 8)])
        hot = np.vstack([np.eye(8) - 1 / 8, np.zeros((1, 8))])
        windows = tokens[:, None] + np.arange(2 * HALF + 1)
        return hot[sequence[windows]].reshape(len(tokens), -1).astype(np.float32)

    def token_coordinates(self, dataset: World, record: str) -> Mapping[str, np.ndarray]:
        return {"residue": np.arange(1.0, len(dataset.sequences[record]) + 1)}

    def view(self, dataset: World, record: str) -> RecordView:
        symbols = tuple(SYMBOLS[x] for x in dataset.sequences[record])
        return RecordView(
            f"{record} of the planted world", symbols, f"https://example.org/{record}"
        )


MANIFEST = Manifest("features", "codes", settings={"layer": "planted"})


@dataclass(frozen=True, eq=False)
class ArrayCodes:
    """Codes in memory that read like a feature store."""

    axis: TokenAxis
    codes: Codes
    n_features: int
    digest: str = "codes"
    names: tuple[str, ...] = ()
    manifest: Manifest = MANIFEST

    def read(self, start: int, stop: int) -> Codes:
        return self.codes.rows(start, stop)

    @classmethod
    def of(cls, axis: TokenAxis, levels: np.ndarray, **kwargs: Any) -> ArrayCodes:
        """From a dense matrix of levels ``(n_tokens, n_features)``."""
        token, feature = np.nonzero(levels)
        indptr = np.searchsorted(token, np.arange(len(levels) + 1)).astype(np.int64)
        value = levels[token, feature].astype(np.uint8)
        return cls(axis, Codes(indptr, feature.astype(np.uint16), value), levels.shape[1], **kwargs)


def planted_levels(world: World, seed: int = 0, n_noise: int = 0) -> np.ndarray:
    """Return levels of the planted features, and of noise features, for every token."""
    axis = world.axis
    levels = np.zeros((axis.n_tokens, N_FEATURES + n_noise), np.int64)
    rng = np.random.default_rng([seed, 17])
    starts = dict(zip(axis.records["record"], axis.record_starts, strict=False))
    high = lambda n: rng.integers(226, 256, n)  # noqa: E731
    for record, sequence in world.sequences.items():
        at, truth = int(starts[record]), world.truth[record]
        for start, _ in truth["motif"]:
            levels[at + start - 1, UNEXPLAINED] = high(1)[0]
        for start, stop in truth["DOMAIN"]:
            levels[at + start : at + stop, DOMAIN] = high(stop - start)
        for start, stop in truth["SUB"]:
            levels[at + start : at + stop, SUBTYPE] = high(1)[0]
        for start, stop in truth["SITE"]:
            levels[at + start : at + stop, SITE] = high(stop - start)
        places = np.flatnonzero(sequence == 2)
        levels[at + places, SYMBOL] = high(len(places))
        levels[at : at + 3, HEAD] = high(3)
        noise = rng.random((len(sequence), 1 + n_noise)) < 0.02
        rows, columns = np.nonzero(noise)
        columns = np.where(columns == 0, RANDOM, N_FEATURES - 1 + columns)
        levels[at + rows, columns] = high(len(rows))
        if record in ("fam001_0", "fam002_0"):
            levels[at, RARE] = 255
    return levels


def planted_store(folder: Path, world: World) -> AnnotationStore:
    """Return the annotation store of a world."""
    return annotate(WorldAdapter(), world, out=folder)  # type: ignore[arg-type]
