"""Autoencoders on planted activations: training, seeds, linking and candidates, end to end.

The activations of a token are a sum of known directions, one for each concept that is active there,
and noise. What a learned feature stands for can therefore be asked of the activations themselves:
take a label's concept out of them, and see whether the feature still fires.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_data import Dataset, Ints, PlantedAdapter, World, tokens_of
from planted_scores import missed_by

import sci_interp as si
from sci_interp.adapter import Adapter
from sci_interp.codes import Codes, Encoder, dequantise
from sci_interp.projections import ChannelProjection, PcaProjection
from sci_interp.source import ArraySource

__all__ = ["Activations", "RandomDictionary", "run_autoencoders"]

Floats = NDArray[np.float32]
WIDTH, FEATURES, K = 64, 256, 4
#: Standard deviation of the noise in every channel; concepts add about 0.6 along their direction.
NOISE = 0.05
N_TOKENS, BATCH, N_SEEDS = 400_000, 1024, 3
MAIN = "sparse autoencoder"
#: Cosine above which a direction is a concept's.
SAME = 0.9
#: Share of a feature's firings at a label's tokens that end with the concept, where it is linked.
CAUSED = 0.1


@dataclass(frozen=True, eq=False)
class Activations:
    """A world's features as concepts of a network.

    Attributes
    ----------
    world : World
        The world; its features are the concepts.
    seed : int
        Seed of directions and noise.
    """

    world: World
    seed: int

    @cached_property
    def directions(self) -> Floats:
        """Unit directions of the concepts ``(n_concepts, width)``."""
        random = np.random.default_rng([self.seed, 1])
        drawn = random.standard_normal((len(self.world.kind), WIDTH))
        unit: Floats = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
        return unit

    @cached_property
    def strength(self) -> Floats:
        """How active every concept is ``(n_tokens, n_concepts)``."""
        codes = self.world.features.codes
        found = np.zeros((codes.n_tokens, len(self.world.kind)), np.float32)
        token = np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr))
        level = codes.value.astype(np.uint8)
        one = np.ones(found.shape[1], np.float32)
        found[token, codes.feature] = dequantise(level, codes.feature, one)
        return found

    @cached_property
    def source(self) -> ArraySource:
        """The activations ``(n_tokens, width)``."""
        random = np.random.default_rng([self.seed, 2])
        noise = NOISE * random.standard_normal((len(self.strength), WIDTH), np.float32)
        return ArraySource(self.world.axis, self.strength @ self.directions + noise, "planted")

    def without(self, label: int, tokens: Ints) -> Floats:
        """Return the activations of tokens as they are without a label's concepts."""
        own = np.flatnonzero(self.world.of_kind("clear", "sub-concept")[label])
        removed: Floats = self.strength[np.ix_(tokens, own)] @ self.directions[own]
        return self.source.values[tokens] - removed


@dataclass(frozen=True, eq=False)
class RandomDictionary:
    """Random directions of which the strongest few are active: what learning is compared with.

    Attributes
    ----------
    dictionary : (n_features, width) float32
        The directions.
    mean : (width,) float32
        Where they start.
    scale : (n_features,) float32
        Largest activation of every feature.
    """

    dictionary: Floats
    mean: Floats
    scale: Floats
    digest: str

    @classmethod
    def draw(cls, source: ArraySource, seed: int) -> RandomDictionary:
        """Draw directions; mean and scale are those of the training blocks."""
        drawn = np.random.default_rng([seed, 3]).standard_normal((FEATURES, source.width))
        directions = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
        values = source.read(*source.axis.token_range(["train"]))
        mean = values.mean(axis=0)
        scale = np.maximum(((values - mean) @ directions.T).max(axis=0), 1e-3)
        return cls(directions, mean, scale.astype(np.float32), f"random {seed}")

    @property
    def n_features(self) -> int:
        """Number of directions."""
        return len(self.dictionary)

    @property
    def width(self) -> int:
        """Number of channels."""
        return len(self.mean)

    def encode(self, values: Floats) -> Codes:
        """Return the ``K`` strongest positive scores of every token."""
        score = (values - self.mean) @ self.dictionary.T
        cut = np.partition(score, -K, axis=1)[:, -K][:, None]
        active = (score >= cut) & (score > 0)
        indptr = np.append(0, active.sum(axis=1).cumsum()).astype(np.int64)
        feature = np.broadcast_to(np.arange(len(self.dictionary)), active.shape)[active]
        return Codes(indptr, feature.astype(np.uint16), score[active].astype(np.float32))


def run_autoencoders(world: World, seed: int) -> dict[str, Any]:
    """Return the numbers of one replicate: of the autoencoder and of what it is compared with."""
    acts = Activations(world, seed)
    with TemporaryDirectory(prefix="planted-") as temporary:
        folder = Path(temporary)
        known = world.annotate(folder / "annotations")
        started = time.monotonic()
        saes = [_train(acts, folder / f"sae{at}", at) for at in range(N_SEEDS)]
        trained = time.monotonic()
        encoders: dict[str, Encoder] = {
            MAIN: saes[0],
            "raw channels": ChannelProjection.fit(acts.source),
            "PCA": PcaProjection.fit(acts.source),
            "random dictionary": RandomDictionary.draw(acts.source, seed),
        }
        stores = {
            name: si.encode(encoder, acts.source, out=folder / name, progress=False)
            for name, encoder in encoders.items()
        }
        result = si.enrich(
            stores[MAIN],
            known,
            baselines={name: stores[name] for name in encoders if name != MAIN},
            seed=seed,
            n_bootstrap=0,
            n_threads=1,
            progress=False,
        )
        linked = time.monotonic()
        tables = {MAIN: result.table, **result.baselines}
        seeds = [
            si.encode(sae, acts.source, out=folder / f"codes{at}", progress=False)
            for at, sae in enumerate(saes[1:], 1)
        ]
        candidates = si.surface(
            stores[MAIN],
            result,
            known=known,
            adapter=cast("Adapter", PlantedAdapter(world)),  # there is no network behind it
            dataset=Dataset(world.axis),
            seeds=seeds,
            progress=False,
        )
        return {
            "sources": {
                name: _score_source(acts, encoders[name], tables[name]) for name in encoders
            },
            "fvu": round(si.fidelity(saes[0], acts.source, splits=("test",)).fvu, 4),
            "learned": _score_candidates(acts, saes[0].dictionary, candidates.gates),
            "seconds_training": round((trained - started) / N_SEEDS, 2),
            "seconds_linking": round(linked - trained, 2),
        }


