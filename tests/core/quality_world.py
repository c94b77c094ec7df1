"""Autoencoders, networks and labels whose quality report is known beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fake_adapter import FakeAdapter, FakeDataset, make_dataset
from matching_world import make_axis
from sae_world import random_sae

from sci_interp.adapter import Label, RecordAnnotations, Replacement
from sci_interp.annotations import AnnotationStore, annotate
from sci_interp.enrichment import EnrichmentResult
from sci_interp.sae import SparseAutoencoder
from sci_interp.source import ArraySource
from sci_interp.streams import ActivationStream

LAYER = "layers.1"


class MeasuringAdapter(FakeAdapter):
    """The fake adapter with two endpoints: its mean score, and one that short records lack."""

    def endpoints(self, dataset: FakeDataset) -> Mapping[str, str]:
        return {"score": "mean of all scores", "late": "mean score of the tokens after the tenth"}

    def measure(
        self,
        dataset: FakeDataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        for record in records:
            with torch.no_grad():
                scores = self._scores(dataset.symbols(record), layer, replacement).mean(1)
            late = float(scores[10:].mean()) if len(scores) > 10 else float("nan")
            yield record, {"score": float(scores.mean()), "late": late}


def fake_stream(adapter: FakeAdapter | None = None) -> tuple[FakeDataset, ActivationStream]:
    """Return data and activations of the fake network, all in the test split."""
    data = make_dataset(n_records=60)
    return data, ActivationStream(adapter or FakeAdapter(), data, LAYER, fractions={"test": 1.0})


def random_source(width: int = 16, seed: int = 0) -> ArraySource:
    axis = make_axis(n_records=80)
    values = np.random.default_rng(seed).standard_normal((axis.n_tokens, width))
    return ArraySource(axis, values.astype(np.float32), LAYER)


def changed_copy(sae: SparseAutoencoder, *, seed: int = 1, noise: float = 0.0) -> SparseAutoencoder:
    """Return the autoencoder with its features in another order, and noise on every direction."""
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(sae.n_features))
    weights = sae.weights.of_features(order)
    for tensor in (weights.encoder, weights.decoder):
        tensor += noise * torch.from_numpy(rng.standard_normal(tensor.shape)).float()
    weights.normalise_decoder()
    return dataclasses.replace(sae, weights=weights, training={"seed": seed})


def seeded(sae: SparseAutoencoder, seed: int) -> SparseAutoencoder:
    return dataclasses.replace(sae, training={"seed": seed})


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Records of ten tokens, and label runs of each."""

    runs: dict[str, list[tuple[str, str, int, int]]]
    known: dict[str, list[tuple[str, int, int]]]
    digest: str = "labelled"

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame({"record": list(self.runs), "block": list(self.runs), "n_tokens": 10})


class LabelAdapter:
    """As much of an adapter as annotating needs."""

    name = "labels"

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = labels

    def labels(self, dataset: Labelled) -> Sequence[Label]:
        return self._labels

    def annotate(self, dataset: Labelled, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        for record in records:
            yield RecordAnnotations(record, dataset.runs[record], dataset.known[record])


def labelled_store(
    out: Path, labels: Mapping[str, tuple[str, set[int]]], *, unknown: Mapping[str, set[int]]
) -> AnnotationStore:
    """Annotate twenty records of ten tokens.

    Parameters
    ----------
    labels
        Group of every label, and the tokens (0..199) that have it.
    unknown
        Records (0..19) in which a group was not assessed.
    """
    groups = sorted({group for group, _ in labels.values()})
    names = [f"record{at:02d}" for at in range(20)]
    runs: dict[str, list[tuple[str, str, int, int]]] = {name: [] for name in names}
    for label, (_, tokens) in labels.items():
        for token in sorted(tokens):
            runs[names[token // 10]].append((label, str(token), token % 10, token % 10 + 1))
    known = {
        name: [(group, 0, 10) for group in groups if at not in unknown.get(group, set())]
        for at, name in enumerate(names)
    }
    declared = [Label(name, group, "planted") for name, (group, _) in labels.items()]
    found = LabelAdapter(declared)
    return annotate(found, Labelled(runs, known), out=out, progress=False)  # type: ignore[arg-type]


def links(*rows: tuple[int, str], kind: str = "site", nuisance: bool = False) -> pd.DataFrame:
    """Return an enrichment table of linked pairs, as far as it is read."""
    table = pd.DataFrame(rows, columns=["feature", "label"])
    return table.assign(**{"class": kind, "nuisance": nuisance})


def enrichment_of(table: pd.DataFrame, n_features: int, **changes: Any) -> EnrichmentResult:
    summary = pd.DataFrame({"source": ["features"], "n_features": [n_features]})
    given: dict[str, Any] = {"baselines": {}, "settings": {"protocol": "two-stage"}}
    given |= {"not_identifiable": {}, "splits": {}, "design": {}}
    return EnrichmentResult(table=table, summary=summary, **{**given, **changes})


def small_sae(**changes: Any) -> SparseAutoencoder:
    return seeded(random_sae(**changes), 0)
