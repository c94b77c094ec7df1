"""A whole small run, verb by verb: what the tests of this folder break, kill and compare."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from fake_adapter import FakeAdapter, make_dataset

import sci_interp as si
from sci_interp import feature_store
from sci_interp.schema import SPLITS
from sci_interp.source import ArraySource

ADAPTER = FakeAdapter(width=8)
DATASET = make_dataset(n_records=160, longest=30, records_per_block=2)
#: The verbs in order; each makes the artefact of its name from those before it.
VERBS = ("activations", "sae", "features", "annotations", "enrichment")


def make(kind: str, run: Path, out: Path | None = None) -> object:
    """Make one artefact of the run in ``out``, or beside those it is made from.

    Parameters
    ----------
    kind
        One of :data:`VERBS`.
    run
        Folder of the artefacts it is made from.
    out
        Folder of the artefact; ``run / kind`` by default.
    """
    steps: dict[str, Callable[[Path, Path], object]] = {
        "activations": _extract,
        "sae": _train,
        "features": _encode,
        "annotations": _annotate,
        "enrichment": _enrich,
    }
    return steps[kind](run, run / kind if out is None else out)


def make_run(run: Path) -> None:
    """Make all artefacts of the run."""
    for kind in VERBS:
        make(kind, run)


def open_artefact(kind: str, path: Path) -> object:
    """Open an artefact and read all that it holds."""
    if kind == "activations":
        acts = si.ActivationStore.open(path)
        return acts.read(0, acts.axis.n_tokens), acts.coordinates()
    if kind == "features":
        features = si.FeatureStore.open(path)
        return features.read(0, features.axis.n_tokens)
    if kind == "annotations":
        known = si.AnnotationStore.open(path)
        return known.read(0, known.axis.n_tokens), known.events
    return {"sae": si.load_sae, "enrichment": si.load_enrichment}[kind](path)


def _extract(_: Path, out: Path) -> object:
    return si.extract(
        ADAPTER, DATASET, layer="layers.1", out=out, unit_tokens=600, shard_tokens=1024,
        progress=False,
    )  # fmt: skip


def _train(run: Path, out: Path) -> object:
    acts = si.ActivationStore.open(run / "activations")
    return si.train(
        acts, features=24, k=3, n_tokens=1500, batch_size=128, checkpoint_every=4, out=out,
        progress=False,
    )  # fmt: skip


def _encode(run: Path, out: Path) -> object:
    acts = si.ActivationStore.open(run / "activations")
    # As small as shards can be, so that there are several.
    with patch.object(feature_store, "SHARD_ENTRIES", 1):
        return si.encode(si.load_sae(run / "sae"), acts, out=out, progress=False)


def _annotate(_: Path, out: Path) -> object:
    return si.annotate(ADAPTER, DATASET, out=out, progress=False)


def _enrich(run: Path, out: Path) -> object:
    return si.enrich(
        si.FeatureStore.open(run / "features"),
        si.AnnotationStore.open(run / "annotations"),
        n_permutations=50, n_bootstrap=10, n_threads=1, out=out, progress=False,
    )  # fmt: skip


class _SpoiltAdapter(FakeAdapter):
    """Yields one value that is not finite."""

    def __init__(self, record: str, bad: float) -> None:
        super().__init__(width=8)
        self._record, self._bad = record, bad

    def activations(self, dataset, records, layers):
        for found in super().activations(dataset, records, layers):
            if found.record == self._record:
                for rows in found.values.values():
                    rows[-1, -1] = self._bad
            yield found


def make_spoilt(kind: str, run: Path, out: Path, bad: float, rng: random.Random) -> object:
    """Make activations, an autoencoder or features while one activation is not finite."""
    if kind == "activations":
        adapter = _SpoiltAdapter(rng.choice(list(DATASET.texts)), bad)
        return si.extract(adapter, DATASET, layer="layers.1", out=out, progress=False)
    acts = si.ActivationStore.open(run / "activations")
    values = acts.read(0, acts.axis.n_tokens).copy()
    first, last = acts.axis.token_range(("train", "discovery") if kind == "sae" else SPLITS)
    values[rng.randrange(first, last), rng.randrange(8)] = bad
    source = ArraySource(acts.axis, values)
    if kind == "sae":
        # Whole batches, so that an epoch leaves no token out.
        assert (last - first) % 94 == 0
        return si.train(
            source, features=24, k=3, n_tokens=last - first, batch_size=94, out=out, progress=False
        )
    sae = si.load_sae(run / "sae")
    return si.encode(sae, source, out=out, check_parent=False, progress=False)