def _train(acts: Activations, out: Path, seed: int) -> si.SparseAutoencoder:
    return si.train(
        acts.source,
        out=out,
        features=FEATURES,
        k=K,
        seed=seed,
        n_tokens=N_TOKENS,
        batch_size=BATCH,
        splits=("train",),
        progress=False,
    )


def _score_source(acts: Activations, encoder: Encoder, table: pd.DataFrame) -> dict[str, Any]:
    """Return false and true site-level links of a source, and labels that one feature names."""
    place = {label.name: at for at, label in enumerate(acts.world.labels)}
    site = table[table["class"] == "site"]
    label = site["label"].map(place).to_numpy(np.int64)
    caused = np.zeros(len(site), np.bool_)
    for at in np.unique(label):
        rows = np.flatnonzero(label == at)
        feature = site["feature"].to_numpy(np.int64)[rows]
        threshold = site["threshold"].to_numpy(np.float64)[rows]
        caused[rows] = _is_caused(acts, encoder, int(at), feature, threshold)
    named = caused & (site["hybrid_f1"] > 0.5).to_numpy()
    score: dict[str, Any] = {
        "n_calls": len(site),
        "n_false": int((~caused).sum()),
        "n_labels": len(place),
        "n_labels_linked": len(set(label[caused].tolist())),
        "n_labels_named": len(set(label[named].tolist())),
    }
    directions = _directions(encoder)
    concepts = acts.directions @ directions.T
    kinds = np.array(acts.world.kind)
    best = concepts.max(axis=1)
    score["recovered"] = {
        kind: [int((best[kinds == kind] >= SAME).sum()), int((kinds == kind).sum())]
        for kind in dict.fromkeys(acts.world.kind)
    }
    return score


def _is_caused(
    acts: Activations,
    encoder: Encoder,
    label: int,
    feature: Ints,
    threshold: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which features fire less at a label's tokens once its concept is taken out."""
    runs = acts.world.runs
    of_label = runs.label == label
    tokens = np.unique(tokens_of(runs.start[of_label], runs.stop[of_label])[1])
    before, after = (
        _firings(encoder, values, feature, threshold)
        for values in (acts.source.values[tokens], acts.without(label, tokens))
    )
    lost: NDArray[np.bool_] = before - after > CAUSED * before
    return lost


def _firings(
    encoder: Encoder, values: Floats, feature: Ints, threshold: NDArray[np.float64]
) -> Ints:
    """Return how often features reach their thresholds, which are shares of their scale."""
    codes = encoder.encode(np.ascontiguousarray(values))
    counts = np.zeros(len(feature), np.int64)
    for at, (one, share) in enumerate(zip(feature, threshold, strict=True)):
        counts[at] = (codes.value[codes.feature == one] >= share * encoder.scale[one]).sum()
    return counts


def _directions(encoder: Encoder) -> Floats:
    """Return the unit direction of every feature, both signs where a source has two."""
    if isinstance(encoder, (si.SparseAutoencoder, RandomDictionary)):
        found = np.asarray(encoder.dictionary)
    else:
        assert isinstance(encoder, (ChannelProjection, PcaProjection))
        weight = encoder.weight
        one = np.eye(len(weight), dtype=np.float32) if weight.ndim == 1 else weight.T
        found = np.concatenate([one, -one])
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = (found / np.maximum(length, 1e-12)).astype(np.float32)
    return unit


def _score_candidates(acts: Activations, dictionary: Floats, gates: pd.DataFrame) -> dict[str, Any]:
    """Return how many listed features are hidden concepts, and how many of these are listed."""
    unit = dictionary / np.maximum(np.linalg.norm(dictionary, axis=1, keepdims=True), 1e-12)
    cosine = unit @ acts.directions.T
    kinds = np.array(acts.world.kind)
    hidden = np.char.startswith(kinds, "hidden")
    listed = gates.loc[gates["kind"] == "unexplained", "feature"].to_numpy(np.int64)
    concept = cosine[listed].argmax(axis=1)
    right = hidden[concept]
    learned = hidden & (cosine.max(axis=0) >= SAME)
    same = cosine[gates["feature"]].max(axis=1) >= SAME
    again = (gates["reproducible"] == "yes").to_numpy()
    stands_for = hidden[cosine[gates["feature"]].argmax(axis=1)] & same
    return {
        "missed_by": missed_by(gates, stands_for),
        "n_listed": len(listed),
        "n_right": int(right.sum()),
        "n_hidden": int(hidden.sum()),
        "n_hidden_learned": int(learned.sum()),
        "n_hidden_listed": len(set(concept[right].tolist())),
        "by_kind": {
            kind: int((kinds[concept] == kind).sum())
            for kind in dict.fromkeys(kinds[concept].tolist())
        },
        "reproducible_concepts": [int((again & same).sum()), int(same.sum())],
        "reproducible_others": [int((again & ~same).sum()), int((~same).sum())],
    }
