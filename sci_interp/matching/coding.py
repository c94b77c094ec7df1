"""Codes of shared tokens, by token and by feature, within a stated number of entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sci_interp.codes import Codes, Encoder
from sci_interp.errors import InputError, StoreError
from sci_interp.progress import track
from sci_interp.source import ActivationSource

from .shared import SharedTokens

__all__ = [
    "MAX_ENTRIES",
    "ByFeature",
    "ByToken",
    "encode_shared",
    "read_records",
    "record_slices",
    "require_fit",
]

#: Active features that are held at once for each dictionary, sixteen bytes each.
MAX_ENTRIES = 2**25
#: Tokens that are encoded at once.
SLICE_TOKENS = 16_384


class ByToken(NamedTuple):
    """Codes sorted by token.

    Attributes
    ----------
    first : (n_tokens + 1,) int64
        First entry of every token.
    feature : (n_entries,) int32
        Feature of every entry, ascending inside a token.
    value : (n_entries,) float32
        Its activation.
    """

    first: NDArray[np.int64]
    feature: NDArray[np.int32]
    value: NDArray[np.float32]


class ByFeature(NamedTuple):
    """Codes sorted by feature.

    Attributes
    ----------
    first : (n_features + 1,) int64
        First entry of every feature.
    token : (n_entries,) int32
        Token of every entry, ascending inside a feature.
    value : (n_entries,) float32
        Its activation.
    """

    first: NDArray[np.int64]
    token: NDArray[np.int32]
    value: NDArray[np.float32]

    @classmethod
    def of(cls, codes: ByToken, n_features: int) -> ByFeature:
        """Return the same codes sorted by feature."""
        from scipy.sparse import csr_array

        shape = (len(codes.first) - 1, n_features)
        turned = csr_array((codes.value, codes.feature, codes.first), shape=shape).tocsc()
        return cls(
            turned.indptr.astype(np.int64), turned.indices.astype(np.int32, copy=False), turned.data
        )


def require_fit(encoder: Encoder, source: ActivationSource, what: str) -> None:
    """Refuse an encoder of another width, layer or network than the activations are of.

    Raises
    ------
    StoreError
        Naming what differs.
    """
    parent = getattr(encoder, "parent", None) or {}
    given = {"layer": source.layer, "model_digest": str(source.model["digest"])}
    if encoder.width != source.width:
        raise StoreError(
            f"{what} reads {encoder.width} channels and layer {source.layer!r} has {source.width}",
            todo="Give activations of the layer that it was trained on",
        )
    for name, value in given.items():
        if parent.get(name, value) != value:
            raise StoreError(
                f"{what} was made for another {name.removesuffix('_digest')}: "
                f"{parent[name]!r}, not {value!r}",
                todo="Give the activations that it was trained on",
            )


def encode_shared(
    encoders: Sequence[Encoder],
    source: ActivationSource,
    shared: SharedTokens,
    *,
    progress: bool = False,
) -> list[ByToken]:
    """Return the codes of the shared tokens by each encoder, from one pass over the activations.

    Raises
    ------
    InputError
        If an encoder gives more than :data:`MAX_ENTRIES` active features in all.
    """
    parts: list[list[Codes]] = [[] for _ in encoders]
    n_entries = [0] * len(encoders)
    n_seen = 0
    for first, last in track(record_slices(shared), "match: encode", show=progress):
        values = read_records(source, shared.record[first:last])
        n_seen += len(values)
        for at, encoder in enumerate(encoders):
            codes = encoder.encode(values)
            n_entries[at] += len(codes.feature)
            _require_room(n_entries[at], n_seen, shared.n_tokens)
            parts[at].append(codes)
    return [_join(codes) for codes in parts]


def read_records(source: ActivationSource, records: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the activations of some records, one after the other ``(n_tokens, width)``."""
    starts = source.axis.record_starts
    return np.concatenate([source.read(int(starts[at]), int(starts[at + 1])) for at in records])


def _require_room(n_entries: int, n_seen: int, n_tokens: int) -> None:
    if n_entries > MAX_ENTRIES:
        raise InputError(
            f"{n_tokens} tokens with about {n_entries / n_seen:.0f} active features each are more "
            "than is held in memory",
            allowed=f"{MAX_ENTRIES} active features in all",
            todo=f"Give n_tokens={int(0.9 * n_seen * MAX_ENTRIES / n_entries)} or less",
        )


def _join(parts: Sequence[Codes]) -> ByToken:
    counts = [np.zeros(1, np.int64), *(np.diff(codes.indptr) for codes in parts)]
    return ByToken(
        np.cumsum(np.concatenate(counts)),
        np.concatenate([codes.feature.astype(np.int32) for codes in parts]),
        np.concatenate([np.asarray(codes.value, np.float32) for codes in parts]),
    )


def record_slices(shared: SharedTokens) -> list[tuple[int, int]]:
    """Return ranges of records of about :data:`SLICE_TOKENS` tokens each."""
    found, first = [], 0
    while first < len(shared.record):
        last = int(np.searchsorted(shared.start, shared.start[first] + SLICE_TOKENS, "right")) - 1
        last = max(last, first + 1)
        found.append((first, last))
        first = last
    return found
