"""encode: Encoder x ActivationSource -> FeatureStore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .axis import DEFAULT_FRACTIONS, OnAxis, TokenAxis, quarantine_of
from .codes import Codes, Encoder, feature_dtype, quantise
from .errors import InputError, NotFiniteError, StoreError
from .executors import Shard, Workers
from .feature_store import FeatureLayout, FeatureStore, require_valid, shard_tokens
from .feature_writer import FeatureWriter
from .openers import encoder_opener, source_opener
from .recipes import Last, Recipe
from .schema import BLOCKS_SEEN, MAX_LEVEL, RECORD, SHARD_TOKENS, Split
from .source import ActivationSource

__all__ = ["FeatureStore", "encode", "encode_nuisances", "encode_share"]

#: Tokens that are read and encoded at once.
SLICE_TOKENS = 16_384
#: Active features per token that are expected of an encoder which does not say.
EXPECTED_ACTIVE = 256


def encode(
    encoder: Encoder,
    source: ActivationSource,
    *,
    out: Path | str,
    names: Sequence[str] | None = None,
    check_parent: bool = True,
    progress: bool = True,
    workers: int | None = None,
    executor: Executor | None = None,
    recipe: Recipe | None = None,
) -> FeatureStore:
    """Encode every token of a source; an interrupted run continues where it stopped.

    Parameters
    ----------
    encoder
        An SAE or any other :class:`~sci_interp.codes.Encoder`. Its optional attributes ``names``
        (feature names), ``n_active`` (most active features per token) and ``parent`` (the
        ``model_digest`` and the ``layer`` that it was made for) are used where present.
    source
        The activations; they are read in slices.
    out
        Folder of the artefact.
    names
        Feature names; the encoder's own by default.
    check_parent
        Refuse an encoder that was made for another model or layer, or fitted on blocks that the
        source keeps for testing.
    progress
        Show a progress bar.
    workers
        Processes that share the shards, on one thread each; the bytes are the same with any number.
        None takes this process with all its threads, where a network may round otherwise.
    executor
        In place of ``workers``: whose workers share the shards, for example those of Dask.
    recipe
        How workers open the model and the data of a stream for themselves.

    Raises
    ------
    StoreError
        If the encoder does not fit the source, or ``out`` holds other work.
    NotFiniteError
        If activations or codes hold NaN or infinity.
    """
    names = _names_of(encoder, names)
    _require_fit(encoder, source, check_parent)
    writer = _plan(encoder, source, Path(out), names)
    makers = Workers(workers, executor)
    if not makers.are_others:
        with makers.threads():
            return writer.write(progress=progress)
    openers = encoder_opener(encoder), source_opener(source, recipe)
    task = _EncodeTask(*openers, Path(out).absolute(), names, "", range(0))
    return writer.write(progress=progress, workers=makers, task=partial(_aim, task))


def encode_share(
    encoder: Encoder,
    source: ActivationSource,
    *,
    out: Path | str,
    shard: Shard,
    check_parent: bool = True,
    progress: bool = True,
) -> int:
    """Make one task's shards of an array; :func:`encode` of the same takes them in.

    Parameters
    ----------
    encoder, source, out, check_parent, progress
        As for :func:`encode`.
    shard
        ``(i, n)``: which task of how many.

    Returns
    -------
    int
        Number of shards that are this task's; 0 where the store is finished.
    """
    _require_fit(encoder, source, check_parent)
    writer = _plan(encoder, source, Path(out), _names_of(encoder, None))
    return writer.make_share(shard, progress=progress)


def encode_nuisances(
    adapter: Adapter,
    dataset: Dataset,
    *,
    out: Path | str,
    fractions: Mapping[Split, float] | None = None,
    progress: bool = True,
    like: OnAxis | None = None,
) -> FeatureStore:
    """Store an adapter's cheap explanations (identity, position) as features that are 0 or 1.

    Parameters
    ----------
    adapter, dataset
        Whose :meth:`~sci_interp.adapter.Adapter.nuisance_codes` are stored.
    out
        Folder of the artefact.
    fractions
        Shares of the splits, as given to ``extract``.
    progress
        Show a progress bar.
    like
        A store or stream whose records in quarantine are left out here too.
    """
    nuisances = adapter.nuisances()
    fractions = dict(fractions or DEFAULT_FRACTIONS)
    layout = FeatureLayout(
        axis=TokenAxis.of(dataset, fractions, left_out=quarantine_of(like)),
        names=nuisances.names,
        families=nuisances.families,
        scale=np.ones(len(nuisances.names), np.float32),
        shard_tokens=SHARD_TOKENS,
    )
    reader = _NuisanceReader(adapter, dataset, layout.axis, layout.n_features)
    inputs = {"dataset": dataset.digest}
    settings = {"adapter": adapter.name, "fractions": fractions}
    writer = FeatureWriter(Path(out), layout, reader.read, inputs, settings)
    return writer.write(progress=progress)


def _names_of(encoder: Encoder, names: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(getattr(encoder, "names", ()) if names is None else names)


def _plan(
    encoder: Encoder, source: ActivationSource, out: Path, names: tuple[str, ...]
) -> FeatureWriter:
    _require_scale(encoder)
    expected = int(getattr(encoder, "n_active", EXPECTED_ACTIVE))
    layout = FeatureLayout(
        axis=source.axis,
        names=names,
        families=(),
        scale=np.ascontiguousarray(encoder.scale, dtype=np.float32),
        shard_tokens=shard_tokens(min(expected, encoder.n_features)),
    )
    inputs = {"encoder": encoder.digest, "source": source.digest}
    settings = {"layer": source.layer, "model": dict(source.model)}
    return FeatureWriter(out, layout, partial(_encode_range, encoder, source), inputs, settings)


@dataclass(frozen=True)
class _EncodeTask:
    """Opens an encoder and a source in a worker, and makes consecutive shards."""

    open_encoder: Callable[[], Encoder]
    open_source: Callable[[], ActivationSource]
    out: Path
    names: tuple[str, ...]
    key: str
    shards: range

    def __call__(self) -> None:
        writer = _last.get(self.key, self._plan)
        writer.parts.require_key(self.key)
        writer.make_parts(self.shards)

    def _plan(self) -> FeatureWriter:
        return _plan(self.open_encoder(), self.open_source(), self.out, self.names)


_last: Last[FeatureWriter] = Last()


def _aim(task: _EncodeTask, key: str, shards: range) -> _EncodeTask:
    return replace(task, key=key, shards=shards)


def _encode_range(encoder: Encoder, source: ActivationSource, start: int, stop: int) -> Codes:
    parts = []
    dtype = feature_dtype(encoder.n_features)
    for first in range(start, stop, SLICE_TOKENS):
        last = min(first + SLICE_TOKENS, stop)
        values = source.read(first, last)
        _require_finite(values, source.axis, first)
        codes = encoder.encode(values)
        require_valid(codes, last - first, encoder.n_features)
        level = quantise(np.asarray(codes.value, np.float32), codes.feature, encoder.scale)
        parts.append(Codes(codes.indptr, codes.feature.astype(dtype, copy=False), level))
    return Codes.concatenate(parts)


class _NuisanceReader:
    """Reads token ranges of an adapter's nuisance codes, record by record."""

    def __init__(
        self, adapter: Adapter, dataset: Dataset, axis: TokenAxis, n_features: int
    ) -> None:
        self._adapter = adapter
        self._dataset = dataset
        self._axis = axis
        self._n_features = n_features

    def read(self, start: int, stop: int) -> Codes:
        starts = self._axis.record_starts
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, stop, side="left"))
        parts = [self._record(index) for index in range(first, last)]
        codes = Codes.concatenate(parts).rows(start - int(starts[first]), stop - int(starts[first]))
        require_valid(codes, stop - start, self._n_features)
        return codes

    def _record(self, index: int) -> Codes:
        record = str(self._axis.records[RECORD].iloc[index])
        n_tokens = int(self._axis.record_starts[index + 1] - self._axis.record_starts[index])
        token, feature = self._adapter.nuisance_codes(self._dataset, record)
        if len(token) and not (token.min() >= 0 and token.max() < n_tokens):
            raise InputError(
                f"the nuisance codes of record {record!r} name token {int(token.max())}",
                allowed=f"0 to {n_tokens - 1}",
            )
        if len(feature) and not (feature.min() >= 0 and feature.max() < self._n_features):
            raise InputError(
                f"the nuisance codes of record {record!r} name feature {int(feature.max())}",
                allowed=f"0 to {self._n_features - 1}",
            )
        if len(token) != len(feature) or (np.diff(token) < 0).any():
            raise InputError(
                f"the nuisance codes of record {record!r} are not pairs sorted by token"
            )
        return Codes(
            np.searchsorted(token, np.arange(n_tokens + 1)).astype(np.int64),
            feature.astype(feature_dtype(self._n_features)),
            np.full(len(feature), MAX_LEVEL, np.uint8),
        )


