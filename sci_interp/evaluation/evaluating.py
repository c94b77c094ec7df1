"""The verb: checks, the artefact, and every measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sci_interp.adapter import Adapter, Dataset, Measurable
from sci_interp.annotations import AnnotationStore
from sci_interp.axis import TokenAxis
from sci_interp.enrichment import EnrichmentResult
from sci_interp.errors import InputError, StoreError
from sci_interp.manifest import begin_artefact, clear_on_mistake
from sci_interp.matching.coding import require_fit
from sci_interp.sae import Fidelity, SparseAutoencoder, fidelity
from sci_interp.sae.statistics import token_ranges
from sci_interp.schema import RECORD, SPLITS, Split
from sci_interp.source import ActivationSource
from sci_interp.streams import require_layer

from .activity import DENSE, REDUNDANT, Activity, density_table, measure_activity, nearest_cosine
from .endpoints import measure_endpoints
from .polysemanticity import Polysemanticity, measure_polysemanticity, require_enrichment
from .result import FVU_SPACE, KIND, Evaluation
from .stability import Stability, measure_stability, require_others

__all__ = ["evaluate"]


def evaluate(
    sae: SparseAutoencoder,
    acts: ActivationSource,
    adapter: Adapter | None = None,
    *,
    dataset: Dataset | None = None,
    others: Sequence[SparseAutoencoder] = (),
    enrichment: EnrichmentResult | None = None,
    known: AnnotationStore | None = None,
    channels: EnrichmentResult | None = None,
    splits: Sequence[Split] = ("test",),
    n_tokens: int = 100_000,
    n_records: int = 64,
    n_permutations: int = 100,
    seed: int = 0,
    n_threads: int | None = None,
    out: Path | str | None = None,
    progress: bool = True,
) -> Evaluation:
    """Measure the quality of an autoencoder on tokens that it was not trained on.

    Parameters
    ----------
    sae
        The autoencoder.
    acts
        Activations of its layer.
    adapter, dataset
        The network and its data: with both, the loss recovered is measured, and the endpoints of
        an adapter that is :class:`~sci_interp.adapter.Measurable`.
    others
        Autoencoders of the same layer from other seeds: with them, stability.
    enrichment, known
        What its features were linked with, and the annotations: with both, polysemanticity.
    channels
        An enrichment of the raw channels; the baseline ``channels`` of ``enrichment`` by default.
    splits
        Neighbouring splits to measure on.
    n_tokens
        About how many tokens to measure on.
    n_records
        Records for loss and endpoints, evenly spread over the splits.
    n_permutations
        Draws of the null of stability.
    seed
        Seed of hidden tokens, exchanges and rotations.
    n_threads
        Threads of the matching; without influence on the result.
    out
        Folder of the artefact; a finished one is opened. Without, nothing is written.
    progress
        Tell on standard error how far the work is.

    Raises
    ------
    InputError
        If a setting is out of range, the splits hold no token, only one of adapter and dataset is
        given, or something that belongs together is missing.
    StoreError
        If autoencoders, activations, network and enrichment do not belong together, or ``out``
        holds other work.
    """
    _check_settings(splits, n_tokens, n_records, n_permutations)
    require_fit(sae, acts, "the autoencoder")
    require_others(sae, others)
    given = _Request(sae, acts, adapter, dataset, tuple(others), enrichment, known, channels)
    given.check()
    settings = {
        "splits": ", ".join(splits),
        "n_tokens": n_tokens,
        "n_records": n_records,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    folder = None if out is None else Path(out)
    if folder is not None and begin_artefact(
        folder, KIND, inputs=given.inputs(), settings=settings
    ):
        return Evaluation.open(folder)
    with clear_on_mistake(*([] if folder is None else [folder])):
        records = _spread_records(acts, splits, n_records)
        quality, activity = given.measure(splits, n_tokens, records, seed)
        stable = None
        if others:
            stable = measure_stability(
                sae,
                others,
                acts,
                splits=splits,
                n_tokens=n_tokens,
                n_permutations=n_permutations,
                seed=seed,
                n_threads=n_threads,
                progress=progress,
            )
        found = _assemble(given, quality, activity, stable, settings, records)
    return found if folder is None else found.write(folder)


@dataclass(frozen=True, eq=False)
class _Request:
    """What was given; see :func:`evaluate`."""

    sae: SparseAutoencoder
    acts: ActivationSource
    adapter: Adapter | None
    dataset: Dataset | None
    others: tuple[SparseAutoencoder, ...]
    enrichment: EnrichmentResult | None
    known: AnnotationStore | None
    channels: EnrichmentResult | None

    def check(self) -> None:
        """Refuse what does not belong together."""
        if (self.adapter is None) != (self.dataset is None):
            raise InputError(
                "the loss needs both an adapter and a dataset", todo="Give both or neither"
            )
        if self.adapter is not None:
            require_layer(self.adapter, self.acts.layer)
            if self.adapter.model.digest != self.acts.model["digest"]:
                raise StoreError(
                    f"the activations are of another network than {self.adapter.model.name}",
                    todo="Give the network that they were extracted from",
                )
        if self.dataset is not None:
            axis = TokenAxis.of(self.dataset, left_out=self.acts.axis.quarantine)
            self.acts.axis.require_same(axis, "the activations", "the dataset")
        for number, other in enumerate(self.others):
            require_fit(other, self.acts, f"autoencoder {number} of the others")
        if self.enrichment is not None:
            require_enrichment(self.enrichment, self.known, self.channels, self.sae.n_features)
        elif self.channels is not None:
            raise InputError(
                "channels are compared with features", todo="Give the enrichment of the features"
            )

    def inputs(self) -> dict[str, str]:
        """Return the digests of everything that was given."""
        named: dict[str, Any] = {
            "sae": self.sae,
            "activations": self.acts,
            "model": None if self.adapter is None else self.adapter.model,
            "dataset": self.dataset,
            "enrichment": self.enrichment,
            "annotations": self.known,
            "channels": self.channels,
            **{f"other {number}": other for number, other in enumerate(self.others)},
        }
        return {name: value.digest for name, value in named.items() if value is not None}

    def measure(
        self, splits: Sequence[Split], n_tokens: int, records: Sequence[str], seed: int
    ) -> tuple[Fidelity, Activity]:
        """Return fidelity, and activity on the same tokens."""
        quality = fidelity(
            self.sae,
            self.acts,
            splits=splits,
            adapter=self.adapter,
            dataset=self.dataset,
            records=records,
            n_tokens=n_tokens,
            seed=seed,
        )
        ranges = token_ranges(*self.acts.axis.token_range(list(splits)), n_tokens)
        return quality, measure_activity(self.sae, self.acts, ranges)

    def count_labels(self) -> Polysemanticity | None:
        """Return the unrelated labels of features and channels, where an enrichment was given."""
        if self.enrichment is None or self.known is None:
            return None
        sizes = {"n_features": self.sae.n_features, "width": self.sae.width}
        return measure_polysemanticity(self.enrichment, self.known, self.channels, **sizes)

    def change_answers(self, records: Sequence[str]) -> pd.DataFrame | None:
        """Return the endpoints with the layer replaced, where the adapter measures any."""
        adapter: object = self.adapter
        if self.dataset is None or not isinstance(adapter, Measurable):
            return None
        found = measure_endpoints(
            adapter, self.dataset, self.sae, records=records, layer=self.acts.layer
        )
        return found if len(found) else None


def _assemble(
    given: _Request,
    quality: Fidelity,
    activity: Activity,
    stable: Stability | None,
    settings: dict[str, Any],
    records: Sequence[str],
) -> Evaluation:
    alive = activity.n_fired > 0
    cosine, nearest = nearest_cosine(given.sae.dictionary, alive)
    features = pd.DataFrame(
        {
            "feature": np.arange(given.sae.n_features),
            "firing_rate": activity.rate,
            "alive": alive,
            "dense": activity.rate > DENSE,
            "cosine": cosine,
            "nearest": nearest,
        }
    )
    labels = given.count_labels()
    if stable is not None:
        features = features.merge(stable.scores(), on="feature", how="left")
    if labels is not None:
        features = features.merge(labels.of_features(), on="feature", how="left")
        counts = ["n_labels", "n_unrelated"]
        features[counts] = features[counts].fillna(0).astype(np.int64)
    summary = {
        "autoencoder": _describe(given.sae, given.acts),
        "n_features": len(features),
        "n_alive": int(alive.sum()),
        "n_dense": int(features["dense"].sum()),
        "n_redundant": int((cosine > REDUNDANT).sum()),
        "n_tokens": activity.n_tokens,
        "fvu_space": FVU_SPACE,
    }
    return Evaluation(
        quality,
        summary,
        features,
        density_table(activity),
        settings,
        stability=None if stable is None else stable.table,
        seeds=None if stable is None else stable.seeds,
        polysemanticity=None if labels is None else labels.table,
        unrelated=None if labels is None else labels.distribution,
        endpoints=given.change_answers(records),
    )


def _check_settings(splits: Sequence[Split], *sizes: int) -> None:
    if not splits or not set(splits) <= set(SPLITS):
        raise InputError(f"the splits {list(splits)} are not usable", allowed=", ".join(SPLITS))
    if min(sizes) < 1:
        raise InputError(
            "n_tokens, n_records, n_permutations = " + ", ".join(map(str, sizes)),
            allowed="positive numbers",
        )


def _describe(sae: SparseAutoencoder, acts: ActivationSource) -> str:
    return (
        f"Autoencoder {sae.architecture}, {sae.n_features} features, k {sae.k}, of layer "
        f"{acts.layer!r} of {acts.model['name']}"
    )


def _spread_records(acts: ActivationSource, splits: Sequence[Split], n_records: int) -> list[str]:
    """Return records evenly spread over the splits."""
    first, last = acts.axis.record_range(splits)
    chosen = np.unique(np.linspace(first, last - 1, n_records).round().astype(np.int64))
    return [str(name) for name in acts.axis.records[RECORD].iloc[chosen]]