def _require_fit(encoder: Encoder, source: ActivationSource, check_parent: bool) -> None:
    if encoder.width != source.width:
        raise StoreError(
            f"the encoder reads {encoder.width} channels and layer {source.layer!r} has "
            f"{source.width}",
            todo="Encode the layer that the encoder was trained on",
        )
    parent = getattr(encoder, "parent", None)
    if not check_parent or not parent:
        return
    if parent.get("layer", source.layer) != source.layer:
        raise StoreError(
            f"the encoder was made for another layer: {parent['layer']!r}, not {source.layer!r}",
            todo="Encode activations of that layer, or train an encoder on these",
        )
    if parent.get("model_digest", source.model["digest"]) != source.model["digest"]:
        raise StoreError(
            f"the encoder was made for another model: {parent.get('model', '')} "
            f"{parent['model_digest'][:12]}, not {source.model['name']} "
            f"{source.model['digest'][:12]}",
            todo="Encode activations of that model, or train an encoder on these",
        )

    _require_unseen(parent, source.axis)


def _require_scale(encoder: Encoder) -> None:
    """Refuse an autoencoder of another program whose file told nothing of its activations."""
    if "scale" in getattr(encoder, "training", {}).get("unmeasured", ()):
        raise StoreError(
            "the scale of the autoencoder's features is not known, and codes are stored in parts "
            "of it",
            todo="Measure it first: sae = sae.measured(activations); save_sae(sae, ...) keeps it",
        )


def _require_unseen(parent: Mapping[str, str], axis: TokenAxis) -> None:
    """Refuse an encoder that has seen blocks of the test or vault split."""
    kept = axis.block_interval(("test", "vault"))
    if BLOCKS_SEEN not in parent or kept is None:
        return
    try:
        low, high = (float(place) for place in parent[BLOCKS_SEEN].split(":"))
    except (ValueError, AttributeError):
        raise StoreError(
            f"the encoder's file states {BLOCKS_SEEN}={parent[BLOCKS_SEEN]!r}",
            allowed='two numbers, "0.0:0.52"',
        ) from None
    if low <= kept[1] and kept[0] <= high:
        raise StoreError(
            f"the encoder was fitted on blocks with places from {low:.3f} to {high:.3f}, and this "
            f"source keeps those from {kept[0]:.3f} to {kept[1]:.3f} for testing",
            todo="Use the split shares that it was fitted with, or fit another on these splits; "
            "check_parent=False where the data have no block in common",
        )


def _require_finite(values: NDArray[np.float32], axis: TokenAxis, start: int) -> None:
    # One sum sees NaN and infinity without a mask; only a suspicious one is looked at closely.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return
    row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
    index = int(np.searchsorted(axis.record_starts, start + row, side="right")) - 1
    record = axis.records[RECORD].iloc[index]
    raise NotFiniteError(
        f"the activations of record {record!r} hold NaN or infinity "
        f"(its token {start + row - int(axis.record_starts[index])})",
        todo="Look at the record's input, or leave it out of the dataset",
    )
